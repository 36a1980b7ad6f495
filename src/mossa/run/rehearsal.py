"""Does once, on two prompts, what the units of a study will do: a failure shows before it costs hours."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mossa.errors import DataError, ModelError, MossaError, noting
from mossa.run.libraries import importing
from mossa.study.recipe import Budget
from mossa.study.schema import Kind, StudySettings
from mossa.tasks.task import Task
from mossa.units.models import existing_models
from mossa.units.unit import Unit

if TYPE_CHECKING:
    from mossa.models.prompts import Encoded, PromptFormat
    from mossa.models.rendering import Rendering

WITH_A_MODEL = {"train", "represent", "evaluate", "common"}  # the steps that load one
REHEARSED = ("base", "prompt", "recipe", "last_layer", "adapter", "checkpoint")  # settings of units that it depends on
LIBRARIES = ("mossa", "torch", "transformers", "peft")
ENDS = 8  # of the shortest and of the longest texts, those that fit are looked for


def needs_rehearsal(units: dict[str, Unit], todo: Sequence[str], device: str, rehearsed: Path) -> str | None:
    """Return what marks this rehearsal if a unit to do loads a model and `rehearsed` does not hold the mark already."""
    if not any(units[name].step in WITH_A_MODEL for name in todo):
        return None
    parts = {
        json.dumps({key: unit.settings[key] for key in REHEARSED if key in unit.settings}, sort_keys=True)
        for unit in units.values()
        if unit.step in WITH_A_MODEL
    }
    known = [device, *(f"{name} {version(name)}" for name in LIBRARIES), *sorted(parts)]
    mark = hashlib.sha256("\n".join(known).encode()).hexdigest()
    return None if rehearsed.is_file() and rehearsed.read_text(encoding="utf-8").strip() == mark else mark


def rehearse(
    study: StudySettings,
    tasks: Sequence[Task],
    device: str,
    tell: Callable[[str], None],
    rendering: Rendering | None = None,
) -> str:
    """Load the base, represent, train and evaluate on two prompts, put on models that exist; return what was done.

    The shortest and the longest prompt that fit are represented alone, together, and after a beginning that they share.
    What the loads report goes to `tell`; `rendering` is what was recorded of the prompts. Raises `MossaError` for
    whatever would fail or differ beyond rounding.
    """
    with importing():
        from mossa.models.converted import readable
        from mossa.models.loader import ModelLoader
        from mossa.training.evaluate import evaluate
        from mossa.training.train import train_adapter

    loader = ModelLoader(study.base, device)
    with noting(tell), tempfile.TemporaryDirectory() as folder:
        with _doing("loading the base"):
            readable(study.base, weights=True, say=tell)  # bringing a GGUF over takes long, and loading is silent
            base = loader.base
        with _doing("encoding prompts"):
            examples = _two(loader.format(study.prompt, rendering), tasks)
        prompts = [list(example.tokens[: example.prompt_length]) for example in examples]
        with _doing("representing prompts"):
            _check_alone(base.model, prompts, base.longest, study, "the base")
        with _doing("training an adapter"):
            adapter = Path(folder) / "adapter"
            train_adapter(base, examples, [], study.recipe, Budget(steps=1), 0, adapter)
        with _doing("using a trained adapter"):
            adapted = loader.take("adapter", adapter)
            evaluate(adapted, examples, base.device)
            _check_alone(adapted, prompts, base.longest, study, "an adapter of the recipe")
        for name, (kind, source) in _to_try(study, tasks).items():
            with _doing(f"using {name}"):
                _check_alone(loader.take(kind, source), prompts, base.longest, study, name)
        loader.put_back()
    short, long = map(len, prompts)
    return f"rehearsal: prompts of {short} and {long} tokens, one adapter, one step, one evaluation"


def _two(form: PromptFormat, tasks: Sequence[Task]) -> list[Encoded]:
    """Return the shortest and the longest example among those with the shortest and the longest texts."""
    every = [example for task in tasks for example in (*task.train, *task.test)]
    every.sort(key=lambda example: len(example.prompt))
    some = form.encode([*every[:ENDS], *every[ENDS:][-ENDS:]], "the rehearsal", with_target=True)
    some.sort(key=lambda example: example.prompt_length)
    if not some:
        raise DataError("rehearsal: none of the shortest and longest examples fits the model. Raise prompt.cutoff.")
    return [some[0], some[-1]]


def _to_try(study: StudySettings, tasks: Sequence[Task]) -> dict[str, tuple[Kind, str]]:
    """Return the models that exist already, of whole checkpoints among the controls only the first."""
    found = existing_models(study, tasks)
    whole = [name for name, (kind, _) in found.items() if kind == "checkpoint" and name not in study.experimental]
    return {name: model for name, model in found.items() if name not in whole[1:]}


def _check_alone(model: Any, prompts: list[list[int]], longest: int, study: StudySettings, who: str) -> None:
    """Raise `ModelError` if a prompt has other states beside another, or after a beginning they share, than alone."""
    import torch

    from mossa.models.prefix import WORTH, common_prefix
    from mossa.representations import represent_tokens
    from mossa.representations.extract import COARSE, tolerance

    shared = common_prefix(prompts)
    apart = [prompt[shared:] for prompt in prompts]
    if len(apart[0]) == len(apart[1]) > 1:
        apart[0] = apart[0][:-1]
    beginning = (prompts[1] * (WORTH + 1))[: WORTH + 1]
    room = longest - len(beginning)
    pairs = {"together": apart, "after a common beginning": [beginning + prompt[:room] for prompt in apart]}
    allowed = COARSE if study.base.quantise else tolerance(model)
    last_layer = study.representations.last_layer
    for how, pair in pairs.items():
        if how != "together" and room < 2:
            continue
        together = represent_tokens(model, pair, last_layer)
        for prompt, row in zip(pair, together, strict=True):
            alone = represent_tokens(model, [prompt], last_layer)[0]
            if not torch.isfinite(alone).all():
                raise ModelError(
                    f"rehearsal: {who} gives states that are not finite for a prompt of {len(prompt)} tokens. Set "
                    "base.dtype: float32, lower recipe.learning_rate, or look at its weights."
                )
            far = float(((row - alone).norm(dim=-1) / alone.norm(dim=-1).clamp_min(1e-30)).max())
            if not far <= allowed:
                raise ModelError(
                    f"rehearsal: {who} gives a prompt of {len(prompt)} tokens other states {how} than alone (by "
                    f"{far:.0%}), so it does not read each prompt by itself, and its layers cannot be compared."
                )


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Turn what a model's own code raises, which may be anything, into a sentence; ours are sentences already."""
    try:
        yield
    except MossaError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise ModelError(
            f"rehearsal: {what} fails, and so would the study: {type(error).__name__}: {lines[0][:300]}. Choose "
            "another base or recipe, or report this."
        ) from error
