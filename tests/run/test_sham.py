"""Sham controls: the same prompts with shuffled answers, as many steps, compared beside the task's own control."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mossa.run.options import RunOptions
from mossa.run.run import prepare, run_study
from mossa.study.schema import StudySettings
from mossa.tasks.mixture import shuffle_answers
from mossa.tasks.task import Example
from mossa.units.models import role


def study_of(settings: dict, **control: object) -> StudySettings:
    """Return the small study with two tasks, no tuned model and these settings of the controls."""
    small = {**settings, "experimental": {"pretrained": "base"}, "control": {"seeds": [0], **control}}
    small["tasks"] = {**settings["tasks"], "only": ["first", "second"]}
    small["similarity"] = {"other_controls": 0}
    return StudySettings.model_validate(small)


def test_a_sham_control_trains_as_long_as_the_control_and_is_compared(settings: dict, tmp_path: Path) -> None:
    """Also where the control stops by a criterion that shuffled answers never reach."""
    until = {"until": {"metric": "loss", "value": 4.0, "at_most_steps": 40, "check_every": 4}}
    prepared = prepare(study_of(settings, sham=True, budget=until), tmp_path)
    finished = run_study(prepared, RunOptions("cpu", 1), say=lambda _line: None)
    assert not finished.failed
    adapters = finished.tables["adapters"].set_index("adapter")
    for task in ("first", "second"):
        control, sham = adapters.loc[f"control-{task}-seed0"], adapters.loc[f"sham-{task}-seed0"]
        assert (sham["role"], sham["task"], sham["steps"]) == ("sham", task, control["steps"])
        assert sham["update_norm"] != control["update_norm"]
    assert adapters.loc["control-first-seed0", "steps"] < 40
    similarity = finished.tables["similarity"]
    rows = similarity[similarity["relation"] == "sham"]
    assert set(rows["reference"]) == {"sham-first-seed0", "sham-second-seed0"}
    assert rows["value"].notna().all() and set(rows["experimental"]) == {"pretrained"}
    evaluation = finished.tables["evaluation"]
    assert {"sham-first-seed0", "sham-second-seed0"} <= set(evaluation.loc[evaluation["role"] == "sham", "model"])


def test_a_study_without_shams_is_what_it_was(settings: dict, tmp_path: Path) -> None:
    plain = prepare(study_of(settings), tmp_path).units
    with_shams = prepare(study_of(settings, sham=True), tmp_path).units
    assert not any("sham" in str(unit.settings) + unit.id for unit in plain.values())
    new = {name for name in with_shams if "sham" in name}
    assert set(with_shams) == set(plain) | new and len(new) == 6
    assert all(with_shams[name].settings == unit.settings for name, unit in plain.items() if unit.step != "compare")
    assert role(study_of(settings), "sham-first-seed0") == "sham"


def test_a_sham_of_a_control_that_is_there_already_is_refused(settings: dict) -> None:
    with pytest.raises(
        ValidationError, match=r"how long each control was trained, and those of first are there already"
    ):
        study_of(settings, sham=True, existing={"first": [{"adapter": "somewhere/else"}]})


@given(st.integers(2, 30), st.integers(0, 1000))
def test_shuffled_answers_are_all_of_them_and_none_its_own(n: int, seed: int) -> None:
    examples = [Example(f"prompt {k}", f"answer {k}", f"template {k % 3}") for k in range(n)]
    shuffled = shuffle_answers(examples, seed)
    assert [(each.prompt, each.template) for each in shuffled] == [(each.prompt, each.template) for each in examples]
    assert sorted(each.target for each in shuffled) == sorted(each.target for each in examples)
    assert all(one.target != other.target for one, other in zip(examples, shuffled, strict=True))
    assert shuffled == shuffle_answers(examples, seed)


def test_the_bar_of_a_study_is_its_own_else_its_criterion_else_five_percent(settings: dict) -> None:
    until = {"until": {"metric": "exact_match", "value": 0.9, "at_most_steps": 10}}
    plain, own = study_of(settings).bar, study_of(settings, budget=until).bar
    asked = study_of(settings, budget=until, learned={"metric": "loss", "value": 0.5}).bar
    assert (plain[0].metric, plain[0].value, plain[1]) == ("relative_drop", 0.05, False)
    assert (own[0].metric, own[0].value, own[1]) == ("exact_match", 0.9, True)
    assert (asked[0].metric, asked[0].value, asked[1]) == ("loss", 0.5, False)
