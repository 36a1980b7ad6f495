"""Operations on files, with the errors of the file system as sentences."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from mossa.errors import RunFolderError

FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {
    errno.ENOSPC: "the disk is full; make room and run again, what is done is kept",
    errno.EDQUOT: "the disk quota is used up; make room and run again, what is done is kept",
    errno.EROFS: "the file system is read-only; give a folder you can write to with --runs",
    errno.EACCES: "permission denied; give a folder you can write to with --runs",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "a file is where a folder should be",
}


@contextlib.contextmanager
def refusals(path: Path, only_when_full: bool = False) -> Iterator[None]:
    """Raise errors of the file system (or only a full disk) as a `RunFolderError` with a sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors reports errors of the file system only in words
        code = error.errno if isinstance(error, OSError) else errno.ENOSPC if "os error 28" in str(error) else None
        if code not in FULL and (only_when_full or not isinstance(error, OSError)):
            raise
        reason = REFUSED.get(code or 0, f"the file system says: {error}")
        raise RunFolderError(f"{path}: {reason}.") from error


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def flush(folder: Path) -> None:
    """Ask the system to put the files on the disk, so that a rename never becomes visible before what it names."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; raises `RunFolderError` if it cannot be read or is something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is not a JSON object.")
    return content


def as_json(content: dict[str, Any]) -> str:
    """Return the text of a JSON file, to be read by people too."""
    return json.dumps(content, indent=1, ensure_ascii=False)


def remove(path: Path) -> None:
    """Remove a file, a folder or what is gone already."""
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
