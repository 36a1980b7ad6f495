"""(model, prompts) -> `[n, L, d]`: the last prompt token after every layer."""

from mossa.representations.extract import check_alone, represent_tokens
from mossa.representations.represent import represent

__all__ = ["check_alone", "represent", "represent_tokens"]
