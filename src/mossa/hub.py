"""Why something cannot be loaded from the Hugging Face hub: one sentence, with the command that fixes it."""

from __future__ import annotations

import os

PATIENCE = 20.0  # seconds for the hub to answer at all


def is_offline() -> bool:
    """Tell whether the hub's client was told not to use the network."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def refusal(kind: str, repository: str, revision: str, fix: str, error: Exception) -> str:
    """Return what the hub's client raised about a `kind` (dataset or model) of repository as a sentence.

    `fix` is the key of the study that names the revision.
    """
    from huggingface_hub import errors, get_token

    where = named(kind, repository, revision)
    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repository}"
    has_token = get_token() is not None
    login = "" if has_token else " No token is set here: log in with `hf auth login`, or set HF_TOKEN."
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"{where} is gated: ask for access at {page} and run again.{login}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{where}: there is no such revision. Set {fix}, for example to main."
    if isinstance(error, errors.RepositoryNotFoundError):
        seen = (
            " The token that is set gives no access to it; `hf auth whoami` says whose it is." if has_token else login
        )
        return f"{where} does not exist, or is private.{seen}"
    if isinstance(error, errors.HFValidationError):
        return f"{where}: this cannot be the name of a repository; write owner/name."
    if status in (401, 403):
        return f"{where}: the hub refuses the token (status {status}). Log in again with `hf auth login`."
    if status is not None:
        return f"{where}: the hub answers with status {status}. Try again later; what is cached is kept."
    if isinstance(error, OSError) and error.errno == 28:
        return f"{where}: no space is left for the cache. Set HF_HOME to a larger disk and run again."
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"{where}: the hub cannot be reached ({first}). {by_hand(kind, repository, revision)}"


def by_hand(kind: str, repository: str, revision: str) -> str:
    """Return a sentence that says how to fill the cache where there is a network."""
    flag = "--repo-type dataset " if kind == "dataset" else ""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    return (
        f"Where there is a network, run `hf download {repository} {flag}--revision {revision}` with the same HF_HOME "
        f"(here {home}), then run again."
    )


def named(kind: str, repository: str, revision: str) -> str:
    """Return how a repository is called in a sentence."""
    return f"the hub's {kind} {repository} at revision {revision[:12]}"
