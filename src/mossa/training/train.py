"""The training loop: one adapter on one frozen base."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from mossa.errors import ModelNote, TrainingError
from mossa.models.adapters import new_adapter, save_adapter, update_norms
from mossa.models.base import LoadedBase
from mossa.models.batches import Allowance, ran_out_of_memory
from mossa.models.kernels import may_vary, varying
from mossa.models.prompts import Encoded
from mossa.study.recipe import Budget, Recipe, Until
from mossa.training.activations import checkpointing, computes_again
from mossa.training.checkpoint import Keeper, Progress
from mossa.training.loss import backward, count_targets, losses_until, step_groups
from mossa.training.randomness import random_state, set_random_state
from mossa.training.schedule import batches, learning_rate, planned_steps
from mossa.training.team import ALONE, Team


@dataclass(frozen=True, slots=True)
class Trained:
    """What training an adapter took and gave; losses in nats per target token."""

    steps: int
    epochs: float
    examples: int
    target_tokens: int
    stopped_because: str
    first_loss: float
    last_loss: float
    update_norm: float
    relative_update: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def train_adapter(
    base: LoadedBase,
    examples: Sequence[Encoded],
    validation: Sequence[Encoded],
    recipe: Recipe,
    budget: Budget,
    seed: int,
    output: Path,
    checkpoints: Path | None = None,
    fingerprint: str = "",
    on_step: Callable[[int, int, float], None] | None = None,
    allowance: Allowance | None = None,
    team: Team = ALONE,
) -> Trained:
    """Train a LoRA adapter on `examples`, save it to `output` in PEFT's format, and leave the base as it was.

    With `checkpoints`, goes on exactly from the last checkpoint there that has this `fingerprint`; one is written about
    every two minutes, and when the run is stopped. `on_step` is called with steps done, all steps, and the loss. Where
    memory runs out, micro-batches are halved, which `allowance` counts and which changes sums in their last digits
    only. With a `team`, every process calls this with the same arguments and gets the same adapter; the first writes
    the checkpoints. Raises `TrainingError` if there is nothing to train on or a loss or gradient is not finite, and
    `TeamLost` if a process of the team is gone.
    """
    allowance = allowance or Allowance()
    if not examples:
        raise TrainingError("none of the training examples fits the model; raise prompt.cutoff or shorten prompts")
    if budget.until is not None and not validation:
        raise TrainingError(
            "the budget waits for a validation criterion, but no validation example fits; set tasks.validation"
        )
    total = planned_steps(examples, budget, recipe.batch_size, seed)
    with (
        new_adapter(base, recipe.lora, seed) as adapted,
        torch.random.fork_rng(base.gpus),
        checkpointing(base.model, computes_again(recipe, adapted, examples, base.device)),
    ):
        torch.manual_seed(seed)
        weights = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
        optimizer = torch.optim.AdamW(weights.values(), lr=0.0, weight_decay=recipe.weight_decay, fused=True)
        keeper = checkpoints and Keeper(
            checkpoints, fingerprint, weights, optimizer, recipe.checkpoint_every, writes=team.rank == 0
        )
        progress = (keeper and keeper.load()) or Progress()
        team.check_step(progress.step)
        adapted.train()

        def reached(until: Until) -> bool:
            return meets(until, adapted, validation, base.device, allowance, team)

        stopped = "budget"
        with keeper.watching(progress) if keeper else nullcontext():
            for indices in islice(batches(len(examples), recipe.batch_size, seed), progress.step, total):
                # Looked at before a step, not after one: a run that was stopped in between looks again.
                due = budget.until and progress.step and progress.step % budget.until.check_every == 0
                if budget.until and due and reached(budget.until):
                    stopped = "criterion"
                    break
                if keeper:
                    keeper.between_steps()
                team.seed(seed, progress.step)
                step = [examples[index] for index in indices]
                _step(adapted, step, optimizer, recipe, progress, total, base.device, allowance, team)
                if on_step:
                    on_step(progress.step, total, progress.losses[-1])
            if budget.until and stopped == "budget":
                stopped = "criterion" if reached(budget.until) else "limit"
            save_adapter(adapted, output)
        norm, share = update_norms(adapted)
    tail = progress.losses[-max(1, len(progress.losses) // 10) :]
    return Trained(
        steps=progress.step,
        epochs=progress.step / math.ceil(len(examples) / recipe.batch_size),
        examples=len(examples),
        target_tokens=progress.target_tokens,
        stopped_because=stopped,
        first_loss=progress.losses[0],
        last_loss=sum(tail) / len(tail),
        update_norm=norm,
        relative_update=share,
    )


def _step(
    adapted: Any,
    examples: list[Encoded],
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    progress: Progress,
    total: int,
    device: torch.device,
    allowance: Allowance,
    team: Team,
) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    mine = [examples[index] for index in team.part([len(each.tokens) for each in examples])]
    targets = count_targets(examples)
    loss, _ = team.summed(lambda: (_backward(adapted, mine, targets, optimizer, device, allowance), 0.0), parameters)
    norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.max_gradient_norm or math.inf)
    if not (math.isfinite(loss) and math.isfinite(float(norm))):
        raise TrainingError(
            f"step {progress.step + 1} of {total}: the loss is {loss} and the gradient norm {float(norm)}. Lower "
            f"recipe.learning_rate (now {recipe.learning_rate}) or set base.dtype: float32."
        )
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(progress.step, total, recipe)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    progress.target_tokens += targets
    progress.losses.append(loss)
    progress.step += 1  # last: until here the step does not count, and `Keeper` sees that it is not whole


def _backward(
    adapted: Any,
    examples: list[Encoded],
    targets: int,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    allowance: Allowance,
) -> float:
    """Take the gradient of this process's part of a step and return its share of the loss.

    The step begins again with smaller batches where memory runs out, and with a note where an operation has no
    deterministic variant.
    """
    while examples:
        state = random_state(adapted.parameters())
        groups = step_groups(adapted, examples, device, allowance)
        try:
            return backward(adapted, examples, device, groups, targets)
        except Exception as error:
            full = ran_out_of_memory(error)
            if not full and not may_vary(error):
                raise
            if not full:
                warnings.warn(ModelNote(varying(error)), stacklevel=2)
        optimizer.zero_grad(set_to_none=True)  # what the half-finished step has left
        set_random_state(state, adapted.parameters())
        if full:
            allowance.halve(max(len(each.tokens) for each in examples), single=len(groups) == len(examples))
    return 0.0  # a step has fewer examples than the team has processes


def meets(
    until: Until,
    adapted: Any,
    validation: Sequence[Encoded],
    device: torch.device,
    allowance: Allowance | None = None,
    team: Team = ALONE,
) -> bool:
    """Tell whether a model meets a criterion on the validation examples.

    Losses and wrong answers only add up. Once one process of the team has seen too many, it looks at no more examples.
    """
    mine = [validation[index] for index in team.part([len(each.tokens) for each in validation])]
    targets = count_targets(validation)

    def missed(loss: float, wrong: float) -> bool:
        if until.metric == "loss":
            return not loss / targets <= until.value  # also where it is not a number
        return (len(validation) - wrong) / len(validation) < until.value

    adapted.eval()
    loss, wrong = team.summed(lambda: losses_until(missed, adapted, mine, device, allowance))
    adapted.train()
    return not missed(loss, wrong)
