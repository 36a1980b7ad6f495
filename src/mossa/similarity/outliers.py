"""How much of a similarity depends on a few dimensions or a few prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mossa.errors import SimilarityError
from mossa.similarity import arrays
from mossa.similarity.compare import compare

if TYPE_CHECKING:
    from torch import Tensor

What = Literal["dimensions", "prompts"]


@dataclass(frozen=True)
class LeftOut:
    """A similarity without the `count` largest dimensions of each side, or without the `count` largest prompts."""

    what: What
    count: int
    layer: int  # 1..L
    value: float | None
    standard_error: float | None
    reason: str | None


def leave_out(
    Y: arrays.Array,
    Z: arrays.Array,
    estimator: str = "cka-linear-debiased",
    *,
    dimensions: Sequence[int] = (0, 1, 3, 10),
    prompts: Sequence[int] = (0, 1, 3, 10),
) -> list[LeftOut]:
    """Return the similarity of Y and Z, [n, d] or [n, L, d], without the most influential dimensions or prompts.

    Dimensions are ranked by variance on each side alone; prompts by the product of both sides' distances from the mean.
    Three shared outlier dimensions can make CKA .99 of otherwise unrelated data, debiased too: a value that falls when
    3 dimensions are left out is about those dimensions, not about the representation.
    """
    left, right = arrays.as_sides({"Y": Y, "Z": Z}).values()
    arrays.check_alike(right, left, "Y")
    n, layers, _ = left.shape
    narrowest = min(left.shape[2], right.shape[2])
    for what, counts, all in (("dimensions", dimensions, narrowest), ("prompts", prompts, n - arrays.FEWEST + 1)):
        if any(not 0 <= count < all for count in counts):
            raise SimilarityError(f"`{what}` has counts {list(counts)}; leave out 0 to {all - 1} (n = {n}).")
    found: list[LeftOut] = []
    for layer in range(layers):
        X = [side[:, layer].double() for side in (left, right)]
        arrays.finite_rows({"Y": X[0], "Z": X[1]}, layer + 1, "error")
        variances = [side.var(0).argsort(descending=True) for side in X]
        sizes = [(side - side.mean(0)).norm(dim=1) for side in X]
        influence = (sizes[0] * sizes[1]).argsort(descending=True)
        for count in dimensions:
            rest = [side[:, order[count:]] for side, order in zip(X, variances, strict=True)]
            found.append(_left_out("dimensions", count, layer + 1, rest, estimator))
        for count in prompts:
            rest = [side[influence[count:]] for side in X]
            found.append(_left_out("prompts", count, layer + 1, rest, estimator))
    return found


def _left_out(what: What, count: int, layer: int, rest: list[Tensor], estimator: str) -> LeftOut:
    row = compare({"Y": rest[0]}, rest[1], [estimator]).similarity[0]
    return LeftOut(what, count, layer, row["value"], row["standard_error"], row["reason"])
