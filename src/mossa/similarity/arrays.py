"""Takes NumPy arrays and torch tensors, checks that they can be compared, and returns results of the same kind."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mossa.errors import SimilarityError, choices

if TYPE_CHECKING:
    from torch import Tensor

Array = Any  # numpy.ndarray or torch.Tensor, [n, d] or [n, L, d]
NonFinite = Literal["error", "drop"]
FEWEST = 4  # prompts that a debiased estimate needs

SAME = 1e-4  # of how far two rows are apart, typically: what batches of other shapes change in one row is smaller
FEW_DIMENSIONS = 8  # dimensions; below, rows come that close by chance, and only equal ones count
SKETCHED = 64  # dimensions of one layer that find candidates; only those rows are compared in whole


def as_layers(array: Array, name: str, *, fewest: int = FEWEST) -> Tensor:
    """Return the array as a floating tensor [n, L, d] on its own device; [n, d] becomes one layer.

    Raises SimilarityError for what holds no real numbers, or has another shape.
    """
    import torch

    given = _native(array, name) if isinstance(array, np.ndarray) else array
    if not isinstance(given, torch.Tensor):
        raise SimilarityError(
            f"{name} is a {type(array).__name__}; give a NumPy array or a torch tensor [n, d] or [n, L, d]."
        )
    if given.is_nested or given.layout != torch.strided or given.is_quantized or given.is_complex():
        raise SimilarityError(
            f"{name} is a tensor of {given.dtype} ({given.layout}); give a dense one of real numbers."
        )
    tensor: Tensor = given.detach()
    if not tensor.is_floating_point():
        tensor = tensor.double()
    elif tensor.dtype.itemsize == 1:  # eight bits are a way to store numbers; torch does not calculate with them
        tensor = tensor.float()
    if tensor.ndim == 2:
        tensor = tensor[:, None]
    if tensor.ndim != 3 or 0 in tensor.shape:
        raise SimilarityError(
            f"{name} has the shape {list(array.shape)}; give [n, d] or [n, L, d] with at least one of each."
        )
    n, _, d = tensor.shape
    if n < fewest:
        raise SimilarityError(f"{name} has n = {n} prompts (d = {d}); a comparison needs {fewest}. Add prompts.")
    return tensor


def as_sides(given: Mapping[str, Array], *, fewest: int = FEWEST) -> dict[str, Tensor]:
    """Return arrays of any kinds as tensors [n, L, d] that can be multiplied: all float64 if one of them is."""
    import torch

    sides = {name: as_layers(array, name, fewest=fewest) for name, array in given.items()}
    if any(side.dtype == torch.float64 for side in sides.values()):
        return {name: side.double() for name, side in sides.items()}
    return sides


def _native(array: np.ndarray[Any, Any], name: str) -> Tensor:
    """Return a NumPy array of any real numbers as a tensor; torch knows neither other byte orders nor all kinds."""
    import torch

    if array.dtype.kind not in "fiub":
        raise SimilarityError(f"{name} is an array of {array.dtype}; give one of real numbers.")
    if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
        raise SimilarityError(f"{name} has masked values; fill them with NaN and drop their rows (non_finite='drop').")
    small = array.dtype.kind == "f" and array.dtype.itemsize < 8
    array = np.asarray(array).astype(f"=f{array.dtype.itemsize}" if small else np.float64, copy=False)
    if any(stride < 0 for stride in array.strides) or not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array)


def like(array: Array, values: np.ndarray[Any, Any]) -> Array:
    """Return `values` as NumPy if `array` is NumPy, else as a tensor on its device."""
    import torch

    return torch.from_numpy(values).to(array.device) if isinstance(array, torch.Tensor) else values


def check_alike(control: Tensor, other: Tensor, name: str) -> None:
    """Raise `SimilarityError` unless an array has the prompts, the layers and the device of the control."""
    if other.shape[0] != control.shape[0]:
        raise SimilarityError(
            f"{name} has n = {other.shape[0]} prompts and the control {control.shape[0]}; "
            "row i of both must be the same prompt, so drop or add prompts in pairs."
        )
    if other.shape[1] != control.shape[1]:
        raise SimilarityError(
            f"{name} has L = {other.shape[1]} layers and the control {control.shape[1]}; "
            "choose the layers to pair, or use `layer_map` for all pairs."
        )
    if other.device != control.device:
        raise SimilarityError(f"{name} is on {other.device} and the control on {control.device}; move one of them.")
    if other.is_meta:
        raise SimilarityError(f"{name} is on the device meta, which holds no numbers; give the values.")


def check_ids(control: Sequence[Hashable], other: Sequence[Hashable], n: int, name: str) -> None:
    """Raise `SimilarityError` if any ids differ: shuffled prompts would look unrelated."""
    if len(control) != n or len(other) != n:
        raise SimilarityError(
            f"{name}: {len(other)} ids here and {len(control)} for the control, "
            f"but n = {n} prompts; give one id per row."
        )
    for row, (mine, theirs) in enumerate(zip(control, other, strict=True)):
        if mine != theirs:
            raise SimilarityError(
                f"{name}: row {row} is {theirs!r} but {mine!r} in the control; bring both into the same order first."
            )


def finite_rows(here: Mapping[str, Tensor], layer: int, policy: NonFinite) -> Any | None:
    """Return which of n rows are finite in every array [n, d] (None: all), or raise if the policy is `error`."""
    import torch

    if policy not in ("error", "drop"):
        raise SimilarityError(f"non_finite is {policy!r}. {choices(policy, ('error', 'drop'))}")
    if all(bool(torch.isfinite(X.sum())) for X in here.values()):  # much faster; if a sum is finite, so are all values
        return None
    finite = {name: torch.isfinite(X).all(1) for name, X in here.items()}
    rows = torch.stack(list(finite.values())).all(0).cpu().numpy()
    if rows.all():
        return None
    if policy == "error":
        counts = ", ".join(f"{int((~f).sum())} in {name}" for name, f in finite.items() if not f.all())
        n, d = next(iter(here.values())).shape
        raise SimilarityError(
            f"layer {layer}: rows with values that are not finite: {counts} (n = {n}, d = {d}). "
            'Find out why (fp16 overflows), or pass non_finite="drop" to drop these prompts from every side.'
        )
    return rows


def warn_of_repeats(sides: Mapping[str, Tensor]) -> None:
    """Warn if rows of the arrays [n, L, d] equal another row in every one of them.

    A repeated prompt lifts even debiased CKA and narrows its interval. Arrays whose rows are all equal give no warning:
    they have no CKA, which is reported.
    """
    repeated = _count(list(sides.values()))
    n = len(next(iter(sides.values())))
    if 0 < repeated < n - 1:
        warnings.warn(
            f"{repeated} of {n} rows repeat another one in {' and in '.join(sides)}. Similarity is too high and its "
            "interval too narrow with them: keep each prompt once.",
            UserWarning,
            stacklevel=3,
        )


def _count(sides: Sequence[Tensor]) -> int:
    """Return how many rows equal the next one in an order that puts equal rows side by side."""
    last = sides[0][:, -1]
    sketch = last[:, :: max(1, last.shape[1] // SKETCHED)].double().cpu().numpy()
    finite = np.flatnonzero(np.isfinite(sketch).all(1))
    if len(finite) < 2:
        return 0
    random = np.random.default_rng(0)
    weights, mixed = random.standard_normal(sketch.shape[1]), random.permutation(len(sketch))
    with np.errstate(all="ignore"):  # values that overflow here are refused where they matter
        sums = (sketch[finite] - sketch[finite[0]]) @ weights
        order = np.argsort(sums, kind="stable")
        near = np.diff(sums[order]) <= SAME * np.median(np.abs(sums - random.permutation(sums)))
    rows, nexts = finite[order[:-1][near]], finite[order[1:][near]]
    for X in sides:
        for layer in range(X.shape[1]):
            if not len(rows):
                return 0
            here = X[:, layer].double() if X.shape[1] == 1 else X[:, layer].float()
            apart = (here - here[mixed]).norm(dim=1).nanmedian() * (here.shape[1] >= FEW_DIMENSIONS)
            same = ((here[rows] - here[nexts]).norm(dim=1) <= SAME * apart).cpu().numpy()
            rows, nexts = rows[same], nexts[same]
    return len(rows)
