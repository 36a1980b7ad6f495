"""Made-up runs whose answers are known: tables of the contract, drawn from stated curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

ESTIMATORS = ("cka-linear", "cka-linear-debiased")


def steps(L: int, ends: tuple[int, ...], levels: tuple[float, ...]) -> np.ndarray:
    """Return a curve `[L]` of constant `levels`, changing after the layers `ends`."""
    return np.asarray(levels)[np.searchsorted(np.asarray(ends), np.arange(1, L + 1), side="left")]


def ramp(L: int, ends: tuple[int, int], rise: float) -> np.ndarray:
    """Return a curve `[L]`: 0 to the first of `ends`, rising to the second, flat after it."""
    return rise * np.clip((np.arange(1, L + 1) - ends[0]) / (ends[1] + 1 - ends[0]), 0, 1)


def world(
    T: int = 12,
    base: float | np.ndarray = 0.6,
    gain: float | np.ndarray = 0.2,
    L: int = 6,
    noise: float = 0.01,
    seed: int = 0,
    held_out: int = 0,
    failed: int = 0,
) -> dict[str, pd.DataFrame]:
    """Return the tables of a run of T tasks in clusters of three: the base at `base`, sft at `base + gain`.

    Task k is encoded .01 k better than task 0, two control seeds agree at .9, other controls lie .2 below the base and
    shams .1 below it, the last `held_out` tasks are unseen by sft, and the controls of the first `failed` tasks did not
    learn.
    """
    rng = np.random.default_rng(seed)
    base, gain = np.broadcast_to(base, L), np.broadcast_to(gain, L)
    names = [f"task{k:02d}" for k in range(T)]
    similarity: list[dict[str, object]] = []
    difference: list[dict[str, object]] = []

    def row(k: int, experimental: str, relation: str, reference: str, layer: int, estimator: str, value: float) -> None:
        similarity.append(
            {
                "experimental": experimental,
                "relation": relation,
                "reference": reference,
                "task": names[k],
                "cluster": f"cluster{k // 3}",
                "held_out": experimental == "sft" and k >= T - held_out,
                "layer": layer,
                "estimator": estimator,
                "value": value,
                "standard_error": 0.01,
                "low": value - 0.0196,
                "high": value + 0.0196,
                "n": 100,
                "d": 64,
                "non_finite": 0,
                "reason": None,
            }
        )

    for k in range(T):
        own, twin, foreign = (f"control-{names[j]}-seed{s}" for j, s in ((k, 0), (k, 1), ((k + 1) % T, 0)))
        for layer in range(1, L + 1):
            for estimator in ESTIMATORS:
                of_base = base[layer - 1] + 0.01 * k + noise * rng.normal()
                of_sft = of_base + gain[layer - 1] + noise * rng.normal()
                row(k, "pretrained", "control", own, layer, estimator, of_base)
                row(k, "sft", "control", own, layer, estimator, of_sft)
                row(k, "control", "ceiling", twin, layer, estimator, 0.9)
                if T > 1:
                    row(k, "pretrained", "other_control", foreign, layer, estimator, of_base - 0.2)
                row(k, "pretrained", "sham", f"sham-{names[k]}-seed0", layer, estimator, of_base - 0.1)
                difference.append(
                    {
                        "experimental": "sft",
                        "task": names[k],
                        "cluster": f"cluster{k // 3}",
                        "held_out": k >= T - held_out,
                        "layer": layer,
                        "estimator": estimator,
                        "difference": of_sft - of_base,
                        "standard_error": 0.01,
                        "low": of_sft - of_base - 0.0196,
                        "high": of_sft - of_base + 0.0196,
                        "n": 100,
                        "d": 64,
                        "reason": None,
                    }
                )
            row(k, "sft", "control", own, layer, "shift-cka-linear-debiased", 0.7 + noise * rng.normal())
            if T > 1:
                row(k, "sft", "other_control", foreign, layer, "shift-cka-linear-debiased", 0.1)
    return {
        "similarity": pd.DataFrame(similarity),
        "difference": pd.DataFrame(difference),
        "evaluation": _evaluation(names, failed),
        "adapters": _adapters(names),
        "spectrum": _spectrum(names, L),
        "tasks": _tasks(names, rng),
    }


def _evaluation(names: list[str], failed: int) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for k, name in enumerate(names):
        losses = {"pretrained": 2.0, "sft": 1.2, f"control-{name}-seed0": 1.99 if k < failed else 1.0}
        losses[f"control-{name}-seed1"] = 1.1
        for model, loss in losses.items():
            role = {"pretrained": "base", "sft": "experimental"}.get(model, "control")
            rows.append({"model": model, "role": role, "task": name, "cluster": f"cluster{k // 3}", "loss": loss})
    return pd.DataFrame(rows).assign(accuracy=0.5, n=50, target_tokens=200, skipped=0)


def _adapters(names: list[str]) -> pd.DataFrame:
    rows = [
        {"adapter": f"control-{name}-seed{seed}", "role": "control", "task": name, "seed": seed, "steps": 30 + 10 * k}
        for k, name in enumerate(names)
        for seed in (0, 1)
    ]
    rows.append({"adapter": "sft-seed0", "role": "experimental", "task": None, "seed": 0, "steps": 900})
    constant = {"epochs": 3.0, "examples": 100, "target_tokens": 400, "first_loss": 2.0, "last_loss": 1.0}
    table = pd.DataFrame(rows).assign(**constant, stopped_because="budget", seconds=1.0)
    return table.assign(update_norm=table["steps"] / 10, relative_update=table["steps"] / 1000)


def _spectrum(names: list[str], L: int) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for k, name in enumerate(names):
        for model, role, extra in (("pretrained", "base", 0), ("sft", "experimental", 7), (name, "control", 3)):
            rows += [
                {
                    "model": f"control-{name}-seed0" if role == "control" else model,
                    "role": role,
                    "task": name,
                    "cluster": f"cluster{k // 3}",
                    "layer": layer,
                    "dimensions_99": 10 + layer + k + extra,
                    "participation_ratio": 5.0,
                    "effective_rank": 6.0,
                    "distance": None if role == "base" else 0.1 * extra,
                }
                for layer in range(1, L + 1)
            ]
    return pd.DataFrame(rows).assign(n=100, d=64, reason=None)


def _tasks(names: list[str], rng: np.random.Generator) -> pd.DataFrame:
    rows = [
        {
            "task": name,
            "cluster": f"cluster{k // 3}",
            "train": 100 * (k + 1),
            "flesch_kincaid": 5.0 + k,
            "coleman_liau": rng.normal(),
            "prompt_tokens": rng.normal(),
        }
        for k, name in enumerate(names)
    ]
    return pd.DataFrame(rows).assign(hash="0" * 8, validation=10, test=50, templates=3, skipped=0, shortened=0)
