"""Whether a base on the hub may be read at all: asked before anything large is downloaded, and without torch."""

from __future__ import annotations

from pathlib import Path

from mossa.errors import ModelError
from mossa.hub import is_offline, refusal
from mossa.study.paths import looks_local
from mossa.study.schema import Base


def check_access(settings: Base) -> None:
    """Raise `ModelError` if the base is on the hub, not in the cache, and gated, private, missing or out of reach."""
    name, revision = settings.model, settings.revision or "main"
    if looks_local(name) or Path(name).is_dir() or is_offline():
        return
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            return
        HfApi().auth_check(name)
    except Exception as error:  # the hub's client hands on what its HTTP library raises, and that library changes
        if isinstance(error, HFValidationError):
            return  # no id of the hub; whoever reads it says so
        raise ModelError(f"base.model: {refusal('model', name, revision, 'base.revision', error)}") from error
