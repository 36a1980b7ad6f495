"""Weights: the base and its tokenizer, prompts as tokens, transformer blocks, adapters."""

import logging

# Where it is installed, PEFT and transformers import it, and it would say the same line at each matrix product.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
