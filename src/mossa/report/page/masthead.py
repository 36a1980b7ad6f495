"""The top of the page: the model, what was tuned on what, the measure; and words that need explaining."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mossa.analysis import Findings
from mossa.analysis.wording import count
from mossa.report.colours import CEILING

WORDS = {
    "specialist": (
        "Specialist (control model)",
        "The base, tuned on one task alone. What it represents at a layer stands for what its task needs there.",
    ),
    "similarity": (
        "Similarity (CKA)",
        "How similarly two models arrange the same prompts at a layer, from 0 to 1, whatever directions they use. Only "
        "the last token of each prompt is used.",
    ),
    "debiased": (
        "Debiased, within",
        "Plain CKA is too high when there are few prompts for the width of the model; debiased CKA is not. `within` "
        "removes what the wording of a template adds, `shift` compares changes from the base.",
    ),
    "null": (
        "Sham control",
        "A control trained like the specialist, but on shuffled answers (`control: {sham: true}`). It is not a null: "
        "in a trial, bases were closer to it than to the specialist, whether or not they had been taught the task.",
    ),
    "agreement": (
        "Agreement of two specialists",
        "How similar two specialists of one task are that differ only in their seed. Low agreement means that much of "
        "what a specialist became is chance.",
    ),
    "interval": (
        "95 % interval",
        "Over tasks: what the median would be with other tasks of this kind; fewer than 6 tasks have none. "
        "The layer with the largest change is given with a wider interval, which holds for all layers at once. "
        "A change is called detected where q < .05 (signed-rank test over clusters where there are 6, else over tasks; "
        "Benjamini-Hochberg over layers).",
    ),
}
"""The six words of the page that need a sentence."""

BIBTEX = """@inproceedings{zhao-etal-2024-layer,
  title = {Layer by Layer: Uncovering Where Multi-Task Learning Happens in Instruction-Tuned Large Language Models},
  author = {Zhao, Zheng and Ziser, Yftah and Cohen, Shay B.},
  booktitle = {Proceedings of the 2024 Conference on Empirical Methods in Natural Language Processing},
  year = {2024}, url = {https://aclanthology.org/2024.emnlp-main.847}}
@software{mossa, title = {mossa: where in a language model a task lives}, author = {{The mossa authors}},
  version = {0.1.0}}
"""


def masthead(
    study: Mapping[str, Any], provenance: Mapping[str, Any], findings: Findings, estimator: str
) -> list[tuple[str, str]]:
    """Return what was compared, as (label, text): model and size, tasks, tuned models, measure, date."""
    own = findings.curves[findings.curves["estimator"].eq(estimator) & findings.curves["relation"].eq("control")]
    base = study.get("base")
    model = str(base.get("model", "")) if isinstance(base, Mapping) else str(base or "")
    widths = own["d"].dropna()
    size = f"{count(own['layer'].nunique(), 'layer')}" + (f" of width {widths.iloc[0]:,.0f}" if len(widths) else "")
    if parameters := provenance.get("parameters"):
        size = f"{short_count(parameters)} parameters, {size}"
    prompts = own.drop_duplicates("task")["n"].sum()
    tasks = f"{count(own['task'].nunique(), 'task')} in {count(own['cluster'].nunique(), 'cluster')}"
    facts = [
        ("Base model", f"{short_model(model)} · {size}" if model else size),
        ("Tasks", f"{tasks}, {prompts:,.0f} test prompts" if prompts else tasks),
        *(("Tuned model", _tuned_on(str(name), part)) for name, part in own.groupby("experimental", sort=False)
          if name not in (findings.baseline, CEILING)),
        ("Measure", estimator),
    ]  # fmt: skip
    date = provenance.get("finished")
    return [*facts, ("Finished", str(date))] if date else facts


def short_count(number: float) -> str:
    """Return a number of parameters in short: 135 M, 1.24 B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,.0f}"


def short_model(model: str) -> str:
    """Return a hub id unchanged, a base that comes with mossa by its name, and the last two parts of another folder."""
    if not model.startswith(("/", ".")):
        return model
    parts = model.rstrip("/").split("/")
    return f"tinyflan:{parts[-1]}" if parts[-3:-1] == ["tinyflan", "bases"] else "/".join(parts[-2:])


def _tuned_on(name: str, rows: pd.DataFrame) -> str:
    held_out = rows.loc[rows["held_out"].astype(bool), "task"].nunique()
    seen = rows["task"].nunique() - held_out
    return f"{name}: {count(seen, 'task')}" + (f" ({held_out} held out)" if held_out else "")
