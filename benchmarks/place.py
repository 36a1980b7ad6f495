"""What readings of place cost, in passes of an extraction: time and memory, counted and measured.

`python benchmarks/place.py [--quick]` on TinyFLAN's base `a` with a fresh adapter on every layer, whose B is random.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc

import torch

from mossa.models.adapters import new_adapter
from mossa.models.base import load_base
from mossa.models.blocks import blocks_of
from mossa.models.prompts import make_format
from mossa.place import Stack
from mossa.place.change import answer_gain, one_layer_change, see
from mossa.place.graft import graft, passes
from mossa.representations import represent_tokens
from mossa.study.recipe import Lora
from mossa.study.schema import Base, Prompt
from mossa.tinyflan import base_folder, load_tasks


def main() -> None:
    """Measure each reading and print it beside one extraction of both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few prompts, once: does everything run?")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    base = load_base(Base(model=str(base_folder("a"))))
    task = load_tasks(["films"], train=1, validation=1, test=16 if quick else 200)[0]
    examples = make_format(base.tokenizer, Prompt(template="{prompt}"), base.longest).encode(task.test, "films", True)
    prompts = [example.tokens[: example.prompt_length] for example in examples]
    firsts = [example.tokens[example.prompt_length] for example in examples]
    times = 1 if quick else 5
    with new_adapter(base, Lora(targets="all-linear"), 0) as adapted:
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02)
        stack = Stack(None, adapted.requires_grad_(False).eval())
        seen = see(stack, prompts)
        rows = {
            "both models, extracted": lambda: [represent_tokens(model, prompts) for model in stack.models.values()],
            "both models, blocks crossed": lambda: see(stack, prompts),
            "one-layer change of these": lambda: one_layer_change(stack, seen),
            "answer gain of these": lambda: answer_gain(stack, seen, firsts),
            "graft of 16 examples": lambda: graft(stack, examples[:16]),
        }
        unit = None
        print(f"{len(prompts)} prompts, {len(blocks_of(base.model))} layers, one thread; medians of {times}")
        for title, do in rows.items():
            seconds, peak = measure(do, times)
            unit = unit or seconds
            print(f"{title:<30}{seconds:>9.3f} s{seconds / unit:>8.2f} x{peak / 1e6:>9.1f} MB of Python's")
        print(f"a graft takes {passes(8):.0f} passes of 8 layers, {passes(30):.0f} of 30")


def measure(do: object, times: int) -> tuple[float, float]:
    """Return the median processor seconds of `do`, and the most memory that Python and NumPy held in one call."""
    assert callable(do)
    spent: list[float] = []
    for _ in range(times):
        start = time.process_time()
        do()
        spent.append(time.process_time() - start)
    tracemalloc.start()
    do()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return sorted(spent)[len(spent) // 2], float(peak)


if __name__ == "__main__":
    main()
