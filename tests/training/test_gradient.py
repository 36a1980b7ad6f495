"""The training loop gives the gradient of the plain loop, in float64, to 1e-10."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mossa.models.adapters import new_adapter
from mossa.models.base import LoadedBase
from mossa.models.prompts import Encoded, targets_of
from mossa.study.recipe import Lora
from mossa.training import loss as training_loss
from mossa.training.loss import DISPATCH, backward, micro_batches, step_groups, token_losses
from tests.small import ARCHITECTURES, make_model, make_tokenizer

# The attention of Gemma 2 and BLOOM and the router of Mixtral take their softmax in float32 whatever the weights are,
# so that rounding is the limit.
TOLERANCE = dict.fromkeys(ARCHITECTURES, 1e-10) | dict.fromkeys(["gemma2", "bloom", "mixtral"], 1e-6)


def some_examples(count: int = 9) -> list[Encoded]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for index in range(count):
        length, targets = 4 + 5 * index % 23, 1 + index % 4
        tokens = torch.randint(3, 60, (length + targets,), generator=generator).tolist()
        made.append(Encoded(tokens, length, False, index))
    return made


def double_base(architecture: str) -> LoadedBase:
    model = make_model(architecture).double()
    for module in model.modules():  # as load_base does: no noise but the recipe's
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    if hasattr(model.config, "num_local_experts"):
        model.set_experts_implementation("eager")  # the grouped product of experts knows no float64
    return LoadedBase(model, make_tokenizer(), 3, 32, 96)


def plain_gradient(adapted, examples: list[Encoded]) -> tuple[float, dict[str, torch.Tensor]]:
    """One example at a time, full logits, one mean over all target tokens."""
    total = sum(len(example.tokens) - example.prompt_length for example in examples)
    loss_sum = torch.zeros((), dtype=torch.float64)
    for example in examples:
        ids = torch.tensor([example.tokens])
        logits = adapted(input_ids=ids).logits[0, example.prompt_length - 1 : -1]
        loss_sum = loss_sum + functional.cross_entropy(logits, ids[0, example.prompt_length :], reduction="sum")
    (loss_sum / total).backward()
    gradients = {name: p.grad.clone() for name, p in adapted.named_parameters() if p.grad is not None}
    adapted.zero_grad(set_to_none=True)
    return float(loss_sum.detach() / total), gradients


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("device", "tokens"), [("cpu", 1), ("cpu", 64), ("cpu", 100_000), ("cuda", 100_000)])
def test_gradient_equals_the_plain_loop(architecture: str, device: str, tokens: int) -> None:
    """Whatever the micro-batches: full ones, and those that weigh filling against 10 tokens for each micro-batch."""
    base = double_base(architecture)
    with new_adapter(base, Lora(rank=4, alpha=8, targets="all-linear"), seed=0) as adapted:
        with torch.no_grad():  # B starts at zero, which would leave half of the gradient untested
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.data = parameter.data.double()
                    parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(len(name)))
        expected_loss, expected = plain_gradient(adapted, some_examples())
        sizes = [len(example.tokens) for example in some_examples()]
        groups = micro_batches(sizes, device, round(DISPATCH / 10), tokens)
        assert device == "cpu" or 1 < len(groups) < len(sizes)
        loss = backward(adapted, some_examples(), torch.device("cpu"), groups)
        found = {name: p.grad for name, p in adapted.named_parameters() if p.grad is not None}
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE[architecture])
    assert found.keys() == expected.keys() and len(found) > 0
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= TOLERANCE[architecture] * gradient.norm(), name


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_gradient_and_losses_are_the_same_however_few_logits_there_may_be(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, examples, cpu = double_base(architecture), some_examples(), torch.device("cpu")
    plain = token_losses(base.model, examples, cpu)
    with new_adapter(base, Lora(rank=4, alpha=8, targets="all-linear"), seed=0) as adapted:
        expected_loss, expected = plain_gradient(adapted, examples)
        assert len(step_groups(adapted, examples, cpu)) == 1
        monkeypatch.setattr(training_loss, "LOGITS_AT_ONCE", 3 * 96 + 95)  # three targets of 96 words; some have four
        groups = step_groups(adapted, examples, cpu)
        held = [targets_of([examples[index] for index in group]) for group in groups]
        assert max(map(sum, held)) == 4 and all(sum(some) <= 3 or len(some) == 1 for some in held)
        assert any(len(some) > 1 for some in held)
        loss = backward(adapted, examples, cpu)
        found = {name: p.grad for name, p in adapted.named_parameters() if p.grad is not None}
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE[architecture])
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= TOLERANCE[architecture] * gradient.norm(), name
    sums, exact = token_losses(base.model, examples, cpu)
    assert sums == pytest.approx(plain[0], rel=1e-6) and exact == plain[1]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_token_losses_equal_the_models_own_loss(architecture: str) -> None:
    model = make_model(architecture).double()
    sums, exact = token_losses(model, some_examples(), torch.device("cpu"))
    for example, loss, hit in zip(some_examples(), sums, exact, strict=True):
        labels = torch.tensor([[-100] * example.prompt_length + example.tokens[example.prompt_length :]])
        with torch.no_grad():
            output = model(input_ids=torch.tensor([example.tokens]), labels=labels)
        count = len(example.tokens) - example.prompt_length
        assert loss == pytest.approx(float(output.loss) * count, rel=1e-6)
        predicted = output.logits[0, example.prompt_length - 1 : -1].argmax(-1).tolist()
        assert hit == (predicted == example.tokens[example.prompt_length :])
