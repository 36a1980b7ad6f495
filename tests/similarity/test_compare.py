"""One control against several models: tidy rows, pairing, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from mossa.errors import SimilarityError
from mossa.similarity import ESTIMATORS, Estimator, cka, compare, layer_map, leave_out, register, similarity, spectrum
from tests.similarity import reference

COLUMNS = ["model", "layer", "estimator", "value", "standard_error", "low", "high", "n", "d", "non_finite", "reason"]
DIFFERENCE = ["model", "layer", "estimator", "difference", "standard_error", "low", "high", "n", "d", "reason"]


@pytest.fixture
def world():
    random = np.random.default_rng(0)
    C = random.normal(size=(40, 3, 6))
    B = C + random.normal(size=C.shape)
    E = C + 0.3 * random.normal(size=C.shape)
    return C, B, E


def test_rows_are_tidy_and_complete(world):
    C, B, E = world
    found = compare({"pretrained": B, "sft": E}, C, ["cka-linear", "svcca"])
    assert {tuple(row) for row in found.similarity} == {tuple(COLUMNS)}
    assert {tuple(row) for row in found.difference} == {tuple(DIFFERENCE)}
    keys = {(row["model"], row["layer"], row["estimator"]) for row in found.similarity}
    assert keys == {(m, l, e) for m in ("pretrained", "sft") for l in (1, 2, 3) for e in ("cka-linear", "svcca")}
    assert len(found.similarity) == len(keys)
    assert {row["model"] for row in found.difference} == {"sft"}
    assert len(found.difference) == 6


def test_one_estimator_may_stand_for_a_list_of_it(world):
    C, B, E = world
    assert compare({"pretrained": B, "sft": E}, C, "cka-linear").similarity == (
        compare({"pretrained": B, "sft": E}, C, ["cka-linear"]).similarity
    )


@pytest.mark.parametrize("id", ["cka-linear", "cka-linear-debiased"])
def test_values_are_those_of_cka_and_differences_are_paired(world, id):
    C, B, E = world
    debiased = id.endswith("debiased")
    found = compare({"pretrained": B, "sft": E}, C, [id])
    for row in found.similarity:
        layer = row["layer"] - 1
        one = cka({"pretrained": B, "sft": E}[row["model"]][:, layer], C[:, layer], debiased=debiased)
        assert row["value"] == pytest.approx(float(one.value), rel=1e-12)
        assert (row["low"], row["high"]) == pytest.approx((float(one.low), float(one.high)), rel=1e-9)

    def difference(e, b, c):
        return reference.cka(e, c, debiased) - reference.cka(b, c, debiased)

    for row in found.difference:
        sides = [X[:, row["layer"] - 1] for X in (E, B, C)]
        assert row["difference"] == pytest.approx(difference(*sides), rel=1e-9)
        expected = reference.jackknife(reference.left_out(difference, *sides))
        assert row["standard_error"] == pytest.approx(expected, rel=1e-6)


def test_every_registered_estimator_runs_and_gives_a_value_or_a_reason(world):
    C, B, E = world
    groups = [i % 4 for i in range(len(C))]
    found = compare({"pretrained": B, "sft": E}, C, list(ESTIMATORS), groups=groups, origin=B)
    assert len(found.similarity) == 2 * 3 * len(ESTIMATORS)
    for row in found.similarity:
        assert (row["value"] is None) <= (row["reason"] is not None)
        if row["value"] is not None:
            assert np.isfinite(row["value"])
        if row["estimator"].startswith("shift-") and row["model"] == "pretrained":
            assert row["reason"].startswith("pretrained: nothing changed from the origin")


def test_a_layer_that_does_not_vary_is_undefined_with_the_reason(world):
    C, B, E = (X.astype(np.float32) for X in world)
    B[:, 1] = 0.1
    C[:, 2] = 1e4 + 1e-5 * C[:, 2]  # only rounding varies
    rows = compare({"pretrained": B, "sft": E}, C, ["cka-linear", "procrustes", "rsa-pearson"]).similarity
    reasons = {(row["model"], row["layer"], row["estimator"]): row["reason"] for row in rows if row["value"] is None}
    undefined = {
        (m, l, e)
        for m, l in (("pretrained", 2), ("pretrained", 3), ("sft", 3))
        for e in ("cka-linear", "procrustes", "rsa-pearson")
    }
    assert set(reasons) == undefined
    assert reasons["pretrained", 2, "cka-linear"] == "pretrained: the representations do not vary"
    assert reasons["sft", 3, "cka-linear"] == "control: the representations do not vary"
    differences = compare({"pretrained": B, "sft": E}, C, ["cka-linear"]).difference
    assert [row["reason"] for row in differences] == [
        None,
        reasons["pretrained", 2, "cka-linear"],
        reasons["sft", 3, "cka-linear"],
    ]
    with pytest.raises(SimilarityError, match=r"layer 2 of 3 \(n = 40, d = 6\).*Y: the representations do not vary"):
        cka(B, E)


def test_a_large_constant_dimension_does_not_hide_that_others_vary():
    Y, Z = (torch.from_numpy(X).bfloat16() for X in reference.related(40, 6, 0))
    Y[:, 0] = 3000.0
    expected = cka(Y[:, 1:], Z, debiased=True).value
    assert float(cka(Y, Z, debiased=True).value) == pytest.approx(float(expected), rel=1e-6)


def test_within_groups_a_template_that_explains_everything_leaves_nothing():
    labels = np.arange(40) % 5
    Y = np.random.default_rng(0).normal(size=(5, 6))[labels]
    Z = np.random.default_rng(1).normal(size=(40, 6))
    row = compare({"sft": Y}, Z, ["cka-linear-within-debiased"], groups=labels.tolist()).similarity[0]
    assert row["value"] is None
    assert row["reason"] == "sft: the representations do not vary within groups"


def test_rows_that_are_not_finite_are_refused_or_dropped_in_pairs_and_counted(world):
    C, B, E = world
    B[3, 1, 0], C[7, 1, 2], E[3, 1, 1] = np.nan, np.inf, -np.inf
    with pytest.raises(SimilarityError, match=r"layer 2: .* 1 in control, 1 in pretrained, 1 in sft \(n = 40, d = 6\)"):
        compare({"pretrained": B, "sft": E}, C)
    rows = compare({"pretrained": B, "sft": E}, C, ["cka-linear"], non_finite="drop").similarity
    assert [(row["n"], row["non_finite"]) for row in rows] == [(40, 0)] * 2 + [(38, 2)] * 2 + [(40, 0)] * 2
    kept = np.delete(np.arange(40), [3, 7])
    assert rows[2]["value"] == pytest.approx(reference.cka(B[kept, 1], C[kept, 1]), rel=1e-9)


def test_rows_dropped_per_side_misalign_what_dropping_in_pairs_keeps():
    Y, Z = reference.related(200, 5, 0, mix=0.8)
    Y[10], Z[60] = np.nan, np.nan
    per_side = reference.cka(np.delete(Y, 10, 0), np.delete(Z, 60, 0))
    in_pairs = cka(Y, Z, non_finite="drop")
    assert in_pairs.non_finite == (2,)
    assert in_pairs.value > 0.9
    assert per_side < in_pairs.value - 0.1


def test_large_finite_values_are_not_taken_for_infinite_ones(world):
    C, B, _ = (X.astype(np.float16) for X in world)
    C = C * np.float16(8000)  # sums overflow float16, values do not
    assert np.isfinite(C).all()
    assert cka(B, C).non_finite == (0, 0, 0)


def test_ids_that_differ_are_refused(world):
    C, B, _ = world
    ids = [f"prompt {i}" for i in range(40)]
    shuffled = np.random.default_rng(0).permutation(40)
    assert reference.cka(C[:, 0], C[shuffled, 0], True) < 0.1  # the same prompts, shuffled, look unrelated
    with pytest.raises(SimilarityError, match=r"Y: row 0 is .* but 'prompt 0' in the control"):
        cka(C[shuffled], C, ids=([ids[i] for i in shuffled], ids))
    with pytest.raises(SimilarityError, match="39 ids here"):
        cka(B, C, ids=(ids[:-1], ids))
    with pytest.raises(SimilarityError, match="lacks 'sft'"):
        compare({"sft": B}, C, ids={"control": ids})
    assert float(cka(B, C, ids=(ids, ids)).value[0]) == float(cka(B, C).value[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: cka(X, X[:-1]), "40 prompts and the control 39; row i of both must be the same prompt"),
        (lambda X: cka(X, X[:, :2]), "L = 3 layers and the control 2"),
        (lambda X: cka(X[:3], X[:3]), r"n = 3 prompts \(d = 6\); a comparison needs 4"),
        (lambda X: cka(X[:, 0, 0], X), r"has the shape \[40\]"),
        (lambda X: cka([[1.0]], X), "is a list; give a NumPy array or a torch tensor"),
        (lambda X: cka(X, X, "linaer"), "no kernel 'linaer'. Did you mean 'linear'"),
        (lambda X: cka(X, X, groups=[1, 2]), "2 labels for 40 prompts"),
        (lambda X: cka(X, X, non_finite="ignore"), "The choices are: drop, error"),
        (lambda X: cka(X, X, confidence=95), "confidence is 95"),
        (lambda X: similarity(X, X, "cka-linaer"), "There is no estimator 'cka-linaer'. Did you mean 'cka-linear'"),
        (lambda X: similarity(X, X, "cka-linear-within"), "need `groups`"),
        (lambda X: similarity(X, X, "shift-cka-linear"), "need `origin`"),
        (lambda X: cka(X, X, origin=X[..., :2]), "d = 6 and origin 2"),
        (lambda X: compare({}, X), "`models` is empty"),
        (lambda X: compare({"sft": X}, X, []), "`estimators` is empty"),
        (lambda X: compare({"control": X}, X), "give it another name"),
        (lambda X: cka(torch.from_numpy(X).to("meta"), X), "is on meta and the control on cpu"),
        (lambda X: layer_map(X, 0 * X), "layer 1 of Z: the representations do not vary"),
        (lambda X: spectrum(X, share=99), "share is 99"),
        (lambda X: leave_out(X, X, dimensions=[6]), "leave out 0 to 5"),
        (lambda X: cka(X * 1e200, X), "overflow float64"),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_do(world, call, message):
    with pytest.raises(SimilarityError, match=message):
        call(world[0])


def test_an_estimator_of_your_own(world, monkeypatch):
    monkeypatch.setattr("mossa.similarity.registry.ESTIMATORS", dict(ESTIMATORS))
    C, B, _ = world
    mine = Estimator("sign", "mine", frozenset({"dimension scaling"}), lambda Y, Z: float((Y * Z > 0).double().mean()))
    register(mine)
    assert similarity(B, C, "sign").value == pytest.approx((B * C > 0).mean(axis=(0, 2)))
    with pytest.raises(SimilarityError, match="'sign' exists already"):
        register(mine)
    with pytest.raises(SimilarityError, match="give a `measure`"):
        Estimator("empty", "mine", frozenset())
    with pytest.raises(SimilarityError, match="Did you mean 'orthogonal'"):
        Estimator("typo", "mine", frozenset({"orthogonl"}), lambda *_: 0.0)


def test_inputs_are_left_as_they_were(world):
    C, B, E = (torch.from_numpy(X).float() for X in world)
    before = [X.clone() for X in (C, B, E)]
    compare({"pretrained": B, "sft": E}, C, list(ESTIMATORS), origin=B, groups=[0, 1] * 20)
    assert all(torch.equal(X, old) for X, old in zip((C, B, E), before, strict=True))


def test_importing_similarity_does_not_import_torch():
    code = "import sys, mossa.similarity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
