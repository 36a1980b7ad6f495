"""What transformers reports of a load: a model with missing weights is refused, everything else becomes a note."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import logging as transformers_logging

from mossa.errors import ModelError, ModelNote

CHATTER = ("transformers.generation",)  # nothing is generated here
TABLE = "LOAD REPORT"  # transformers' own print of what `check_report` reads


def check_report(report: dict[str, Any], model: Any, what: str) -> None:
    """Raise `ModelError` for weights that no file held or that have another shape; note those that have no place.

    `report` is what `from_pretrained` gives with `output_loading_info`. Tied weights and buffers that are computed are
    not in it. Without this, transformers draws what is missing at random, anew in every process.
    """
    missing: set[str] = set(report["missing_keys"])
    unused: set[str] = set(report["unexpected_keys"])
    if mismatched := sorted(report["mismatched_keys"]):
        name, held, wanted = mismatched[0]
        raise ModelError(
            f"{what} cannot be used: {len(mismatched)} of its weights have another shape than its config.json asks for "
            f"(for example {name}: {list(held)} instead of {list(wanted)}). The two belong to different models; copy "
            "both again from one."
        )
    if missing:
        raise ModelError(
            f"{what} cannot be used: {len(missing)} of {len(model.state_dict())} weights are in none of its files (for "
            f"example {min(missing)}) and would be random. {_hint(missing, unused)}"
        )
    if unused:
        note(
            f"{what}: not all that its files hold has a place in {type(model).__name__}: {len(unused)} tensors are not "
            f"used (for example {min(unused)})."
        )


def excused(model: Any) -> set[str]:
    """Return the weights that a model's own code allows to be missing, which transformers leaves out of its report."""
    patterns = getattr(model, "_keys_to_ignore_on_load_missing", None)
    if not patterns or not model.is_custom_code():
        return set()
    return {name for name, _ in model.named_parameters() if any(re.search(pattern, name) for pattern in patterns)}


def note(sentence: str) -> None:
    """Tell a fact about a load."""
    warnings.warn(sentence, ModelNote, stacklevel=3)


@contextmanager
def overheard(what: str) -> Iterator[None]:
    """Turn what transformers warns of while it loads `what` into notes, instead of lines on the terminal."""
    heard: list[str] = []
    ears = logging.Handler(logging.WARNING)
    ears.emit = lambda record: None if record.name.startswith(CHATTER) else heard.append(record.getMessage())
    logger = transformers_logging.get_logger("transformers")
    handlers, level, passes_on = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [ears], False
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, passes_on
        logger.setLevel(level)
    for message in dict.fromkeys(heard):
        if TABLE not in message:
            note(f"{what}: transformers says: {' '.join(message.split())[:300]}")


def _hint(missing: set[str], unused: Collection[str]) -> str:
    """Say what explains the missing weights: a wrapper's prefix, another head, or a file that is not there."""
    if wrapper := _wrapper(missing, unused):
        return (
            f"Its files hold them with '{wrapper}.' in their names, which a wrapper such as torch.compile, "
            "DistributedDataParallel or PEFT adds. Save the model inside the wrapper with save_pretrained (for PEFT: "
            "merge_and_unload() first)."
        )
    if unused:
        return (
            f"Its files hold {len(unused)} others that have no place (for example {min(unused)}), so they or its "
            "config.json belong to another model. Copy both again from one."
        )
    return "Download or copy it again, or write it again with save_pretrained."


def _wrapper(missing: set[str], unused: Collection[str]) -> str | None:
    """Return the part of a name that is too much in most of the unused tensors; without it they are the missing ones.

    It may stand anywhere: `_orig_mod.model.norm.weight`, `model.layers.0._orig_mod.mlp.up_proj.weight`.
    """
    found: Counter[str] = Counter()
    for name in unused:
        parts = name.split(".")
        spans = ((start, end) for start in range(len(parts)) for end in range(start + 1, len(parts)))
        for start, end in spans:
            if ".".join(parts[:start] + parts[end:]) in missing:
                found[".".join(parts[start:end])] += 1
                break
    return max(found, key=lambda part: (found[part], part)) if found else None
