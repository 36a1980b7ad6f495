"""The headline: every number in it stands in a table, it compares models on the same tasks, it says when not."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mossa.analysis import Findings, analyse
from mossa.analysis.answers import RIVALS
from mossa.analysis.change import TUNED, common_tasks
from mossa.analysis.correlates import correlation
from mossa.analysis.headline import headline
from mossa.analysis.over_tasks import interval
from mossa.analysis.performance import newcombe
from mossa.analysis.wording import layers_in_words, listed, number, signed
from tests.analysis.synthetic import steps
from tests.analysis.synthetic import world as small
from tests.report.synthetic import world


@cache
def studied(seed: int = 0) -> Findings:
    """Return the findings of a made-up study of 24 tasks of which 8 were held out; only read."""
    return analyse(world(tasks=24, layers=12, held_out=8, seed=seed))


DECIMAL = re.compile(r"[+-]?(?:\d+)?\.\d\d(?!\d)")


def in_tables(findings: Findings) -> set[str]:
    """Return every decimal of the tables that a headline may speak of, as it is written."""
    own = [findings.common_change, findings.performance_summary, findings.controls]
    encoded = findings.encoded
    values = [table.select_dtypes("number").to_numpy().ravel() for table in own]
    for column in ("value", "agreement", "share", "above_sham"):
        known = encoded.loc[encoded["estimator"].eq(findings.estimator), column].dropna().to_numpy(float)
        values.append(np.array([np.median(known), known.min(), known.max()]) if len(known) else known)
    known = np.concatenate([each[np.isfinite(each.astype(float))].astype(float) for each in values])
    return {form(value) for value in known for form in (number, signed)}


@pytest.mark.parametrize("seed", range(2))
def test_every_number_of_the_headline_stands_in_a_table(seed: int) -> None:
    findings = studied(seed)
    told = headline(findings)
    sentences = [told.title, *(point.sentence for point in told.points)]
    decimals = [each for sentence in sentences for each in DECIMAL.findall(sentence)]
    assert len(decimals) >= 8
    assert set(decimals) <= in_tables(findings)


def change_numbers(findings: Findings, model: str, group: str) -> list[str]:
    """Return the parts of a sentence on a change that hold its numbers, from the table alone."""
    table = findings.common_change
    own = table[table["estimator"].eq(findings.estimator) & table["group"].eq(group) & table["experimental"].eq(model)]
    clustered = bool(own["cluster_q_value"].notna().any())
    sure = own["cluster_q_value" if clustered else "q_value"].lt(0.05)
    parts = [f"on {own['tasks'].iloc[0]} tasks"]
    for rows in (own[sure & own["median"].gt(0)], own[sure & own["median"].lt(0)]):
        if len(rows):
            by_size = rows.reindex(rows["median"].abs().sort_values().index)
            least, most = by_size.iloc[0], by_size.iloc[-1]
            known = pd.notna(most["widest_low"])
            ends = f" [{number(most['widest_low'])}, {number(most['widest_high'])}]" if known else ""
            span = f"({signed(least['median'])} to {signed(most['median'])}{ends} at layer {most['layer']})"
            parts.append(f"in {layers_in_words(list(rows['layer']))} {span}")
    parts += [f"in {layers_in_words(list(own.loc[~sure, 'layer']))}"] if (~sure).any() else []
    return parts + ([f"means of {own['clusters'].max():.0f} clusters"] if clustered else [])


def scores(tables: dict[str, pd.DataFrame], model: str, held_out: bool) -> str:
    """Return how a model's exact match is told on its held-out or its tuned tasks, from the raw tables."""
    rows = tables["similarity"].query("experimental == @model and held_out == @held_out")
    accuracy = tables["evaluation"].set_index(["task", "model"])["accuracy"].unstack().loc[rows["task"].unique()]
    kind, worse = "held-out" if held_out else "tuned", int((accuracy[model] < accuracy["pretrained"]).sum())
    base, tuned = (number(accuracy[name].mean()) for name in ("pretrained", model))
    return f"{base} → {tuned} on {len(accuracy)} {kind} tasks ({worse} worse)"


def check_numbers(tables: dict[str, pd.DataFrame], findings: Findings) -> list[list[str]]:
    """Return the parts with numbers of the four sentences on whether to believe the headline."""
    accuracy = tables["evaluation"].query("role == 'control'")["accuracy"]
    low, high = number(accuracy.min()), number(accuracy.max())
    weak = tables["evaluation"].query("role == 'control' and accuracy < 0.5")["task"].tolist()
    alike = tables["similarity"].query("relation == 'ceiling' and estimator == @findings.estimator")
    alike = alike.groupby("task")["value"].mean()
    span = f"from {number(alike.min())} to {number(alike.max())}"
    read = findings.encoded[findings.encoded["estimator"].eq(findings.estimator)].select_dtypes("number")
    pairs = [read[["value", name]].dropna().to_numpy(float).T for name in RIVALS if name in read]
    rivals: list[dict[str, Any]] = [correlation(*pair, "spearman") for pair in pairs if pair.size]
    sure = [each for each in rivals if each["reason"] is None and not each["low"] <= 0 <= each["high"]]
    agree = findings.dose_readings.dropna(subset=["agree"])
    return [
        [
            f"{len(accuracy)} specialists",
            f"at {low if low == high else f'{low} to {high}'} exact",
            *(
                [f"; {len(weak)} that count as learned get less than half of their", f"({listed(weak)})"]
                if weak
                else []
            ),
        ],
        [f"{number(alike.median())} (median of {len(alike)} tasks, {span})"],
        [f"{signed(each['correlation'])} [{number(each['low'])}, {number(each['high'])}]" for each in sure],
        [f"on {agree['agree'].astype(bool).sum()} of {len(agree)} tasks"] if len(agree) else [],
    ]


@pytest.mark.parametrize("made_by", [lambda: world(tasks=24, layers=12, held_out=8), lambda: small(24, L=6)])
def test_every_number_of_every_kind_of_sentence_is_that_of_its_row(made_by: Callable[[], Any]) -> None:
    tables = made_by()
    findings = analyse(tables)
    read = findings.encoded.query("estimator == @findings.estimator")["value"].dropna().to_numpy(float)
    unseen = bool(tables["similarity"]["held_out"].any())
    tuned = "sft-unseen" if unseen else "sft"
    kinds = [
        change_numbers(findings, "sft", TUNED),
        *([change_numbers(findings, tuned, f"held out of {tuned}")] if unseen else []),
        [scores(tables, tuned, held_out) for held_out in ((False, True) if unseen else (False,))],
        [f"{number(np.median(read))} [{', '.join(map(number, interval(read)))}] of 1", f"{len(read)} tasks"],
    ][:3] + check_numbers(tables, findings)
    told = headline(findings)
    sentences = [*(point.sentence for point in told.points), *(check.sentence for check in told.checks)]
    for sentence, parts in zip(sentences, kinds, strict=True):
        rest = sentence
        for part in parts:
            assert part in sentence
            rest = rest.replace(part, "")
        assert not re.search(r"\d", rest), f"a number that no table has: {rest!r} of {sentence!r}"


def test_the_layers_of_the_headline_are_those_with_a_sure_change() -> None:
    findings = studied()
    table = findings.common_change.query(
        "estimator == @findings.estimator and group == 'tuned' and cluster_q_value < .05"
    )
    changed = sorted(set(table.loc[table["experimental"].eq("sft"), "layer"]))
    told = headline(findings)
    assert told.title.startswith(f"Tuning changed {layers_in_words(changed)}")
    own = table[table["experimental"].eq("sft") & table["median"].gt(0)]
    assert f"sft, on 16 tasks that all tuned models saw, moves towards the specialists in " \
           f"{layers_in_words(list(own['layer']))} (" in told.points[0].sentence  # fmt: skip


def test_models_are_compared_on_the_same_tasks_only() -> None:
    tables = world(tasks=24, layers=4, held_out=8)
    findings = analyse(tables)
    groups = common_tasks(findings.curves, "pretrained")
    similarity = tables["similarity"]
    unseen = similarity.query("experimental == 'sft-unseen' and held_out")["task"].unique()
    assert groups == {
        TUNED: sorted(set(similarity["task"]) - set(unseen)),
        "held out of sft-unseen": sorted(unseen),
    }
    assert findings.common_change.groupby("group")["tasks"].unique().map(list).to_dict() == {
        TUNED: [16],
        "held out of sft-unseen": [8],
    }


def test_a_paired_median_is_not_a_difference_of_medians() -> None:
    findings = studied()
    name = findings.estimator  # noqa: F841  # used in the queries
    curves = findings.curves.query("estimator == @name and relation == 'control' and layer == 12")
    wide = curves.pivot(index="task", columns="experimental", values="value").loc[
        common_tasks(findings.curves, "pretrained")[TUNED]
    ]
    row = findings.common_change.query(
        "estimator == @name and group == 'tuned' and layer == 12 and experimental == 'sft'"
    ).iloc[0]
    assert row["median"] == pytest.approx((wide["sft"] - wide["pretrained"]).median())
    assert row["median"] != pytest.approx(wide["sft"].median() - wide["pretrained"].median(), abs=1e-4)


def test_a_rise_without_flats_is_called_gradual_in_the_headline() -> None:
    smooth = 0.3 / (1 + np.exp(-(np.arange(12) - 5.5) / 1.5))
    findings = analyse(small(24, L=12, gain=smooth))
    row = findings.sections.query("estimator == @findings.estimator").iloc[0]
    words = f"gradual from layer {row['gradual_from']:.0f} to {row['gradual_to']:.0f}"
    assert headline(findings).title == f"Tuning changed layers 2-12, {words}"
    assert any(f"sft has no sections, but a rise that is {words}: " in sentence for _, sentence in findings.answers)


def test_below_six_tasks_no_sentence_has_an_interval() -> None:
    few, enough = analyse(small(5, L=6)), analyse(small(6, L=6))
    assert not [sentence for _, sentence in few.answers if "[" in sentence and "Caution" not in sentence]
    assert [sentence for _, sentence in enough.answers if "of 1 to its specialists" in sentence and "[" in sentence]


def test_without_sham_controls_nothing_is_said_of_a_null() -> None:
    tables = small(8, L=6)
    with_shams = " ".join(sentence for _, sentence in analyse(tables).answers)
    tables["similarity"] = tables["similarity"].query("relation != 'sham'")
    without = " ".join(sentence for _, sentence in analyse(tables).answers)
    assert "like its sham control" in with_shams
    assert "sham" not in without and "other tasks" not in without


def test_too_few_tasks_are_told_not_hidden() -> None:
    told = headline(analyse(small(4, L=6)))
    assert told.title == "Too few tasks to test what tuning changed"
    assert "cannot be tested (4 tasks" in told.points[0].sentence


def test_no_change_is_said_as_not_detected() -> None:
    told = headline(analyse(small(12, L=6, gain=steps(6, (2, 4), (0, 0, 0)))))
    assert "No change" in told.title and "was detected" in told.title


def test_nothing_gives_a_headline_that_says_so() -> None:
    told = headline(analyse({}))
    assert told.points == () and "what this study cannot say" in told.title
    assert {check.state for check in told.checks} == {"unknown"}


def test_controls_stopped_at_their_limit_are_the_caution() -> None:
    tables = world(tasks=12, layers=4, held_out=0)
    adapters = tables["adapters"]
    stopped = adapters["adapter"].isin(["control-task03-seed0", "control-task05-seed1"])
    tables["adapters"] = adapters.assign(stopped_because=np.where(stopped, "limit", "criterion"))
    told = headline(analyse(tables))
    accuracy = tables["evaluation"].set_index("model").loc[adapters.loc[stopped, "adapter"], "accuracy"]
    low, high = number(accuracy.min()), number(accuracy.max())
    assert told.caution == (
        f"22 of 24 specialists met their target; 2 stopped at the step limit at {low} to {high} exact match "
        "(task03 and task05)."
    )


def test_performance_pairs_base_model_and_specialist_and_counts_the_worse() -> None:
    tables = world(tasks=8, layers=3, held_out=2)
    evaluation = tables["evaluation"]
    worse = evaluation["model"].eq("sft") & evaluation["task"].eq("task01")
    tables["evaluation"] = evaluation.assign(accuracy=evaluation["accuracy"].mask(worse, 0.0))
    findings = analyse(tables)
    row = findings.performance.query("experimental == 'sft' and task == 'task01'").iloc[0]
    by = tables["evaluation"].set_index(["model", "task"])["accuracy"]
    assert row["base_accuracy"] == by["pretrained", "task01"] and row["tuned_accuracy"] == 0
    assert row["control_accuracy"] == pytest.approx(
        (by["control-task01-seed0", "task01"] + by["control-task01-seed1", "task01"]) / 2
    )
    sft = findings.performance_summary.query("experimental == 'sft'").iloc[0]
    assert (sft["tasks"], sft["worse"], sft["surely_worse"]) == (8, 1, int(row["high"] < 0))
    unseen = findings.performance_summary.query("experimental == 'sft-unseen'").set_index("held_out")["tasks"]
    assert unseen.to_dict() == {True: 2, False: 6}


def test_the_interval_of_a_gain_is_newcombes() -> None:
    low, high = newcombe(np.array([56 / 70]), np.array([48 / 80]), np.array([75.0]))
    one, other = (stats.binomtest(k, 75).proportion_ci(method="wilson") for k in (60, 45))
    d = 0.2
    assert low[0] == pytest.approx(d - np.hypot(0.8 - one.low, other.high - 0.6))
    assert high[0] == pytest.approx(d + np.hypot(one.high - 0.8, 0.6 - other.low))


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [(0.6, ".60", "+.60"), (-0.285, "-.28", "-.28"), (1, "1.00", "+1.00"), (-0.0004, ".00", ".00"),
     (1.5, "1.50", "+1.50"),     (0.999, "1.00", "+1.00"), (12.345, "12.35", "+12.35")],
)  # fmt: skip
def test_numbers_have_two_decimals_and_no_leading_zero(value: float, plain: str, with_sign: str) -> None:
    assert (number(value), signed(value)) == (plain, with_sign)


def test_layers_and_lists_read_as_people_write_them() -> None:
    assert layers_in_words([8]) == "layer 8"
    assert layers_in_words([5, 6, 7, 8]) == "layers 5-8"
    assert layers_in_words([7, 1, 2, 9]) == "layers 1-2, 7 and 9"
    assert listed("abc") == "a, b and c" and listed([]) == ""
    assert listed(range(9), most=3) == "0, 1 and 7 more"


def test_a_run_without_scores_has_no_row_of_performance() -> None:
    tables = world(tasks=4, layers=3, held_out=0)
    del tables["evaluation"]
    findings = analyse(tables)
    assert findings.performance.empty and isinstance(findings.performance_summary, pd.DataFrame)
