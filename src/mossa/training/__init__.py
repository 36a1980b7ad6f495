"""(base, examples, recipe, seed) -> adapter, and how well a model does on a task."""
