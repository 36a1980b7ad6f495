"""The trial tells what was planted from what was not, on made-up runs whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.planted.readings import READINGS, RIVALS, Trial, controls, excluded, readings, risen
from experiments.planted.verdicts import against_best_rival, crossed, levels, rises, verdicts

LAYERS = (2, 3)
ESTIMATORS = ("cka-linear", "cka-linear-debiased", "cka-linear-within-debiased")
NAMES = [f"task{k:02d}" for k in range(16)]
PLANTED = {"a": NAMES[:8], "b": NAMES[8:]}


def run(base: str, effect: float, rng: np.random.Generator, failed: tuple[str, ...] = ()) -> dict[str, pd.DataFrame]:
    """Return the tables of one base: its CKA is .5, and `effect` more where a task is planted; E is .1 above it."""
    similarity, evaluation, adapters, spectrum = [], [], [], []
    for k, task in enumerate(NAMES):
        known = task in PLANTED[base]
        evaluation.append(("pretrained", "base", task, 1.0 + rng.normal() * 0.01, 0.1))
        for seed in (0, 1):
            control = f"control-{task}-seed{seed}"
            adapters.append((control, "control", task, seed, 100, 10.0 + rng.normal()))
            evaluation.append((control, "control", task, 0.1, 0.5 if task in failed else 0.95))
            other = f"control-{NAMES[(k + 1) % len(NAMES)]}-seed0"
            for layer in (1, 2, 3):
                spectrum.append((control, "control", task, layer, 0.3 + rng.normal() * 0.01))
                for estimator in ESTIMATORS:
                    value = 0.5 + effect * known + 0.02 * rng.normal()
                    similarity.append(("pretrained", "control", control, task, layer, estimator, value))
                    similarity.append(("sft", "control", control, task, layer, estimator, value + 0.1))
                    if seed == 0:
                        similarity.append(("control", "ceiling", control, task, layer, estimator, 0.9))
                        similarity.append(("pretrained", "other_control", other, task, layer, estimator, 0.2))
                shift = 0.6 - effect * known + 0.02 * rng.normal()
                similarity.append(("sft", "control", control, task, layer, "shift-cka-linear-debiased", shift))
                similarity.append(("sft", "other_control", other, task, layer, "shift-cka-linear-debiased", 0.1))
    columns = ["experimental", "relation", "reference", "task", "layer", "estimator", "value"]
    evaluated = pd.DataFrame(evaluation, columns=["model", "role", "task", "loss", "accuracy"])
    trained = pd.DataFrame(adapters, columns=["adapter", "role", "task", "seed", "steps", "update_norm"])
    return {
        "similarity": pd.DataFrame(similarity, columns=columns).assign(cluster="all"),
        "evaluation": evaluated.assign(cluster="all"),
        "adapters": trained.assign(stopped_because="criterion"),
        "spectrum": pd.DataFrame(spectrum, columns=["model", "role", "task", "layer", "distance"]),
    }


def trial(effect: float, seed: int = 0, failed: tuple[str, ...] = ()) -> Trial:
    rng = np.random.default_rng(seed)
    return Trial({"a": run("a", effect, rng, failed), "b": run("b", effect, rng)}, PLANTED, LAYERS)


def whole(found: pd.DataFrame) -> pd.DataFrame:
    return found[found["layer"].isna()].set_index("reading")


@pytest.fixture(scope="module")
def planted() -> Trial:
    return trial(0.2)


def test_a_planted_truth_is_found_by_every_reading_and_by_no_rival(planted: Trial) -> None:
    table = readings(planted, controls(planted))
    found = whole(verdicts(table, ["a", "b"], LAYERS))
    assert set(found.index) == {*READINGS, *RIVALS}
    for name in READINGS:
        assert found.loc[name, "right"] == found.loc[name, "tasks"] == 16
        assert found.loc[name, "auc"] == 1.0 and found.loc[name, "p"] < 1e-4
    assert found.loc["debiased", "difference"] == pytest.approx(0.2, abs=0.02)
    assert found.loc["shift", "difference"] == pytest.approx(-0.2, abs=0.02)  # read the other way round
    assert found.loc["share of agreement", "difference"] == pytest.approx(0.2 / 0.9**0.5, abs=0.02)
    assert (found.loc[list(RIVALS), "p"] > 0.01).all()
    assert against_best_rival(table, ["a", "b"], LAYERS)["beats"].all()
    assert len(crossed(table, ["a", "b"], LAYERS)) == 16


def test_what_was_not_planted_is_not_found() -> None:
    """Among 20 trials without an effect, the sign test rejects about one in twenty."""
    false = 0
    for seed in range(20):
        empty = trial(0.0, seed)
        table = readings(empty, controls(empty))
        chosen = table[table["reading"].eq("debiased") & table["layer"].isin(LAYERS)]
        wide = chosen.groupby(["task", "planted"])["score"].mean().unstack()
        right = int((wide[True] > wide[False]).sum())
        false += right <= 3 or right >= 13  # what the two-sided sign test of 16 rejects at .05
    assert false <= 4  # binomial(20, .021): more happens once in ten thousand


def test_an_inverted_truth_is_reported_as_inverted() -> None:
    inverted = trial(-0.2)
    found = whole(verdicts(readings(inverted, controls(inverted)), ["a", "b"], LAYERS))
    assert found.loc["debiased", "auc"] == 0.0 and found.loc["debiased", "right"] == 0


def test_a_control_that_fails_in_one_half_is_left_out_of_both() -> None:
    failing = trial(0.2, failed=("task03",))
    judged = controls(failing)
    table = readings(failing, judged)
    assert "task03" not in set(table["task"])
    assert set(excluded(judged, ["a", "b"])["task"]) == {"task03"}
    assert whole(verdicts(table, ["a", "b"], LAYERS)).loc["debiased", "tasks"] == 15


def test_e_rises_by_what_was_put_in(planted: Trial) -> None:
    rose = risen(planted, controls(planted))
    found = rises(rose[~rose["planted"]])
    assert found["tasks"] == found["right"] == 16 and found["difference"] == pytest.approx(0.1)
    shown = levels(readings(planted, controls(planted)), LAYERS).set_index(["base", "planted"])["value"]
    assert shown["a", True] - shown["a", False] == pytest.approx(0.2, abs=0.03)


def test_a_base_without_e_and_without_a_second_seed_is_read_as_far_as_it_goes(planted: Trial) -> None:
    everything = {**run("a", 0.2, np.random.default_rng(5))}
    similarity = everything["similarity"]
    one = similarity["reference"].str.endswith("seed0") & similarity["relation"].ne("ceiling")
    everything["similarity"] = similarity[one & similarity["experimental"].ne("sft")]
    everything["adapters"] = everything["adapters"][everything["adapters"]["seed"] == 0]
    more = Trial({**planted.tables, "all": everything}, {**PLANTED, "all": NAMES}, LAYERS)
    judged = controls(more)
    table = readings(more, judged)
    assert set(levels(table, LAYERS)["base"]) == {"a", "b", "all"}
    without = verdicts(readings(planted, controls(planted)), ["a", "b"], LAYERS)
    pd.testing.assert_frame_equal(verdicts(table, ["a", "b"], LAYERS), without)  # the verdict is between the halves
    assert set(risen(more, judged)["base"]) == {"a", "b"}


def test_nothing_to_compare_is_nothing_found() -> None:
    hopeless = trial(0.2, failed=tuple(NAMES))
    table = readings(hopeless, controls(hopeless))
    found = whole(verdicts(table, ["a", "b"], LAYERS))
    assert (found["tasks"] == 0).all() and (found["p"] == 1.0).all() and found["auc"].isna().all()
    assert not against_best_rival(table, ["a", "b"], LAYERS)["beats"].any()
    assert crossed(table, ["a", "b"], LAYERS).empty
