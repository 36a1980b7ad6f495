"""`mossa init --gpu` writes a study of which `mossa plan` says that it fits that GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mossa.api.tasks import start_study
from mossa.cost.estimate import estimate
from mossa.errors import StudyError
from mossa.run.run import prepare
from mossa.study import load_study
from tests.run.test_large_shapes import LLAMA_3_8B
from tests.small import make_tokenizer


@pytest.fixture
def base(tmp_path: Path) -> Callable[..., str]:
    """Return a function that makes a base with the shape of an 8B model, no weights and a small tokenizer."""

    def make(**changes: int) -> str:
        folder = tmp_path / "base"
        make_tokenizer().save_pretrained(str(folder))
        (folder / "config.json").write_text(json.dumps({**LLAMA_3_8B, **changes}))
        (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("gpu", "quantise", "represented"), [("rtx4090", None, "base"), ("h100", None, "float32"), ("a10", "4-bit", "base")]
)
def test_the_plan_confirms_what_init_chose(
    gpu: str, quantise: str | None, represented: str, base: Callable[..., str], task_folder: Path, tmp_path: Path
) -> None:
    model = base(num_hidden_layers=64) if gpu == "a10" else base()  # 15 billion weights: 30 GB in bfloat16
    path = tmp_path / "mine.yaml"
    notes = start_study(path, model, str(task_folder), gpu)
    assert any(note.startswith("cutoff 64: 0 of ") for note in notes) and any(gpu in note for note in notes)
    study = load_study(path)
    assert (study.base.dtype, study.base.quantise, study.representations.dtype) == ("bfloat16", quantise, represented)
    found = estimate(prepare(study, tmp_path / "runs"), gpu)
    assert found.gpu and found.need.device < 0.95e9 * found.gpu.memory


def test_what_fits_in_no_way_is_refused_with_what_would(
    base: Callable[..., str], task_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    with pytest.raises(StudyError, match=r"--gpu l4: even in 4 bits, .* GPUs that hold it: .*h200"):
        start_study(path, base(num_hidden_layers=240), str(task_folder), "l4")
    with pytest.raises(StudyError, match=r"--gpu rtx409: .*rtx4090"):
        start_study(path, base(), str(task_folder), "rtx409")
    assert not path.exists()
