"""The similarity of two controls is their agreement, not a ceiling: a perfect model is above it."""

from __future__ import annotations

from typing import Any

import numpy as np

# With 100 prompts and unrelated noise, 95 % of the shares of a perfect model lie in .85..1.21 at an agreement of .10
# and in .78..2.50 at .04 (docs/reference/similarity.md), so below this a share says little.
FLOOR = 0.1


def share_of_agreement(value: Any, agreement: Any, own_agreement: Any = None, *, floor: float = FLOOR) -> Any:
    """Return how close a model is to what the controls of a task have in common: 1 if it represents exactly that.

    `value`: the model's similarity to one control. `agreement`: that of two controls that differ in their seed.
    `own_agreement`: that of two seeds of the model itself, if it was tuned. Numbers or arrays of one shape.

    Two controls S + e₁ and S + e₂ with unrelated e agree to ‖Σ_S‖² / ‖Σ_S + Σ_e‖², and S is at the square root of that
    from each, so share = value / sqrt(agreement x own_agreement), with 1 for the base, which has no seed (the
    correction for attenuation of Spearman 1904, for linear debiased CKA). The result is NaN where an agreement is
    below `floor` or missing: `why_no_share` gives the reason.
    """
    agreements = [np.asarray(each, dtype=float) for each in (agreement, own_agreement) if each is not None]
    known = np.all(np.broadcast_arrays(*[each >= floor for each in agreements]), axis=0)
    product = np.prod(np.broadcast_arrays(*agreements), axis=0)
    return np.asarray(value, dtype=float) / np.sqrt(np.where(known, product, np.nan))


def why_no_share(agreement: float, own_agreement: float | None = None, *, floor: float = FLOOR) -> str | None:
    """Return why `share_of_agreement` gives no share for these agreements, or None where it gives one."""
    for what, each in (("two controls of this task", agreement), ("two seeds of this model", own_agreement)):
        if each is not None and not each >= floor:
            reached = f"agree to {each:.2f}" if np.isfinite(each) else "have no similarity"
            return f"{what} {reached}; a share needs an agreement of {floor:g} or more"
    return None
