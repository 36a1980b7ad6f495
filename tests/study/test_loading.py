"""Every problem of a study file at once, with its line, what is near and what the choices are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mossa.errors import StudyError
from mossa.study import StudySettings, load_study, read_study
from mossa.study.starter import Fit, write_starter

GOOD = "name: good\nbase: {model: some/base}\ntasks: {source: somewhere}\n"


def read(tmp_path: Path, text: str, *overrides: str):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return read_study(path, overrides)


def test_a_short_study_has_every_default(tmp_path: Path) -> None:
    study = read(tmp_path, GOOD).study
    assert study is not None
    assert study.experimental["pretrained"].base and study.experimental["sft"].mixture == "all"
    assert study.similarity.chosen(templates=False) == ["cka-linear", "cka-linear-debiased"]
    assert study.similarity.chosen(templates=True)[2:] == ["cka-linear-within-debiased"]
    assert study.prompt.too_long == "skip" and study.representations.last_layer == "normed"


def test_every_problem_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
name: ../x
base: {modl: a}
tasks:
  source: here
  trian: 3
recipe:
  lora: {rank: 0}
  budget: {steps: 3, epochs: 1}
control: {seeds: [1, 1]}
experimental:
  pretrained: base
  sft: {mixture: all, holdout: [x]}
  odd: bose
  again: {adapter: a, checkpoint: b}
name: twice
"""
    found = {problem.place: problem for problem in read(tmp_path, text).problems}
    lines = {place: problem.line for place, problem in found.items()}
    assert lines == {
        "name": 15,
        "base.model": 2,
        "base.modl": 2,
        "tasks.trian": 5,
        "recipe.lora.rank": 7,
        "recipe.budget": 8,
        "control.seeds": 9,
        "experimental.sft.holdout": 12,
        "experimental.odd": 13,
        "experimental.again": 14,
    }
    assert "Did you mean 'model'?" in found["base.modl"].message
    assert "Did you mean 'train'?" in found["tasks.trian"].message
    assert "Did you mean 'hold_out'?" in found["experimental.sft.holdout"].message
    assert "exactly one of epochs, steps" in found["recipe.budget"].message
    assert "(here: 0)" in found["recipe.lora.rank"].message


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a..b", "-x", "x" * 200, "a b"])
def test_a_name_that_could_leave_the_run_folder_is_refused(tmp_path: Path, name: str) -> None:
    problems = read(tmp_path, yaml.safe_dump({"name": name, "base": {"model": "a"}, "tasks": {"source": "b"}})).problems
    assert [problem.place for problem in problems] == ["name"]


@pytest.mark.parametrize("name", ["../x", "control-rte-seed0", "control", "a@b", "a/b"])
def test_so_is_such_a_name_of_an_experimental_model(tmp_path: Path, name: str) -> None:
    text = GOOD + yaml.safe_dump({"experimental": {name: {"mixture": "all"}}})
    assert [problem.place for problem in read(tmp_path, text).problems] == ["experimental"]


@pytest.mark.parametrize(
    "models",
    [{"pretrained": {"mixture": "all"}}, {"raw": "base"}, {"sft": {"mixture": "all"}, "SFT": {"mixture": "all"}}],
)
def test_the_base_has_one_name_and_names_differ_in_more_than_case(tmp_path: Path, models: dict) -> None:
    assert read(tmp_path, GOOD + yaml.safe_dump({"experimental": models})).problems


def test_overrides_reach_every_field(tmp_path: Path) -> None:
    study = read(
        tmp_path,
        GOOD + "recipe: small\n",
        "recipe.batch_size=4",
        "recipe.budget.epochs=2",
        "control.seeds=[3, 4]",
        "experimental.unseen={mixture: all, hold_out: [nli]}",
    ).study
    assert study is not None
    assert study.recipe.batch_size == 4 and study.recipe.budget.epochs == 2 and study.recipe.lora.rank == 16
    assert study.control.seeds == [3, 4] and study.experimental["unseen"].hold_out == ["nli"]


@pytest.mark.parametrize("override", ["recipe", "=3", "recipe..x=1", "a=[1"])
def test_an_override_that_is_none_is_a_sentence(tmp_path: Path, override: str) -> None:
    with pytest.raises(StudyError, match="-s"):
        read(tmp_path, GOOD, override)


def test_the_paper_is_a_recipe_and_can_be_changed(tmp_path: Path) -> None:
    paper = read(tmp_path, GOOD + "recipe: paper\n").study
    changed = read(tmp_path, GOOD + "recipe: {preset: paper, lora: {rank: 4}, budget: {steps: 9}}\n").study
    assert paper is not None and changed is not None
    assert paper.recipe.lora.targets == ["q_proj", "v_proj"] and paper.recipe.learning_rate == 5e-5
    assert paper.recipe.batch_size == 16 and paper.recipe.budget.epochs == 3 and paper.recipe.warmup == 0
    assert changed.recipe.lora.rank == 4 and changed.recipe.lora.alpha == 16 and changed.recipe.budget.steps == 9
    unknown = read(tmp_path, GOOD + "recipe: papr\n").problems
    assert "paper, small" in str(unknown[0])


def test_relative_paths_are_resolved_beside_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    study = read(tmp_path, "name: x\nbase: {model: ./base}\ntasks: {source: data}\n").study
    assert study is not None
    assert study.tasks.source == str(tmp_path / "data") and study.base.model == str(tmp_path / "base")
    assert read(tmp_path, GOOD).study.base.model == "some/base"  # no such folder: a hub id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "a: [",
        "a: &a [1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]",
        "a: &a [*a]",
        "!!python/object/apply:os.system ['true']",
        "\t",
        "{" * 500,
        "a: 2025-99-99",
        "? [x]",
    ],
)
def test_what_is_no_study_is_a_problem_and_never_a_traceback(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert found.study is None and found.problems


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(max_size=80), key=st.sampled_from(["name", "base", "tasks", "recipe", "experimental", "similarity"])
)
def test_no_text_makes_the_reader_fall_over(tmp_path_factory: pytest.TempPathFactory, text: str, key: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "s.yaml"
    for content in (text, GOOD + f"{key}: {text}"):
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
        try:
            found = read_study(path)
        except StudyError:
            continue
        assert (found.study is None) == bool(found.problems)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="mossa init"):
        load_study(tmp_path / "none.yaml")
    with pytest.raises(StudyError, match="is a folder"):
        load_study(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="UTF-8"):
        load_study(tmp_path / "binary.yaml")


def test_a_run_folder_says_which_file_to_give(tmp_path: Path) -> None:
    (tmp_path / "runs/small").mkdir(parents=True)
    (tmp_path / "runs/small/study.yaml").write_text("name: small\n")
    with pytest.raises(StudyError, match=r"runs/small is a run folder\. Give .*runs/small/study\.yaml --runs .*runs$"):
        load_study(tmp_path / "runs/small")


def test_the_starter_is_valid_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    write_starter(path, 'some/"base"', "tasks: folder")
    study = load_study(path)
    assert study.name == "mine" and study.base.model == 'some/"base"' and study.tasks.source == "tasks: folder"
    with pytest.raises(StudyError, match="exists already"):
        write_starter(path, "a", "b")
    with pytest.raises(StudyError, match=r"\.yaml"):
        write_starter(tmp_path / "mine.txt", "a", "b")


def test_what_is_fitted_to_a_gpu_is_in_the_starter(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    write_starter(path, "base", "tasks", fit=Fit("bfloat16", "4-bit", 448, "base"))
    study = load_study(path)
    assert (study.base.dtype, study.base.quantise, study.prompt.cutoff) == ("bfloat16", "4-bit", 448)
    assert study.representations.dtype == "base" and study.recipe.gradient_checkpointing == "auto"


def test_what_is_resolved_reads_back_as_the_same_study(tmp_path: Path) -> None:
    study = read(
        tmp_path, GOOD + "recipe: small\nexperimental: {pretrained: base, sft: {mixture: [a], seed: 3}}\n"
    ).study
    assert study is not None
    assert StudySettings.model_validate(yaml.safe_load(yaml.safe_dump(study.model_dump(mode="json")))) == study


@pytest.mark.parametrize("template", ["no place", "'{prompt} {prompt}'", "llama3"])
def test_a_template_of_ones_own_holds_the_prompt_once(tmp_path: Path, template: str) -> None:
    found = read(tmp_path, GOOD + f"prompt:\n  template: {template}\n")
    assert [problem.place for problem in found.problems] == ["prompt.template"]
    assert "{prompt} exactly once" in found.problems[0].message and found.problems[0].line is not None
