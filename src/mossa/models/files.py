"""What identifies the files of a model; reads them without loading any library of models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from mossa.errors import ModelError
from mossa.models.gguf import gguf_hash, gguf_parts
from mossa.study.schema import Base


def base_fingerprint(settings: Base, what: str = "base.model") -> str:
    """Return what identifies weights and tokenizer: the hub's commit, or a SHA-256 of the folder's files or the GGUF.

    Raises `ModelError`, beginning with `what`, if the model cannot be read or the hub tells no commit.
    """
    if parts := gguf_parts(settings.model):
        return gguf_hash(parts)
    folder = Path(settings.model)
    if folder.is_dir():
        return folder_hash(folder)
    from mossa.models.hub import commit_of

    return f"{settings.model}@{commit_of(settings.model, settings.revision, what)}"


def adapter_fingerprint(source: str) -> str:
    """Return a SHA-256 of an adapter's files, wherever they lie: in a folder, or on the hub and then in its cache."""
    folder = Path(source)
    if folder.is_dir():
        return folder_hash(folder)
    from mossa.models.hub import adapter_folder

    return folder_hash(adapter_folder(source))


def folder_hash(folder: Path) -> str:
    """Return a SHA-256 over the names and contents of a model folder's JSON, text and safetensors files.

    Raises `ModelError` if there are no weights as safetensors, or not all of them.
    """
    check_weights(folder)
    files = sorted(
        path for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".model", ".txt", ".jinja"}
    )
    return _hash_files(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache
def _hash_files(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Return a SHA-256 over the files; read once per process, unless size or time of one of them changes."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as handle:
            digest.update(f"{path.name}:{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def check_weights(folder: Path) -> None:
    """Raise `ModelError` if a model folder has no safetensors, lacks one that its index names, or holds part of one."""
    weights = sorted(folder.glob("*.safetensors"))
    missing = sorted({name for name in _indexed(folder) if not (folder / name).is_file()})
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of its files of weights (for example {missing[0]}); the download was cut "
            "short. Download or copy it again."
        )
    if not weights:
        pickled = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth"})
        found = f" (there is {', '.join(pickled)}; convert it with save_pretrained)" if pickled else ""
        if not found and not any(folder.glob("*config.json")):
            raise ModelError(
                f"{folder} is no folder of a model: it has no config.json and no *.safetensors. Name one that "
                "save_pretrained has written, or a model on the hub."
            )
        raise ModelError(f"{folder} has no *.safetensors; weights are read in no other format{found}.")
    for path in weights:
        held, needed = path.stat().st_size, _stated_size(path)
        if held != needed:
            raise ModelError(
                f"{path} is not whole: it has {held:,} bytes"
                + (f" and its header speaks of {needed:,}" if needed else " and no header that can be read")
                + ". Download or copy it again."
            )


def _indexed(folder: Path) -> Iterator[str]:
    """Yield the file names that the folder's index gives to its tensors."""
    for path in folder.glob("*.safetensors.index.json"):
        try:
            yield from map(str, json.loads(path.read_bytes())["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ModelError(f"{path} cannot be read ({error}). Download or copy it again.") from error


def _stated_size(path: Path) -> int | None:
    """Return how many bytes a safetensors file should have by its own header, None if it has none that can be read."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > path.stat().st_size:
            return None
        try:
            tensors: dict[str, dict[str, list[int]]] = json.loads(handle.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"]
        except (ValueError, KeyError, AttributeError, TypeError, IndexError):
            return None
    return 8 + length + max(ends, default=0)
