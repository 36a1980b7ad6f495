"""(model, prompts) -> `[n, L, d]`: the last prompt token after every layer."""

from mossa.representations.extract import represent_tokens

__all__ = ["represent_tokens"]
