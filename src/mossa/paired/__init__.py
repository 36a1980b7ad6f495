"""What fine-tuning changed: base and tuned model on the same examples, in one pass over them."""
