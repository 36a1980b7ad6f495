"""What a fine-tune changed: base and tuned model on the same examples, in one pass over them."""
