"""What identifies the files of a model; reads them without loading any library of models."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mossa.errors import ModelError
from mossa.study.schema import Base


def base_fingerprint(settings: Base) -> str:
    """Return what identifies the weights and the tokenizer: the hub's commit, or a SHA-256 of the folder's files."""
    folder = Path(settings.model)
    if folder.is_dir():
        return folder_hash(folder)
    from mossa.models.base import load_config

    commit = getattr(load_config(settings), "_commit_hash", None)
    return f"{settings.model}@{commit or settings.revision or 'main'}"


def folder_hash(folder: Path) -> str:
    """Return a SHA-256 over the names and contents of a model folder's JSON, text and safetensors files.

    Raises `ModelError` if there are no weights as safetensors.
    """
    files = sorted(
        path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".model", ".txt", ".jinja"}
    )
    if not any(path.suffix == ".safetensors" for path in files):
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth"})
        found = f" (there is {', '.join(pickled)}; convert it with save_pretrained)" if pickled else ""
        raise ModelError(f"{folder} has no *.safetensors; weights are read in no other format{found}.")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as handle:
            digest.update(f"{path.name}:{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()
