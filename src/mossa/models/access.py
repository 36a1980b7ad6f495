"""Whether a base on the hub may be read at all: asked before anything large is downloaded, and without torch."""

from __future__ import annotations

import contextlib
import json
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
            return  # not an id of the hub; what reads it raises
        raise ModelError(f"base.model: {refusal('model', name, revision, 'base.revision', error)}") from error


def weights_are_here(settings: Base) -> bool:
    """Tell whether the weights of a model are in a folder or in the hub's cache, so that loading downloads nothing."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(settings.model).exists():
        return True

    def here(name: str) -> Path | None:
        with contextlib.suppress(HFValidationError):
            found = try_to_load_from_cache(settings.model, name, revision=settings.revision)
            return Path(found) if isinstance(found, str) else None
        return None

    if here("model.safetensors"):
        return True
    index = here("model.safetensors.index.json")
    return index is not None and all(here(name) for name in set(json.loads(index.read_bytes())["weight_map"].values()))
