"""What is read off arrays: laws of CKA, planted structure, and bad prompts that are counted."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import PredefinedSplit

from mossa.analysis import affinity, dendrogram, layer_map, projection, separability
from mossa.analysis.prompt_space import separate
from mossa.errors import SimilarityError

CLUSTERS = {f"task{k}": f"cluster{k // 2}" for k in range(6)}


def song_hsic(k: np.ndarray, q: np.ndarray) -> float:
    """Return the unbiased HSIC by the sums of Song et al. (2012), times n (n - 3)."""
    n = len(k)
    k, q = k * (1 - np.eye(n)), q * (1 - np.eye(n))
    return np.trace(k @ q) + k.sum() * q.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * k.sum(0) @ q.sum(0)


def planted(L: int = 3, n: int = 40, d: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Return six tasks in three clusters: layer 1 noise, layer 2 tasks apart, layer 3 clusters apart and tasks too."""
    rng = np.random.default_rng(seed)
    of_cluster, of_task = 8 * rng.normal(size=(3, d)), 4 * rng.normal(size=(6, d))
    made = {}
    for k in range(6):
        x = rng.normal(size=(n, L, d))
        x[:, 1] += of_task[k]
        x[:, 2] += of_cluster[k // 2] + 0.2 * of_task[k]
        made[f"task{k}"] = x
    return made


@pytest.mark.parametrize(("n", "d", "offset"), [(5, 3, 0), (30, 8, 0), (12, 40, 0), (30, 8, 1e4)])
def test_the_map_is_song_et_als_estimator(n, d, offset):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, n, 2, d))
    y = y + 0.5 * x
    found = layer_map(x + offset, y, "a", "b", "task").set_index(["layer", "other_layer"])["value"]
    for (layer, other), value in found.items():
        k, q = (side @ side.T for side in (x[:, layer - 1], y[:, other - 1]))
        expected = song_hsic(k, q) / np.sqrt(song_hsic(k, k) * song_hsic(q, q))
        assert value == pytest.approx(expected, abs=1e-7)


def test_a_map_onto_itself_is_symmetric_with_ones_and_knows_no_rotation_scale_or_shift():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 4, 6))
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    own = layer_map(x, x, "a", "a", "t")["value"].to_numpy().reshape(4, 4)
    np.testing.assert_allclose(np.diag(own), 1)
    np.testing.assert_allclose(own, own.T)
    moved = layer_map(x, 3 * x @ rotation - 7, "a", "b", "t")["value"].to_numpy().reshape(4, 4)
    np.testing.assert_allclose(moved, own, atol=1e-9)


def test_unrelated_layers_have_no_similarity_on_average():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 16, 30, 64))
    assert abs(layer_map(x, y, "a", "b", "t")["value"].mean()) < 0.02


def test_prompts_that_are_not_finite_are_dropped_from_both_sides_and_counted():
    x = np.random.default_rng(0).normal(size=(20, 2, 5))
    y = x.copy()
    x[3, 0, 0], y[7, 1, 2] = np.nan, np.inf
    found = layer_map(x, y, "a", "b", "t")
    assert set(found["n"]) == {18}
    assert set(found["non_finite"]) == {2}
    keep = [i for i in range(20) if i not in (3, 7)]
    np.testing.assert_allclose(found["value"], layer_map(x[keep], y[keep], "a", "b", "t")["value"])


def test_a_map_of_many_prompts_takes_a_thousand_and_says_so():
    x = np.random.default_rng(0).normal(size=(1500, 1, 3))
    found = layer_map(x, x**2, "a", "b", "t")
    taken = np.linspace(0, 1499, 1000).round().astype(int)
    assert found["n"].item() == 1000
    assert found["value"].item() == pytest.approx(layer_map(x[taken], x[taken] ** 2, "a", "b", "t")["value"].item())


def test_a_layer_that_does_not_vary_has_a_reason():
    x = np.random.default_rng(0).normal(size=(20, 2, 5))
    x[:, 0] = 1e3
    found = layer_map(x, x, "a", "b", "t").set_index(["layer", "other_layer"])
    assert found.loc[(2, 2), "value"] == pytest.approx(1)
    assert np.isnan(found.loc[(1, 2), "value"])
    assert "do not vary" in found.loc[(1, 2), "reason"]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(SimilarityError, match=r"'sft' has representations of shape \(9, 2, 5\)"):
        layer_map(np.zeros((10, 2, 5)), np.zeros((9, 2, 5)), "base", "sft", "t")
    with pytest.raises(SimilarityError, match=r"n = 3 prompts \(d = 5\); a comparison needs 4"):
        layer_map(np.zeros((3, 2, 5)), np.zeros((3, 2, 5)), "base", "sft", "t")
    two_depths = {"a": np.zeros((10, 2, 5)), "b": np.zeros((10, 3, 5))}
    with pytest.raises(SimilarityError, match="'b' has 3 layers where 'a' has 2"):
        affinity(two_depths)


def test_tasks_that_share_representations_merge_first():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(3, 30, 2, 8))
    controls = {f"task{k}": shared[k // 2] + 0.3 * rng.normal(size=(30, 2, 8)) for k in range(6)}
    table = affinity(controls)
    square = table[table["layer"] == 1].pivot(index="task", columns="other", values="value").to_numpy()
    np.testing.assert_allclose(square, square.T)
    np.testing.assert_allclose(np.diag(square), 1)
    for layer in (None, 1, 2):
        merges = dendrogram(table, layer)
        assert {frozenset(row.left + row.right) for row in merges.head(3).itertuples()} == {
            frozenset({f"task{k}", f"task{k + 1}"}) for k in (0, 2, 4)
        }
        assert merges["height"].is_monotonic_increasing
        assert merges["tasks"].iloc[-1] == 6


def test_a_control_that_does_not_vary_is_left_out_of_the_dendrogram():
    rng = np.random.default_rng(0)
    controls = {name: rng.normal(size=(20, 1, 4)) for name in "abc"} | {"flat": np.ones((20, 1, 4))}
    table = affinity(controls)
    assert table.loc[table["value"].isna(), "reason"].notna().all()
    assert dendrogram(table, 1)["tasks"].max() == 3
    assert dendrogram(affinity({"a": controls["a"]})).empty
    assert affinity({}).empty


def test_the_projection_keeps_planted_clusters_together_and_repeats_itself():
    made = planted()
    table = projection(made, CLUSTERS, [3], "sft", per_task=20)
    assert len(table) == 6 * 20
    points, clusters = table[["x", "y"]].to_numpy(float), table["cluster"].to_numpy()
    apart = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(len(points), np.inf))
    assert np.mean(clusters[apart.argmin(axis=1)] == clusters) > 0.98
    again = projection(made, CLUSTERS, [3], "sft", per_task=20)
    np.testing.assert_array_equal(again[["x", "y"]], table[["x", "y"]])


def test_the_projection_says_which_prompts_have_no_place():
    made = planted()
    made["task1"][5, 1, 0] = np.nan
    for x in made.values():
        x[:, 0] = 2.0
    table = projection(made, CLUSTERS, [1, 2], "sft")
    assert table.loc[table["layer"] == 1, "reason"].str.contains("do not vary").all()
    second = table[table["layer"] == 2]
    lost = second[second["x"].isna()]
    assert (lost["task"].item(), lost["prompt"].item(), lost["reason"].item()) == ("task1", 5, "not finite")
    assert second["reason"].isna().sum() == 6 * 40 - 1
    with pytest.raises(SimilarityError, match="Layer 4 of task 'task0' is not there; its layers are 1 to 3"):
        projection(made, CLUSTERS, [4], "sft")


def test_separability_measures_what_was_planted():
    table = separability(planted(), CLUSTERS, "sft").set_index(["layer", "label"])
    for label, chance in (("task", 1 / 6), ("cluster", 1 / 3)):
        assert table.loc[(1, label), "accuracy"] == pytest.approx(chance, abs=0.12)
        assert table.loc[(1, label), "silhouette"] < 0.05
        assert table.loc[(1, label), "chance"] == pytest.approx(chance)
        assert table.loc[(3, label), "accuracy"] > 0.9
    # Layer 2 holds tasks but no clusters: only a test on new tasks can tell.
    assert table.loc[(2, "task"), "accuracy"] > 0.95
    assert table.loc[(2, "cluster"), "accuracy"] > 0.95
    assert table.loc[(2, "cluster_of_new_task"), "accuracy"] < 0.7
    assert table.loc[(3, "cluster_of_new_task"), "accuracy"] > 0.95
    assert table.loc[(1, "template"), "reason"] == "no templates are named"


def test_separability_of_templates_is_within_tasks():
    made = planted()
    names = {task: [f"template{i % 2}" for i in range(40)] for task in list(made)[:4]}
    names["task4"] = ["only one"] * 40
    for task in list(made)[:4]:
        made[task][1::2, 1] += 5.0
    table = separability(made, CLUSTERS, "sft", names, layers=[1, 2]).set_index(["layer", "label"])
    row = table.loc[(2, "template")]
    assert (row["chance"], row["tasks"], row["n"]) == (0.5, 4, 160)
    assert row["accuracy"] > 0.95
    assert table.loc[(1, "template"), "accuracy"] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("loudest", [1.0, 1000.0])
def test_many_templates_in_few_prompts_are_told_apart_whatever_one_dimension_does(loudest: float):
    rng = np.random.default_rng(0)
    made = {task: rng.normal(size=(50, 1, 96)) for task in CLUSTERS}
    places = rng.normal(size=(10, 4)) @ rng.normal(size=(4, 96))
    for x in made.values():
        x[:, 0] += places[np.arange(50) % 10]  # ten templates, told apart in four directions of 96
        x[:, 0, 5] *= loudest
        x[:, 0, 6] = 300.0  # and one that does not vary
    names = {task: [f"template{i % 10}" for i in range(50)] for task in made}
    row = separability(made, CLUSTERS, "sft", names).set_index("label").loc["template"]
    assert (row["chance"], row["classes"], row["tasks"]) == (pytest.approx(0.1), 10, 6)
    assert row["accuracy"] > 0.9


def test_separability_needs_two_classes_and_prompts_that_vary():
    one = {"task0": planted()["task0"]}
    table = separability(one, CLUSTERS, "sft", layers=[1]).set_index("label")
    assert (table["reason"].loc[["task", "cluster"]] == "fewer than two classes have enough members").all()
    flat = {task: np.ones((10, 1, 4)) for task in CLUSTERS}
    assert separability(flat, CLUSTERS, "sft")["reason"].iloc[0] == "the representations do not vary over prompts"


def test_a_fold_that_would_learn_from_one_class_gives_a_reason():
    """Older versions of scikit-learn put both tasks of a cluster into one fold."""
    labels = pd.Series(["a"] * 6 + ["b"] * 6)
    folds = PredefinedSplit([0] * 6 + [1] * 6)
    x = np.random.default_rng(0).normal(size=(12, 5))
    row = separate(x, labels, pd.Series([f"t{i // 3}" for i in range(12)]), folds, 0)
    assert row["reason"] == "some folds would learn from one class only" and "accuracy" not in row
