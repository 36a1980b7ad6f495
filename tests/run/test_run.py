"""A whole study through the command line: results, resume, and what a change or a loss makes it do again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from mossa.errors import StudyError
from mossa.run.run import prepare
from mossa.study import load_study
from tests.run.command import Ran, assert_same, environment, mossa, run_again, tables
from tests.small import make_tokenizer


def test_the_tables_say_what_the_documentation_says(finished: tuple[Path, Ran]) -> None:
    folder, _ = finished
    found = tables(folder)
    documented = (Path(__file__).parents[2] / "docs" / "project" / "architecture.md").read_text()
    for name in ("similarity", "difference", "evaluation", "adapters", "spectrum", "tasks"):
        section = documented.split(f"`{name}`: one row per")[1].split("\n\n`")[0].split("## Units")[0]
        columns = [
            column for row in re.findall(r"^\| (`.*?) \|", section, re.M) for column in re.findall(r"`(\w+)`", row)
        ]
        assert set(found[name].columns) | {"seconds"} == set(columns) | {"seconds"}, name
        assert len(found[name]) > 0
    similarity = found["similarity"]
    keys = ["experimental", "relation", "reference", "task", "layer", "estimator"]
    assert not similarity.duplicated(keys).any()
    assert set(similarity["relation"]) == {"control", "ceiling", "other_control"}
    own = similarity[similarity["relation"] == "control"]
    # 4 tasks x 3 layers x 2 seeds x (2 estimators for three models, 2 of the change for two of them)
    assert len(own) == 4 * 3 * 2 * (2 * 3 + 2 * 2)
    assert own[own["reason"].isna()]["value"].notna().all()
    assert own[own["experimental"] == "unseen"].groupby("task")["held_out"].first().to_dict() == {
        "again": False,
        "colour": True,
        "first": False,
        "second": True,
    }


def test_similarities_equal_a_float64_reference_on_the_stored_representations(finished: tuple[Path, Ran]) -> None:
    folder, _ = finished
    units = folder / "runs/small/units/represent"
    similarity = tables(folder)["similarity"].set_index(["experimental", "reference", "task", "layer", "estimator"])[
        "value"
    ]

    def load(name: str):
        return load_file(units / name / "representations.safetensors")["representations"].astype("float64")

    checked = 0
    for task in ("first", "colour"):
        control = load(f"control-{task}-seed0@{task}")
        for model in ("pretrained", "sft", "unseen"):
            other = load(f"{model}@{task}")
            for layer in range(3):
                y, z = (torch.from_numpy(x[:, layer] - x[:, layer].mean(0)) for x in (other, control))
                hsic = [float(((a @ a.T) * (b @ b.T)).sum()) for a, b in ((y, z), (y, y), (z, z))]
                value = similarity[model, f"control-{task}-seed0", task, layer + 1, "cka-linear"]
                assert value == pytest.approx(hsic[0] / (hsic[1] * hsic[2]) ** 0.5, rel=1e-6)
                checked += 1
    assert checked == 18


def test_representations_are_those_of_the_saved_adapter(finished: tuple[Path, Ran], settings: dict) -> None:
    folder, _ = finished
    units = folder / "runs/small/units"
    stored = load_file(units / "represent/control-first-seed0@first/representations.safetensors")
    model = AutoModelForCausalLM.from_pretrained(settings["base"]["model"], dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(units / "train/control-first-seed0/adapter")).eval()
    from mossa.tasks.split import Limits
    from tests.tasks.reading import load_folder

    task = load_folder(Path(settings["tasks"]["source"]), Limits(48, 8, 24), 0, ["first"])[0]
    tokenizer = make_tokenizer()
    for row, index in enumerate(stored["index"][:5]):
        tokens = tokenizer(f"{task.test[index].prompt}\nAnswer:\n")["input_ids"]
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([tokens]), output_hidden_states=True).hidden_states
        expected = torch.stack([state[0, -1] for state in hidden[1:]])
        torch.testing.assert_close(torch.from_numpy(stored["representations"][row]), expected, rtol=1e-4, atol=1e-5)


def test_the_run_leaves_a_report_figures_and_the_resolved_study(finished: tuple[Path, Ran], settings: dict) -> None:
    folder, ran = finished
    run = folder / "runs/small"
    assert (run / "report/index.html").is_file() and "index.html" in ran.output
    page = (run / "report/index.html").read_text()
    assert re.search(r"[\d.]+ k parameters, \d+ layers of width \d+", page), "the masthead tells the base's size"
    headline = next(line for line in ran.output.splitlines() if line.startswith(("Tuning", "No change", "Too few")))
    assert f">{headline}</h2>" in page, "the terminal says what the page says"
    told = ran.output[ran.output.index(headline) :].splitlines()
    assert told[1].startswith("* ") and sum(line.startswith("! ") for line in told) == 1
    assert {path.suffix for path in (run / "report/figures").iterdir()} == {".png", ".svg"}
    assert yaml.safe_load((run / "study.yaml").read_text())["control"]["seeds"] == [0, 1]
    assert not list((run / "units/.work").iterdir())
    assert {path.stem for path in (run / "results").glob("*.csv")} == {
        path.stem for path in (run / "results").glob("*.parquet")
    }
    manifest = json.loads((run / "units/train/sft/manifest.json").read_text())
    assert manifest["versions"]["torch"] == torch.__version__
    assert str(folder) not in json.dumps(manifest["settings"]) and settings["base"]["model"] not in json.dumps(manifest)


def test_a_second_run_does_nothing_and_says_so(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs/small/units").rglob("*")}
    ran = mossa(folder, "run", "small.yaml")
    assert ran.code == 0 and "Nothing to do" in ran.output and "index.html" in ran.output
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs/small/units").rglob("*")} == before
    status = mossa(folder, "status", "small.yaml").output
    assert "Everything is done" in status and "runs/small/report/index.html" in status


IDLE = """
import sys
from mossa.cli import app
try:
    app(["run", "small.yaml"])
except SystemExit:
    print("heavy:", sorted({"torch", "transformers", "pandas", "matplotlib", "jinja2"} & set(sys.modules)))
"""


def test_tables_are_put_together_again_only_if_one_is_not_as_it_was_written(folder: Path) -> None:
    def again() -> str:
        done = subprocess.run(
            [sys.executable, "-c", IDLE], cwd=folder, env=environment(), capture_output=True, text=True, check=True
        )
        assert "Nothing to do" in done.stdout and "index.html" in done.stdout
        return done.stdout

    results = folder / "runs/small/results"
    written = {path: path.read_bytes() for path in results.iterdir()}
    assert "heavy: []" in again()
    (results / "similarity.csv").write_bytes(written[results / "similarity.csv"].replace(b"1", b"2", 1))
    assert "heavy: ['pandas']" in again() and {path: path.read_bytes() for path in results.iterdir()} == written
    (results / "evaluation.parquet").unlink()
    assert "heavy: ['pandas']" in again() and {path: path.read_bytes() for path in results.iterdir()} == written
    assert "heavy: []" in again()
    manifest = folder / "runs/small/units/train/sft/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"seconds": 12.5}))
    again()
    assert pd.read_csv(results / "adapters.csv").set_index("adapter")["seconds"]["sft"] == 12.5


AFTER = {
    "represent/sft@first": {"represent/sft@first", "compare/first", "overview/sft"},
    "evaluate/sft@colour": {"evaluate/sft@colour"},
    "describe/first": {"describe/first"},
    "train/control-again-seed1": {
        "train/control-again-seed1",
        "represent/control-again-seed1@again",
        "evaluate/control-again-seed1@again",
        "compare/again",
    },
}


@pytest.mark.parametrize("lost", AFTER)
def test_a_lost_unit_is_done_again_with_what_depends_on_it_and_nothing_else(folder: Path, finished, lost: str) -> None:
    shutil.rmtree(folder / "runs/small/units" / lost)
    status = mossa(folder, "status", "small.yaml")
    assert f"{len(AFTER[lost])} units to do" in status.output
    done, failed, _ = run_again(folder)
    assert done == AFTER[lost] and not failed
    assert_same(tables(folder), tables(finished[0]))


def test_two_workers_give_the_same_to_the_bit(settings: dict, finished, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(settings))
    ran = mossa(tmp_path, "run", "small.yaml", "--workers", "2", "--no-report")
    assert ran.code == 0 and not (tmp_path / "runs/small/report").exists(), ran.output
    assert_same(tables(tmp_path), tables(finished[0]))


def test_a_change_makes_stale_what_it_changes(folder: Path) -> None:
    status = mossa(folder, "status", "small.yaml", "-s", "control.budget={steps: 3}")
    assert "train control-first-seed0: stale: changed since: budget.steps" in status.output
    assert "train sft" not in status.output and "represent sft on first" not in status.output
    done, _, _ = run_again(folder, "similarity.estimators=[cka-linear]")
    assert done == {f"compare/{task}" for task in ("again", "colour", "first", "second")}
    assert set(tables(folder)["similarity"]["estimator"]) == {"cka-linear", "shift-cka-linear"}


def test_the_report_follows_the_results_and_old_tables_go(folder: Path) -> None:
    page = folder / "runs/small/report/index.html"
    before = page.read_text()
    changes = ("similarity.affinity=false", "similarity.estimators=[cka-linear]")
    run_again(folder, *changes)
    assert "affinity" not in tables(folder) and not (folder / "runs/small/results/affinity.csv").exists()
    ran = mossa(folder, "run", "small.yaml", "-s", changes[0], "-s", changes[1])
    assert "Nothing to do" in ran.output and page.read_text() != before


def test_a_task_that_moves_to_another_cluster_moves_in_every_table(folder: Path) -> None:
    moved = "tasks.clusters={copying: [again], naming: [second, colour, first]}"
    done, _, _ = run_again(folder, moved)
    assert not any(name.startswith("train/control") for name in done)  # a cluster changes no control model
    for name in ("similarity", "evaluation", "spectrum", "tasks", "difference"):
        found = tables(folder)[name]
        assert set(found[found["task"] == "first"]["cluster"]) == {"naming"}, name


def test_report_writes_again_what_is_there(folder: Path) -> None:
    shutil.rmtree(folder / "runs/small/report")
    shutil.rmtree(folder / "runs/small/results")
    shutil.rmtree(folder / "runs/small/units/compare/first")
    ran = mossa(folder, "report", "small.yaml")
    assert ran.code == 0, ran.output
    assert (folder / "runs/small/report/index.html").is_file()
    assert set(tables(folder)["similarity"]["task"]) == {"again", "colour", "second"}
    both = mossa(folder, "report", "small.yaml", "--against", "runs/small")
    assert both.code == 0 and "<h2>Against the run small</h2>" in (folder / "runs/small/report/index.html").read_text()
    nothing = mossa(folder, "report", "small.yaml", "--against", "runs")
    assert nothing.code == 2 and "is not a run folder" in nothing.output
    empty = mossa(folder, "report", "small.yaml", "--runs", "elsewhere")
    assert empty.code == 2 and "no results yet" in empty.output and not (folder / "elsewhere").exists()


def test_report_of_a_study_that_has_changed_says_so_and_leaves_the_tables(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in (folder / "runs/small/results").iterdir()}
    changed = mossa(folder, "report", "small.yaml", "-s", "experimental.sft.seed=7")
    assert changed.code == 2
    assert "Nothing that was compared is as the study says now" in changed.output
    assert "Run the study: mossa run small.yaml -s experimental.sft.seed=7" in changed.output
    assert {path.name: path.read_bytes() for path in (folder / "runs/small/results").iterdir()} == before
    shutil.rmtree(folder / "runs/small/units/compare/first")
    shutil.move(folder / "runs", folder / "others")
    part = mossa(folder, "report", "small.yaml", "--runs", "others")
    assert part.code == 0 and re.search(r"1 of \d+ units are not done or not as they would be made", part.output)
    for said in (part, mossa(folder, "status", "small.yaml", "--runs", "others")):
        assert "Next: mossa run small.yaml --runs others" in " ".join(said.output.split())


def test_existing_adapters_and_checkpoints_are_experimental_models(folder: Path, settings: dict) -> None:
    units = folder / "runs/small/units"
    mine = folder / "mine"
    shutil.copytree(units / "train/sft/adapter", mine)
    model = AutoModelForCausalLM.from_pretrained(settings["base"]["model"], dtype=torch.float32)
    PeftModel.from_pretrained(model, str(mine)).merge_and_unload().save_pretrained(folder / "merged")
    done, failed, _ = run_again(
        folder, "experimental.mine={adapter: ./mine, saw: [copying]}", "experimental.merged={checkpoint: ./merged}"
    )
    assert not failed and not any(name.startswith("train") for name in done)
    found = tables(folder)["similarity"]
    values = {
        name: found[(found["experimental"] == name) & (found["relation"] == "control")]["value"].to_numpy()
        for name in ("sft", "mine", "merged")
    }
    assert (values["mine"] == values["sft"]).all()
    assert abs(values["merged"] - values["sft"]).max() < 1e-3  # merged weights round differently
    held_out = found[found["experimental"] == "mine"].groupby("task")["held_out"].first().to_dict()
    assert held_out == {"again": False, "colour": True, "first": False, "second": True}


def test_existing_adapters_and_checkpoints_are_control_models(folder: Path, settings: dict) -> None:
    units = folder / "runs/small/units"
    before = tables(folder)["similarity"]
    shutil.copytree(units / "train/control-first-seed0/adapter", folder / "zero")
    model = AutoModelForCausalLM.from_pretrained(settings["base"]["model"], dtype=torch.float32)
    one = PeftModel.from_pretrained(model, str(units / "train/control-first-seed1/adapter"))
    one.merge_and_unload().save_pretrained(folder / "one")
    shutil.rmtree(units / "train/control-first-seed0")
    existing = "control.existing={first: [{adapter: ./zero}, {checkpoint: ./one}]}"
    done, failed, _ = run_again(folder, existing)
    assert not failed and not any(name.startswith("train") for name in done)
    assert {"represent/control-first-seed0@first", "common/control-first-seed0", "compare/first"} <= done
    after = tables(folder)
    both = before.merge(after["similarity"], on=["experimental", "relation", "reference", "task", "layer", "estimator"])
    assert len(both) == len(before) == len(after["similarity"])
    exact = both["reference"] != "control-first-seed1"
    exact &= (both["relation"] != "ceiling") | (both["task"] != "first")
    assert (both["value_x"] == both["value_y"])[exact].all()
    assert (both["value_x"] - both["value_y"]).abs().max() < 1e-3  # merged weights round differently
    assert "control-first-seed0" not in set(after["adapters"]["adapter"])
    ran = mossa(folder, "validate", "small.yaml", "-s", existing)
    assert ran.code == 0 and "controls: 6 to train, 2 there already" in ran.output, ran.output
    for change, sentence in (
        ("{first: {adapter: ./zero}}", "existing.first has 1 models and seeds 2"),
        ("{frist: [{adapter: ./zero}, {adapter: ./zero}]}", "Did you mean 'first'?"),
        ("{first: [{adapter: ./zero}, {adapter: ./zero, checkpoint: ./one}]}", "give one of adapter, checkpoint"),
    ):
        with pytest.raises(StudyError, match=re.escape(sentence)):
            prepare(load_study(folder / "small.yaml", [f"control.existing={change}"]), folder / "runs")


def test_prompts_that_give_no_finite_representation_are_dropped_in_pairs_and_counted(
    folder: Path, settings: dict
) -> None:
    model = AutoModelForCausalLM.from_pretrained(settings["base"]["model"], dtype=torch.float32)
    cat = make_tokenizer()("cat", add_special_tokens=False)["input_ids"][0]
    with torch.no_grad():
        model.get_input_embeddings().weight[cat] = float("nan")
    model.save_pretrained(folder / "broken")
    _, failed, _ = run_again(folder, "experimental.broken={checkpoint: ./broken}")
    assert not failed
    found = tables(folder)["similarity"]
    rows = found[(found["task"] == "first") & (found["relation"] == "control") & (found["estimator"] == "cka-linear")]
    index = load_file(folder / "runs/small/units/represent/broken@first/representations.safetensors")["representations"]
    lost = int((~torch.isfinite(torch.from_numpy(index)).all(dim=2).all(dim=1)).sum())
    assert 0 < lost < 20
    # all models of a task are compared on the same prompts, so all of them lose these
    assert set(rows["non_finite"]) == {lost} and set(rows["n"]) == {24 - lost}
    assert rows["value"].notna().all()
    judged = tables(folder)["evaluation"].set_index(["model", "task"])
    assert judged.loc[("broken", "first"), "loss"] is None or judged.loc[("broken", "first")].isna()["loss"]
    assert "not finite" in judged.loc[("broken", "first"), "reason"]
