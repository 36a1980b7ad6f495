"""(model, prompts) -> `[n, L, d]`: the last prompt token after every layer."""

from mossa.representations.extract import represent_tokens
from mossa.representations.held import represent

__all__ = ["represent", "represent_tokens"]
