"""`mossa diff` end to end: adapters, checkpoints, GGUF files, what it writes, its exit codes, what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

import mossa
from mossa.errors import MossaError
from mossa.models.adapters import new_adapter, save_adapter
from mossa.models.base import load_base
from mossa.models.prompts import make_format
from mossa.study.recipe import Lora
from mossa.study.schema import Base, Prompt
from mossa.training.loss import backward
from tests import gguf_files
from tests.report.browser import complaints, requests, show, start
from tests.run.command import mossa as run_mossa
from tests.small import make_model, make_tokenizer
from tests.tasks.reading import read_examples


@pytest.fixture(scope="session")
def world(base_folder: Callable[[str], Path], task_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base`, two adapters of it, early and late, that learned one task, and `merged`."""
    folder = tmp_path_factory.mktemp("diff")
    (folder / "base").symlink_to(base_folder("llama"))
    (folder / "tasks").symlink_to(task_folder)
    base = load_base(Base(model=str(folder / "base")))
    examples = read_examples(task_folder / "first.jsonl")[:32]
    encoded = make_format(base.tokenizer, Prompt(), base.longest).encode(examples, "first", with_target=True)
    with new_adapter(base, Lora(rank=4), 0) as adapted:
        optimizer = torch.optim.Adam([weight for weight in adapted.parameters() if weight.requires_grad], lr=1e-2)
        for step in range(25):
            backward(adapted, encoded, base.device)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step in (1, 24):
                save_adapter(adapted, folder / ("early" if step == 1 else "late"))
        adapted.merge_and_unload().save_pretrained(folder / "merged")
    return folder


@pytest.fixture(scope="session")
def found(world: Path) -> Any:
    return mossa.diff(world / "base", world / "late", world / "tasks", also=[world / "early"], examples=24)


def test_what_was_learned_is_won_and_the_tables_are_whole(found: Any, world: Path) -> None:
    assert "first" in found.named("won") and len(found.final) == 4
    assert list(found.about["models"]) == [str(world / "early"), str(world / "late")]
    assert len(found.tasks) == 8 and len(found.answers) == 8 * 24
    row = found.final.set_index("task").loc["first"]
    assert row["loss_change"] < row["loss_high"] < 0 and row["n"] == 24
    late = found.medians[found.medians["model"].eq(str(world / "late"))]
    assert {"cka-linear-debiased", "cka-linear-calibrated", "one-layer-change", "answer-gain", "norm-ratio"} <= set(
        late["reading"]
    )
    assert (late["tasks"] + late["undefined"]).eq(4).all()


def test_a_merged_checkpoint_gives_what_the_adapter_gives(found: Any, world: Path) -> None:
    merged = mossa.diff(world / "base", world / "merged", world / "tasks", examples=24)
    own = found.tasks[found.tasks["model"].eq(str(world / "late"))].set_index("task")
    other = merged.tasks.set_index("task").loc[own.index]
    assert (own["verdict"] == other["verdict"]).all()
    assert (own["loss_after"] - other["loss_after"]).abs().max() < 1e-3
    rows = found.layers[found.layers["model"].eq(str(world / "late"))].merge(
        merged.layers, on=["task", "layer", "reading"]
    )
    assert (rows["value_x"] - rows["value_y"]).abs().max() < 1e-2


def test_what_was_learned_is_lost_on_the_way_back_and_a_flag_fails_for_it(world: Path, tmp_path: Path) -> None:
    tasks = [*("--tasks", str(world / "tasks")), *("--examples", "24")]
    ran = run_mossa(tmp_path, "diff", str(world / "late"), str(world / "base"), *tasks, "--fail-if-lost")
    assert ran.code == 4, ran.output
    assert re.search(r"^ *first +lost", ran.output, re.M) and "Median over 4 tasks" in ran.output
    written = json.loads((tmp_path / "diff" / "diff.json").read_text())
    assert "first" in written["verdicts"]["lost"] and written["tasks"][0]["model"] == str(world / "base")
    assert {"base", "models", "examples", "forgotten", "layers", "by_task"} <= set(written)
    assert len(pd.read_csv(tmp_path / "diff" / "answers.csv")) == 4 * 24
    page = (tmp_path / "diff" / "index.html").read_text()
    assert "Lost: " in page and 'id="task-first"' in page and str(world.parent) not in page.split("<script>")[0]


def test_the_same_model_loses_nothing_and_the_flag_does_not_fail(world: Path, tmp_path: Path) -> None:
    same = [str(world / "base")] * 2
    ran = run_mossa(tmp_path, "diff", *same, "--tasks", str(world / "tasks"), "--examples", "24", "--fail-if-lost")
    assert ran.code == 0 and "Of 4 tasks: 4 unchanged." in ran.output, ran.output
    layers = pd.DataFrame(json.loads((tmp_path / "diff" / "diff.json").read_text())["layers"])
    values = layers[layers["reading"].isin(["cka-linear-debiased", "one-layer-change"])].groupby("reading")["value"]
    assert values.min().round(6).to_dict() == {"cka-linear-debiased": 1, "one-layer-change": 0}


def test_a_page_without_any_change_says_so(world: Path, tmp_path: Path) -> None:
    few, more = (
        mossa.diff(*[world / "base"] * 2, world / "tasks", examples=n).write(tmp_path / str(n)) for n in (3, 5)
    )
    text = few.read_text()
    assert "The update changes no layer" in more.read_text() and "No layer has a value of debiased CKA: " in text
    assert "Not decidable: with so few examples" in text


def test_the_page_works_without_a_network(found: Any, tmp_path: Path) -> None:
    page = found.write(tmp_path)
    chromium = start(tmp_path / "profile")
    try:
        show(chromium, page)
        chromium.execute_script("document.querySelector('tr.row button').click();")
        charts = chromium.execute_script(
            "return [...document.querySelectorAll('.chart')].filter(e => e.offsetWidth).map(e => "
            "[e.dataset.chart, e.querySelectorAll('.main-svg .trace').length])"
        )
        assert {name for name, _ in charts} == {"performance", "training", "alike", "place", "moved", "row-0"}
        assert all(traces for _, traces in charts), charts
        assert "<" not in chromium.execute_script("return document.querySelector('main').innerText")
        assert complaints(chromium) == [] and requests(chromium) == [page.as_uri()]
    finally:
        chromium.quit()


def test_two_gguf_files_and_a_file_of_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    llama = gguf_files.make("llama", gguf_files.SIZES)
    before = gguf_files.write(tmp_path / "before.gguf", llama, chat=None)
    with torch.no_grad():
        llama.lm_head.weight.mul_(1.5)
    after = gguf_files.write(tmp_path / "after.gguf", llama, chat=None)
    lines = [
        "ask,say,about",
        *(f"hel {place} he,he {place % 3},{'one' if place % 2 else 'two'}" for place in range(20)),
    ]
    (tmp_path / "quiz.csv").write_text("\n".join(lines))
    fields = {"prompt": "ask", "target": "say", "task": "about"}
    found = mossa.diff(before, after, tmp_path / "quiz.csv", fields=fields)
    assert sorted(found.final["task"]) == ["one", "two"] and found.final["n"].tolist() == [10, 10]
    assert found.final["loss_change"].abs().min() > 0  # the head alone: no layer changed
    changes = found.layers[found.layers["reading"].eq("one-layer-change")]
    assert changes["value"].eq(0).all() and changes["reason"].eq("no update at this layer").all()


def test_repeated_prompts_count_once_and_are_counted(world: Path, tmp_path: Path) -> None:
    lines = (world / "tasks" / "first.jsonl").read_text().splitlines()[:10]
    (tmp_path / "first.jsonl").write_text("\n".join([*lines, *lines[:3]]))
    said: list[str] = []
    found = mossa.diff(world / "base", world / "late", tmp_path / "first.jsonl", say=said.append)
    assert found.final["n"].tolist() == [10] and "examples left out: 3 that repeat a prompt" in said


def _other_tokenizer(folder: Path) -> None:
    make_model("llama").save_pretrained(folder)
    tokenizer = make_tokenizer()
    vocabulary = json.loads(tokenizer.backend_tokenizer.to_str())
    table = vocabulary["model"]["vocab"]
    table["cat"], table["dog"] = table["dog"], table["cat"]
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))


def _deeper(folder: Path) -> None:
    config = make_model("llama").config
    config.num_hidden_layers, config.layer_types = 4, None
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def _wider(folder: Path) -> None:
    config = make_model("llama").config
    config.intermediate_size = 64
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def _family(folder: Path) -> None:
    make_model("gpt2").save_pretrained(folder)


MADE: dict[str, tuple[Callable[[Path], None], str]] = {
    "another family": (_family, "TUNED {model} is a 'gpt2' model and the base a 'llama'"),
    "more layers": (_deeper, "{model} has 4 layers, the base 3"),
    "other widths": (_wider, "layer 1, mlp.down_proj.weight: the base has (32, 48), the tuned model (32, 64)"),
    "another tokenizer": (_other_tokenizer, "2 of the base's 51 tokens are not the same there, such as 'cat'"),
}


@pytest.mark.parametrize("case", MADE)
def test_a_model_that_is_not_tuned_from_the_base_is_refused(case: str, world: Path, tmp_path: Path) -> None:
    make, sentence = MADE[case]
    make(tmp_path / "other")
    with pytest.raises(MossaError) as refused:
        mossa.diff(world / "base", tmp_path / "other", world / "tasks", examples=4)
    said = str(refused.value)
    assert sentence.format(model=tmp_path / "other") in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tasks": "nowhere"}, "'nowhere' is neither a folder, a file nor a collection"),
        ({"tuned": "./nowhere"}, "nowhere is not a folder. Give one, a GGUF file, or the id"),
        ({"base": "tinyflan:c"}, "TinyFLAN has no base 'c'"),
        ({"also": ["late"]}, "is given twice"),
        (
            {"fields": {"prompt": "input", "target": "targets"}},
            "no column 'input' for the prompt. Did you mean 'inputs'",
        ),
        ({"fields": {"prompts": "inputs"}}, "fields.prompts"),
        ({"cutoff": 8, "template": "a a {prompt} a a"}, "no example of any task fits the model"),
        ({"template": "none"}, "this is none of auto, chat, plain"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"examples": 0}, "examples is 0"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    change: dict[str, Any], sentence: str, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world)
    given: dict[str, Any] = {"base": "base", "tuned": "late", "tasks": "tasks", **change}
    with pytest.raises(MossaError) as refused:
        mossa.diff(**given)
    assert sentence in str(refused.value) and len(str(refused.value).splitlines()) == 1


def test_a_field_without_a_column_is_refused(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from mossa.cli import main

    words = ["diff", str(world / "base"), str(world / "late"), "--tasks", str(world / "tasks"), "--field", "prompt"]
    monkeypatch.setattr("sys.argv", ["mossa", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and "--field prompt: give KEY=VALUE" in capsys.readouterr().err
