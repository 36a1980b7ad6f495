"""What the benchmarks are run on: texts of tasks, cut into pieces as a tokenizer would, and Llamas of any shape."""

from __future__ import annotations

import json
import random
import re
import time
import zlib
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mossa.models.prompts import Encoded

PIECES = re.compile(r"\w{1,6}|[^\w\s]")  # about as many as a tokenizer of a common model gives
FIRST = 3  # below are the tokens that begin, end and fill
# A look-alike where there is no folder: the median characters of a prompt and of a target, as in FLAN's clusters.
ALIKE = [(90, 4), (120, 4), (160, 30), (250, 4), (300, 60), (400, 4), (550, 15), (800, 4), (1100, 120), (1500, 60)]


def texts(folder: Path | None, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return `count` (prompt, target) in a drawn order: as many of every task in `folder`, or of made-up tasks."""
    draw = random.Random(seed)
    if folder is None:
        chosen = [_made_up(draw, *ALIKE[index % len(ALIKE)]) for index in range(count)]
    else:
        files = sorted(folder.glob("*.jsonl")) or sorted((folder / "tasks").glob("*.jsonl"))
        each = -(-count // len(files))
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()[:each]]
        chosen = [(example["inputs"], example["targets"]) for example in map(json.loads, lines)]
    draw.shuffle(chosen)
    return chosen[:count]


def encode(pairs: list[tuple[str, str]], vocabulary: int, longest: int, template: int = 0) -> list[Encoded]:
    """Return the texts as tokens of a vocabulary of this size; what is longer loses the beginning of its prompt.

    `template`: so many tokens, the same for all, stand before every prompt and count beyond `longest`.
    """
    encoded: list[Encoded] = []
    constant = [FIRST + 1 + index % (vocabulary - FIRST - 1) for index in range(template)]
    for index, (prompt, target) in enumerate(pairs):
        before, after = ([_token(piece, vocabulary) for piece in PIECES.findall(text)] for text in (prompt, target))
        after = [*after[: longest // 4], 2]
        before = [1, *constant, *before[-(longest - len(after) - 2) :], FIRST]
        encoded.append(Encoded(before + after, len(before), False, index))
    return encoded


def llama(width: int, layers: int, vocabulary: int, longest: int, seed: int = 0, dtype: str = "float32") -> Any:
    """Return a Llama with drawn weights in `dtype`, frozen, whose heads are 32 to 64 wide."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=-(-width * 8 // 3 // 32) * 32,
        num_hidden_layers=layers,
        num_attention_heads=max(2, width // 64),
        max_position_embeddings=longest,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).to(getattr(torch, dtype)).eval().requires_grad_(False)


def matmul_rate(dtype: str = "float32", seconds: float = 2.0) -> float:
    """Return the floating-point operations per second of products of 1,024 x 1,024 in `dtype`, the best of many."""
    matrix = torch.randn(1024, 1024).to(getattr(torch, dtype))
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.process_time()
        for _ in range(4):
            matrix @ matrix
        best = max(best, 4 * 2 * 1024**3 / (time.process_time() - start))
    return best


def forward_operations(model: Any, lengths: list[int], shared: int = 0) -> float:
    """Return what one forward pass without the head takes at least: no filling, each position sees those before it.

    `shared`: so many tokens all prompts have in common, and are needed once.
    """
    config = model.config
    weights = sum(p.numel() for p in model.model.layers.parameters() if p.dim() == 2)
    once = shared * (shared + 1)
    square = once + sum(length * (length + 1) - once for length in lengths)
    tokens = shared + sum(length - shared for length in lengths)
    return 2.0 * weights * tokens + 2.0 * square * config.num_hidden_layers * config.hidden_size


def _token(piece: str, vocabulary: int) -> int:
    return FIRST + 1 + zlib.crc32(piece.lower().encode()) % (vocabulary - FIRST - 1)


def _made_up(draw: random.Random, prompt: int, target: int) -> tuple[str, str]:
    def text(characters: float) -> str:
        words: list[str] = []
        while sum(map(len, words)) + len(words) < characters:
            words.append(f"word{int(draw.paretovariate(0.7)) % 5000}"[: draw.randint(2, 9)])
        return " ".join(words)

    return text(prompt * draw.lognormvariate(0, 0.5)), text(target * draw.lognormvariate(0, 0.5))
