"""When memory runs out, batches are halved, it is counted, and the numbers stay what they were."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mossa.errors import ModelError
from mossa.models.base import load_base
from mossa.models.batches import Allowance, for_each_batch, ran_out_of_memory
from mossa.representations import represent_tokens
from mossa.study.recipe import Budget, Recipe
from mossa.study.schema import Base
from mossa.training.loss import token_losses
from mossa.training.train import train_adapter
from tests.training.test_train import encoded

LIMITED = """
import resource
import torch
from mossa.models.batches import Allowance
from mossa.representations import represent_tokens
from tests.small import make_model

model = make_model("llama")
generator = torch.Generator().manual_seed(0)
prompts = torch.randint(3, 96, (3000, 90), generator=generator).tolist()
free = represent_tokens(model, prompts[:300])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000, resource.RLIM_INFINITY))
allowance = Allowance()
found = represent_tokens(model, prompts, token_budget=2**20, allowance=allowance)
assert 1 <= allowance.halvings <= 8, allowance.halvings
assert torch.allclose(found[:300], free, rtol=1e-4, atol=1e-5)
print("halved", allowance.halvings)
"""


class Narrow:
    """A device too small for more than `tokens` at once: forward or backward over more raise what CUDA raises."""

    def __init__(self, model: torch.nn.Module, tokens: int, backward: bool = False) -> None:
        self.times = 0
        self.tokens, self.backward = tokens, backward
        block = model.get_decoder().layers[1]
        block.register_forward_hook(self._hook)

    def _hook(self, _module: object, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if hidden.shape[0] * hidden.shape[1] <= self.tokens:
            return
        if self.backward and hidden.requires_grad:
            hidden.register_hook(self._refuse)
        elif not self.backward:
            self._refuse(hidden)

    def _refuse(self, _tensor: torch.Tensor) -> None:
        self.times += 1
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


@pytest.mark.parametrize("backward", [False, True])
def test_training_goes_on_with_smaller_batches_to_the_same_adapter(base_folder, tmp_path: Path, backward: bool) -> None:
    results: list[torch.Tensor] = []
    recipe = Recipe(batch_size=16, learning_rate=5e-3)
    for name, tokens in (("wide", 10_000), ("narrow", 60)):
        base = load_base(Base(model=str(base_folder("llama"))))
        narrow = Narrow(base.model, tokens, backward)
        allowance = Allowance()
        trained = train_adapter(
            base, encoded(base), [], recipe, Budget(steps=10), 0, tmp_path / name, allowance=allowance
        )
        assert allowance.halvings == narrow.times and (allowance.halvings > 0) == (name == "narrow")
        results.append(torch.tensor([trained.first_loss, trained.last_loss, trained.update_norm]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-5)


def test_extraction_and_evaluation_go_on_with_smaller_batches(base_folder) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    examples = encoded(base)
    prompts = [example.tokens for example in examples]
    device = torch.device("cpu")
    expected = represent_tokens(base.model, prompts), token_losses(base.model, examples, device)
    narrow = Narrow(base.model, 100)
    allowance = Allowance()
    found = represent_tokens(base.model, prompts, allowance=allowance)
    assert allowance.halvings == narrow.times > 1
    torch.testing.assert_close(found, expected[0], rtol=1e-4, atol=1e-5)
    losses, exact = token_losses(base.model, examples, device, Allowance())
    assert exact == expected[1][1]
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected[1][0]), rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_alone_is_a_sentence(base_folder, tmp_path: Path) -> None:
    base = load_base(Base(model=str(base_folder("llama"))))
    Narrow(base.model, 1)
    examples = encoded(base)
    for attempt in (
        lambda: represent_tokens(base.model, [example.tokens for example in examples]),
        lambda: train_adapter(base, examples, [], Recipe(), Budget(steps=1), 0, tmp_path),
    ):
        with pytest.raises(ModelError, match=r"memory ran out on a single sequence of \d+ tokens\. Lower"):
            attempt()


def test_real_memory_that_runs_out_halves_batches_too() -> None:
    """A process whose address space is limited: the allocator itself refuses."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("halved"), done.stderr


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    assert ran_out_of_memory(MemoryError()) and ran_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert ran_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not ran_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))

    def fail(_group: list[int]) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        for_each_batch([3, 2], 100, Allowance(), fail, math.inf)
