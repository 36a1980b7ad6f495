"""Weights: the base and its tokenizer, prompts as tokens, transformer blocks, adapters."""
