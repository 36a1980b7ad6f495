"""A world of made-up tables in the shape of a finished study, of known truth."""

from __future__ import annotations

import numpy as np
import pandas as pd

CLUSTERS = (
    "natural language inference",
    "commonsense",
    "sentiment",
    "paraphrase",
    "closed-book QA",
    "struct-to-text",
    "reading comprehension",
    "reading comprehension with commonsense",
    "coreference",
    "translation",
    "summarization",
    "miscellaneous",
)
ENCODED = {"closed-book QA", "commonsense", "paraphrase", "sentiment"}


def world(tasks: int = 60, layers: int = 32, held_out: int = 7, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Return all raw tables of a study of `tasks` tasks with models pretrained, sft and sft-unseen."""
    rng = np.random.default_rng(seed)
    names = [f"task{index:02d}" for index in range(tasks)]
    clusters = [CLUSTERS[index % len(CLUSTERS)] for index in range(tasks)]
    unseen = set(names[:: max(1, tasks // held_out)][:held_out]) if held_out else set()
    about = _tasks(names, clusters, rng)
    adapters, update = _adapters(names, unseen, about, rng)
    similarity = _similarity(names, clusters, unseen, layers, about, rng)
    evaluation = _evaluation(names, clusters, unseen, rng)
    return {
        "similarity": similarity,
        "difference": _difference(similarity),
        "evaluation": evaluation,
        "replies": _replies(evaluation),
        "adapters": adapters,
        "spectrum": _spectrum(names, clusters, layers, update, rng),
        "tasks": about,
        **_relations(names, clusters, layers, rng),
    }


def _relations(names: list[str], clusters: list[str], layers: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The tables that need representations: projection, separability, affinity and layer map."""
    places = {cluster: rng.normal(0, 40, 2) for cluster in clusters}
    shown = sorted({1, layers // 2 + 1, layers})
    points = [
        (model, layer, name, cluster, prompt, *rng.normal(places[cluster] * layer / layers, 8))
        for model in ("pretrained", "sft")
        for layer in shown
        for name, cluster in zip(names, clusters, strict=True)
        for prompt in range(20)
    ]
    separable = [
        (model, layer, label, 0.1, 0.4 + 0.5 * layer / layers, 0.3, 4, 200, 4, None)
        for model in ("pretrained", "sft")
        for layer in range(1, layers + 1)
        for label in ("cluster", "task", "template")
    ]
    alike = [(1, one, other, 1.0 if one == other else 0.4, 100, None) for one in names for other in names]
    maps = [
        ("pretrained", "sft", names[0], one, other, 1 - abs(one - other) / layers, 100, None)
        for one in range(1, layers + 1)
        for other in range(1, layers + 1)
    ]
    return {
        "projection": pd.DataFrame(points, columns=["model", "layer", "task", "cluster", "prompt", "x", "y"]),
        "separability": pd.DataFrame(
            separable,
            columns=[
                "model",
                "layer",
                "label",
                "silhouette",
                "accuracy",
                "chance",
                "classes",
                "n",
                "tasks",
                "reason",
            ],
        ),
        "affinity": pd.DataFrame(alike, columns=["layer", "task", "other", "value", "n", "reason"]),
        "layer_map": pd.DataFrame(
            maps, columns=["model", "other", "task", "layer", "other_layer", "value", "n", "reason"]
        ),
    }


def _tasks(names: list[str], clusters: list[str], rng: np.random.Generator) -> pd.DataFrame:
    count = len(names)
    return pd.DataFrame(
        {
            "task": names,
            "cluster": clusters,
            "hash": [f"{value:016x}" for value in rng.integers(0, 2**60, count)],
            "train": rng.integers(200, 30_000, count),
            "validation": rng.integers(50, 200, count),
            "test": rng.integers(200, 2_000, count),
            "templates": rng.integers(1, 11, count),
            "skipped": rng.integers(0, 3, count),
            "shortened": rng.integers(0, 5, count),
            "prompt_tokens": rng.uniform(40, 600, count),
            "prompt_characters": rng.uniform(160, 2_400, count),
            "target_tokens": rng.uniform(1, 60, count),
            "flesch_kincaid": rng.normal(9, 3, count),
            "coleman_liau": rng.normal(10, 3, count),
        }
    )


def _adapters(
    names: list[str], unseen: set[str], about: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, dict[str, float]]:
    rows: list[dict[str, object]] = []
    update: dict[str, float] = {}
    train = dict(zip(about["task"], about["train"], strict=True))
    runs = [("sft", "experimental", None, 0)]
    if unseen:
        runs.append(("sft-unseen", "experimental", None, 0))
    runs += [(f"control-{name}-seed{s}", "control", name, s) for name in names for s in (0, 1)]
    for adapter, role, task, run_seed in runs:
        examples = int(sum(train.values())) if task is None else int(train[task])
        steps = max(1, 3 * examples // 16)
        first = float(rng.uniform(2, 4))
        update[adapter] = float(0.05 * steps**0.4 * rng.uniform(0.9, 1.1))
        rows.append(
            {
                "adapter": adapter,
                "role": role,
                "task": task,
                "seed": run_seed,
                "steps": steps,
                "epochs": 3.0,
                "examples": examples,
                "target_tokens": examples * 40,
                "stopped_because": "budget",
                "first_loss": first,
                "last_loss": first * float(rng.uniform(0.2, 0.6)),
                "update_norm": update[adapter],
                "relative_update": update[adapter] / 80,
                "seconds": steps * 0.4,
            }
        )
    return pd.DataFrame(rows), update


def _curves(layers: int, level: float) -> dict[str, np.ndarray]:
    """Mean similarity per layer of each model, `[L]`, drawn after the shapes of the paper's figure 2."""
    depth = np.arange(1, layers + 1) / layers
    rise = 1 / (1 + np.exp(-(depth - 0.36) * 40))
    dip = 0.99 - 0.17 * np.sin(np.pi * np.clip(depth / 0.5, 0, 1))
    curves = {
        "pretrained": 1 - (1 - level) / (1 + np.exp(-(depth - 0.4) * 12)),
        "sft": (1 - rise) * dip + rise * 0.96,
        "control": 0.995 - 0.015 * depth,
    }
    curves["sft-unseen"] = 0.5 * curves["pretrained"] + 0.5 * curves["sft"] - 0.03
    for curve in curves.values():
        curve[-1] -= 0.08
    return curves


def _similarity(
    names: list[str],
    clusters: list[str],
    unseen: set[str],
    layers: int,
    about: pd.DataFrame,
    rng: np.random.Generator,
) -> pd.DataFrame:
    pieces: list[pd.DataFrame] = []
    for index, (name, cluster) in enumerate(zip(names, clusters, strict=True)):
        level = 0.85 if cluster in ENCODED else 0.45
        other = f"control-{names[(index + 1) % len(names)]}-seed0"
        own, twin = f"control-{name}-seed0", f"control-{name}-seed1"
        curves = _curves(layers, level + rng.normal(0, 0.06))
        plan = [("pretrained", "control", own), ("sft", "control", own), ("control", "ceiling", twin)]
        if unseen:
            plan.append(("sft-unseen", "control", own))
        if len(names) > 1:
            plan += [("pretrained", "other_control", other), ("sft", "other_control", other)]
        for model, relation, reference in plan:
            for estimator, bias in (("cka-linear", 0.0), ("cka-linear-debiased", -0.01)):
                wander = np.cumsum(rng.normal(0, 0.008, layers))
                value = curves[model] + wander + bias - 0.15 * (relation == "other_control")
                value = np.clip(value, 0.02, 0.9995)
                error = 0.002 + 0.03 * (1 - value)
                pieces.append(
                    pd.DataFrame(
                        {
                            "experimental": model,
                            "relation": relation,
                            "reference": reference,
                            "task": name,
                            "cluster": cluster,
                            "held_out": model == "sft-unseen" and name in unseen,
                            "layer": np.arange(1, layers + 1),
                            "estimator": estimator,
                            "value": value,
                            "standard_error": error,
                            "low": value - 1.96 * error,
                            "high": np.minimum(1, value + 1.96 * error),
                            "n": int(about["test"].iloc[index]),
                            "d": 4096,
                            "non_finite": 0,
                            "reason": None,
                        }
                    )
                )
    table = pd.concat(pieces, ignore_index=True).astype({"reason": "object"})
    table["reason"] = table["reason"].astype(object).where(table["reason"].notna(), None)
    return table


def rename(tables: dict[str, pd.DataFrame], task: str, name: str) -> dict[str, pd.DataFrame]:
    """Return copies of all tables in which `task` is called `name`."""
    return {key: table.replace({"task": {task: name}, "other": {task: name}}) for key, table in tables.items()}


def undefine(table: pd.DataFrame, rows: pd.Series, reason: str) -> pd.DataFrame:
    """Return a copy of a similarity table whose chosen rows have no value, for a stated reason."""
    table = table.copy()
    table.loc[rows, ["value", "standard_error", "low", "high"]] = np.nan
    table.loc[rows, "reason"] = reason
    return table


def _difference(similarity: pd.DataFrame) -> pd.DataFrame:
    keys = ["task", "cluster", "layer", "estimator"]
    rows = similarity[similarity["relation"] == "control"]
    base = rows[rows["experimental"] == "pretrained"].set_index(keys)
    pieces: list[pd.DataFrame] = []
    for model, part in rows[rows["experimental"] != "pretrained"].groupby("experimental"):
        both = part.set_index(keys).join(base[["value", "standard_error"]].add_suffix("_base"))
        difference = both["value"] - both["value_base"]
        error = 0.7 * np.hypot(both["standard_error"], both["standard_error_base"])
        pieces.append(
            pd.DataFrame(
                {
                    "experimental": model,
                    "held_out": both["held_out"],
                    "difference": difference,
                    "standard_error": error,
                    "low": difference - 1.96 * error,
                    "high": difference + 1.96 * error,
                    "n": both["n"],
                    "d": both["d"],
                    "reason": None,
                }
            ).reset_index()
        )
    return pd.concat(pieces, ignore_index=True)


def _evaluation(names: list[str], clusters: list[str], unseen: set[str], rng: np.random.Generator) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for name, cluster in zip(names, clusters, strict=True):
        base = float(rng.uniform(1.5, 3.5))
        models = [("pretrained", "base", base), ("sft", "experimental", base * 0.45)]
        if unseen:
            models.append(("sft-unseen", "experimental", base * (0.7 if name in unseen else 0.45)))
        models += [(f"control-{name}-seed{s}", "control", base * float(rng.uniform(0.3, 0.6))) for s in (0, 1)]
        for model, role, loss in models:
            rows.append(
                {
                    "model": model,
                    "role": role,
                    "task": name,
                    "cluster": cluster,
                    "loss": loss,
                    "accuracy": float(np.clip(1 - loss / 3.5, 0, 1)),
                    "n": 200,
                    "target_tokens": 8_000,
                    "skipped": 0,
                }
            )
    return pd.DataFrame(rows)


def _replies(evaluation: pd.DataFrame) -> pd.DataFrame:
    """Two answers per (model, task): the base is wrong, every other model right in the first."""
    rows = evaluation[["model", "role", "task", "cluster"]].merge(pd.DataFrame({"prompt": [1, 2]}), how="cross")
    rows["right"] = rows["role"].ne("base") & rows["prompt"].eq(1)
    rows["reply"] = "<i>" + rows["model"] + "</i> says"
    return rows.assign(tokens=3, ended=rows["prompt"].eq(1))


def _spectrum(
    names: list[str], clusters: list[str], layers: int, update: dict[str, float], rng: np.random.Generator
) -> pd.DataFrame:
    depth = np.arange(1, layers + 1) / layers
    pieces: list[pd.DataFrame] = []
    experimental = [model for model in ("sft", "sft-unseen") if model in update]
    for name, cluster in zip(names, clusters, strict=True):
        models = [("pretrained", "base"), *((model, "experimental") for model in experimental)]
        models += [(f"control-{name}-seed{s}", "control") for s in (0, 1)]
        size = float(rng.uniform(0.8, 1.2))
        for model, role in models:
            climb = 900 / (1 + np.exp(-(depth - 0.4) * 30)) if role == "experimental" else 0 * depth
            dimensions = np.round(size * (260 + 560 * np.clip(depth * 4, 0, 1) + climb)).astype(int)
            pieces.append(
                pd.DataFrame(
                    {
                        "model": model,
                        "role": role,
                        "task": name,
                        "cluster": cluster,
                        "layer": np.arange(1, layers + 1),
                        "n": 2_000,
                        "d": 4096,
                        "dimensions_99": dimensions,
                        "participation_ratio": dimensions / 40,
                        "effective_rank": dimensions / 8,
                        "distance": np.nan if role == "base" else 0.02 * update[model] * (1 + depth),
                        "reason": None,
                    }
                )
            )
    return pd.concat(pieces, ignore_index=True)
