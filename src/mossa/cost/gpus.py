"""Published numbers of GPUs, from the makers' data sheets: dense matrix products (no sparsity) and memory."""

from __future__ import annotations

from dataclasses import dataclass

from mossa.errors import StudyError, choices


@dataclass(frozen=True, slots=True)
class Gpu:
    """`bfloat16` and `float32` (without TF32): peak of 10¹² operations per second; `memory` in 10⁹ bytes."""

    bfloat16: float
    float32: float
    memory: float

    def peak(self, dtype: str) -> float:
        """Return the peak in operations per second for weights of this dtype."""
        return 1e12 * (self.bfloat16 if dtype == "bfloat16" else self.float32)


GPUS = {
    "a10": Gpu(125, 31.2, 24),
    "a100-40gb": Gpu(312, 19.5, 40),
    "a100-80gb": Gpu(312, 19.5, 80),
    "b200": Gpu(2250, 75, 180),
    "h100": Gpu(989, 67, 80),  # SXM
    "h100-pcie": Gpu(756, 51, 80),
    "h200": Gpu(989, 67, 141),
    "l4": Gpu(121, 30.3, 24),
    "l40s": Gpu(362, 91.6, 48),
    "mi300x": Gpu(1307, 163.4, 192),
    "rtx3090": Gpu(71, 35.6, 24),
    "rtx4090": Gpu(165, 82.6, 24),
}


def named_gpu(name: str) -> Gpu:
    """Return the GPU called `name`; raises `StudyError` with the choices."""
    if name.lower() not in GPUS:
        raise StudyError(f"--gpu {name}: mossa knows no such GPU. {choices(name.lower(), GPUS)}")
    return GPUS[name.lower()]


def found_gpu() -> str | None:
    """Return the table's name of the GPU in this machine, None if there is none or the table has it not."""
    import torch

    if not torch.cuda.is_available():
        return None
    called = torch.cuda.get_device_name(0).lower().replace(" ", "").replace("-", "")
    memory = torch.cuda.get_device_properties(0).total_memory / 1e9
    fitting = [name for name in GPUS if name.split("-")[0] in called and abs(GPUS[name].memory - memory) < 10]
    if "pcie" in called:
        fitting = [name for name in fitting if name.endswith("pcie")] or fitting
    return fitting[0] if fitting else None
