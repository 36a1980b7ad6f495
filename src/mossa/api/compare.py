"""Compares two models that were tuned from one base, layer by layer, without a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from mossa.errors import DataError, noting
from mossa.study import checked
from mossa.study.paths import SHIPPED, resolve
from mossa.study.schema import BASE, Base, Kind, Prompt
from mossa.tasks.folder import read_prompts
from mossa.tasks.split import folded
from mossa.tasks.task import Example
from mossa.tasks.turns import prompts_of

if TYPE_CHECKING:
    import torch

    from mossa.models.loader import ModelLoader
    from mossa.models.prompts import Encoded

TooLong = Literal["skip", "refuse", "shorten-start", "shorten-middle"]
ESTIMATORS = ("cka-linear", "cka-linear-debiased")
EXPERIMENTAL = "experimental"


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """What comparing two models gave: the rows, and how many prompts were used, repeated, skipped and shortened.

    `table`: one row per (layer, estimator) with `base` and `experimental` (each against the control), `difference`
    (experimental minus base), their standard errors and 95 % intervals, n, d, non_finite, reason.
    """

    table: pd.DataFrame
    prompts: int
    repeated: int
    skipped: int
    shortened: int

    @property
    def counted(self) -> str:
        """Return how many prompts were used, and what became of the others."""
        return (
            f"{self.prompts} prompts, {self.repeated} repeated and left out, {self.skipped} skipped, "
            f"{self.shortened} shortened"
        )

    def __repr__(self) -> str:
        shown = ["layer", "estimator", "base", "experimental", "difference", "difference_low", "difference_high"]
        table = self.table[shown].to_string(index=False, float_format="{:.3f}".format)
        return f"{table}\n{self.counted}; more columns in table"


def compare(
    base: str | Path,
    experimental: str | Path,
    control: str | Path,
    prompts: str | Path | Iterable[Any],
    *,
    template: str = "auto",
    system: str | None = None,
    cutoff: int | None = None,
    too_long: TooLong = "skip",
    dtype: Literal["float32", "bfloat16"] = "float32",
    quantise: Literal["4-bit", "8-bit"] | None = None,
    estimators: Sequence[str] | str = ESTIMATORS,
    device: str = "auto",
    say: Callable[[str], None] | None = None,
) -> Pair:
    """Return how close `experimental` and the base are to `control` at every layer, with intervals and the difference.

    Models are hub ids or folders; `experimental` and `control` are adapters of the base or whole checkpoints.
    `prompts`: texts or lists of messages, or a file of data in any format; each prompt is kept once. `template`,
    `system`, `cutoff` and `too_long` are as under `prompt` in a study, `dtype` and `quantise` as under `base`. A shift
    estimator has no value where bfloat16 rounds most of a change away. `say` is called with a line for each model that
    is loaded. For arrays of representations use `mossa.similarity.compare`.
    Raises `MossaError` for a model that cannot be used, an unknown estimator and too few prompts.
    """
    if not isinstance(base, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(
            f"base is a {type(base).__name__}; mossa.compare takes names or folders of models. For arrays of "
            "representations use mossa.similarity.compare(models, control)."
        )
    from mossa.models.conversations import tell_systems_without_place
    from mossa.models.dtype import settled
    from mossa.models.loader import ModelLoader, kind_of
    from mossa.run.devices import find_device
    from mossa.similarity import compare as compare_arrays
    from mossa.similarity.registry import estimator as find_estimator
    from mossa.steps.rounding import rounded_layers, without_rounded

    examples = read_prompts(Path(prompts)) if isinstance(prompts, str | Path) else prompts_of(prompts)
    settings, _ = settled(checked(Base, model=resolve(str(base), Path()), dtype=dtype, quantise=quantise))
    form = checked(Prompt, template=template, system=system, cutoff=cutoff, too_long=too_long)
    place = find_device(device)
    if isinstance(estimators, str):
        estimators = [estimators]
    for identifier in estimators:
        find_estimator(identifier)
    tuned = {EXPERIMENTAL: _resolved(str(experimental)), "control": _resolved(str(control))}
    sources: dict[str, tuple[Kind, str]] = {BASE: ("base", settings.model)}
    for name, source in tuned.items():
        sources[name] = (kind_of(source, f"--{name}"), source)
    loader = ModelLoader(settings, place)
    formatted = loader.format(form)
    fitting = formatted.encode(examples, "--prompts", with_target=False)
    with noting(say) if say else nullcontext():
        tell_systems_without_place(formatted, examples)
    encoded = _each_once(fitting, examples)
    if len(encoded) < 4:
        raise DataError(
            f"--prompts: {len(encoded)} of {len(examples)} prompts fit the model and are different; a comparison "
            "needs at least 4. Give more, or let them be shortened with --too-long shorten-start."
        )
    arrays = _represented(loader, sources, [example.tokens for example in encoded], say)
    templates = [examples[example.index].template for example in encoded]
    found = compare_arrays(
        {BASE: arrays[BASE], EXPERIMENTAL: arrays[EXPERIMENTAL]},
        arrays["control"],
        list(dict.fromkeys(estimators)),
        groups=None if None in templates else templates,
        origin=arrays[BASE],
        baseline=BASE,
        non_finite="drop",
    )
    similarity = found.similarity
    if settings.dtype == "bfloat16":  # as in a study, a shift that is mostly rounding has no value
        rounded = rounded_layers(arrays[BASE].numpy(), {name: array.numpy() for name, array in arrays.items()})
        similarity = without_rounded(similarity, "control", rounded, "take float32 as dtype")
    rows = _side_by_side(similarity, found.difference)
    shortened = sum(example.shortened for example in encoded)
    repeated, skipped = len(fitting) - len(encoded), len(examples) - len(fitting)
    return Pair(rows, len(encoded), repeated, skipped, shortened)


def _represented(
    loader: ModelLoader,
    sources: Mapping[str, tuple[Kind, str]],
    tokens: Sequence[Sequence[int]],
    say: Callable[[str], None] | None,
) -> dict[str, torch.Tensor]:
    """Return the representations `[n, L, d]` of every model, each loaded after the other."""
    from mossa.representations import check_alone, represent_tokens

    arrays: dict[str, torch.Tensor] = {}
    with noting(say) if say else nullcontext():
        for name, (kind, source) in sources.items():
            if say:
                say(f"{name}: {kind} {source}")
            model = loader.take(kind, source)
            arrays[name] = represent_tokens(model, tokens)
            check_alone(model, tokens, arrays[name])
    return arrays


def _resolved(source: str) -> str:
    """Return the folder of a model that comes with mossa; everything else stays as it was typed."""
    return resolve(source, Path()) if source.startswith(SHIPPED) else source


def _each_once(encoded: Sequence[Encoded], prompts: Sequence[Example]) -> list[Encoded]:
    """Return the first of the prompts that are one for the splits of a study too, or became the same tokens."""
    kept: dict[tuple[int, ...], Encoded] = {}
    seen: set[str] = set()
    for example in encoded:
        if folded(prompts[example.index]) not in seen:
            kept.setdefault(tuple(example.tokens), example)
        seen.add(folded(prompts[example.index]))
    return list(kept.values())


def _side_by_side(similarity: list[dict[str, Any]], difference: list[dict[str, Any]]) -> pd.DataFrame:
    keys = ["layer", "estimator"]
    table = pd.DataFrame(similarity)
    counts = table[table["model"] == EXPERIMENTAL][[*keys, "n", "d", "non_finite", "reason"]].copy()
    # where the experimental model has a number, the base and so the difference may have none
    why = {(row["layer"], row["estimator"]): row["reason"] for row in difference}
    others = pd.Series([why[key] for key in zip(counts["layer"], counts["estimator"], strict=True)], counts.index)
    counts["reason"] = counts["reason"].where(counts["reason"].notna(), others)
    parts = [(table[table["model"] == model], name, "value") for model, name in ((BASE, "base"), (EXPERIMENTAL,) * 2)]
    parts.append((pd.DataFrame(difference), "difference", "difference"))
    joined = counts[keys]
    for part, name, value in parts:
        names = {value: name, **{old: f"{name}_{old}" for old in ("standard_error", "low", "high")}}
        joined = joined.merge(part[[*keys, *names]].rename(columns=names), on=keys, how="left")
    return joined.merge(counts, on=keys)
