"""The collection: 60 tasks, as many examples as one wants, splits that share nothing, errors that help."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mossa.errors import DataError
from mossa.tasks.tinyflan import load_tasks, task_names
from mossa.tinyflan import CLUSTERS
from mossa.tinyflan.catalogue import CUE, draw, specification, specifications

# The counts of FLAN 2021 as the paper takes them, with ten tasks of summarization and six of miscellany.
COUNTS = (7, 4, 4, 4, 3, 4, 5, 2, 3, 8, 10, 6)
NAMES = task_names()


def test_has_60_tasks_in_the_proportions_of_flan() -> None:
    tasks = load_tasks(train=1, validation=1, test=1)
    assert len(tasks) == 60
    counts = Counter(task.cluster for task in tasks)
    assert tuple(counts[cluster] for cluster in CLUSTERS) == COUNTS
    assert [task.name for task in tasks] == NAMES


def test_every_cluster_is_divided_between_the_two_bases() -> None:
    for cluster in CLUSTERS:
        halves = Counter(specification(name).planted for name in task_names([cluster]))
        assert set(halves) == {"a", "b"}
        assert abs(halves["a"] - halves["b"]) <= 1
    assert Counter(task.planted for task in specifications().values()) == {"a": 30, "b": 30}


def test_no_two_tasks_mirror_the_same_dataset() -> None:
    mirrored = [task.mirrors for task in specifications().values()]
    assert len(set(mirrored)) == 60


def leaves(lexicon: object) -> set[str]:
    """Return the words of a lexicon that an input shows (the words of a group, both sides of a dictionary)."""
    if isinstance(lexicon, dict):
        inner = [leaves(value) for value in lexicon.values()]
        keys = {key for key, value in lexicon.items() if isinstance(value, str)}
        return keys.union(*inner)
    return {lexicon} if isinstance(lexicon, str) else set(lexicon)


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_lexicons_of_tasks_planted_in_different_bases_do_not_overlap(cluster: str) -> None:
    tasks = [specification(name) for name in task_names([cluster])]
    words = {base: [leaves(task.lexicon) for task in tasks if task.planted == base] for base in "ab"}
    assert not set().union(*words["a"]) & set().union(*words["b"])


@pytest.mark.parametrize("name", NAMES)
def test_templates_differ_in_wording_and_order_and_all_end_alike(name: str) -> None:
    task = load_tasks([name], train=10, validation=0, test=0)[0]
    assert [example.template for example in task.train] == [f"{name}-{number}" for number in range(10)]
    assert all(example.prompt.endswith(CUE) for example in task.train)
    templates = specification(name).templates
    assert len(set(templates)) == 10
    # The instruction comes first in some and the input first in others.
    starts = {template.startswith("{") for template in templates}
    openings = {template.split()[0] for template in templates}
    assert len(openings) >= 4
    assert starts == {True, False} or len(openings) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_every_text_shows_every_field_so_that_different_inputs_look_different(name: str) -> None:
    task = specification(name)
    for text in (*task.templates, *task.natural):
        assert all(f"{{{field}}}" in text for field in task.fields), text


def test_splits_share_no_input_and_hold_none_twice() -> None:
    for name, task in zip(NAMES, load_tasks(train=120, validation=20, test=60), strict=True):
        splits = [task.train, task.validation, task.test]
        assert [len(split) for split in splits] == [120, 20, 60]
        prompts = [{example.prompt for example in split} for split in splits]
        assert sum(map(len, prompts)) == len(set().union(*prompts)) == 200, name


@given(name=st.sampled_from(NAMES), seeds=st.tuples(st.integers(), st.integers()))
@settings(max_examples=20, deadline=None)
def test_an_input_keeps_its_split_whatever_the_seeds(name: str, seeds: tuple[int, int]) -> None:
    train = load_tasks([name], train=40, validation=0, test=0, templates=1, seed=seeds[0])[0].train
    test = load_tasks([name], train=0, validation=0, test=40, templates=1, seed=seeds[1])[0].test
    assert not {example.prompt for example in train} & {example.prompt for example in test}


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10**6), sizes=st.tuples(*[st.integers(0, 30)] * 3))
@settings(max_examples=20, deadline=None)
def test_a_seed_decides_and_sizes_do_not_disturb(name: str, seed: int, sizes: tuple[int, int, int]) -> None:
    train, validation, test = sizes
    some = load_tasks([name], train=train, validation=validation, test=test, seed=seed)[0]
    more = load_tasks([name], train=30, validation=30, test=30, seed=seed)[0]
    assert some.train == more.train[:train]
    assert some.validation == more.validation[:validation]
    assert some.test == more.test[:test]


def test_another_seed_gives_other_examples() -> None:
    first, second = (load_tasks(["films"], seed=seed)[0].content_hash for seed in (0, 1))
    assert first != second


def test_prompts_are_30_to_60_tokens_on_average() -> None:
    tasks = load_tasks(train=0, validation=0, test=40)
    lengths = [
        len(re.findall(r"\w+|[^\w\s]", f"{example.prompt} {example.target}")) + 2
        for task in tasks
        for example in task.test
    ]
    assert 30 <= sum(lengths) / len(lengths) <= 60
    assert max(lengths) <= 64


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_spread_so_that_no_constant_does_well(name: str) -> None:
    rng = Random(0)
    answers = Counter(draw(specification(name), rng).target for _ in range(400))
    assert 0 < answers.most_common(1)[0][1] / 400 < 0.6


def test_an_unknown_task_gives_the_choices() -> None:
    with pytest.raises(DataError, match=r"no task 'film'. Did you mean 'films'\? There are 60 choices in all"):
        load_tasks(["film"])


def test_an_unknown_cluster_gives_the_choices() -> None:
    with pytest.raises(DataError, match=r"no cluster 'sentiments'. Did you mean 'sentiment'\? The choices"):
        load_tasks(clusters=["sentiments"])


@pytest.mark.parametrize("templates", [0, 11])
def test_more_templates_than_exist_gives_the_choices(templates: int) -> None:
    with pytest.raises(DataError, match=rf"templates = {templates}, .* Choose 1 to 10"):
        load_tasks(templates=templates)


def test_names_and_clusters_together_twice_the_same_and_negative_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="not both"):
        load_tasks(["films"], clusters=["sentiment"])
    with pytest.raises(DataError, match="'films' is asked for twice"):
        load_tasks(["films", "films"])
    with pytest.raises(DataError, match="test = -1"):
        load_tasks(["films"], test=-1)


def test_a_task_without_enough_inputs_says_so() -> None:
    with pytest.raises(DataError, match=r"only about \d+ different inputs for validation, not 100000"):
        load_tasks(["keywords"], train=0, validation=100_000, test=0)
