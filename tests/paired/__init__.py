"""Base and tuned model on the same examples: verdicts, the one pass, and the command."""
