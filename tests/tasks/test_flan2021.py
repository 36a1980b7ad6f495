"""FLAN 2021: what it consists of, our templates, and the rendered copy in a folder."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.study.schema import Tasks
from mossa.tasks.collections import load_tasks, remarks
from mossa.tasks.flan2021.catalogue import catalogue, entries
from mossa.tasks.flan2021.sources import SPLITS, file_name, groups
from mossa.tasks.flan2021.wording import SLOT, Group, render
from tests.small import examples
from tests.tasks.raw_rows import ROWS, rows

# Three counts of each cluster: names, template groups, datasets of the FLAN paper.
COUNTS = {
    "natural_language_inference": (10, 7, 7),
    "commonsense": (4, 4, 4),
    "sentiment": (4, 4, 4),
    "paraphrase": (4, 4, 4),
    "closed_book_qa": (4, 3, 3),
    "struct_to_text": (4, 4, 4),
    "reading_comprehension": (6, 6, 5),
    "reading_comprehension_commonsense": (2, 2, 2),
    "coreference": (3, 3, 3),
    "translation": (8, 3, 8),
    "summarization": (11, 11, 11),
    "misc": (9, 9, 7),
}


def save_copy(root: Path, names: dict[str, str], train: int = 80) -> Path:
    """Save small tasks under FLAN's names, laid out as the hub's copy."""
    for name, task in names.items():
        made = [{**example, "task": f"{name}_10templates"} for example in examples(task)]
        parts = {"train": made[:train], "validation": made[80:90], "test": made[90:]}
        for split in SPLITS:
            path = root / file_name(name, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(example) + "\n" for example in parts[split]))
    return root


def test_it_has_69_names_60_template_groups_62_datasets_in_12_clusters() -> None:
    found = entries().values()
    counts = {
        cluster: tuple(
            len({getattr(entry, part) for entry in found if entry.cluster == cluster})
            for part in ("name", "templates", "dataset")
        )
        for cluster in catalogue()["clusters"]
    }
    assert counts == COUNTS
    assert [sum(count[k] for count in counts.values()) for k in range(3)] == [69, 60, 62]
    assert sum(entry.in_repository for entry in found) == 66


def test_no_template_group_crosses_a_cluster() -> None:
    for part in ("templates", "dataset"):
        seen = {(getattr(entry, part), entry.cluster) for entry in entries().values()}
        assert max(Counter(name for name, _ in seen).values()) == 1


def test_there_are_templates_for_65_names_of_58_datasets() -> None:
    assert len(groups()) == 65
    assert len({entries()[name].dataset for name in groups()}) == 58
    for name, group in groups().items():
        assert {entries()[other].templates for other in group.datasets} == {entries()[name].templates}


@pytest.mark.parametrize("name", list(ROWS))
def test_every_template_shows_what_the_task_is_about(name: str) -> None:
    group = groups()[name]
    fields, _ = group.parts(name)
    used = [set(SLOT.findall(template)) for template in group.templates]
    assert len(set(group.templates)) == 10
    assert set().union(*used) == set(fields)
    # only where something comes from may be left unsaid
    assert set(fields) - set.intersection(*used) <= {"title", "section"}


@pytest.mark.parametrize("name", list(ROWS))
def test_a_row_of_the_hub_becomes_an_example(name: str) -> None:
    assert set(ROWS) == set(groups())
    made = [groups()[name].example(name, row) for row in rows(name, 0, 40)]
    assert len({example.prompt for example in made}) == 40
    assert all(example.target and "{" not in example.prompt for example in made)
    assert len({example.template for example in made}) > 5
    assert made == [groups()[name].example(name, row) for row in rows(name, 0, 40)]


def test_targets_are_what_the_labels_mean() -> None:
    targets = {name: groups()[name].example(name, rows(name, 7, 1)[0]).target for name in ROWS}
    assert targets["arc_easy"] == "the sun" and targets["copa"] == "I got wet." and targets["winogrande"] == "Ann"
    assert targets["hellaswag"] == "a door." and targets["trec"] == "location" and targets["stsb"] == "4"
    assert targets["rte"] == "yes" and targets["anli_r1"] == "Yes" and targets["bool_q"] == "yes"
    assert targets["math_dataset"] == "2" and targets["drop"] == "2" and targets["coqa"] == "1. Ann\n2. home"
    assert targets["word_segment"] == "The house is old. Number 7." and targets["squad_v2"] == "a planet"
    assert targets["wmt16_translate_ruen"].startswith("Дом") and targets["dart"] == "Phobos is a moon of Mars."
    unanswerable = {**rows("squad_v2", 0, 1)[0], "answers": {"text": [], "answer_start": []}}
    assert groups()["squad_v2"].example("squad_v2", unanswerable).target == "unanswerable"


def test_forms_of_the_text_repairs() -> None:
    row = {"translation": {"en": "Is it Mars, or not?", "da": "x"}}
    shown = {name: groups()[name].example(name, row).prompt for name in ("fix_punct", "true_case", "word_segment")}
    assert "Is it Mars or not" in shown["fix_punct"] and "is it mars, or not?" in shown["true_case"]
    assert "IsitMars,ornot?" in shown["word_segment"]


@given(value=st.text(max_size=60), other=st.text(max_size=60))
def test_what_is_put_into_a_template_stays_text(value: str, other: str) -> None:
    assert render("a {x} b {y} {x}", {"x": value, "y": other}) == f"a {value} b {other} {value}"
    assert render("{x}", {"x": "{y} {y.__class__} {0} %s"}) == "{y} {y.__class__} {0} %s"
    assert render("{x.__class__} {x!r} {} {0}", {"x": value}) == "{x.__class__} {x!r} {} {0}"


def test_a_template_group_with_a_mistake_is_refused() -> None:
    good = {"datasets": {"x": {"repository": "a/b"}}, "fields": {"x": "x"}, "target": "y", "templates": ["{x}"] * 10}
    Group.model_validate(good)
    for change in (
        {"templates": ["{x}"] * 9},
        {"fields": {"x": {"path": "x", "text": "y"}}},
        {"target": {"path": "y", "form": "shouted"}},
        {"templates": ["{x} {y}"] * 10},
        {"tempaltes": []},
    ):
        with pytest.raises(ValueError, match=r"templates|exactly one|choices|tempaltes"):
            Group.model_validate({**good, **change})


def test_a_folder_laid_out_as_the_copy_is_read_with_its_own_splits(tmp_path: Path) -> None:
    save_copy(tmp_path, {"rte": "first", "wic": "again"})
    tasks = load_tasks(Tasks(source=str(tmp_path), train=50, validation=5, test=20))
    assert [(task.name, task.cluster) for task in tasks] == [("rte", "natural_language_inference"), ("wic", "misc")]
    assert all((len(task.train), len(task.validation), len(task.test)) == (50, 5, 20) for task in tasks)
    everything = load_tasks(Tasks(source=str(tmp_path), train=500, test=500))[0]
    assert {example.prompt for example in everything.test} == {row["inputs"] for row in examples("first")[90:]}
    assert load_tasks(Tasks(source=str(tmp_path), only=["misc"]))[0].name == "wic"


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    save_copy(tmp_path, {"rte": "first"})
    test, train = tmp_path / file_name("rte", "test"), tmp_path / file_name("rte", "train")
    line = json.loads(test.read_text().splitlines()[0])
    with train.open("a") as file:
        file.write(json.dumps(line) + "\n" + json.dumps({**line, "inputs": " "}) + "\n")
    task = load_tasks(Tasks(source=str(tmp_path), train=500))[0]
    assert len(task.train) == 80 and line["inputs"] not in {example.prompt for example in task.train}
    assert remarks([task]) == ["examples left out: 1 empty, 1 in two splits"]


def test_a_copy_without_validation_gives_a_tenth_of_train(tmp_path: Path) -> None:
    save_copy(tmp_path, {"rte": "first"})
    (tmp_path / file_name("rte", "validation")).write_text("")
    task = load_tasks(Tasks(source=str(tmp_path), train=500, validation=100))[0]
    assert (len(task.train), len(task.validation)) == (72, 8)


@pytest.mark.parametrize(
    ("path", "change", "sentence"),
    [
        (
            "train",
            lambda text: text.replace('"inputs"', '"input"', 1),
            r"line 1 has no column 'inputs' for the prompt. Did you mean 'input'",
        ),
        ("test", lambda text: text[: len(text) // 2], r"was not downloaded whole: delete it and get it again"),
        ("test", lambda text: text.replace("rte_10", "cb_10"), r"its task is 'cb_10templates', but the file is 'rte'"),
        ("validation", None, r"rte has no validation split; validation/rte_10templates_validation\.jsonl is missing"),
        ("test", lambda text: "\n".join(text.splitlines()[:2]), r"2 different test prompts and 80 to train on"),
    ],
)
def test_a_copy_that_is_not_as_it_should_be(tmp_path: Path, path: str, change, sentence: str) -> None:
    save_copy(tmp_path, {"rte": "first"})
    file = tmp_path / file_name("rte", path)
    file.write_text(change(file.read_text())) if change else file.unlink()
    with pytest.raises(DataError, match=sentence):
        load_tasks(Tasks(source=str(tmp_path)))


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    save_copy(tmp_path, {"rte": "first"})
    with pytest.raises(DataError, match=r"no dataset or cluster 'rtee'\. Did you mean 'rte'\?"):
        load_tasks(Tasks(source="flan2021", only=["rtee"]))
    with pytest.raises(DataError, match=r"does not have xsum\. With tasks\.source: flan2021-raw there are also wino"):
        load_tasks(Tasks(source="flan2021", only=["xsum"]))
    with pytest.raises(DataError, match=r"does not have cb.*The choices are: rte\."):
        load_tasks(Tasks(source=str(tmp_path), only=["cb"]))
    with pytest.raises(DataError, match=r"flan2021-raw does not have story_cloze"):
        load_tasks(Tasks(source="flan2021-raw", only=["story_cloze"]))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"source": "flan2021", "clusters": {"a": ["rte"]}}, "brings its own clusters"),
        ({"source": "tinyflan", "revision": "main"}, "only collections on the hub have revisions"),
        ({"source": "flan2021", "demonstrations": 2}, "only tasks of Super-NaturalInstructions"),
    ],
)
def test_keys_that_would_change_nothing_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        load_tasks(Tasks(**settings))
