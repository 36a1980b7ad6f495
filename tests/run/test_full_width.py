"""At the width of Llama-2-7B, with its tokenizer's layout and template: trained, represented, compared, in a run."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pandas as pd
import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from mossa.cost.estimate import estimate
from mossa.models.base import load_config, load_tokenizer, longest_input
from mossa.models.prompts import make_format
from mossa.run.run import prepare
from mossa.study import load_study
from mossa.study.schema import Base, Prompt
from mossa.tasks.task import Example
from tests import llama2
from tests.run.command import mossa
from tests.run.test_plan import peak_memory


@pytest.mark.slow  # 670 million weights: a few gigabytes of memory, most of a minute
def test_a_study_at_full_width(task_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = str(llama2.save_base(tmp_path / "base"))
    study = {
        "name": "wide",
        "base": {"model": base, "dtype": "bfloat16"},
        "prompt": {"template": "llama2", "system": "Answer."},
        "tasks": {"source": str(task_folder), "only": ["first"], "train": 2, "validation": 1, "test": 4},
        "recipe": {"preset": "paper", "batch_size": 2, "budget": {"steps": 1}},
        "similarity": {"other_controls": 0},
    }
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(study))
    ran = mossa(tmp_path, "run", "wide.yaml", "--no-report", "--workers", "1")
    assert ran.code == 0, ran.output
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 6e6  # kilobytes
    units = tmp_path / "runs/wide/units"
    adapters = pd.read_parquet(tmp_path / "runs/wide/results/adapters.parquet")
    assert set(adapters["role"]) == {"control", "experimental"} and (adapters["steps"] == 1).all()
    assert adapters["first_loss"].between(9, 13).all()  # ln 32,000 = 10.4: random weights know nothing
    shapes = {
        tuple(tensor.shape) for tensor in load_file(units / "train/sft/adapter/adapter_model.safetensors").values()
    }
    assert shapes == {(8, llama2.WIDTH), (llama2.WIDTH, 8)}
    with safe_open(units / "represent/sft@first/representations.safetensors", "np") as stored:
        assert stored.get_slice("representations").get_shape() == [4, llama2.LAYERS, llama2.WIDTH]
    planned = estimate(prepare(load_study(tmp_path / "wide.yaml"), tmp_path / "runs")).need
    assert 0.7 < planned.main / peak_memory(tmp_path / "runs/wide") < 1.3 and planned.main_step == "loading"
    similarity = pd.read_parquet(tmp_path / "runs/wide/results/similarity.parquet")
    plain = similarity[similarity["estimator"] == "cka-linear"]
    assert set(plain["layer"]) == {1, 2} and (plain["d"] == 4096).all() and plain["value"].between(0.9, 1).all()


def test_the_papers_template_in_tokens_of_llama_2s_layout(tmp_path: Path) -> None:
    llama2.save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(llama2.CONFIG))
    settings = Base(model=str(tmp_path))
    tokenizer = load_tokenizer(settings)
    assert len(tokenizer) == 32_000 and longest_input(load_config(settings), tokenizer) == 4096
    form = make_format(tokenizer, Prompt(template="llama2"), 4096)
    texts = ["say one cat", "what is </s> the dog of seven ?", "Grüße, 世界"]
    encoded = form.encode([Example(text, "one") for text in texts], "t", with_target=True)
    endings = {
        tuple(example.tokens[example.prompt_length - len(form.suffix) : example.prompt_length]) for example in encoded
    }
    assert endings == {form.suffix} and tokenizer.convert_ids_to_tokens(form.suffix)[-1] == "]"
    for example in encoded:
        assert example.tokens[0] == 1 and example.tokens[-1] == 2 and example.tokens[1:-1].count(1) == 0
        assert 2 not in example.tokens[1:-1]
    assert any(token.startswith("<0x") for token in tokenizer.convert_ids_to_tokens(list(encoded[2].tokens)))
