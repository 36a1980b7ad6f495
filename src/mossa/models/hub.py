"""Reads models from folders and from the Hugging Face hub, and says in one sentence why one cannot be read."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file, extract_commit_hash

from mossa.errors import ModelError
from mossa.models.gguf import gguf_parts
from mossa.study.paths import looks_local

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def adapter_folder(source: str) -> Path:
    """Return the folder with the two files of an adapter; those of a hub id are downloaded if they are not there.

    Raises `ModelError` if it is not there, or has no weights as safetensors.
    """
    check_place(source, "adapter")
    if Path(source).is_dir() and not (Path(source) / ADAPTER_FILES[0]).is_file():
        raise ModelError(
            f"adapter {source}: this folder has no {ADAPTER_FILES[0]}. Give a folder written by PEFT's save_pretrained."
        )
    with sentences(f"adapter {source}"), quiet():
        paths = [cached_file(source, name) for name in ADAPTER_FILES]
    return Path(str(paths[0])).parent


def commit_of(source: str, revision: str | None, what: str, name: str = "config.json") -> str:
    """Return the commit that a hub id stands for now (at `revision`), or stood for when it was last downloaded.

    Raises `ModelError`, beginning with `what`, if it cannot be read or has no file of this name.
    """
    check_place(source, what)
    with sentences(f"{what}: {source}"), quiet():
        path = cached_file(source, name, revision=revision)
        commit = extract_commit_hash(path, None)
    if commit is None:
        raise ModelError(f"{what}: the hub gives no commit for {source}. Download it to a folder and give that.")
    return commit


def stored(source: str, name: str, revision: str | None, what: str) -> Path | None:
    """Return one file of a folder or a hub id, downloaded if it is not there yet; None if the model has no such file.

    Raises `ModelError`, beginning with `what`, if it cannot be read.
    """
    with sentences(f"{what}: {source}"), quiet():
        found = cached_file(
            source,
            name,
            revision=revision,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    return Path(found) if found else None


def check_place(source: str, what: str) -> None:
    """Raise `ModelError` if `source` is written as a path and neither a folder nor a GGUF file is there."""
    if looks_local(source) and not Path(source).is_dir() and not gguf_parts(source):
        raise ModelError(
            f"{what}: {source} is not a folder. Give one, a GGUF file, or the id of a repository on the hub."
        )


@contextlib.contextmanager
def sentences(what: str) -> Iterator[None]:
    """Turn what the libraries raise while loading `what` into a sentence that says how to fix it."""
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError, SafetensorError) as error:
        raise ModelError(f"{what} cannot be loaded: {_why(error)}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries that load models from writing bars and warnings to the terminal in the block."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    others = [logging.getLogger(name) for name in ("accelerate", "huggingface_hub")]
    levels = [logger.level for logger in others]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for logger in others:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        for logger, level in zip(others, levels, strict=True):
            logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _why(error: BaseException) -> str:
    causes = list(_causes(error))
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return "the repository is gated. Ask for access on its page on the hub, then log in with: hf auth login"
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return (
            "it is neither a folder nor a repository on the hub that you may read. Check the name; "
            "if it is private, log in with: hf auth login"
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return "there is no such revision. Set base.revision to one that exists, for example main"
    if any(isinstance(cause, HFValidationError) for cause in causes):
        return "it is neither a folder nor the id of a repository on the hub, such as owner/name. Check the name"
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    offline = os.environ.get("HF_HUB_OFFLINE")
    if "couldn't connect" in first:
        why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        return (
            f"it is not a folder here, nor in the hub's cache, and {why}. Check the name; if it is on the hub, run "
            f"again {'without HF_HUB_OFFLINE ' if offline else ''}where there is a network"
        )
    if offline:
        first += " HF_HUB_OFFLINE is set, so only what is cached can be read."
    return first


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
