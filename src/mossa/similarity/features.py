"""Centres representations, optionally within groups, and reports when they do not vary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """Which group each of n prompts belongs to: `labels` [n] counts from 0, `sizes` [g]."""

    labels: np.ndarray[Any, np.dtype[np.int64]]
    sizes: np.ndarray[Any, np.dtype[np.int64]]

    @classmethod
    def of(cls, labels: Sequence[Any] | np.ndarray[Any, Any] | None, n: int) -> Groups:
        """Number the labels of n prompts; None puts all prompts into one group."""
        if labels is None:
            return cls(np.zeros(n, dtype=np.int64), np.array([n]))
        if len(labels) != n:
            raise SimilarityError(f"`groups` has {len(labels)} labels for {n} prompts; give one label per prompt.")
        given: Any = labels  # an array or a tensor gives its values, not objects of its own
        values: list[Any] = given.tolist() if hasattr(given, "tolist") else list(given)
        try:
            missing = [row for row, label in enumerate(values) if label is None or label != label]  # NaN is not itself
            number = {label: i for i, label in enumerate(dict.fromkeys(values))}
        except (TypeError, ValueError) as error:  # a list, an array, pandas.NA
            raise SimilarityError(f"`groups` holds what cannot be a label ({error}); give texts or numbers.") from error
        if missing:
            raise SimilarityError(
                f"`groups`: the label of row {missing[0]} is {values[missing[0]]} ({len(missing)} of {n} are missing). "
                "Leave these prompts out of every array, or give them a separate label."
            )
        coded = np.array([number[label] for label in values], dtype=np.int64)
        return cls(coded, np.bincount(coded))

    def __len__(self) -> int:
        return len(self.sizes)

    def rows(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the row numbers of each group."""
        return [np.flatnonzero(self.labels == g) for g in range(len(self))]

    def means(self, X: Tensor) -> Tensor:
        """Return the mean of each group of X [n, d], [g, d], in float64."""
        import torch

        member = torch.nn.functional.one_hot(torch.from_numpy(self.labels).to(X.device), len(self)).double()
        return (member.T @ X.double()) / torch.from_numpy(self.sizes).to(member)[:, None]

    def keep(self, rows: np.ndarray[Any, Any]) -> Groups:
        """Return the groups of the prompts where `rows` [n] is true."""
        return Groups.of(self.labels[rows].tolist(), int(rows.sum()))


def centre(X: Tensor, groups: Groups, origin: Tensor | None = None, zscored: bool = False) -> Tensor:
    """Return X [n, d] (less `origin`) less the mean of its group, in float32 or float64; `zscored`: at variance 1.

    Raises SimilarityError with the reason if no dimension of X varies by more than the rounding of this sum: numbers of
    16 bits are taken as exact, since those around a large common offset still differ. A change from an origin must be
    larger than the rounding of the numbers it is the difference of. A mean that is left after centring (an offset of
    1000 in one dimension, rounded) is subtracted again. Values far from 1 are scaled by a power of two: products of
    products then neither overflow nor vanish, and CKA stays what it is.
    """
    import torch

    wide = X.to(torch.float64 if X.dtype == torch.float64 else torch.float32)
    resolution = 2 * torch.finfo(wide.dtype if origin is None else X.dtype).eps
    changes = wide if origin is None else wide - origin.to(wide.dtype)
    labels = torch.from_numpy(groups.labels).to(X.device)
    means = _means(changes, labels, groups)
    centred = changes - means
    for _ in range(3):  # what is left of an offset of 1e15 is as large as what varies
        left, size = _means(centred, labels, groups), float(_norm(centred))
        if float(_norm(left)) * (len(X) / len(left)) ** 0.5 <= 1e-6 * size:
            break
        centred -= left
    else:
        size = float(_norm(centred))
    if not math.isfinite(size):
        raise SimilarityError(
            f"squares of these values overflow {str(wide.dtype)[6:]}; divide them by a constant first"
        )
    removed = float(_norm(means)) * (len(X) / len(means)) ** 0.5
    suspicious = origin is not None or size <= resolution * (size + removed)
    if suspicious and not varying(centred, wide, resolution).any():
        what = "the representations do not vary" if origin is None else "nothing changed from the origin"
        raise SimilarityError(what + (" within groups" if len(groups) > 1 else ""))
    if zscored:
        chosen = varying(centred, wide, 2 * torch.finfo(wide.dtype).eps)
        scaled = centred * torch.where(chosen, len(X) ** 0.5 / _norm(centred, 0), 0).to(wide.dtype)
        return scaled - _means(scaled, labels, groups)
    exponent = round(math.log2(size / centred.numel() ** 0.5))
    return centred if abs(exponent) < 8 else centred.mul_(2.0 ** min(-exponent, 126))  # the largest that float32 has


def varying(centred: Tensor, wide: Tensor, resolution: float) -> Tensor:
    """Return which dimensions vary by more than the rounding of their own values, however large the others are, [d]."""
    return _norm(centred, 0) > resolution * _norm(wide, 0)


def _norm(X: Tensor, dim: int | None = None) -> Tensor:
    """Return a norm in float64, in which squares of float32 numbers neither overflow nor vanish."""
    import torch

    return torch.linalg.vector_norm(X, dim=dim, dtype=torch.float64)


def _means(X: Tensor, labels: Tensor, groups: Groups) -> Tensor:
    """Return the mean of each row's group, [1, d] or [n, d]."""
    import torch

    if len(groups) == 1:
        return X.new_full((1, len(X)), 1 / len(X)) @ X
    member = torch.nn.functional.one_hot(labels, len(groups)).to(X.dtype)
    sizes = torch.from_numpy(groups.sizes).to(X)
    return ((member.T @ X) / sizes[:, None])[labels]
