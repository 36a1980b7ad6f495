"""What each kind of unit does: reads its inputs, calls one room, writes tables and tensors into its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mossa.analysis import affinity, dendrogram, layer_map, projection, readability, separability
from mossa.models.placement import device_of, in_float32
from mossa.models.prompts import Encoded, targets_of, tokenize
from mossa.representations.extract import check_alone, is_one_pass, represent_and_score, represent_tokens
from mossa.steps.compare import compare_task
from mossa.steps.context import StepContext
from mossa.steps.place import place_task
from mossa.store.tensors import map_tensors, save_tensors
from mossa.study.recipe import Budget
from mossa.study.schema import BASE
from mossa.tasks.mixture import mix, shuffle_answers
from mossa.training.evaluate import judged
from mossa.training.loss import token_losses
from mossa.training.replies import greedy_replies
from mossa.training.train import train_adapter
from mossa.units.models import role
from mossa.units.unit import Unit, fingerprint

Counts = dict[str, Any]
PROJECTED_PROMPTS = 40  # per task in the t-SNE
COMMON_PROMPTS = 256  # over all tasks, for the affinity of controls


def train(unit: Unit, context: StepContext, folder: Path) -> Counts:
    """Train one adapter: a control or a sham control on its task, an experimental model on its mixture."""
    context.detach()
    names = list(unit.settings["train"])
    mixed = mix([context.tasks[name] for name in names], unit.settings.get("cap_per_cluster"), unit.settings["seed"])
    kind = unit.settings["role"]
    if kind == "sham":
        mixed = shuffle_answers(mixed, unit.settings["seed"])
    what = f"{unit.key}, train"
    examples = context.format.encode(mixed, what, with_target=True)
    validation = [example for name in names for example in context.encoded(name, "validation", True)]
    experimental = context.study.experimental.get(unit.key)
    own = experimental.budget if experimental else context.study.control.budget
    if kind == "sham":
        own = Budget(steps=_steps_of(context, unit.inputs[0]))
    trained = train_adapter(
        context.base,
        examples,
        validation,
        context.study.recipe,
        own or context.study.recipe.budget,
        unit.settings["seed"],
        folder / "adapter",
        checkpoints=context.run.checkpoints(unit),
        fingerprint=fingerprint(unit, context.marks),
        on_step=context.on_progress,
        allowance=context.allowance,
        team=context.team,
    )
    row = {
        "adapter": unit.key,
        "role": kind,
        "task": None if kind == "experimental" else names[0],
        "seed": unit.settings["seed"],
    }
    _write(folder, "adapters", [{**row, **trained.as_dict()}])
    return {"skipped": len(mixed) - len(examples), "shortened": sum(example.shortened for example in examples)}


def _steps_of(context: StepContext, identifier: str) -> int:
    """Return the optimizer steps that a training took."""
    return int(pd.read_parquet(context.sound_folder(identifier) / "adapters.parquet")["steps"].iloc[0])


def represent(unit: Unit, context: StepContext, folder: Path) -> Counts:
    """Take one model's representations of one task's test prompts; the losses of their targets wait for `evaluate`."""
    name, task = unit.key.split("@")
    prompts = context.encoded(task, "test", False)
    tensor = _represent(context, name, prompts, task)
    index = np.array([prompt.index for prompt in prompts], dtype=np.int64)
    save_tensors({"representations": tensor, "index": index}, folder / "representations.safetensors")
    finite = np.isfinite(tensor).all(axis=(1, 2))
    skipped = len(context.tasks[task].test) - len(prompts)
    return {"prompts": len(prompts), "skipped": skipped, "non_finite": int((~finite).sum())}


def evaluate_model(unit: Unit, context: StepContext, folder: Path) -> Counts:
    """Measure one model's loss and exact match on one task's test set, and keep a few of its replies."""
    name, task = unit.key.split("@")
    examples = context.encoded(task, "test", True)
    model = context.model(name)
    unit_scored, scores = context.scores or ("", None)
    if unit_scored != unit.id or scores is None:
        scores = token_losses(model, examples, device_of(model), context.allowance, context.on_progress)
    found = judged(examples, scores)
    skipped = len(context.tasks[task].test) - found.n
    row = {"model": name, "role": role(context.study, name), "task": task, "cluster": context.tasks[task].cluster}
    _write(folder, "evaluation", [{**row, **found.as_dict(), "skipped": skipped}])
    few = [example for example in examples if example.index < unit.settings["replies"]]
    if few:
        _write(folder, "replies", [{**row, **reply} for reply in _replies(model, few, context)])
    return {"skipped": skipped}


def _replies(model: Any, examples: list[Encoded], context: StepContext) -> list[dict[str, Any]]:
    """Return a row per example: what the model answers by itself, and whether it came to its end."""
    given = greedy_replies(model, examples, device_of(model), context.format.cutoff, context.allowance)
    return [
        {
            "prompt": example.index + 1,
            "reply": context.tokenizer.decode(tokens, skip_special_tokens=True),
            "tokens": len(tokens),
            "ended": tokens[-1] == example.tokens[-1],
            "right": tokens == list(example.tokens[example.prompt_length :]),
        }
        for example, tokens in zip(examples, given, strict=True)
    ]


def describe(unit: Unit, context: StepContext, folder: Path) -> Counts:
    """Count one task's examples, tokens and templates, and measure how hard its test prompts are to read."""
    task = context.tasks[unit.key]
    used = context.encoded(task.name, "test", False)
    examples = [task.test[encoded.index] for encoded in used]
    bare = tokenize(context.tokenizer, [example.target for example in examples])
    templates = {example.template for split in (task.train, task.validation, task.test) for example in split}
    grade, index = readability([example.prompt for example in examples]) if examples else (None, None)
    row = {
        "task": task.name,
        "cluster": task.cluster,
        "hash": task.content_hash,
        "train": len(task.train),
        "validation": len(task.validation),
        "test": len(task.test),
        "left_out": sum(task.left_out.values()),
        "templates": None if None in templates else len(templates),
        "skipped": len(task.test) - len(used),
        "shortened": sum(encoded.shortened for encoded in used),
        "prompt_tokens": _mean([encoded.prompt_length for encoded in used]),
        "prompt_characters": _mean([len(example.prompt) for example in examples]),
        "target_tokens": _mean([len(tokens) + 1 for tokens in bare]),
        "flesch_kincaid": grade,
        "coleman_liau": index,
    }
    _write(folder, "tasks", [row])
    return {"skipped": row["skipped"]}


def overview(unit: Unit, context: StepContext, folder: Path) -> Counts:
    """Look at one model over all tasks: projection, separability, and its layers against the base's."""
    found = {task: context.representations(unit.key, task) for task in context.tasks}
    arrays = {task: stored["representations"] for task, stored in found.items()}
    clusters = {task: context.tasks[task].cluster for task in arrays}
    layers = next(iter(arrays.values())).shape[1]
    chosen = sorted({max(1, round(share * layers)) for share in unit.settings["projected_depths"]})
    _write(folder, "projection", projection(arrays, clusters, chosen, unit.key, per_task=PROJECTED_PROMPTS))
    templates = {
        task: [str(context.tasks[task].test[index].template) for index in stored["index"]]
        for task, stored in found.items()
        if context.tasks[task].templates_hash is not None
    }
    _write(folder, "separability", separability(arrays, clusters, unit.key, templates))
    if unit.key != BASE:
        maps = [
            layer_map(context.representations(BASE, task)["representations"], array, BASE, unit.key, task)
            for task, array in arrays.items()
        ]
        _write(folder, "layer_map", pd.concat(maps, ignore_index=True))
    return {"prompts": sum(map(len, arrays.values()))}


def common(unit: Unit, context: StepContext, folder: Path) -> Counts:
    """Take one control's representations of prompts common to all controls: a few from every task."""
    each = max(1, COMMON_PROMPTS // len(context.tasks))
    prompts = [prompt for task in context.tasks for prompt in context.encoded(task, "test", False)[:each]]
    save_tensors({"representations": _represent(context, unit.key, prompts)}, folder / "representations.safetensors")
    return {"prompts": len(prompts)}


def relate_controls(unit: Unit, context: StepContext, folder: Path) -> Counts:
    """Compare every control with every other on the common prompts: the one step that is quadratic in tasks."""
    arrays = {
        identifier.removeprefix("common/"): map_tensors(
            context.sound_folder(identifier) / "representations.safetensors"
        )
        for identifier in unit.inputs
    }
    named = {unit.settings["tasks"][name]: stored["representations"] for name, stored in arrays.items()}
    related = affinity(named)
    _write(folder, "affinity", related)
    _write(folder, "dendrogram", dendrogram(related))
    return {"controls": len(named)}


STEPS: dict[str, Callable[[Unit, StepContext, Path], Counts]] = {
    "describe": describe,
    "train": train,
    "represent": represent,
    "evaluate": evaluate_model,
    "compare": compare_task,
    "overview": overview,
    "place": place_task,
    "common": common,
    "affinity": relate_controls,
}


def _represent(
    context: StepContext, name: str, prompts: Sequence[Encoded], task: str | None = None
) -> np.ndarray[Any, Any]:
    """Return the states `[n, L, d]` of the prompts; those of a whole `task` in one pass with the losses, if evaluated.

    Whether there is one pass follows from the study alone, so that the numbers do too.
    """
    asked, model = context.study.representations, context.model(name)
    tokens, evaluated = [prompt.tokens for prompt in prompts], f"evaluate/{name}@{task}"
    examples = context.encoded(task, "test", True) if task else []
    if context.study.one_pass and evaluated in context.marks and is_one_pass(model, prompts, examples):
        found, scores = represent_and_score(model, examples, asked.last_layer, context.on_progress, context.allowance)
        check_alone(model, tokens, found, asked.last_layer, targets_of(examples))
        context.scores = evaluated, scores
        return found.numpy()
    with in_float32(model) if asked.dtype == "float32" else nullcontext():
        found = represent_tokens(
            model, tokens, asked.last_layer, on_prompts=context.on_progress, allowance=context.allowance
        )
        check_alone(model, tokens, found, asked.last_layer)
    return found.numpy()


def _mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _write(folder: Path, table: str, rows: list[dict[str, Any]] | pd.DataFrame) -> None:
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
    frame.to_parquet(folder / f"{table}.parquet", index=False)
