"""What only a GPU can show; `make gpu` runs these and measures more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mossa.models.base import load_base
from mossa.representations import represent_tokens
from mossa.similarity import spectrum
from mossa.similarity.compare import compare_several
from mossa.study.recipe import Budget, Recipe
from mossa.study.schema import Base
from mossa.training.train import train_adapter
from tests.training.test_train import encoded

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")]


def test_a_comparison_on_the_gpu_gives_the_numbers_of_the_cpu() -> None:
    random = np.random.default_rng(0)
    base = random.standard_normal((200, 2, 300), dtype=np.float32)
    arrays = {
        name: base + size * random.standard_normal(base.shape, dtype=np.float32) for size, name in enumerate("abc")
    }
    values, sizes = [], []
    for device in (torch.device("cpu"), torch.device("cuda:0")):
        found = compare_several(arrays, [("c", ("a", "b"))], ["cka-linear-debiased"], origin="a", device=device)
        values.append([row["value"] for row in found[0].similarity])
        sizes.append([layer.effective_rank for layer in spectrum(base, device=device)])
    assert values[1] == pytest.approx(values[0], abs=1e-4) and sizes[1] == pytest.approx(sizes[0], rel=1e-3)


@pytest.mark.parametrize("choice", [False, True, "auto"])
def test_training_and_representations_are_those_of_the_cpu(
    base_folder: Callable[[str], Path], tmp_path: Path, choice: bool | str
) -> None:
    settings = Base(model=str(base_folder("llama")), dtype="float32")
    recipe = Recipe.model_validate({"learning_rate": 5e-3, "gradient_checkpointing": choice})
    losses, rows = [], []
    for device in ("cpu", "cuda:0"):
        base = load_base(settings, device)
        done = train_adapter(base, encoded(base), [], recipe, Budget(steps=4), 0, tmp_path / device.replace(":", ""))
        losses.append([done.first_loss, done.last_loss])
        rows.append(represent_tokens(base.model, [each.tokens for each in encoded(base)]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-3, atol=1e-4)
