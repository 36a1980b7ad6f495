"""Take NumPy arrays and torch tensors, check that they can be compared, and answer in kind."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mossa.errors import SimilarityError

if TYPE_CHECKING:
    from torch import Tensor

Array = Any  # numpy.ndarray or torch.Tensor, [n, d] or [n, L, d]
NonFinite = Literal["error", "drop"]
SMALLEST = 4  # prompts that a debiased estimate needs


def as_layers(array: Array, name: str) -> Tensor:
    """Return the array as a floating tensor [n, L, d] on its own device; [n, d] becomes one layer."""
    import torch

    if isinstance(array, np.ndarray):
        if not np.issubdtype(array.dtype, np.floating) or array.dtype == np.longdouble:
            array = array.astype(np.float64)
        if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
            array = array.copy()
        array = torch.from_numpy(array)
    if not isinstance(array, torch.Tensor):
        raise SimilarityError(
            f"{name} is a {type(array).__name__}; give a NumPy array or a torch tensor [n, d] or [n, L, d]."
        )
    tensor: Tensor = array.detach()
    if not tensor.is_floating_point():
        tensor = tensor.double()
    if tensor.ndim == 2:
        tensor = tensor[:, None]
    if tensor.ndim != 3 or 0 in tensor.shape:
        raise SimilarityError(
            f"{name} has the shape {list(array.shape)}; give [n, d] or [n, L, d] with at least one of each."
        )
    if tensor.shape[0] < SMALLEST:
        raise SimilarityError(
            f"{name} has n = {tensor.shape[0]} prompts (d = {tensor.shape[2]}); a comparison needs {SMALLEST}. Add prompts."
        )
    return tensor


def check_rows(control: Tensor, others: Mapping[str, Tensor], *, layers: bool = True) -> None:
    """Refuse arrays that cannot hold the same prompts at the same layers in the same place."""
    for name, other in others.items():
        if other.shape[0] != control.shape[0]:
            raise SimilarityError(
                f"{name} has n = {other.shape[0]} prompts and the control {control.shape[0]}; "
                "row i of both must be the same prompt, so drop or add prompts in pairs."
            )
        if layers and other.shape[1] != control.shape[1]:
            raise SimilarityError(
                f"{name} has L = {other.shape[1]} layers and the control {control.shape[1]}; "
                "choose the layers to pair, or use `layer_map` for all pairs."
            )
        if other.device != control.device:
            raise SimilarityError(f"{name} is on {other.device} and the control on {control.device}; move one of them.")


def check_ids(control: Sequence[Hashable], other: Sequence[Hashable], n: int, name: str) -> None:
    """Refuse rows whose sample ids differ in any place: two shuffles of the same prompts look unrelated."""
    if len(control) != n or len(other) != n:
        raise SimilarityError(
            f"{name}: {len(other)} ids here and {len(control)} for the control, but n = {n} prompts; give one id per row."
        )
    for row, (mine, theirs) in enumerate(zip(control, other, strict=True)):
        if mine != theirs:
            raise SimilarityError(
                f"{name}: row {row} is {theirs!r} but {mine!r} in the control; bring both into the same order first."
            )


def finite_rows(arrays: Sequence[Tensor], names: Sequence[str], layer: int, policy: NonFinite) -> Any | None:
    """Return which of n rows are finite in every array [n, d] (None: all), or raise if the policy is `error`."""
    import torch

    if all(bool(torch.isfinite(X.sum(dtype=torch.float32))) for X in arrays):
        return None
    finite = [torch.isfinite(X).all(1) for X in arrays]
    rows = torch.stack(finite).all(0).cpu().numpy()
    if rows.all():
        return None
    if policy == "error":
        counts = ", ".join(f"{int((~f).sum())} in {name}" for f, name in zip(finite, names, strict=True) if not f.all())
        n, d = arrays[0].shape
        raise SimilarityError(
            f"layer {layer}: rows with values that are not finite: {counts} (n = {n}, d = {d}). "
            'Find out why (fp16 overflows), or pass non_finite="drop" to drop these prompts from every side.'
        )
    return rows
