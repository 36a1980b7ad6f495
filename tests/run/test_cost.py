"""What `mossa plan` says: tokens as training counts them, operations as torch counts them, schedules within bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from experiments.advice.saving import backward, saving
from mossa.cost.estimate import CostEstimate, estimate, fitting_gpus
from mossa.cost.gpus import named_gpu
from mossa.cost.memory import LIBRARIES, Need, need
from mossa.cost.rates import SENDING, from_peak
from mossa.cost.schedule import longest_chain, makespan
from mossa.cost.text import _room
from mossa.cost.timings import Sample
from mossa.cost.tokenized import Tokenized
from mossa.cost.work import Counter, Work, forward_work
from mossa.errors import StudyError
from mossa.models import prompts
from mossa.models.adapters import new_adapter
from mossa.models.base import load_base
from mossa.models.batches import by_length
from mossa.models.blocks import blocks_of
from mossa.models.prompts import Encoded
from mossa.models.shape import shape_of
from mossa.representations.extract import represent_and_score, represent_tokens
from mossa.run.perform import perform
from mossa.run.run import prepare
from mossa.steps.context import StepContext
from mossa.steps.job import Job
from mossa.study.recipe import Lora
from mossa.study.schema import Base, StudySettings
from mossa.training.loss import TOKEN_BUDGET, count_targets
from mossa.units.unit import Unit


def test_tokens_operations_and_bytes_are_those_of_the_run(base_folder, task_folder: Path, tmp_path: Path) -> None:
    study = StudySettings.model_validate(
        {
            "name": "counted",
            "base": {"model": str(base_folder("llama"))},
            "tasks": {"source": str(task_folder), "train": 20, "validation": 4, "test": 12},
            "recipe": {"preset": "small", "batch_size": 6, "budget": {"steps": 4}},
            "experimental": {"pretrained": "base", "sft": {"mixture": "all", "cap_per_cluster": 13}},
        }
    )
    prepared = prepare(study, tmp_path)
    prepared.run.prepare()
    context = StepContext(Job(study, prepared.tasks, prepared.run, prepared.fingerprints), "cpu")
    shape = shape_of(study.base, study.recipe.lora)
    scored = {unit.after for unit in prepared.units.values() if unit.after}
    counter = Counter(study, prepared.tasks, Tokenized(context.format), shape, "cpu", scored=scored)
    for name in ("train/sft", "train/control-first-seed0", "represent/pretrained@first"):
        unit = prepared.units[name]
        ran: list[int] = []
        hooks = [
            block.register_forward_hook(lambda *_, ran=ran: ran.append(1)) for block in blocks_of(context.base.model)
        ]
        assert perform(unit, context).state == "done"
        for hook in hooks:
            hook.remove()
        work = counter.work(unit)
        assert work.blocks == len(ran) * (1 + 2 * shape.reach if unit.step == "train" else 1)
        folder = prepared.run.folder(name)
        if unit.step == "train":
            row = pd.read_parquet(folder / "adapters.parquet").iloc[0]
            assert (work.steps, work.targets) == (row["steps"], row["target_tokens"])
            assert 0 < work.bytes <= (folder / "adapter/adapter_model.safetensors").stat().st_size
        else:
            assert 0 <= (folder / "representations.safetensors").stat().st_size - work.bytes < 1000
    weights = [parameter for parameter in context.base.model.parameters() if parameter.dim() == 2]
    assert shape.weights == sum(parameter.numel() for parameter in context.base.model.parameters())
    assert shape.block_weights + 2 * shape.head_weights == sum(weight.numel() for weight in weights)
    prompts, examples = (context.encoded("first", "test", with_target) for with_target in (False, True))
    unit, model = prepared.units["represent/pretrained@first"], context.base.model
    passes = {
        (): (prompts, lambda: represent_tokens(model, [prompt.tokens for prompt in prompts])),
        (unit.id,): (examples, lambda: represent_and_score(model, examples)),
    }
    for scored, (fed, call) in passes.items():
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            call()
        products = sum(flop for op, flop in counted.get_flop_counts()["Global"].items() if "attention" not in str(op))
        work = replace(counter, scored=scored).work(unit)
        assert work.tokens == sum(len(example.tokens) for example in fed) <= work.padded
        assert work.targets == (count_targets(examples) if scored else 0)
        assert products == 2 * work.padded * shape.block_weights + 2 * work.targets * shape.head_weights
    evaluation = counter.work(prepared.units["evaluate/pretrained@first"])
    shown = examples[: prepared.units["evaluate/pretrained@first"].settings["replies"]]
    assert evaluation.targets == count_targets(shown) < count_targets(examples)


def test_a_gpu_does_nothing_sooner_than_it_is_sent() -> None:
    gpu = named_gpu("h100")
    rates = from_peak(gpu, "bfloat16", 0.5, "h100", Sample(2, 2, 20, 8, 1, 2, 1, False), "float32")
    peak = 0.5 * gpu.peak("bfloat16")
    units = {name: Unit("train", name, {}) for name in ("small", "large")}
    works = {"small": Work(operations=1e9, blocks=1000), "large": Work(operations=1e16, blocks=1000)}
    assert rates.of(units, works) == {"small": 1000 * SENDING, "large": 1e16 / peak}


def products(adapted: Any, tokens: int) -> int:
    """Return the operations of all products of one backward pass, attention apart."""
    hidden = adapted.get_base_model().get_decoder()(input_ids=torch.arange(3, 3 + tokens)[None]).last_hidden_state
    with FlopCounterMode(display=False) as counter:
        hidden.sum().backward()
    flops = counter.get_flop_counts()["Global"].items()
    return sum(flop for op, flop in flops if "attention" not in str(op))


def test_what_an_adapter_on_some_layers_saves_is_what_torch_counts(base_folder) -> None:
    settings, lora = Base(model=str(base_folder("llama"))), Lora(rank=4, targets="all-linear")
    counted: dict[str, int] = {}
    for name, layers in (("some", [3]), ("every", None)):
        base = load_base(settings)
        with new_adapter(base, lora.model_copy(update={"layers": layers}), 0) as adapted:
            counted[name] = (products(adapted, 64) - products(adapted, 32)) // 32  # per token, W + B A apart
    found = saving(settings, lora, [3])
    assert found.some.adapter_weights * 3 == found.every.adapter_weights
    assert found.some.kept_per_token < 0.5 * found.every.kept_per_token
    for name, shape in (("some", found.some), ("every", found.every)):
        # of the lowest adapted block, torch takes the gradient only as far as its adapters need it; we count it whole
        assert 0 <= backward(shape) - counted[name] <= 2 * shape.block_weights / shape.layers, name


@given(
    costs=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 5)), min_size=1, max_size=30), workers=st.integers(1, 8)
)
def test_no_schedule_is_shorter_than_its_chain_or_its_share(costs: list[tuple[float, int]], workers: int) -> None:
    units: dict[str, Unit] = {}
    for number, (_, back) in enumerate(costs):
        inputs = (f"step/{number - back}",) if 0 < back <= number else ()
        units[f"step/{number}"] = Unit("step", str(number), {}, inputs)
    seconds = {f"step/{number}": cost for number, (cost, _) in enumerate(costs)}
    total, (chain, names) = sum(seconds.values()), longest_chain(units, units, seconds)
    found = makespan(units, units, seconds, workers)
    assert sum(seconds[name] for name in names) == pytest.approx(chain)
    assert max(chain, total / workers) <= found * (1 + 1e-9) + 1e-9
    assert found <= total / workers + chain * (1 + 1e-9) + 1e-9  # Graham's bound of list scheduling
    assert makespan(units, units, seconds, 1) == pytest.approx(total)


def test_workers_that_share_a_mixture_move_the_limit_that_more_workers_do_not() -> None:
    mixture = Unit("train", "sft", {"role": "experimental"})
    controls = [Unit("train", f"control-{number}", {"role": "control"}) for number in range(4)]
    after = Unit("represent", "sft@one", {}, (mixture.id,))
    units = {unit.id: unit for unit in (mixture, *controls, after)}
    seconds = dict.fromkeys(units, 8.0) | {mixture.id: 80.0}
    assert makespan(units, units, seconds, 4) == makespan(units, units, seconds, 64) == 88
    assert makespan(units, units, seconds, 4, 4) == 80 / 4 + 8 + 8  # the team first; then four units, then one
    assert makespan(units, units, seconds, 2, 8) == 80 / 2 + 5 * 8 / 2 + 4  # a team is not larger than the crew
    assert makespan(units, units, seconds, 1, 8) == makespan(units, units, seconds, 1)


def test_an_unknown_gpu_lists_the_choices() -> None:
    with pytest.raises(StudyError, match=r"--gpu h10: .* Did you mean 'h100'\?"):
        named_gpu("h10")


def test_an_example_becomes_tokens_once_whoever_asks(
    base_folder: Any, task_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = StudySettings.model_validate(
        {
            "name": "once",
            "base": {"model": str(base_folder("llama"))},
            "tasks": {"source": str(task_folder), "train": 20, "validation": 4, "test": 12},
            "recipe": {"preset": "small", "budget": {"steps": 4}},
            "experimental": {"pretrained": "base", "sft": {"mixture": "all"}, "more": {"mixture": "all"}},
        }
    )
    texts: list[str] = []
    tokenize = prompts.tokenize
    monkeypatch.setattr(prompts, "tokenize", lambda model, some: texts.extend(some) or tokenize(model, some))
    prepared = prepare(study, tmp_path)
    estimate(prepared, gpu="h100")
    sizes = [len(task.train) * 2 + len(task.test) * 3 for task in prepared.tasks]  # prompts and targets; prompts alone
    assert len(texts) == sum(sizes)


def test_the_logits_that_count_are_those_of_one_batch(base_folder: Callable[[str], Path]) -> None:
    shape = shape_of(Base(model=str(base_folder("llama"))), Lora())
    examples = [Encoded(list(range(30 + number % 7)), 20, False, number) for number in range(400)]
    work = forward_work(examples, shape, "cpu", adapted=False, judged=True)
    groups = by_length([len(example.tokens) for example in examples], TOKEN_BUDGET["cpu"])
    assert work.targets == count_targets(examples)
    assert work.batch_targets == max(count_targets([examples[index] for index in group]) for group in groups)
    assert work.batch_targets < work.targets / 5
    assert (work.longest, work.longest_targets) == (36, 16)


def test_a_batch_that_does_not_fit_is_halved_and_only_one_sequence_too_many_is_refused() -> None:
    found = CostEstimate(
        {}, {}, {}, [], *[None] * 2, Need(200e9, "evaluate", 50e9, 1e9, "train"), named_gpu("h100"), []
    )
    said = " ".join(_room(found, 1))
    assert "200.0 GB at most (evaluate), of 80 GB: batches are halved until they fit (one sequence alone needs" in said
    large = replace(found, need=replace(found.need, device_least=90e9))
    said = " ".join(_room(large, 1))
    assert "it does not fit, not even one sequence alone (90.0 GB)" in said and "h200" in said
    assert fitting_gpus(large) == ["h200", "b200", "mi300x"]
    small = replace(found, need=replace(found.need, device=70e9))
    assert next(_room(small, 1)).endswith("of 80 GB.")


def test_mapped_representations_are_not_memory_that_a_step_needs(
    base_folder: Callable[[str], Path], task_folder: Path, tmp_path: Path
) -> None:
    study = StudySettings.model_validate(
        {
            "name": "mapped",
            "base": {"model": str(base_folder("llama"))},
            "tasks": {"source": str(task_folder), "train": 20, "validation": 4, "test": 12},
            "recipe": {"preset": "small", "budget": {"steps": 4}},
        }
    )
    prepared = prepare(study, tmp_path)
    found = estimate(prepared, gpu="h100")
    large = {
        name: replace(work, bytes=10**12) if name.startswith("represent/") else work
        for name, work in found.works.items()
    }
    units = {name: unit for name, unit in prepared.units.items() if unit.step in ("compare", "overview", "represent")}
    one = {name: unit for name, unit in units.items() if unit.step == "overview"}
    models = max(len(unit.inputs) for unit in one.values())
    held = need(study, found.shape, one, large, True).main
    assert held == pytest.approx(LIBRARIES + models * 1e12 * 2 / found.shape.layers)
