"""What every comparison returns: tidy rows, a table of them, and columns if there is one model and one estimator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mossa.errors import SimilarityError
from mossa.similarity import arrays

if TYPE_CHECKING:
    import pandas as pd

Rows = list[dict[str, Any]]
ASSUMED = {  # what an interval assumes, by the meaning of the groups of prompts
    None: "prompts taken as independent",
    "fixed": "for these groups in these proportions; prompts taken as independent in each",
    "within": "prompts taken as independent within their group",
    "sampled": "groups taken as independent",
    "means": "groups taken as independent",
}


@dataclass(frozen=True, repr=False)
class Comparison:
    """Tidy rows: `similarity`, one per (model, layer, estimator); `difference`, one model minus the baseline.

    `table` is the similarity as a data frame. Where there is one model and one estimator, as from `cka`, the columns
    are there too, [L] (or one number for [n, d]): `value`, `standard_error`, `low` and `high` in float64, NumPy for
    NumPy and torch on the same device for torch, the last three None if a layer has none. `assumed` says what the
    intervals assume.
    """

    similarity: Rows = field(default_factory=list[dict[str, Any]])
    difference: Rows = field(default_factory=list[dict[str, Any]])
    confidence: float = 0.95  # of the interval from `low` to `high`
    assumed: str = ASSUMED[None]
    like: arrays.Array = None  # what the columns are answered as

    @property
    def table(self) -> pd.DataFrame:
        """The similarity rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.similarity)

    @property
    def value(self) -> arrays.Array:
        """The similarity per layer."""
        return self._column("value")

    @property
    def standard_error(self) -> arrays.Array | None:
        """The standard error per layer."""
        return self._column("standard_error")

    @property
    def low(self) -> arrays.Array | None:
        """The lower end of the interval per layer."""
        return self._column("low")

    @property
    def high(self) -> arrays.Array | None:
        """The upper end of the interval per layer."""
        return self._column("high")

    @property
    def n(self) -> tuple[int, ...]:
        """The prompts compared, per layer."""
        return tuple(row["n"] for row in self._single())

    @property
    def non_finite(self) -> tuple[int, ...]:
        """The prompts dropped, per layer."""
        return tuple(row["non_finite"] for row in self._single())

    @property
    def reasons(self) -> tuple[str | None, ...]:
        """Why something is missing, per layer."""
        return tuple(row["reason"] for row in self._single())

    def _single(self) -> Rows:
        keys = {(row["model"], row["estimator"]) for row in self.similarity}
        if len(keys) != 1:
            raise SimilarityError(f"This holds {len(keys)} pairs of model and estimator; read `table` instead.")
        return self.similarity

    def _column(self, name: str) -> arrays.Array | None:
        values = [row[name] for row in self._single()]
        if None in values:
            return None
        several = self.like is None or np.ndim(self.like) == 3
        return arrays.like(self.like, np.array(values if several else values[0], dtype=np.float64))

    def __repr__(self) -> str:
        keys = list(dict.fromkeys((row["model"], row["estimator"]) for row in self.similarity))
        return self._layers() if len(keys) == 1 else self._means(keys)

    def _means(self, keys: list[tuple[str, str]]) -> str:
        lines = ["mean over layers of the similarity to the control"]
        for key in keys:
            rows = [row for row in self.similarity if (row["model"], row["estimator"]) == key]
            values = [row["value"] for row in rows if row["value"] is not None]
            mean = f"{sum(values) / len(values):.3f}" if values else "undefined"
            lines.append(f"  {key[0]}, {key[1]}: {mean} ({len(values)} of {len(rows)} layers)")
        counts = f"{len(self.similarity)} rows in similarity, {len(self.difference)} in difference"
        return "\n".join([*lines, counts])

    def _layers(self) -> str:
        title = f"{self.similarity[0]['estimator']}, {_span(self.n)} prompts"
        lines = [title, f"layer   value  standard error  {self.confidence:.0%} interval, {self.assumed}"]
        for row in self.similarity:
            error = row["standard_error"]
            uncertainty = f"{'none':>16}  none"
            if error is not None:
                uncertainty = f"{error:16.4f}  [{row['low']:.3f}, {row['high']:.3f}]"
            value = "undefined" if row["value"] is None else f"{row['value']:.3f}"
            lines.append(f"{row['layer']:5}{value:>8}{uncertainty}")
        lines += [f"{reason}" for reason in dict.fromkeys(filter(None, self.reasons))]
        if dropped := max(self.non_finite):
            lines.append(f"up to {dropped} prompts per layer are not finite and left out")
        return "\n".join(lines)


def _span(counts: tuple[int, ...]) -> str:
    """Return a number, or the two ends where layers differ."""
    return f"{counts[0]:,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
