"""Two models that were tuned from one base, compared without a study."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mossa.errors import DataError

if TYPE_CHECKING:
    from mossa.api.pair import Pair

TooLong = Literal["skip", "refuse", "shorten-start", "shorten-middle"]
ESTIMATORS = ("cka-linear", "cka-linear-debiased")


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
    estimators: Sequence[str] = ESTIMATORS,
    device: str = "auto",
    say: Callable[[str], None] | None = None,
) -> Pair:
    """Return how close `experimental` and the base are to `control` at every layer, with intervals and the difference.

    Models are hub ids or folders; `experimental` and `control` are adapters of the base or whole checkpoints.
    `prompts`: texts or lists of messages, or a file of data in any format; each prompt is kept once. `template`,
    `system`, `cutoff` and `too_long` are as under `prompt` in a study, `dtype` and `quantise` as under `base`. `say`
    hears of each model that is loaded. For arrays of representations use `mossa.similarity.compare`. Raises
    `MossaError` for a model that cannot be used, an unknown estimator and too few prompts.
    """
    if not isinstance(base, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(
            f"base is a {type(base).__name__}; mossa.compare takes names or folders of models. For arrays of "
            "representations use mossa.similarity.compare(models, control)."
        )
    from mossa.api.pair import compare_pair
    from mossa.run.devices import find_device
    from mossa.study import checked
    from mossa.study.paths import resolve
    from mossa.study.schema import Base, Prompt
    from mossa.tasks.folder import read_prompts
    from mossa.tasks.turns import prompts_of

    examples = read_prompts(Path(prompts)) if isinstance(prompts, str | Path) else prompts_of(prompts)
    return compare_pair(
        checked(Base, model=resolve(str(base), Path()), dtype=dtype, quantise=quantise),
        _place(str(experimental)),
        _place(str(control)),
        examples,
        checked(Prompt, template=template, system=system, cutoff=cutoff, too_long=too_long),
        list(estimators),
        find_device(device),
        say,
    )


def _place(source: str) -> str:
    """Return the folder of a model that comes with mossa; everything else stays as it was typed."""
    from mossa.study.paths import SHIPPED, resolve

    return resolve(source, Path()) if source.startswith(SHIPPED) else source
