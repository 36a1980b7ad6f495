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
from mossa.analysis.correlates import correlation
from mossa.analysis.distribution import describe
from mossa.analysis.over_tasks import adjust, wilcoxon
from tests.analysis.worlds import world

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
    ("loss", "base_loss", "learned"), [(0.95, 1.0, True), (0.96, 1.0, False), (0.09, 0.05, True), (1.2, 1.0, False)]
)
def test_the_rule_is_five_percent_or_a_known_task(loss, base_loss, learned):
    tables = world(3)
    evaluation = tables["evaluation"]
    evaluation.loc[evaluation["model"] == "control-task00-seed0", "loss"] = loss
    evaluation.loc[evaluation["model"] == "pretrained", "loss"] = base_loss
    controls = analyse(tables).controls.set_index("reference")
    assert controls.loc["control-task00-seed0", "learned"] == learned


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


def test_share_of_the_ceiling_and_rank_of_a_known_world():
    found = read(analyse(world(9, noise=0.0)).encoded).set_index("task")
    expected = 0.6 + 0.01 * np.arange(9)
    np.testing.assert_allclose(found["value"], expected)
    np.testing.assert_allclose(found["share"], expected / 0.9)
    np.testing.assert_allclose(found["above_others"], 0.2)
    assert list(found["rank"]) == list(range(9, 0, -1))
    assert (found["rank_low"] <= found["rank"]).all()
    assert (found["rank"] <= found["rank_high"]).all()
    assert (found["base_loss"] == 2.0).all()
    assert found["distance"].to_numpy() == pytest.approx(np.full(9, 0.3))


def test_the_interval_of_the_share_covers_what_independent_draws_give():
    rng = np.random.default_rng(0)
    ratios = (0.6 + 0.01 * rng.normal(size=200_000)) / (0.9 + 0.01 * rng.normal(size=200_000))
    low, high = np.quantile(ratios, [0.025, 0.975])
    row = read(analyse(world(3, noise=0.0)).encoded_layers, task="task00", layer=1).iloc[0]
    assert row["share_low"] == pytest.approx(low, abs=1e-3)
    assert row["share_high"] == pytest.approx(high, abs=1e-3)


def test_ranks_are_by_value_where_some_task_has_no_ceiling():
    tables = world(6)
    tables["similarity"] = tables["similarity"].query("not (relation == 'ceiling' and task == 'task05')")
    found = read(analyse(tables).encoded).set_index("task")
    assert np.isnan(found.loc["task05", "share"])
    assert found.loc["task05", "rank"] == 1
    assert found["rank"].notna().all()


def test_clusters_are_ranked_by_their_mean():
    found = read(analyse(world(7, noise=0.0)).encoded_clusters).set_index("cluster")
    np.testing.assert_allclose(found["value"], [0.61, 0.64, 0.66])
    assert list(found["rank"]) == [3, 2, 1]
    assert found["low"].notna().tolist() == [True, True, False]


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
    np.testing.assert_allclose(found["mean"], 0.2)
    assert list(found["tasks"]) == list(found["closer"]) == [3, 3, 1]
    assert found["low"].notna().tolist() == [True, True, False]


def test_unseen_tasks_stand_beside_the_seen():
    tables = world(16, gain=0.3, held_out=6)
    similarity = tables["similarity"]
    unseen = (similarity["experimental"] == "sft") & similarity["held_out"] & (similarity["relation"] == "control")
    tables["similarity"] = similarity.assign(value=similarity["value"] - 0.2 * unseen)
    row = read(analyse(tables).unseen, layer=4).iloc[0]
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
