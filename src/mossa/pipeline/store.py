"""The run folder: units land in it whole or not at all, and are checked before they are used."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from safetensors import SafetensorError

from mossa.errors import RunFolderError
from mossa.pipeline.unit import Unit

MANIFEST = "manifest.json"
LAYOUT = 1  # of the run folder itself

FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {
    errno.ENOSPC: "the disk is full; make room and run again, what is done is kept",
    errno.EDQUOT: "the disk quota is used up; make room and run again, what is done is kept",
    errno.EROFS: "the file system is read-only; give a folder you can write to with --runs",
    errno.EACCES: "permission denied; give a folder you can write to with --runs",
    errno.ENOTDIR: "a file is where a folder should be",
    errno.EEXIST: "a file is where a folder should be",
}

State = Literal["done", "missing", "stale", "failed", "damaged"]


@dataclass(frozen=True, slots=True)
class Status:
    """Where a unit stands, and why if it is not done."""

    state: State
    why: str = ""


class RunFolder:
    """A study's folder: `units/<step>/<key>/` with a manifest each, temporary work beside them, failures by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.units = path / "units"
        self.work = path / "units" / ".work"
        self.failures = path / "units" / ".failed"

    def prepare(self) -> None:
        """Make the folder and remove what an interrupted run left half done; raises `RunFolderError` if it cannot."""
        with self.writing():
            self.units.mkdir(parents=True, exist_ok=True)
            layout = self.path / "layout.json"
            if layout.is_file():
                found = _read_json(layout).get("layout")
                if found != LAYOUT:
                    raise RunFolderError(
                        f"{self.path} was written by another version of mossa (layout {found}, here {LAYOUT}). "
                        "Use that version, or give another folder with --runs."
                    )
            else:
                _write_json(layout, {"layout": LAYOUT})
            for litter in self.work.glob("*") if self.work.is_dir() else ():
                if not litter.name.startswith("checkpoint-"):
                    shutil.rmtree(litter, ignore_errors=True)
            self.work.mkdir(exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run, at most until the process ends; raises `RunFolderError` if another has it."""
        with self.writing(), (self.path / ".lock").open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = _holder(handle)
                raise RunFolderError(
                    f"{self.path} is in use by another run{holder}. Wait for it, or give another folder with --runs."
                ) from error
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def status(self, unit: Unit, fingerprint: str) -> Status:
        """Return where `unit` stands, from its manifest and its files' sizes; contents are checked when read."""
        manifest = self.manifest(unit.id)
        if manifest is None or manifest.get("fingerprint") != fingerprint:
            failure = self.failure(unit, fingerprint)
            if failure:
                return Status("failed", failure)
            return Status("stale", _what_changed(manifest, unit)) if manifest else Status("missing", "not done yet")
        for name, (size, _) in manifest["files"].items():
            path = self.folder(unit.id) / name
            if not path.is_file() or path.stat().st_size != size:
                return Status("damaged", f"{name} is missing or has another size than when it was written")
        return Status("done")

    def folder(self, identifier: str) -> Path:
        """Return where the unit `step/key` lands."""
        return self.units / identifier

    def manifest(self, identifier: str) -> dict[str, Any] | None:
        """Return the manifest of a landed unit, or None if there is none that can be read."""
        try:
            manifest = _read_json(self.folder(identifier) / MANIFEST)
        except RunFolderError:
            return None
        files = manifest.get("files")
        sound = isinstance(files, dict) and all(isinstance(file, list) and len(file) == 2 for file in files.values())
        return manifest if sound and "fingerprint" in manifest else None

    def damage(self, identifier: str) -> str | None:
        """Return what is wrong with a landed unit's files by their checksums, or None if they are as written."""
        manifest = self.manifest(identifier)
        if manifest is None:
            return "its manifest is missing or damaged"
        for name, (_, checksum) in manifest["files"].items():
            try:
                if _checksum(self.folder(identifier) / name) != checksum:
                    return f"{name} is not as it was written (its checksum differs)"
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
        return None

    @contextmanager
    def landing(self, unit: Unit, fingerprint: str, manifest: dict[str, Any]) -> Iterator[Path]:
        """Yield a temporary folder to write to; at the end it becomes the unit by one rename, `manifest` inside.

        What the block adds to `manifest` is written too. Raises `RunFolderError` if the disk is full or read-only;
        whatever is raised, nothing half done stays.
        """
        with self.writing():
            self.work.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{unit.step}-", dir=self.work))
        try:
            with self.writing(only_when_full=True):  # any other error in the block is the unit's own
                yield folder
            with self.writing():
                files = {
                    str(path.relative_to(folder)): [path.stat().st_size, _checksum(path)]
                    for path in sorted(folder.rglob("*"))
                    if path.is_file()
                }
                content = {"fingerprint": fingerprint, "step": unit.step, "key": unit.key, "settings": unit.settings}
                _write_json(folder / MANIFEST, {**content, "inputs": list(unit.inputs), "files": files, **manifest})
                _flush(folder)
                self._swap(folder, self.folder(unit.id))
                self._failure_path(unit).unlink(missing_ok=True)
                shutil.rmtree(self.checkpoints(unit), ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def checkpoints(self, unit: Unit) -> Path:
        """Return where the unit keeps what lets it go on after an interruption; gone once it has landed."""
        return self.work / f"checkpoint-{unit.step}-{unit.key}"

    def record_failure(self, unit: Unit, fingerprint: str, reason: str) -> None:
        """Write down why the unit failed."""
        with self.writing():
            path = self._failure_path(unit)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_json(path, {"fingerprint": fingerprint, "reason": reason})

    def failure(self, unit: Unit, fingerprint: str) -> str | None:
        """Return why the unit failed with this very fingerprint, or None if it did not."""
        try:
            failure = _read_json(self._failure_path(unit))
        except RunFolderError:
            return None
        return str(failure.get("reason")) if failure.get("fingerprint") == fingerprint else None

    @contextmanager
    def writing(self, only_when_full: bool = False) -> Iterator[None]:
        """Turn what the file system refuses (or only that it is full) into a sentence."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            # safetensors reports what the file system refuses in words
            code = error.errno if isinstance(error, OSError) else errno.ENOSPC if "os error 28" in str(error) else None
            if code not in FULL and (only_when_full or not isinstance(error, OSError)):
                raise
            reason = REFUSED.get(code or 0, f"the file system says: {error}")
            raise RunFolderError(f"{self.path}: {reason}.") from error

    def _failure_path(self, unit: Unit) -> Path:
        return self.failures / unit.step / f"{unit.key}.json"

    def _swap(self, new: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            old = Path(tempfile.mkdtemp(prefix="old-", dir=self.work))
            place.rename(old / "unit")
            new.rename(place)
            shutil.rmtree(old, ignore_errors=True)
        else:
            new.rename(place)


def _what_changed(manifest: dict[str, Any], unit: Unit) -> str:
    changed = sorted(_differences(manifest.get("settings", {}), json.loads(json.dumps(unit.settings))))
    if changed:
        return f"changed since: {', '.join(changed[:4])}{' …' if len(changed) > 4 else ''}"
    return "something it was made from has changed"


def _differences(old: Any, new: Any, place: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted({*old, *new})
        return [at for key in keys for at in _differences(old.get(key), new.get(key), f"{place}.{key}".lstrip("."))]
    return [] if old == new else [place]


def _checksum(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flush(folder: Path) -> None:
    """Ask the system to put the files on the disk, so that a rename never becomes visible before what it names."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _holder(handle: IO[str]) -> str:
    handle.seek(0)
    pid = handle.read().strip()
    return f" (process {pid})" if pid.isdigit() else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path} is not a JSON object.")
    return content


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    temporary.replace(path)
