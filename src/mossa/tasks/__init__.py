"""Text: examples, tasks, collections and their splits."""
