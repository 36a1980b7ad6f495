"""Errors that a user can cause: each is a sentence with the place, the value, the choices and how to fix it."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class MossaError(Exception):
    """An expected failure; the command line prints its sentence without a traceback and exits with code 2."""


class StudyError(MossaError):
    """The study file asks for something that cannot be done."""


class DataError(MossaError):
    """A task's data are missing, malformed or too few."""


class ModelError(MossaError):
    """A model, tokenizer or adapter cannot be used."""


class TrainingError(MossaError):
    """A training run cannot go on (for example because its loss is not finite)."""


class SimilarityError(MossaError, ValueError):
    """Two sets of representations cannot be compared."""


class RunFolderError(MossaError):
    """The run folder cannot be read, written or trusted."""


class DeviceLost(MossaError):
    """A GPU failed, and this process cannot use it any more."""


FEW = 12


class ModelNote(UserWarning):
    """A fact about a load that users should know and that stops nothing; a warning unless `noting` catches it."""


@contextmanager
def noting(tell: Callable[[str], None]) -> Iterator[None]:
    """Pass every `ModelNote` in the block to `tell` instead of warning; other warnings are unchanged."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def shown(message: Warning | str, category: type[Warning], *rest: object) -> None:
            if issubclass(category, ModelNote):
                tell(str(message))
            else:
                show(message, category, *rest)  # pyright: ignore[reportArgumentType]: passed on as they came

        warnings.showwarning = shown
        warnings.simplefilter("always", ModelNote)
        yield


def choices(value: str, options: Iterable[str]) -> str:
    """Return a sentence with the options that begin with `value` or are near it, and all of them where they are few."""
    known = sorted(options)
    begun = sorted((option for option in known if value and option.startswith(value)), key=len)
    alike = difflib.get_close_matches(value, known, n=3, cutoff=0.6)
    near = list(dict.fromkeys([*begun, *alike]))[: 1 if len(known) <= FEW else 3]
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    if len(known) <= FEW:
        return f"{hint}The choices are: {', '.join(known) if known else '(none)'}."
    if near:
        return f"{hint}There are {len(known)} choices in all."
    return f"The choices are: {', '.join(known[:FEW])} and {len(known) - FEW} more."
