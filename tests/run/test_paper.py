"""The paper's study, as it comes with mossa: what it chooses, and all of it at a small scale against a replica hub."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from mossa.study import StudySettings, load_study
from mossa.tasks.flan2021.catalogue import catalogue, entries
from tests.run.command import arguments
from tests.tasks.replica import TOKEN, hub
from tests.tasks.test_flan2021 import save_copy

NAME = "flan2021-llama2"
COPY = {"rte": "first", "arc_easy": "colour", "wsc": "second", "record": "again"}
SMALL = {
    "base.dtype": "float32",
    "prompt.system": "''",
    "prompt.cutoff": 96,
    "tasks.only": list(COPY),
    "tasks.train": 24,
    "tasks.validation": 4,
    "tasks.test": 12,
    "recipe.budget": "{steps: 2}",
}


@pytest.fixture(scope="module")
def study() -> StudySettings:
    return load_study(Path(NAME))


def mossa_online(folder: Path, address: str, *words: str, token: str = "", **more: str) -> tuple[int, str]:
    """Run `mossa` as somebody with a network does, whose hub is at `address`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    environment = {**kept, "HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", **more}
    environment |= {"HF_TOKEN": token} if token else {}
    done = subprocess.run(
        arguments(*words), cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    output = done.stdout + done.stderr
    assert "Traceback" not in output, output
    return done.returncode, output


def test_it_chooses_what_the_paper_chose(study: StudySettings) -> None:
    assert study.base.model == "meta-llama/Llama-2-7b-hf"
    assert study.prompt.template == "llama2" and study.prompt.system is None and study.prompt.cutoff == 1024
    recipe = study.recipe
    assert recipe.lora.model_dump() == {
        "rank": 8,
        "alpha": 16,
        "dropout": 0.0,
        "targets": ["q_proj", "v_proj"],
        "layers": None,
    }
    assert (recipe.learning_rate, recipe.schedule, recipe.warmup, recipe.weight_decay) == (5e-5, "cosine", 0, 0)
    assert recipe.batch_size == 4 * 4 and recipe.budget.epochs == 3 and recipe.max_gradient_norm == 1
    caps = catalogue()["caps"]
    sizes = (study.tasks.train, study.tasks.validation, study.tasks.test)
    assert sizes == (caps["train"], caps["validation"], caps["test"]) == (30_000, 200, 10_000)
    sft, unseen = study.experimental["sft"], study.experimental["unseen"]
    assert sft.mixture == "all" and sft.cap_per_cluster == unseen.cap_per_cluster == caps["per_cluster"] == 50_000
    assert "cka-linear" in study.similarity.chosen(templates=True) and study.representations.last_layer == "normed"


def test_it_holds_out_seven_template_groups_and_their_whole_clusters(study: StudySettings) -> None:
    held_out = study.experimental["unseen"].hold_out
    groups = {e.templates for e in entries().values() if e.cluster in held_out and e.in_repository}
    assert len(groups) == 7 and set(held_out) <= set(catalogue()["clusters"])


def test_without_a_network_the_answer_is_one_sentence(tmp_path: Path) -> None:
    for verb in ("run", "status"):
        code, output = mossa_online(tmp_path, "http://127.0.0.1:9", verb, NAME)
        assert code == 2 and output.count("\n") == 1, output
        assert "meta-llama/Llama-2-7b-hf" in output and "the hub cannot be reached" in output
        assert "hf download meta-llama/Llama-2-7b-hf" in output
    code, output = mossa_online(tmp_path, "http://127.0.0.1:9", "run", NAME, HF_HUB_OFFLINE="1")
    assert code == 2 and output.count("\n") == 1 and "198 of 198 files are not in the cache" in output
    assert not (tmp_path / "runs").exists()


def test_a_gated_base_is_refused_before_the_tasks_are_downloaded(tmp_path: Path) -> None:
    save_copy(tmp_path / "hub" / catalogue()["repository"], COPY)
    gated = "meta-llama/Llama-2-7b-hf"
    (tmp_path / "hub" / gated).mkdir(parents=True)
    with hub(tmp_path / "hub", {catalogue()["revision"], "main"}, gated=[gated]) as (address, asked):
        code, output = mossa_online(tmp_path, address, "run", NAME)
        assert code == 2 and f"is gated: ask for access at https://huggingface.co/{gated} and run again" in output
        assert "hf auth login" in output and not [line for line in asked if "Muennighoff" in line]


def test_the_whole_study_at_a_small_scale(base_folder, tmp_path: Path) -> None:
    repository = catalogue()["repository"]
    save_copy(tmp_path / "hub" / repository, COPY)
    changes = {"base.model": str(base_folder("llama")), **SMALL}
    words = [word for key, value in changes.items() for word in ("-s", f"{key}={value}")]
    with hub(tmp_path / "hub", {catalogue()["revision"]}, gated=[repository]) as (address, asked):
        code, output = mossa_online(tmp_path, address, "run", NAME, *words, "--workers", "1", token=TOKEN)
        assert code == 0, output
        assert sum(line.startswith("GET datasets/") for line in asked) == 3 * len(COPY)
    results = tmp_path / "runs" / NAME / "results"
    similarity = pd.read_parquet(results / "similarity.parquet")
    assert set(similarity["task"]) == set(COPY) and {"cka-linear", "cka-linear-debiased"} <= set(
        similarity["estimator"]
    )
    held_out = similarity[similarity["held_out"] & (similarity["experimental"] == "unseen")]["task"]
    assert set(held_out) == {"arc_easy", "wsc", "record"}
    tasks = pd.read_parquet(results / "tasks.parquet")
    assert dict(zip(tasks["task"], tasks["cluster"], strict=True)) == {n: entries()[n].cluster for n in COPY}
    assert (tasks["left_out"] == 0).all() and (tasks["test"] == 12).all()
    page = (tmp_path / "runs" / NAME / "report" / "index.html").read_text()
    assert "arc_easy" in page and "natural_language_inference" in page
    code, output = mossa_online(tmp_path, "http://127.0.0.1:9", "run", NAME, *words, "--workers", "1")
    assert code == 0 and "Nothing to do" in output, output
