"""The tables read off a run whose answers are known, against hand calculation and independent implementations."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.cbook import boxplot_stats
from scipy import stats

from mossa.analysis import analyse
from mossa.analysis.controls import Bar
from mossa.analysis.correlates import correlation
from mossa.analysis.curves import describe
from mossa.analysis.over_tasks import adjust, wilcoxon
from tests.analysis.synthetic import world

READ = "cka-linear-debiased"


def read(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Return the rows with these values, for the estimator read by default."""
    for column, value in {"estimator": READ, **where}.items():
        table = table[table[column] == value]
    assert len(table)
    return table


# The distribution over tasks (figures 2, 3 and 7).


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(-1, 1)))
def test_boxes_are_those_of_matplotlib(values):
    ours, theirs = describe(pd.Series(values)), boxplot_stats(values)[0]
    for name, other in {"median": "med", "q1": "q1", "q3": "q3", "mean": "mean"}.items():
        assert ours[name] == pytest.approx(theirs[other], abs=1e-12)
    assert (ours["minimum"], ours["maximum"], ours["tasks"]) == (values.min(), values.max(), len(values))
    # matplotlib ends a whisker at the box where no point lies between; the furthest point inside is then beyond it.
    assert min(ours["whisker_low"], ours["q1"]) == pytest.approx(theirs["whislo"], abs=1e-12)
    assert max(ours["whisker_high"], ours["q3"]) == pytest.approx(theirs["whishi"], abs=1e-12)


def test_undefined_tasks_are_counted_not_drawn():
    row = describe(pd.Series([0.1, np.nan, 0.3]))
    assert (row["tasks"], row["undefined"], row["median"]) == (2, 1, pytest.approx(0.2))
    assert describe(pd.Series([np.nan]))["reason"] == "no task has a defined value here"


def test_figure_7_has_every_model_on_the_same_held_out_tasks():
    tables = world(12, held_out=4)
    found = analyse(tables).distribution
    rows = found[(found["population"] == "held_out") & (found["relation"] == "control")]
    assert set(rows["experimental"]) == {"pretrained", "sft"}
    assert set(rows["tasks"]) == {4}
    assert set(rows["split_by"]) == {"sft"}
    values = tables["similarity"].query(
        "experimental == 'pretrained' and relation == 'control' and task >= 'task08' and layer == 5"
    )
    at_5 = read(rows, experimental="pretrained", layer=5)
    assert at_5["median"].item() == pytest.approx(values[values["estimator"] == READ]["value"].median())


def test_clusters_hold_their_own_tasks():
    found = read(analyse(world(7)).cluster_distribution, experimental="sft", relation="control", layer=1)
    assert dict(zip(found["cluster"], found["tasks"], strict=True)) == {"cluster0": 3, "cluster1": 3, "cluster2": 1}


# Controls that did not learn.


def test_a_control_that_did_not_learn_is_flagged_and_read_nowhere():
    findings = analyse(world(12, failed=2))
    failed = findings.controls[findings.controls["learned"].eq(False)]
    assert list(failed["reference"]) == ["control-task00-seed0", "control-task01-seed0"]
    assert failed["reason"].str.contains("1.990 against the base's 2.000").all()
    curves = findings.curves[findings.curves["task"].isin(["task00", "task01"])]
    assert curves.loc[curves["relation"].isin(["control", "ceiling"]), "value"].isna().all()
    assert curves.loc[curves["value"].isna(), "reason"].eq("no control compared here learned its task").all()
    assert set(read(findings.change, population="all")["tasks"]) == {10}
    assert any("2 of 24 controls did not learn" in sentence for sentence in findings.missing)


def test_another_tasks_failed_control_does_not_count_as_a_null():
    curves = analyse(world(12, failed=1)).curves
    null = read(curves, experimental="pretrained", relation="other_control", task="task11", layer=1)
    assert null["value"].isna().all()
    assert (null["left_out"] == 1).all()


@pytest.mark.parametrize(
    ("bar", "loss", "base_loss", "learned"),
    [
        (Bar(), 0.95, 1.0, True),
        (Bar(), 0.96, 1.0, False),
        (Bar(), 0.09, 0.05, True),
        (Bar(), 1.2, 1.0, False),
        (Bar("relative_drop", 0.5), 0.6, 1.0, False),
        (Bar("relative_drop", 0.5), 0.5, 1.0, True),
        (Bar("loss", 0.7), 0.7, 5.0, True),
        (Bar("loss", 0.7), 0.71, 5.0, False),
        (Bar("exact_match", 0.5), 9.0, 1.0, True),
        (Bar("exact_match", 0.6), 0.0, 1.0, False),
    ],
)
def test_the_bar_is_the_one_asked_for(bar, loss, base_loss, learned):
    tables = world(3)  # exact match is .5 throughout
    evaluation = tables["evaluation"]
    evaluation.loc[evaluation["model"] == "control-task00-seed0", "loss"] = loss
    evaluation.loc[evaluation["model"] == "pretrained", "loss"] = base_loss
    controls = analyse(tables, bar=bar).controls.set_index("reference")
    assert controls.loc["control-task00-seed0", "learned"] == learned
    assert (controls["rule"] == bar.rule).all()


def test_training_that_reached_its_own_criterion_has_learned():
    tables = world(3)
    tables["adapters"].loc[tables["adapters"]["adapter"] == "control-task00-seed0", "stopped_because"] = "criterion"
    found = analyse(tables, bar=Bar("loss", 0.2, criterion=True)).controls.set_index("reference")["learned"]
    assert found["control-task00-seed0"] and not found["control-task01-seed0"]


def test_tasks_that_the_tuned_model_did_not_learn_are_marked():
    tables = world(9)
    evaluation = tables["evaluation"]
    evaluation.loc[(evaluation["model"] == "sft") & (evaluation["task"] == "task04"), "loss"] = 2.0
    findings = analyse(tables)
    tuned = findings.tuned.set_index("task")["learned"]
    assert not tuned["task04"] and tuned.drop("task04").all()
    for table in (findings.task_change, findings.dose_readings):
        assert set(table.loc[~table["learned"].astype(bool), "task"]) == {"task04"}
    assert any(
        "sft did not learn 1 of 9 tasks by the bar of the specialists (task04)" in each for each in findings.missing
    )


def test_controls_without_an_evaluation_are_kept_and_that_is_said():
    tables = world(6)
    tables["evaluation"] = tables["evaluation"].query("role != 'control'")
    findings = analyse(tables)
    assert findings.controls["learned"].isna().all()
    assert findings.curves["value"].notna().all()
    assert any("Whether 12 of 12 controls learned is not known" in sentence for sentence in findings.missing)


def test_seeds_are_averaged():
    tables = world(3)
    own = tables["similarity"].query("relation == 'control'")
    second = own.assign(reference=own["reference"].str.replace("seed0", "seed1"), value=own["value"] + 0.1)
    tables["similarity"] = pd.concat([tables["similarity"], second])
    single, double = analyse(world(3)), analyse(tables)
    a, b = (read(f.curves, relation="control", experimental="sft")["value"].to_numpy() for f in (single, double))
    np.testing.assert_allclose(b, a + 0.05)
    assert set(read(double.curves, relation="control")["references"]) == {2}


def test_a_difference_against_other_controls_is_not_taken():
    tables = world(9)
    similarity = tables["similarity"]
    extra = similarity.query("experimental == 'sft' and relation == 'control' and task == 'task00'")
    extra = extra.assign(reference="control-task00-seed1")
    tables["similarity"] = pd.concat([similarity, extra])
    found = read(analyse(tables).change, population="all")
    assert set(found["tasks"]) == {8}
    assert set(found["undefined"]) == {1}


# Encoded by the base (RQ1).


def test_share_of_the_agreement_and_rank_of_a_known_world():
    found = read(analyse(world(9, noise=0.0)).encoded).set_index("task")
    expected = 0.6 + 0.01 * np.arange(9)
    np.testing.assert_allclose(found["value"], expected)
    np.testing.assert_allclose(found["share"], expected / 0.9**0.5)
    np.testing.assert_allclose(found["above_sham"], 0.1)
    assert list(found["rank"]) == list(range(9, 0, -1))
    assert (found["rank_low"] <= found["rank"]).all()
    assert (found["rank"] <= found["rank_high"]).all()
    assert (found["base_loss"] == 2.0).all()
    assert found["distance"].to_numpy() == pytest.approx(np.full(9, 0.3))


def test_the_interval_of_the_share_covers_what_independent_draws_give():
    rng = np.random.default_rng(0)
    ratios = (0.6 + 0.01 * rng.normal(size=200_000)) / (0.9 + 0.01 * rng.normal(size=200_000)) ** 0.5
    low, high = np.quantile(ratios, [0.025, 0.975])
    row = read(analyse(world(3, noise=0.0)).encoded_layers, task="task00", layer=1).iloc[0]
    assert row["share_low"] == pytest.approx(low, abs=1e-3)
    assert row["share_high"] == pytest.approx(high, abs=1e-3)


@pytest.mark.parametrize("agreement", [None, 0.05])
def test_a_task_without_a_share_moves_no_rank(agreement):
    tables = world(6)
    before = read(analyse(tables).encoded).set_index("task")
    similarity = tables["similarity"]
    of_one = (similarity["relation"] == "ceiling") & (similarity["task"] == "task05")
    changed = (
        similarity.assign(value=similarity["value"].where(~of_one, agreement)) if agreement else similarity[~of_one]
    )
    found = read(analyse(tables | {"similarity": changed}).encoded).set_index("task")
    assert np.isnan(found.loc["task05", "share"])
    pd.testing.assert_series_equal(found["rank"], before["rank"])


def test_clusters_are_ranked_only_where_each_has_an_interval():
    few = read(analyse(world(7, noise=0.0)).encoded_clusters).set_index("cluster")
    np.testing.assert_allclose(few["value"], [0.61, 0.64, 0.66])
    assert few["rank"].isna().all() and few["low"].isna().all()
    many = read(analyse(clustered(world(14, noise=0.0), 2)).encoded_clusters).set_index("cluster")
    assert list(many["rank"]) == [2, 1] and many["low"].notna().all()


def clustered(tables: dict[str, pd.DataFrame], clusters: int) -> dict[str, pd.DataFrame]:
    """Return the same run with its tasks in this many clusters of neighbours."""
    names = sorted(tables["tasks"]["task"])
    cluster = {name: f"cluster{place * clusters // len(names)}" for place, name in enumerate(names)}
    return {
        name: table.assign(cluster=table["task"].map(cluster)) if "cluster" in table else table
        for name, table in tables.items()
    }


def test_the_base_is_read_beside_a_sham_control_and_no_other_task():
    tables = world(9)
    tables["similarity"] = tables["similarity"].query("relation != 'sham'")
    findings = analyse(tables)
    assert findings.encoded["above_sham"].isna().all()
    assert not any("sham" in sentence for _, sentence in findings.answers)
    assert any(
        "more like a task's specialist than like its sham control" in each for _, each in analyse(world(9)).answers
    )


# Changed by instruction tuning (RQ2), and on unseen tasks (RQ3).


def test_a_planted_gain_is_found_with_its_tests():
    tables = world(9, gain=0.2)
    row = read(analyse(tables).change, population="all", layer=3).iloc[0]
    at_3 = tables["difference"].query("layer == 3 and estimator == @READ")["difference"]
    assert row["median"] == pytest.approx(at_3.median())
    assert row["p_value"] == pytest.approx(2 / 2**9)
    assert row["closer"] == 9
    assert row["low"] <= row["median"] <= row["high"]


def test_no_gain_is_mostly_not_significant():
    found = read(analyse(world(20, gain=0.0, L=24)).change, population="all")
    assert (found["q_value"] < 0.05).sum() == 0


def test_too_few_tasks_and_equal_models_have_a_reason_instead_of_a_p_value():
    assert wilcoxon(np.ones(5))[1] == "5 tasks; the signed-rank test needs 6 to reach p < .05"
    assert wilcoxon(np.zeros(9))[1] == "every difference is zero"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_q_values_follow_benjamini_and_hochberg(p_values):
    q = adjust(pd.Series([*p_values, np.nan]))
    assert np.isnan(q.iloc[-1])
    ordered = np.sort(p_values)
    m = len(ordered)
    for p, ours in zip(p_values, q, strict=False):
        expected = min(ordered[k] * m / (k + 1) for k in range(m) if ordered[k] >= p)
        assert ours == pytest.approx(min(expected, 1.0))


def test_clusters_of_change():
    found = read(analyse(world(7, gain=0.2, noise=0.0)).cluster_change).set_index("cluster")
    np.testing.assert_allclose(found["median"], 0.2)
    assert list(found["tasks"]) == list(found["closer"]) == [3, 3, 1]
    assert found["low"].isna().all()


def test_unseen_tasks_stand_beside_the_seen():
    tables = world(16, gain=0.3, held_out=6)
    similarity = tables["similarity"]
    unseen = (similarity["experimental"] == "sft") & similarity["held_out"] & (similarity["relation"] == "control")
    tables["similarity"] = similarity.assign(value=similarity["value"] - 0.2 * unseen)
    row = read(analyse(tables).unseen, layer=4, other="pretrained").iloc[0]
    assert (row["tasks"], row["seen_tasks"]) == (6, 10)
    assert row["gap"] == pytest.approx(-0.2, abs=0.03)
    assert row["gap_low"] < row["gap"] < row["gap_high"] < 0
    assert row["gap_p_value"] == pytest.approx(stats.mannwhitneyu(range(6), range(6, 16)).pvalue)
    assert analyse(world(6)).unseen.empty


def test_each_task_has_a_normal_test_of_its_difference():
    found = read(analyse(world(3, gain=0.2)).task_change).dropna(subset="p_value")
    z = (found["difference"] / 0.01).to_numpy()
    np.testing.assert_allclose(found["p_value"], stats.chi2.sf(z**2, 1), rtol=1e-9)


# Dimensionality (figure 5), dose, correlates (figure 6).


def test_dimensionality_is_the_mean_over_tasks():
    found = analyse(world(9)).dimensionality.set_index(["model", "layer"])
    assert found.loc[("pretrained", 3), "dimensions_99"] == 10 + 3 + 4
    assert found.loc[("sft", 3), "difference"] == found.loc[("sft", 3), "difference_low"] == 7
    assert found.loc[("control", 3), "dimensions_99"] == 10 + 3 + 4 + 3
    assert np.isnan(found.loc[("pretrained", 3), "difference"])


def test_dose_stands_beside_the_similarity_of_the_base():
    found = read(analyse(world(6, noise=0.0)).dose).set_index("reference")
    row = found.loc["control-task02-seed0"]
    assert (row["steps"], row["update_norm"]) == (50, 5)
    assert row["distance"] == pytest.approx(0.3)
    assert row["base_similarity"] == pytest.approx(0.62)


def test_the_dose_confound_shows_as_disagreement():
    """E drifts from lightly trained controls, so it looks far; its changes are still theirs."""
    findings = analyse(world(9, base=0.84, gain=-0.12))
    assert not findings.dose_readings["agree"].astype(bool).any()
    assert set(findings.dose_readings["paper_says"]) == {"not closer"}
    assert set(findings.dose_readings["shift_says"]) == {"closer"}
    assert any("disagree on 9 of 9 tasks" in sentence for _, sentence in findings.answers)


def test_two_readings_within_their_errors_neither_agree_nor_disagree():
    found = analyse(world(9, gain=0.0, noise=0.0)).dose_readings
    assert found["agree"].isna().all() and found["paper_says"].isna().all()
    assert found["reason"].str.contains("includes zero").all()


def test_a_contrast_with_a_model_that_saw_the_tasks_is_paired_over_them():
    """The tuned model and one without 8 tasks: -.18 on those, nothing on the rest, though tasks differ by far more."""
    tables = world(16, held_out=8, noise=0.01)
    similarity = tables["similarity"]
    sft = similarity[(similarity["experimental"] == "sft") & ~similarity["estimator"].str.startswith("shift")]
    rng = np.random.default_rng(1)
    saw_all = sft.assign(
        experimental="all",
        held_out=False,
        value=sft["value"] + 0.18 * sft["held_out"] + 0.01 * rng.normal(size=len(sft)),
    )
    found = analyse(tables | {"similarity": pd.concat([similarity, saw_all])})
    row = read(found.unseen_overall, experimental="sft", other="all").iloc[0]
    assert row["median"] == pytest.approx(-0.18, abs=0.01)
    assert (row["tasks"], row["seen_tasks"]) == (8, 8)
    assert row["p_value"] == pytest.approx(2 / 2**8)
    assert row["gap"] == pytest.approx(-0.18, abs=0.01) and row["gap_high"] < 0
    assert any("sft minus all, which saw them, on the same 8 held-out tasks" in each for _, each in found.answers)
    assert len(found.unseen.query("other == 'all'")) == 12  # six layers, two estimators


def test_without_similarities_of_changes_the_reason_is_given():
    tables = world(6)
    tables["similarity"] = tables["similarity"].query("not estimator.str.startswith('shift-')")
    findings = analyse(tables)
    assert findings.dose_readings["agree"].isna().all()
    assert findings.dose_readings["reason"].str.contains("no similarity of changes").all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(5, 40))
def test_pearson_and_its_interval_are_scipys(seed, T):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, T))
    ours, theirs = correlation(x, x + y, "pearson"), stats.pearsonr(x, x + y)
    low, high = theirs.confidence_interval(0.95)
    assert ours["correlation"] == pytest.approx(theirs.statistic)
    assert (ours["low"], ours["high"]) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000))
def test_spearman_sees_only_the_order(seed):
    x, y = np.random.default_rng(seed).normal(size=(2, 12))
    assert correlation(x, y, "spearman") == correlation(np.exp(x), y**3, "spearman")


def test_perfect_correlation_and_a_constant_side():
    x = np.arange(8.0)
    assert correlation(x, 3 * x - 1, "pearson")["correlation"] == pytest.approx(1.0)
    assert correlation(x, x * 0 + 0.1, "pearson")["reason"] == "one side is the same for every task"
    assert correlation(x[:4], x[:4], "spearman")["reason"] == "4 tasks have both values; 5 are needed"


def test_a_planted_correlate_is_found_and_a_constant_one_has_a_reason():
    found = analyse(world(12, noise=0.001)).correlates
    grade = read(found, experimental="pretrained", correlate="flesch_kincaid", method="pearson")
    assert (grade["correlation"] > 0.99).all()
    assert (grade["q_value"] < 0.001).all()
    loss = read(found, experimental="pretrained", correlate="base_loss", method="pearson")
    assert loss["correlation"].isna().all()
    assert loss["reason"].eq("one side is the same for every task").all()
