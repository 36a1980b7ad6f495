"""The whole of it: the same findings from the same tables, and what is possible from bad ones."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mossa.analysis import Findings, analyse
from mossa.errors import DataError
from tests.analysis.synthetic import ramp, world

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "analysis.md"


def frames(findings: Findings) -> dict[str, pd.DataFrame]:
    """Return the tables of the findings by name."""
    found = {field.name: getattr(findings, field.name) for field in fields(findings)}
    return {name: value for name, value in found.items() if isinstance(value, pd.DataFrame)}


def said(findings: Findings, question: str) -> str:
    """Return everything said to one question."""
    return " ".join(sentence for name, sentence in findings.answers if name == question)


def test_a_full_run_answers_all_three_questions_with_numbers():
    findings = analyse(world(24, L=12, gain=ramp(12, (4, 8), 0.25), held_out=8, noise=0.0))
    assert "the base is at .71 [.67, .76] of 1" in said(findings, "rq1")
    assert "agree to .90 [.90, .90] (24 tasks)" in said(findings, "rq1")
    assert "to that agreement, the base is at .75 [.70, .80] of 1 (24 tasks)" in said(findings, "rq1")
    assert "than like its sham control, trained on shuffled answers (by .10 [.10, .10], 24 tasks" in said(
        findings, "rq1"
    )
    assert "Most like its specialist: task23 (.83, rank 1-3); least: task00 (.60, rank 22-24)." in said(findings, "rq1")
    assert "shared to layer 4 [4, 4] and transition to layer 8 [8, 8], then refinement to layer 12" in said(
        findings, "rq2"
    )
    assert "moves towards the specialists in layers 5-12 (+.05 to +.25 [.25, .25] at layer 9)" in said(findings, "rq2")
    assert "Tested over the means of 6 clusters." in said(findings, "rq2")
    assert "on 8 tasks held out of it, moves towards the specialists in layers 5-12" in said(findings, "rq3")
    assert "sft minus the base, on the same 8 held-out tasks: median +.12 [.12, .13]" in said(findings, "rq3")
    assert "nan" not in str(findings.answers)
    assert "None" not in str(findings.answers)


def test_the_order_of_the_rows_changes_nothing():
    tables = world(9, held_out=3, failed=1)
    shuffled = {name: table.sample(frac=1, random_state=3) for name, table in tables.items()}
    one, other = analyse(tables), analyse(shuffled)
    assert one.answers == other.answers
    assert one.missing == other.missing
    for name, table in frames(one).items():
        pd.testing.assert_frame_equal(table, frames(other)[name])


def test_the_tables_given_are_left_as_they_were():
    tables = world(6, held_out=2, failed=1)
    before = {name: table.copy() for name, table in tables.items()}
    analyse(tables)
    for name, table in tables.items():
        pd.testing.assert_frame_equal(table, before[name])


def test_a_null_value_always_has_a_reason():
    tables = world(9, held_out=3, failed=2)
    similarity = tables["similarity"]
    gone = (similarity["task"] == "task04") & (similarity["layer"] == 2)
    tables["similarity"] = similarity.assign(
        value=similarity["value"].where(~gone), reason=np.where(gone, "does not vary", None)
    )
    findings = analyse(tables)
    for name, value in {
        "curves": "value",
        "encoded": "value",
        "encoded_layers": "value",
        "distribution": "median",
        "cluster_distribution": "median",
        "task_change": "difference",
        "change": "p_value",
        "unseen": "p_value",
        "correlates": "correlation",
        "dose_readings": "agree",
        "dimensionality": "dimensions_99",
        "controls": "learned",
    }.items():
        table = frames(findings)[name]
        null = table[value].isna()
        assert table.loc[null, "reason"].notna().all(), name
    assert findings.curves["reason"].eq("does not vary").sum() > 0


@pytest.mark.parametrize("absent", ["similarity", "difference", "evaluation", "adapters", "spectrum", "tasks"])
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_any_table_may_be_absent_or_empty(absent, how):
    tables = world(6, held_out=2)
    tables[absent] = tables[absent].head(0)
    if how == "absent":
        del tables[absent]
    findings = analyse(tables)
    assert findings.missing
    assert bool(findings.answers) == (absent != "similarity")


def test_nothing_gives_only_what_is_missing():
    findings = analyse({})
    assert findings.answers == ()
    assert findings.estimator is None
    assert findings.missing[0] == "There are no similarities, so none of the three questions has an answer."
    assert all(table.empty for table in frames(findings).values())


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        (world(1), "There is only one task (task00)"),
        (world(3), "There is only one cluster (cluster0)"),
        (world(6, L=1), "There is only one layer (1)"),
        (world(6), "No task was held out"),
        (world(12, failed=12), "12 of 24 controls did not learn"),
    ],
)
def test_a_small_study_gives_what_it_can_and_says_what_is_missing(tables, sentence):
    findings = analyse(tables)
    assert any(sentence in missing for missing in findings.missing)
    assert not said(findings, "rq3")


@pytest.mark.parametrize(
    ("without", "sentence"),
    [
        ("experimental == 'pretrained'", "The base 'pretrained' was not compared with the controls (only: sft)"),
        ("experimental == 'sft'", "There is no experimental model besides the base"),
        ("relation == 'ceiling'", "it is not known how far two controls agree"),
        ("estimator.str.startswith('cka')", "All similarities are of changes from the base"),
    ],
)
def test_what_was_not_compared_is_said(without, sentence):
    tables = world(9)
    tables["similarity"] = tables["similarity"].query(f"not ({without})")
    findings = analyse(tables)
    assert any(sentence in missing for missing in findings.missing)
    assert "nan" not in str(findings.answers)


def test_undefined_similarities_are_counted_with_their_reason():
    tables = world(3)
    tables["similarity"] = tables["similarity"].assign(value=None, reason="does not vary")
    findings = analyse(tables)
    assert findings.answers == ()
    # 3 tasks, 6 layers, and two models with two estimators and one more for sft.
    assert "90 of 90 similarities to the controls are undefined: 90 because does not vary." in findings.missing


def test_the_estimator_is_debiased_else_plain_else_the_one_asked_for():
    tables = world(3)
    assert (analyse(tables).estimator, analyse(tables).beside) == ("cka-linear-debiased", "cka-linear")
    plain = analyse(tables, estimator="cka-linear")
    assert (plain.estimator, plain.beside) == ("cka-linear", None)
    tables["similarity"] = tables["similarity"].query("estimator != 'cka-linear-debiased'")
    assert analyse(tables).estimator == "cka-linear"
    with pytest.raises(DataError, match=r"no estimator 'cka-linaer'\. Did you mean 'cka-linear'\?"):
        analyse(tables, estimator="cka-linaer")


def test_a_table_that_breaks_its_contract_is_refused_with_the_place():
    tables = world(3)
    good = tables["similarity"]

    def refused(table: pd.DataFrame, match: str) -> None:
        with pytest.raises(DataError, match=match):
            analyse(tables | {"similarity": table})

    refused(good.drop(columns="layer"), "table 'similarity' has no column 'layer'")
    refused(good.rename(columns={"value": "values"}), "no column 'value'")
    refused(
        pd.concat([good, good.head(1)]),
        "two rows for experimental = pretrained, .*, layer = 1, estimator = cka-linear\\. Keep one",
    )
    refused(good.assign(value="high"), "Row 0 of the table 'similarity' has value = 'high'")
    refused(good.assign(value=np.inf), "value = 'inf', which is not a finite number")
    refused(good.assign(task=[None, *good["task"][1:]]), "Row 0 .* null in its key")
    refused(good.assign(layer=0), "layer = 0.0. Layers are whole numbers from 1")
    refused(good.assign(layer=good["layer"] + 0.5), "layer = 1.5")


def test_tasks_without_a_cluster_are_kept():
    tables = {name: table.copy() for name, table in world(6, noise=0.0).items()}
    for table in tables.values():
        if "cluster" in table:
            table["cluster"] = table["cluster"].where(table["task"] != "task05", None)
    found = analyse(tables)
    assert found.encoded["task"].nunique() == 6
    assert set(found.encoded_clusters["cluster"]) == {"cluster0", "cluster1", "(no cluster)"}
    assert set(found.cluster_distribution["cluster"]) == set(found.encoded_clusters["cluster"])


def test_a_table_without_optional_columns_is_enough():
    needed = ["experimental", "relation", "reference", "task", "cluster", "held_out", "layer", "estimator", "value"]
    findings = analyse({"similarity": world(9, noise=0.0)["similarity"][needed]})
    assert "the base is at .64 [.61, .67] of 1" in said(findings, "rq1")


def test_a_run_read_back_from_parquet_gives_the_same(tmp_path):
    tables = world(6, failed=1)
    for name, table in tables.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    again = analyse({name: pd.read_parquet(tmp_path / f"{name}.parquet") for name in tables})
    assert again.answers == analyse(tables).answers
    assert again.missing == analyse(tables).missing


def test_the_tables_of_the_run_are_handed_through():
    tables = world(3)
    picture = pd.DataFrame({"x": [1.0]})
    findings = analyse(tables | {"projection": picture})
    pd.testing.assert_frame_equal(findings.projection, picture)
    assert not any("projection" in sentence for sentence in findings.missing)


def test_the_documentation_lists_every_table_with_its_columns():
    text = DOCS.read_text(encoding="utf-8")
    for name, table in frames(analyse({})).items():
        if len(table.columns):
            columns = ", ".join(f"`{column}`" for column in table.columns)
            assert f"| `{name}` | {columns} |" in text, f"the page should say: | `{name}` | {columns} |"
