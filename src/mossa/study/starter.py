"""The commented study file that `mossa init` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mossa.errors import StudyError
from mossa.names import check_name

STARTER = """\
# What to compare, layer by layer. Check it with `mossa validate`, run it with `mossa run`.
name: {name}

base:
  model: {base}            # hub id, a folder with config.json and *.safetensors, a GGUF file, or package:NAME
  dtype: {dtype:18}# bfloat16 for a large base where the hardware is fast at it, else float32; or one of these
  {quantise:25}# or 8-bit: frozen weights in less memory; needs pip install 'mossa[quantise]'

prompt:
  template: auto           # the tokenizer's chat template, else plain; or your own text with {{prompt}} in it
{cutoff}  too_long: skip           # skip | refuse | shorten-start | shorten-middle; the end of a prompt is never cut

tasks:
  source: {tasks}          # a folder or file of data, hub:owner/name, or the name of a collection
{found}  # only: [rte, sst2]      # use only these tasks
  train: 1000              # at most, per task
  validation: 100
  test: 500                # prompts whose representations are compared
  seed: 0

# How adapters are trained. `recipe: paper` is the paper's, `recipe: small` suits models of a few million parameters.
recipe:
  lora: {{rank: 8, alpha: 16, targets: auto}}
  learning_rate: 2.0e-4
  batch_size: 16
{checkpointing}  budget: {{epochs: 3}}      # or {{steps: 300}}, {{target_tokens: 100000}},
                           # or {{until: {{metric: exact_match, value: 0.8, at_most_steps: 1000}}}}

# One control model per task and seed. Two seeds show how far two specialists agree.
control:
  seeds: [0, 1]
  # existing: {{rte: [{{adapter: path/one}}, {{checkpoint: path/two}}]}}   # one per seed, instead of training them

experimental:
  pretrained: base                       # what did pre-training already encode?
  sft: {{mixture: all}}                    # what did instruction tuning change, and in which layers?
  # unseen: {{mixture: all, hold_out: [translation]}}    # does it carry over to unseen tasks?
  # mine: {{adapter: path/to/adapter}}     # or {{checkpoint: path/to/model}}

representations:
  dtype: {represented:18}# base is faster, and where it is bfloat16 it rounds away what differs little between prompts

similarity:              # estimators: plain and debiased linear CKA, and within templates where the data name them
  other_controls: 2        # controls of other tasks, besides the task's own
"""


@dataclass(frozen=True, slots=True)
class Fit:
    """Settings that follow from a GPU and the data, with the reasons in `notes`; without `cutoff` prompts are as long
    as the model allows.
    """

    dtype: str = "auto"
    quantise: str | None = None
    cutoff: int | None = None
    represented: str = "float32"
    notes: tuple[str, ...] = ()


def write_starter(path: Path, base: str, tasks: str, found: Sequence[str] = (), fit: Fit | None = None) -> None:
    """Write a commented study file, with lines on what was `found` in the data under `tasks`, and settings that `fit` a
    GPU.

    Raises `StudyError` if `path` exists or its name cannot name a study.
    """
    if path.exists():
        raise StudyError(f"{path} exists already. Give another name, or delete it first.")
    if path.suffix not in {".yaml", ".yml"}:
        raise StudyError(f"{path}: a study file ends in .yaml; try {path.with_suffix('.yaml').name}")
    if not path.parent.is_dir():
        raise StudyError(f"{path.parent} does not exist; make the folder first.")
    name = check_name(path.stem, "study", str(path))
    lines = "".join(f"  {line}\n" for line in found)
    chosen = fit or Fit()
    text = STARTER.format(
        name=json.dumps(name),
        base=json.dumps(base),
        tasks=json.dumps(tasks),
        found=lines,
        dtype=chosen.dtype,
        quantise=f"quantise: {chosen.quantise}" if chosen.quantise else "# quantise: 4-bit",
        cutoff=f"  cutoff: {chosen.cutoff:<17}# tokens of prompt and target\n" if chosen.cutoff else "",
        checkpointing="  gradient_checkpointing: auto   # where memory is short: the same gradient\n" if fit else "",
        represented=chosen.represented,
    )
    path.write_text(text, encoding="utf-8")
