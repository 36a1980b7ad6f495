"""How much work each unit is: tokens counted on the data, operations computed from the model's shape."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

from mossa.cost.tokenized import Tokenized
from mossa.models.batches import by_length
from mossa.models.prefix import common_prefix
from mossa.models.prompts import Encoded, targets_of
from mossa.models.shape import Shape
from mossa.place.graft import passes
from mossa.representations.extract import TOKEN_BUDGET as EXTRACTION_BUDGET
from mossa.representations.extract import are_same_prompts
from mossa.similarity.products import cheaper_in_features
from mossa.steps.steps import COMMON_PROMPTS, PROJECTED_PROMPTS
from mossa.study.recipe import Budget, Recipe
from mossa.study.schema import BASE, StudySettings
from mossa.tasks.mixture import mix
from mossa.tasks.task import Task
from mossa.training.activations import LOGITS, ROOM, activation_bytes, tokens_at_least
from mossa.training.loss import TOKEN_BUDGET as TRAINING_BUDGET
from mossa.training.loss import micro_batches, most_targets, token_budget
from mossa.training.schedule import batches, planned_steps
from mossa.units.unit import Unit

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True)
class Work:
    """What a unit does: `tokens` that go through the model (`padded` with filling), `targets` the loss is taken of.

    `operations`: floating-point operations of the model; `products`: those of similarities, on the CPU. `points`: in
    projections. `bytes`: what it leaves on the disk, without tables. `batch`: padded tokens of its largest micro-batch,
    `batch_targets`: the most targets of a micro-batch; `longest` and `longest_targets`: the same where memory allows
    one sequence at a time. `again`: activations are computed again in the backward pass. `blocks`: how often the
    operations of a block are sent to the device, a block's backward counting as two.
    """

    tokens: int = 0
    padded: int = 0
    targets: int = 0
    steps: int = 0
    operations: float = 0.0
    products: float = 0.0
    points: int = 0
    bytes: int = 0
    batch: int = 0
    batch_targets: int = 0
    longest: int = 0
    longest_targets: int = 0
    again: bool = False
    blocks: float = 0.0


@dataclass
class Counter:
    """Counts the work of the units of one study; `memory` is what the device has besides the weights, in bytes.

    `scored`: the `represent` units whose pass also gives the losses that an `evaluate` unit writes.
    """

    study: StudySettings
    tasks: Sequence[Task]
    tokenized: Tokenized
    shape: Shape
    device: str
    memory: float = math.inf
    scored: Collection[str] = ()
    _tests: dict[str, tuple[int, bool]] = field(default_factory=dict[str, tuple[int, bool]], init=False)

    @cached_property
    def by_name(self) -> dict[str, Task]:
        """Return the tasks by name."""
        return {task.name: task for task in self.tasks}

    def work(self, unit: Unit) -> Work:
        """Return the work of a unit."""
        if unit.step == "train":
            return self._train(unit)
        if unit.step in ("represent", "evaluate"):
            return self._on_task(unit)
        if unit.step == "place":
            return self._place(unit)
        if unit.step == "common":
            each = max(1, COMMON_PROMPTS // len(self.tasks))
            prompts = [prompt for task in self.by_name for prompt in self._examples(task, "test", False)[:each]]
            return self._represent(
                prompts, adapted=True, judged=False, shared=common_prefix([prompt.tokens for prompt in prompts])
            )
        if unit.step == "compare":
            return self._compare(unit)
        if unit.step == "overview":
            shown = sum(min(PROJECTED_PROMPTS, len(self._examples(task, "test", False))) for task in self.by_name)
            return Work(points=shown * len(unit.settings["projected_depths"]))
        if unit.step == "affinity":
            pairs = len(unit.inputs) * (len(unit.inputs) - 1) // 2
            return Work(products=pairs * self.shape.layers * compared_products(COMMON_PROMPTS, self.shape.width, 1))
        return Work()

    def budget_of(self, unit: Unit) -> Budget:
        """Return how long a `train` unit trains."""
        return Budget.model_validate(unit.settings["budget"])

    def _examples(self, task: str, split: str, with_target: bool) -> list[Encoded]:
        return self.tokenized.of(getattr(self.by_name[task], split), f"task {task!r}, {split}", with_target)

    def _train(self, unit: Unit) -> Work:
        names = list(unit.settings["train"])
        if len(names) == 1:
            examples = self._examples(names[0], "train", True)
        else:
            mixed = mix([self.by_name[name] for name in names], unit.settings["cap_per_cluster"], unit.settings["seed"])
            examples = self.tokenized.of(mixed, unit.key, with_target=True)
        recipe, seed = self.study.recipe, unit.settings["seed"]
        steps = planned_steps(examples, self.budget_of(unit), recipe.batch_size, seed) if examples else 0
        return training_work(examples, steps, recipe, seed, self.shape, self.device, self.memory)

    def _on_task(self, unit: Unit) -> Work:
        """Return the work of a pass over a test set; without its own, an evaluation has that of its replies."""
        name, task = unit.key.split("@")
        prompts, examples = (self._examples(task, "test", with_target) for with_target in (False, True))
        if task not in self._tests:
            shared = common_prefix([prompt.tokens for prompt in prompts])
            self._tests[task] = shared, are_same_prompts(prompts, examples)
        shared, alike = self._tests[task]
        one_pass = alike and (unit.after or unit.id) in self.scored
        if unit.step == "represent":
            fed = examples if one_pass else prompts
            return self._represent(fed, adapted=name != BASE, judged=one_pass, shared=shared)
        if one_pass:  # and a few replies
            examples = [example for example in examples if example.index < unit.settings["replies"]]
        return forward_work(examples, self.shape, self.device, adapted=name != BASE, judged=True, shared=shared)

    def _represent(self, examples: Sequence[Encoded], **how: Any) -> Work:
        written = len(examples) * self.shape.layers * self.shape.width * BYTES[self.study.represented_in]
        work = forward_work(examples, self.shape, self.device, **how)
        return replace(work, bytes=written, blocks=work.blocks + self.shape.layers)  # one prompt is fed alone as well

    def _place(self, unit: Unit) -> Work:
        """Return the work of each block twice per model, and of the graft's models, with all layers tuned."""
        examples = self._examples(unit.key.split("@")[1], "test", True)
        changed, grafted = (examples[:count] for count in unit.settings["prompts"])
        once, each = (
            forward_work(some, self.shape, self.device, adapted=True, judged=True) for some in (changed, grafted)
        )
        many = passes(self.shape.layers)
        return replace(
            each,
            operations=4 * once.operations + many * each.operations,
            blocks=4 * once.blocks + many * each.blocks,
        )

    def _compare(self, unit: Unit) -> Work:
        """Return the products of all comparisons of one task per view: each array's own, and those of each pair."""
        n, d = len(self._examples(unit.key, "test", False)), self.shape.width
        settings = unit.settings
        controls, models = len(settings["controls"]), len({BASE, *settings["experimental"]})
        references = controls + len(settings["others"]) + len(settings.get("shams", []))
        views = len({name.removesuffix("-debiased") for name in settings["similarity"]["estimators"]})
        views *= 2 if settings["similarity"]["shift"] else 1
        pairs = references * len(settings["experimental"]) + math.comb(controls, 2)
        return Work(products=self.shape.layers * views * compared_products(n, d, references + models - 1, pairs))


def training_work(
    examples: Sequence[Encoded],
    steps: int,
    recipe: Recipe,
    seed: int,
    shape: Shape,
    device: str,
    memory: float = math.inf,
) -> Work:
    """Return the work of the first `steps` optimizer steps over `examples`, grouped as training does on `device`.

    With gradient checkpointing `auto`, activations are kept if `memory` (bytes besides the weights) holds them.
    """
    weights = shape.weights + shape.adapter_weights
    budget, allowed = token_budget(device, weights), most_targets(shape.vocabulary)
    tokens = padded = squares = targets = largest = most = longest_alone = most_alone = groups = 0
    for indices in islice(batches(len(examples), recipe.batch_size, seed), steps):
        chosen = [examples[index] for index in indices]
        lengths = [len(example.tokens) for example in chosen]
        tokens += sum(lengths)
        held = targets_of(chosen)
        targets += sum(held)
        for group in micro_batches(lengths, device, weights, budget, targets=held, most=allowed):
            longest = max(lengths[index] for index in group)
            groups += 1
            padded += len(group) * longest
            squares += len(group) * longest * (longest + 1)
            largest = max(largest, len(group) * longest)
            most = max(most, sum(held[index] for index in group))
        longest_alone = max(longest_alone, *lengths)
        most_alone = max(most_alone, *held)
    again = recipe.gradient_checkpointing  # forward, through the activations backward, forward again
    if again == "auto":
        least = tokens_at_least(longest_alone, device, weights)
        kept = activation_bytes(shape.kept_per_token, shape.layers, 0, least, False)
        again = kept + LOGITS * most_alone * shape.vocabulary > ROOM * memory
    operations = (
        2.0 * padded * shape.block_weights * (1 + shape.reach * (1 + again))
        + (4.0 if shape.combines else 6.0) * padded * shape.adapter_weights
        + 2.0 * squares * shape.attention * (1 + shape.reach * (2 + again))  # backward costs twice the forward
        + 4.0 * targets * shape.head_weights
    )
    left = 4 * shape.adapter_weights
    return Work(
        tokens,
        padded,
        targets,
        steps,
        operations,
        bytes=left,
        batch=largest,
        batch_targets=most,
        longest=longest_alone,
        longest_targets=most_alone,
        again=again,
        blocks=groups * shape.layers * (1 + shape.reach * (2 + again)),
    )


def forward_work(
    examples: Sequence[Encoded], shape: Shape, device: str, *, adapted: bool, judged: bool, shared: int = 0
) -> Work:
    """Return the work of running the model over `examples` once: for the loss of its targets, else to represent.

    The first `shared` tokens of all of them go through it once.
    """
    budget = (TRAINING_BUDGET if judged else EXTRACTION_BUDGET)[device]
    lengths = [len(example.tokens) - shared for example in examples]
    each = targets_of(examples) if judged else [0] * len(examples)
    batches = by_length(lengths, budget, targets=each, most=most_targets(shape.vocabulary))
    groups = [(len(group), max(lengths[index] for index in group)) for group in batches]
    padded = shared + sum(count * longest for count, longest in groups)
    squares = shared * (shared + 1) + sum(count * longest * (longest + 1 + 2 * shared) for count, longest in groups)
    targets = sum(each)
    weights = shape.block_weights + (adapted and not shape.combines) * shape.adapter_weights
    operations = 2.0 * padded * weights + 2.0 * squares * shape.attention
    return Work(
        shared + sum(lengths),
        padded,
        targets,
        operations=operations + 2.0 * targets * shape.head_weights,
        batch=max((count * longest for count, longest in groups), default=0),
        batch_targets=max((sum(each[index] for index in group) for group in batches), default=0),
        longest=max(lengths, default=0),
        longest_targets=max(each, default=0),
        blocks=(len(batches) + bool(shared)) * shape.layers,
    )


def compared_products(n: int, d: int, models: int, pairs: int | None = None) -> float:
    """Return the operations of comparing 1 + `models` arrays at one layer, in so many `pairs`, in the cheaper space.

    Without `pairs`, one of them is compared with the others.
    """
    if cheaper_in_features(n, d, models, crosses=pairs):
        return 2.0 * n * d * d * (1 + models + 2 * (models if pairs is None else pairs))
    return float(n) * n * d * (1 + models)
