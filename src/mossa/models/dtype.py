"""What `base.dtype: auto` means: bfloat16 for a large base where the hardware is fast at it, else float32."""

from __future__ import annotations

import re
from pathlib import Path

from mossa.study.schema import Base

LARGE = 100_000_000  # weights; the steps of smaller bases are many small operations, which float32 does as fast
FLAGS = re.compile(r"\b(amx_bf16|avx512_bf16|bf16)\b")  # of processors that multiply bfloat16 by themselves


def settled(base: Base, earlier: Base | None = None) -> tuple[Base, str]:
    """Return `base` with a number format other than `auto`, and why it is that one ('' if it was given).

    It is the `earlier` one, if the same base had one when the study was first planned: what is planned must not depend
    on the machine that goes on with it. Raises `ModelError` if the base's configuration cannot be read.
    """
    if base.dtype != "auto":
        return base, ""
    if earlier and earlier.model == base.model and earlier.dtype != "auto":
        dtype, why = earlier.dtype, "as it was when this study was first planned"
    else:
        dtype, why = _choose(base)
    return base.model_copy(update={"dtype": dtype}), f"base.dtype: auto is {dtype}, {why}."


def _choose(base: Base) -> tuple[str, str]:
    from mossa.models.base import without_storage

    weights = sum(parameter.numel() for parameter in without_storage(base).parameters())
    if weights < LARGE:
        return "float32", f"because the base has only {weights / 1e6:,.0f} million weights"
    hardware = fast_at_bfloat16()
    if hardware is None:
        return "float32", "because nothing here multiplies bfloat16 faster"
    return "bfloat16", f"because it is fast here ({hardware}) and the base has {weights / 1e6:,.0f} million weights"


def fast_at_bfloat16(flags: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the name of what multiplies bfloat16 fast: the GPU, or without one a flag of the processor; else None."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name() if torch.cuda.is_bf16_supported(including_emulation=False) else None
    found = FLAGS.search(flags.read_text()) if flags.is_file() else None
    return f"the processor's {found[0]}" if found else None
