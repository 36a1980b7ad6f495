"""Looks for everything that would go wrong with a study before it runs: every problem at once, each with its line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mossa.errors import DataError, MossaError
from mossa.models.rendering import Rendering
from mossa.names import count
from mossa.store.folder import RunFolder
from mossa.store.record import RECORD, planned_base, recorded_rendering
from mossa.study.loading import Problem, ReadStudy
from mossa.study.schema import StudySettings
from mossa.tasks.task import Task


def check_study(
    read: ReadStudy, rehearsal: bool = True, runs: Path = Path("runs")
) -> tuple[list[Problem], list[str], list[str]]:
    """Return the problems of a study that was read, what was found right, and what should be known.

    Reads every task, the base's configuration and tokenizer, builds the model without weights to find the adapter's
    targets, tokenizes the test prompts to see that they fit, and if all is right so far rehearses on two of them.
    Prompts are rendered as the study's run folder in `runs` recorded it, if there is one.
    """
    if read.study is None:
        return read.problems, [], []
    study = read.study
    notes: list[str] = []
    problems: list[Problem] = []
    found: list[str] = []
    tasks: list[Task] = []

    def attempt(place: tuple[str, ...], check: Callable[[], str]) -> None:
        try:
            found.append(check())
        except MossaError as error:
            problems.extend(read.problem(*_placed(line, place)) for line in str(error).splitlines())

    def read_tasks() -> str:
        from mossa.tasks.collections import load_tasks, remarks
        from mossa.units.models import check_names

        tasks.extend(load_tasks(study.tasks))
        check_names(study, tasks)
        clusters = len({task.cluster for task in tasks})
        examples = sum(len(task.train) + len(task.validation) + len(task.test) for task in tasks)
        counted = f"{count(len(tasks), 'task')} in {count(clusters, 'cluster')}, {count(examples, 'example')}"
        return "; ".join([counted, *remarks(tasks)])

    attempt(("tasks", "source"), read_tasks)
    attempt(("similarity", "estimators"), lambda: _estimators(study, tasks))
    for name in study.experimental if tasks else ():
        attempt(("experimental", name), lambda name=name: _experimental(study, tasks, name))
    if tasks:
        attempt(("control", "existing"), lambda: _controls(study, tasks))
    attempt(("base", "model"), lambda: _base(study))
    if tasks and not any(problem.place == "base.model" for problem in problems):
        attempt(("prompt",), lambda: _prompts_fit(study, tasks, _rendering(study, runs)))
        attempt(("recipe", "lora", "targets"), lambda: _targets(study))
    if not rehearsal or problems:
        notes.append(f"rehearsal skipped: {'there are problems' if problems else '--no-rehearsal'}")
    elif absent := _absent(study, tasks):
        notes.append(
            f"rehearsal skipped: the weights of {absent} are not downloaded yet; mossa run rehearses when they are"
        )
    else:
        attempt(("base", "model"), lambda: _rehearse(study, tasks, notes, _rendering(study, runs)))
    return problems, found, notes


def _placed(line: str, place: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return the key that a message begins with, or else `place`, and the rest of the message."""
    found = re.match(r"([a-z]+)(\.[a-z_]+)+: ", line)
    if found and found[1] in StudySettings.model_fields:
        return tuple(found[0].removesuffix(": ").split(".")), line[found.end() :]
    return place, line


def _estimators(study: StudySettings, tasks: list[Task]) -> str:
    from mossa.similarity.registry import estimator

    templates = any(task.templates_hash is not None for task in tasks)
    chosen = study.similarity.chosen(templates)
    for identifier in chosen:
        estimator(identifier)
    return f"estimators: {', '.join(chosen)}"


def _experimental(study: StudySettings, tasks: list[Task], name: str) -> str:
    from mossa.units.models import saw

    model = study.experimental[name]
    seen = len(saw(study, tasks, name))
    for kind in ("adapter", "checkpoint"):
        if (given := getattr(model, kind)) is not None:
            _existing(study, kind, given)
    return f"{name}: the base" if model.base else f"{name}: tuned on {seen} of {len(tasks)} tasks"


def _controls(study: StudySettings, tasks: list[Task]) -> str:
    from mossa.units.models import control_name, existing_models

    names = [control_name(task.name, seed) for task in tasks for seed in study.control.seeds]
    given = {name: found for name, found in existing_models(study, tasks).items() if name in names}
    for kind, source in given.values():
        _existing(study, kind, source)
    return f"controls: {len(names) - len(given)} to train, {len(given)} there already"


def _existing(study: StudySettings, kind: str, source: str) -> None:
    from mossa.models.base import check_vocabulary, load_config, load_tokenizer
    from mossa.models.files import adapter_fingerprint, base_fingerprint

    if kind == "adapter":
        adapter_fingerprint(source)
        return
    settings = study.base.model_copy(update={"model": source, "revision": None})
    base_fingerprint(settings, kind)
    check_vocabulary(load_config(settings, kind), load_tokenizer(study.base), f"{kind} {source}")


def _base(study: StudySettings) -> str:
    from mossa.models.access import check_access
    from mossa.models.base import check_vocabulary, load_config, load_tokenizer, longest_input
    from mossa.models.dtype import settled
    from mossa.models.files import base_fingerprint
    from mossa.models.quantise import quantisation

    check_access(study.base)
    config = load_config(study.base)
    base, note = settled(study.base)
    quantisation(base, config)
    if Path(study.base.model).exists():
        base_fingerprint(study.base)
    tokenizer = load_tokenizer(study.base)
    check_vocabulary(config, tokenizer, study.base.model)
    text = config.get_text_config()
    size = f"{text.num_hidden_layers} layers of width {text.hidden_size}"
    known = f"base: {config.model_type}, {size}, up to {longest_input(config, tokenizer):,} tokens"
    return f"{known}; {note.rstrip('.')}" if note else known


def _rendering(study: StudySettings, runs: Path) -> Rendering | None:
    """Return what the study's run folder recorded around prompts, if it was planned from the same."""
    from mossa.models.dtype import settled
    from mossa.units.models import rendered_from

    run = RunFolder(runs / study.name)
    if not (run.path / RECORD).is_file():  # so a base that is not downloaded yet needs no fingerprint
        return None
    base, _ = settled(study.base, planned_base(run.path))
    return recorded_rendering(run, rendered_from(study.model_copy(update={"base": base})))


def _prompts_fit(study: StudySettings, tasks: list[Task], rendering: Rendering | None) -> str:
    from mossa.models.base import load_config, load_tokenizer, longest_input
    from mossa.models.conversations import systems_without_place
    from mossa.models.prompts import make_format

    tokenizer = load_tokenizer(study.base)
    form = make_format(tokenizer, study.prompt, longest_input(load_config(study.base), tokenizer), rendering)
    too_few: list[str] = []
    skipped = shortened = total = systems = 0
    for task in tasks:
        encoded = form.encode(task.test, f"task {task.name!r}, test", with_target=False)
        skipped += len(task.test) - len(encoded)
        shortened += sum(prompt.shortened for prompt in encoded)
        total += len(task.test)
        systems += systems_without_place(form, (*task.train, *task.validation, *task.test))
        trainable = form.encode(task.train[:64], f"task {task.name!r}, train", with_target=True)
        if len(encoded) < 4 or not trainable:
            too_few.append(f"{task.name} ({len(encoded)} of {len(task.test)} test prompts)")
    if too_few:
        raise DataError(
            f"too few examples fit the model's {form.cutoff} tokens: {', '.join(too_few)}. Set prompt.too_long to "
            "shorten-start or shorten-middle, or leave these tasks out with tasks.only."
        )
    counted = f"test prompts: {total:,}, of which {skipped:,} do not fit and are skipped, {shortened:,} are shortened"
    return counted + (f"; the chat template has no place for {systems:,} system messages" if systems else "")


def _targets(study: StudySettings) -> str:
    from mossa.analysis.wording import layers_in_words
    from mossa.models.adapters import lora_config
    from mossa.models.base import without_storage

    config = lora_config(without_storage(study.base), study.recipe.lora)
    names = config.target_modules or ()
    layers = f" of {layers_in_words(study.recipe.lora.layers)}" if study.recipe.lora.layers else ""
    return f"adapters on: {names if isinstance(names, str) else ', '.join(sorted(names))}{layers}"


def _absent(study: StudySettings, tasks: list[Task]) -> str | None:
    """Return a model of the study whose weights are not here, if there is one."""
    from mossa.models.access import weights_are_here
    from mossa.units.models import existing_models

    whole = [source for kind, source in existing_models(study, tasks).values() if kind == "checkpoint"]
    settings = (study.base, *(study.base.model_copy(update={"model": source, "revision": None}) for source in whole))
    return next((each.model for each in settings if not weights_are_here(each)), None)


def _rehearse(study: StudySettings, tasks: list[Task], notes: list[str], rendering: Rendering | None) -> str:
    from mossa.models.dtype import settled
    from mossa.run.devices import find_device
    from mossa.run.rehearsal import rehearse

    base, _ = settled(study.base)
    study = study.model_copy(update={"base": base})
    return rehearse(study, tasks, find_device("auto"), notes.append, rendering)
