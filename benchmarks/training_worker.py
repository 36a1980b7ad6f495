"""One sample of one way to train a LoRA adapter: prints seconds, target tokens per second and each step's loss."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from material import encode, llama, matmul_rate, texts
from mossa.models.base import LoadedBase
from mossa.models.prompts import Encoded
from mossa.study.recipe import Budget, Lora, Recipe
from mossa.training import train as loop
from mossa.training.schedule import batches

BATCH = 16
RECIPE = Recipe(lora=Lora(rank=8, alpha=16, targets="all-linear"), learning_rate=1e-3, warmup=0, batch_size=BATCH)
Trained = tuple[list[float], float, float]  # losses, seconds, processor seconds


class Clock:
    """Seconds and processor seconds since it was made."""

    def __init__(self) -> None:
        self.start, self.busy = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.start, time.process_time() - self.busy


def adapter(model: Any) -> Any:
    """Attach the adapter that mossa attaches with seed 0."""
    torch.manual_seed(0)
    return get_peft_model(
        model, LoraConfig(r=RECIPE.lora.rank, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def order(examples: list[Encoded], steps: int) -> list[list[Encoded]]:
    """Return what mossa's steps see with seed 0."""
    return [[examples[index] for index in group] for group in islice(batches(len(examples), BATCH, 0), steps)]


def collate(group: list[Encoded]) -> dict[str, torch.Tensor]:
    """Return a padded batch as peers make it: ids, mask, labels of -100 where nothing is to be learnt."""
    ids = [torch.tensor(example.tokens) for example in group]
    labels = [tokens.clone() for tokens in ids]
    for label, example in zip(labels, group, strict=True):
        label[: example.prompt_length] = -100
    pad = torch.nn.utils.rnn.pad_sequence
    mask = pad([torch.ones_like(tokens) for tokens in ids], batch_first=True)
    return {
        "input_ids": pad(ids, batch_first=True),
        "attention_mask": mask,
        "labels": pad(labels, batch_first=True, padding_value=-100),
    }


def ours(model: Any, examples: list[Encoded], steps: int) -> Trained:
    """As mossa does, attaching and saving the adapter included."""
    losses: list[float] = []
    backward = loop.backward

    def noted(*given: Any) -> float:
        losses.append(backward(*given))
        return losses[-1]

    loop.backward = noted
    base = LoadedBase(model, None, model.config.num_hidden_layers, model.config.hidden_size, 512)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        loop.train_adapter(base, examples, [], RECIPE, Budget(steps=steps), 0, Path(folder))
    loop.backward = backward
    return losses, *clock.read()


def plain(model: Any, examples: list[Encoded], steps: int) -> Trained:
    """The loop of many tutorials: PEFT, batches padded in the order they come, the loss of transformers."""
    adapted = adapter(model).train()
    optimizer = torch.optim.AdamW((p for p in adapted.parameters() if p.requires_grad), weight_decay=0)
    losses: list[float] = []
    clock = Clock()
    for step, group in enumerate(order(examples, steps)):
        optimizer.param_groups[0]["lr"] = RECIPE.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = adapted(**collate(group)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(adapted.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, *clock.read()


def trl(model: Any, examples: list[Encoded], steps: int) -> Trained:
    """TRL's SFTTrainer in float32, without the gradient checkpointing it would turn on; only `train` is timed."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<s>": 1, "</s>": 2}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    lines = [example for group in order(examples, steps) for example in group]
    data = Dataset.from_list(
        [
            {"input_ids": list(e.tokens), "labels": [-100] * e.prompt_length + list(e.tokens[e.prompt_length :])}
            for e in lines
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = SFTConfig(
            folder,
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            learning_rate=RECIPE.learning_rate,
            lr_scheduler_type="cosine",
            train_sampling_strategy="sequential",
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            max_length=None,
            dataset_kwargs={"skip_prepare_dataset": True},
            logging_steps=1,
            logging_strategy="steps",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(adapter(model), args=settings, train_dataset=data, processing_class=tokenizer)
        clock = Clock()
        trainer.train()
        spent = clock.read()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], *spent


CONTENDERS = {function.__name__: function for function in (ours, plain, trl)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=CONTENDERS)
    for name in ("width", "layers", "vocabulary", "longest", "steps"):
        parser.add_argument(name, type=int)
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    size = arguments.width, arguments.layers, arguments.vocabulary, arguments.longest
    model = llama(*size, dtype=arguments.dtype)
    count = BATCH * arguments.steps
    examples = encode(texts(arguments.tasks, count), arguments.vocabulary, arguments.longest)
    count -= count % BATCH  # no peer sees a smaller last batch
    rate = matmul_rate(arguments.dtype)
    model(torch.ones(4, 64, dtype=torch.long))  # first calls
    try:
        losses, seconds, busy = CONTENDERS[arguments.contender](model, examples[:count], arguments.steps)
    except ModuleNotFoundError as missing:
        print(json.dumps({"missing": f"{missing}; pip install 'mossa[bench]'"}))
        return
    targets = sum(len(e.tokens) - e.prompt_length for group in order(examples[:count], arguments.steps) for e in group)
    weights = sum(p.numel() for p in model.get_decoder().layers.parameters() if p.dim() == 2)
    tokens = sum(len(example.tokens) for group in order(examples[:count], arguments.steps) for example in group)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "processor_seconds": busy,
                "target_tokens_per_second": targets / busy,
                "of_matmul_rate": 4.0 * weights * tokens / busy / rate,
                "losses": losses,
            }
        )
    )


if __name__ == "__main__":
    main()
