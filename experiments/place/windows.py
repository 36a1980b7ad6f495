"""Which layers to tune: what LoRA on two neighbouring layers is worth, against what readings of place would advise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from experiments.place.bootstrap import mean_words
from experiments.place.cases import TASKS, claimed, encoded, land, loaded
from experiments.place.planting import Group, planted
from experiments.place.verdict import rank_correlation
from mossa.training.evaluate import evaluate

Floats = NDArray[np.float64]
WINDOWS = tuple((low, low + 1) for low in range(1, 8))
MIDDLE = WINDOWS.index((4, 5))
STEPS, SEEDS = 80, (0, 1)
TESTED = ("one-layer-change", "relative-change", "answer-gain-increment", "add-one-in", "shapley")


def train_windows(runs: Path, say: Callable[[str], None]) -> None:
    """Train every task on every window with both seeds and keep the test loss; what is there is not done again."""
    torch.set_num_threads(1)
    wanted = [(base, task, seed) for seed in SEEDS for base, tasks in TASKS.items() for task in tasks]
    for base, task, seed in wanted:
        target = runs / "windows" / f"{base}-{task}-{seed}.json"
        with claimed(target) as free:
            if free:
                land(target, json.dumps(_utilities(base, task, seed)))
                say(f"tuned {task} of {base}, seed {seed}, on {len(WINDOWS)} windows")


def _utilities(base: str, task: str, seed: int) -> dict[str, Any]:
    train, validation, test = (encoded(base, task, split)[0] for split in ("train", "validation", "test"))
    found: dict[str, Any] = {"base_loss": evaluate(loaded(base).model, test, torch.device("cpu")).loss, "windows": []}
    for window in WINDOWS:
        with planted(loaded(base), [Group(train, validation, window)], STEPS, seed, until=2.0) as (adapted, _):
            judged = evaluate(adapted, test, torch.device("cpu"))
        found["windows"].append({"layers": window, "loss": judged.loss, "accuracy": judged.accuracy})
    return found


def outcome(runs: Path, scores: Path) -> str:
    """Return the table of the outcome as Markdown: `scores` are those of the models tuned on all tasks of a base."""
    utilities = {(base, task): _utility(runs, base, task) for base in TASKS for task in TASKS[base]}
    whole = {task: value for task, value in utilities.items() if value is not None}
    profiles = {base: json.loads((scores / f"all-{base}.json").read_text())["seats"] for base in TASKS}
    names = [name for name in profiles["a"]["films"]["readings"] if "sham" not in name and "prompts" not in name]
    rows = [
        _row(f"{name}, {kind}", name, kind, whole, profiles)
        for kind in ("own", "others")
        for name in [*names, "shapley"]
    ]
    rows += [_row("best window of the other tasks", "utility", "others", whole, profiles)]
    regrets = {"random": _regrets(whole, None), "middle (4, 5)": _regrets(whole, lambda _task: MIDDLE)}
    lines = [
        f"{len(whole)} tasks with both seeds.",
        "",
        "| advice by | Spearman over windows | regret | p against random | p against the middle |",
        "|" + " --- |" * 5,
    ]
    lines += [f"| {name} | | {mean_words(values)} | | |" for name, values in regrets.items()]
    tested = [row for row in rows if row["name"].removesuffix(", others") in TESTED]
    for rival in regrets:
        raw = [_p(row["regret"], regrets[rival]) for row in tested]
        adjusted: Any = multipletests(raw, method="holm")[1]
        for row, p in zip(tested, adjusted, strict=True):
            row[rival] = f"{p:.3f} (Holm)"
    for row in rows:
        each = [f"{_p(row['regret'], regrets[rival]):.3f}" if rival not in row else row[rival] for rival in regrets]
        lines.append(
            f"| {row['name']} | {mean_words(row['spearman'])} | {mean_words(row['regret'])} | {' | '.join(each)} |"
        )
    return "\n".join(lines)


def _utility(runs: Path, base: str, task: str) -> Floats | None:
    """Return by how much each window lowers the test loss, mean over seeds; None if a seed is missing."""
    paths = [runs / "windows" / f"{base}-{task}-{seed}.json" for seed in SEEDS]
    if not all(path.is_file() for path in paths):
        return None
    found = [json.loads(path.read_text()) for path in paths]
    return np.mean([[one["base_loss"] - each["loss"] for each in one["windows"]] for one in found], axis=0)


def _row(
    title: str, name: str, kind: str, whole: dict[tuple[str, str], Floats], profiles: dict[str, Any]
) -> dict[str, Any]:
    advised = {(base, task): _advice(name, kind, base, task, whole, profiles) for base, task in whole}
    spearman = [rank_correlation(advised[task], whole[task]) if np.ptp(advised[task]) else 0.0 for task in whole]
    return {
        "name": title,
        "spearman": np.array(spearman),
        "regret": _regrets(whole, lambda task: int(np.argmax(advised[task]))),
    }


def _advice(
    name: str, kind: str, base: str, task: str, whole: dict[tuple[str, str], Floats], profiles: dict[str, Any]
) -> Floats:
    """Return what a reading says of each window: of the task itself, or the mean of the base's other tasks."""
    chosen = [task] if kind == "own" else [other for other in TASKS[base] if other != task]
    if name == "utility":
        return np.mean([whole[base, other] for other in chosen if (base, other) in whole], axis=0)
    seats = [profiles[base][other] for other in chosen]
    layers = np.array([seat["shapley"] if name == "shapley" else seat["readings"][name] for seat in seats], dtype=float)
    mean = np.nan_to_num(np.nanmean(layers, axis=0))
    return np.array([mean[low - 1] + mean[high - 1] for low, high in WINDOWS])


def _regrets(whole: dict[tuple[str, str], Floats], choose: Callable[[tuple[str, str]], int] | None) -> Floats:
    """Return per task how far the chosen window (None: a random one) falls short, of the way from best to worst."""
    found: list[float] = []
    for task, utility in whole.items():
        got = utility.mean() if choose is None else utility[choose(task)]
        found.append(float((utility.max() - got) / np.ptp(utility)))
    return np.array(found)


def _p(one: Floats, other: Floats) -> float:
    found: Any = wilcoxon(one - other, alternative="less") if np.any(one != other) else None
    return float(found.pvalue) if found else 1.0
