"""Where the files of a GGUF model are, and what identifies them; reads them without loading any library of models."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from mossa.errors import ModelError

MAGIC = b"GGUF"
SPLIT = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def gguf_parts(model: str) -> list[Path]:
    """Return the GGUF file that `model` names, or lies alone in it, as its parts in order; [] if it names no GGUF.

    Raises `ModelError` if a file is not a GGUF, a part is missing, or a folder holds several and nothing else to load.
    """
    path = Path(model)
    if path.is_file():
        return _parts(path)
    if not path.is_dir() or any(path.glob("*.safetensors*")):
        return []
    found = {tuple(_parts(file)) for file in sorted(path.glob("*.gguf"))}
    if len(found) > 1:
        names = ", ".join(sorted(parts[0].name for parts in found))
        raise ModelError(f"{path} holds {len(found)} GGUF models. Name one of them: {names}")
    return list(next(iter(found), ()))


def gguf_hash(parts: list[Path]) -> str:
    """Return the SHA-256 of a GGUF file, or one over those of its parts."""
    digests = [_file_hash(part, part.stat().st_size, part.stat().st_mtime_ns) for part in parts]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _parts(path: Path) -> list[Path]:
    """Return the file, or all parts of the split that it belongs to."""
    split = SPLIT.fullmatch(path.name)
    count = int(split["count"]) if split else 1
    names = [f"{split['name']}-{n:05}-of-{split['count']}.gguf" for n in range(1, count + 1)] if split else [path.name]
    parts = [path.with_name(name) for name in names]
    if missing := [part.name for part in parts if not part.is_file()]:
        raise ModelError(f"{path} is one of {count} parts, and {', '.join(missing)} is missing. Put it beside them.")
    for part in parts:
        with part.open("rb") as handle:
            if handle.read(len(MAGIC)) != MAGIC:
                raise ModelError(
                    f"{part} is not a GGUF file: it does not begin with {MAGIC.decode()}. Give a GGUF file, a folder "
                    "with config.json and *.safetensors, or the id of a repository on the hub."
                )
    return parts


@lru_cache
def _file_hash(path: Path, _size: int, _changed: int) -> str:
    """Return the SHA-256 of a file; read once per process, unless its size or time changes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
