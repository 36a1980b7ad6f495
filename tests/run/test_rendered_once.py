"""A chat template that writes today's date: one study has one rendering, whichever day and process goes on with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from mossa.errors import StudyError
from mossa.models.rendering import render
from mossa.run.check import check_study
from mossa.run.options import RunOptions
from mossa.run.rehearsal import rehearse
from mossa.run.run import Prepared, prepare, run_study
from mossa.store.record import read_record
from mossa.study.loading import ReadStudy
from mossa.study.schema import StudySettings
from tests.small import make_model, make_tokenizer

DATED = (
    "{{ bos_token }}{% if strftime_now is defined %}{% set day = strftime_now('%d') %}{% endif %}"
    "{% set names = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'] %}"
    "the {{ names[day[0] | int] }} {{ names[day[1] | int] }} cat "
    "{% for m in messages %}say {{ m['content'] | trim }} ? {% endfor %}Answer :"
)
EAST, WEST = "Pacific/Kiritimati", "Pacific/Pago_Pago"  # 25 hours apart: never the same day of the month


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def go_to(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield go_to
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="module")
def dated_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dated")
    make_model("llama").save_pretrained(folder)
    make_tokenizer(DATED).save_pretrained(folder)
    return folder


def study(base: Path, tasks: Path, name: str, **prompt: Any) -> StudySettings:
    return StudySettings.model_validate(
        {
            "name": name,
            "base": {"model": str(base)},
            "prompt": prompt,
            "tasks": {"source": str(tasks), "only": ["first", "second"], "train": 8, "validation": 4, "test": 6},
            "recipe": {"budget": {"steps": 1}},
            "experimental": {"pretrained": "base"},
        }
    )


def run(prepared: Prepared) -> list[str]:
    said: list[str] = []
    assert not run_study(prepared, RunOptions("cpu", 1), say=said.append).failed
    return [line for line in said if not line.startswith("Rehearsing")]


def test_a_study_goes_on_as_it_was_rendered_when_planned(
    dated_base: Path, task_folder: Path, tmp_path: Path, day: Any
) -> None:
    day(EAST)
    first = prepare(study(dated_base, task_folder, "mixed"), tmp_path, steps=["train"])
    assert run(first) == []
    day(WEST)
    other = prepare(study(dated_base, task_folder, "other"), tmp_path)
    goes_on = prepare(study(dated_base, task_folder, "mixed"), tmp_path)
    assert other.rendering != goes_on.rendering == first.rendering == read_record(first.run.path).rendering
    assert all(goes_on.status[name].state == "done" for name in first.units)
    for name in ("train/control-first-seed0", "represent/pretrained@first", "evaluate/pretrained@first"):
        assert goes_on.fingerprints[name] != other.fingerprints[name]
    said = run(goes_on)
    assert len(said) == 1 and "would be rendered differently now" in said[0] and "another name" in said[0]
    run(other)
    day(EAST)
    whole = prepare(study(dated_base, task_folder, "whole"), tmp_path)
    run(whole)
    where = "units/represent/control-first-seed0@first/representations.safetensors"
    mixed, alone, else_day = (
        load_file(tmp_path / name / where)["representations"] for name in ("mixed", "whole", "other")
    )
    assert mixed.equal(alone) and not mixed.equal(else_day)
    assert {name: whole.fingerprints[name] for name in whole.units} == goes_on.fingerprints


def test_other_settings_or_another_base_are_rendered_anew(
    dated_base: Path, task_folder: Path, tmp_path: Path, day: Any
) -> None:
    day(EAST)
    settings = study(dated_base, task_folder, "one")
    run(prepare(settings, tmp_path, steps=["describe"]))
    day(WEST)
    kept = prepare(settings.model_copy(update={"prompt": settings.prompt.model_copy(update={"cutoff": 90})}), tmp_path)
    changed = prepare(study(dated_base, task_folder, "one", template="plain"), tmp_path)
    assert "cat" in kept.rendering.before and changed.rendering.after == "\nAnswer:\n"
    assert kept.rendering == prepare(settings, tmp_path).rendering
    make_tokenizer(DATED.replace("say", "what is")).save_pretrained(tmp_path / "base")
    make_model("llama").save_pretrained(tmp_path / "base")
    anew = prepare(study(tmp_path / "base", task_folder, "one"), tmp_path)
    assert anew.rendering.before.endswith("what is ") and anew.rendering.before[:30] != kept.rendering.before[:30]


def test_checks_and_rehearsals_use_what_was_rendered(
    dated_base: Path, task_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = study(dated_base, task_folder, "one")
    prepared = prepare(settings, tmp_path, steps=["describe"])
    run(prepared)

    def anew(*_given: Any) -> None:
        raise LookupError("rendered anew")

    monkeypatch.setattr("mossa.models.prompts.render", anew)
    problems, found, _ = check_study(ReadStudy(settings, [], {}), runs=tmp_path)
    assert not problems and any(line.startswith("rehearsal: prompts of") for line in found)
    assert rehearse(settings, prepared.tasks, "cpu", print, prepared.rendering).startswith("rehearsal: prompts of")
    with pytest.raises(LookupError):
        check_study(ReadStudy(study(dated_base, task_folder, "unplanned"), [], {}), runs=tmp_path)


def test_a_plain_rendering_says_nothing(base_folder: Any, task_folder: Path, tmp_path: Path) -> None:
    prepared = prepare(study(base_folder("llama"), task_folder, "plain"), tmp_path, steps=["describe"])
    assert run(prepared) == [] and prepared.rendering.trim is None


def test_another_tokenizer_of_the_same_name_ends_the_run_and_nothing_is_lost(
    dated_base: Path, task_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other versions of the libraries: the files are the same, and text is cut otherwise."""
    first = prepare(study(dated_base, task_folder, "cut", template="plain"), tmp_path, steps=["describe"])
    run(first)
    probe = "of another version"
    monkeypatch.setattr("mossa.run.run.render", lambda *given: replace(render(*given), probe=probe))
    goes_on = prepare(study(dated_base, task_folder, "cut", template="plain"), tmp_path)
    with pytest.raises(StudyError, match="other tokens than when this study was first run"):
        run_study(goes_on, RunOptions("cpu", 1, rehearsal=False), say=print)
    assert all(goes_on.status[name].state == "done" for name in first.units)
