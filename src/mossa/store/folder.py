"""The run folder: units land in it whole or not at all, and are checked before they are used."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mossa.errors import RunFolderError
from mossa.names import SAFE_NAME
from mossa.store.disk import as_json, checksum, flush, read_json, refusals, remove
from mossa.units.unit import Unit

MANIFEST = "manifest.json"
LAYOUT = 1  # of the run folder itself

State = Literal["done", "missing", "stale", "failed", "damaged"]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a unit, and the reason if it is not done."""

    state: State
    why: str = ""


class RunFolder:
    """A study's folder: `units/<step>/<key>/` with a manifest each, temporary work beside them, failures by name."""

    def __init__(self, path: Path, token: str | None = None) -> None:
        self.path = path
        self.token = token or secrets.token_hex(8)  # marks what this runner and its workers write
        self.units = path / "units"
        self.work = path / "units" / ".work"
        self.failures = path / "units" / ".failed"
        self.runners = path / ".runners"
        self.claims = path / ".claims"

    def prepare(self) -> None:
        """Make the folder; raises `RunFolderError` if it cannot be written or is of another version."""
        with self.writing():
            self.work.mkdir(parents=True, exist_ok=True)
            layout = self.path / "layout.json"
            if layout.is_file():
                found = read_json(layout).get("layout")
                if found != LAYOUT:
                    raise RunFolderError(
                        f"{self.path} was written by another version of mossa (layout {found}, here {LAYOUT}). "
                        "Use that version, or give another folder with --runs."
                    )
            else:
                self.write(layout, as_json({"layout": LAYOUT}))

    def clear(self, cards: Iterable[Path]) -> None:
        """Remove what other runners left half done, and their `cards`; for one that is alone in the folder."""
        with self.writing():
            shutil.rmtree(self.claims, ignore_errors=True)
            for path in (*cards, *self.work.glob("*"), *self.runners.glob(".*")):
                if not path.name.startswith(("checkpoint-", f".{self.token}")):
                    remove(path)

    def clear_unit(self, unit: Unit, fingerprint: str) -> None:
        """Remove what a worker of this runner that died left of a unit."""
        for path in self.work.glob(f"{_prefix(unit, fingerprint)}{self.token}-*"):
            remove(path)

    def clear_after(self, token: str) -> None:
        """Remove what the runner with this token left half done."""
        for path in (*self.work.glob(f"*-{token}-*"), *self.runners.glob(f".{token}*")):
            remove(path)

    def write(self, path: Path, text: str) -> None:
        """Write a file so that others see either the old or the new one, in full, even if several write at once."""
        temporary = self.scratch()
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def scratch(self) -> Path:
        """Return a new path for a file that is not yet whole; what stays there is removed with its runner."""
        self.runners.mkdir(parents=True, exist_ok=True)
        return self.runners / f".{self.token}-{secrets.token_hex(4)}"

    def status(self, unit: Unit, fingerprint: str) -> Status:
        """Return the state of `unit`, from its manifest and the sizes of its files; contents are checked when read."""
        manifest = self.manifest(unit.id)
        if manifest is None or manifest.get("fingerprint") != fingerprint:
            failure = self.failure(unit, fingerprint)
            if failure:
                return Status("failed", failure)
            return Status("stale", _what_changed(manifest, unit)) if manifest else Status("missing", "not done yet")
        for name, (size, _) in manifest["files"].items():
            path = self.folder(unit.id) / name
            if path.is_symlink() or not path.is_file() or path.stat().st_size != size:
                return Status("damaged", f"{name} is missing or has another size than when it was written")
        return Status("done")

    def folder(self, identifier: str) -> Path:
        """Return where the unit `step/key` lands."""
        return self.units / identifier

    def manifest(self, identifier: str) -> dict[str, Any] | None:
        """Return the manifest of a landed unit, or None if there is none that can be read."""
        try:
            manifest = read_json(self.folder(identifier) / MANIFEST)
        except RunFolderError:
            return None
        files = manifest.get("files")
        sound = isinstance(files, dict) and all(_is_file_entry(name, entry) for name, entry in files.items())
        return manifest if sound and isinstance(manifest.get("fingerprint"), str) else None

    def damage(self, identifier: str, fingerprint: str | None = None, most: float = math.inf) -> str | None:
        """Return what is wrong with a landed unit, by its files' checksums and (if given) its fingerprint, or None.

        The checksums of a unit of more than `most` bytes are not looked at.
        """
        manifest = self.manifest(identifier)
        if manifest is None:
            return "its manifest is missing or damaged"
        if fingerprint not in (None, manifest["fingerprint"]):
            return "it was made for another version of the study"
        if sum(size for size, _ in manifest["files"].values()) > most:
            return None
        for name, (_, written) in manifest["files"].items():
            path = self.folder(identifier) / name
            try:
                if path.is_symlink() or not path.is_file():
                    return f"{name} is not a file"
                if checksum(path) != written:
                    return f"{name} is not as it was written (its checksum differs)"
            except OSError as error:
                return f"{name} cannot be read ({error.strerror})"
        return None

    @contextlib.contextmanager
    def landing(self, unit: Unit, fingerprint: str, manifest: dict[str, Any]) -> Iterator[Path]:
        """Yield a temporary folder to write to; at the end it becomes the unit by one rename, `manifest` inside.

        What the block adds to `manifest` is written too. Raises `RunFolderError` if the disk is full or read-only;
        whatever is raised, nothing unfinished remains.
        """
        with self.writing():
            self.work.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{_prefix(unit, fingerprint)}{self.token}-", dir=self.work))
        try:
            with self.writing(only_when_full=True):  # any other error in the block is the unit's own
                yield folder
            with self.writing():
                files = {
                    str(path.relative_to(folder)): [path.stat().st_size, checksum(path)]
                    for path in sorted(folder.rglob("*"))
                    if path.is_file()
                }
                content = {"fingerprint": fingerprint, "step": unit.step, "key": unit.key, "settings": unit.settings}
                content |= {"inputs": list(unit.inputs), "files": files, **manifest}
                (folder / MANIFEST).write_text(as_json(content), encoding="utf-8")
                flush(folder)
                self._swap(folder, unit, fingerprint)
                self._failure_path(unit).unlink(missing_ok=True)
                self.forget_checkpoints(unit)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def checkpoints(self, unit: Unit) -> Path:
        """Return where the unit keeps what lets it go on after an interruption; gone once it has landed."""
        return self.work / f"checkpoint-{unit.step}-{unit.key}"

    def forget_checkpoints(self, unit: Unit) -> None:
        """Remove the checkpoints of a unit that has landed."""
        if self.checkpoints(unit).is_dir():
            shutil.rmtree(self.checkpoints(unit), ignore_errors=True)

    def record_failure(self, unit: Unit, fingerprint: str, reason: str) -> None:
        """Write down why the unit failed."""
        with self.writing():
            path = self._failure_path(unit)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.write(path, as_json({"fingerprint": fingerprint, "reason": reason}))

    def failure(self, unit: Unit, fingerprint: str) -> str | None:
        """Return why the unit failed with exactly this fingerprint, or None if it did not."""
        try:
            failure = read_json(self._failure_path(unit))
        except RunFolderError:
            return None
        return str(failure.get("reason")) if failure.get("fingerprint") == fingerprint else None

    def writing(self, only_when_full: bool = False) -> contextlib.AbstractContextManager[None]:
        """Raise errors of the file system (or only a full disk) as a `RunFolderError` with a sentence."""
        return refusals(self.path, only_when_full)

    def _failure_path(self, unit: Unit) -> Path:
        return self.failures / unit.step / f"{unit.key}.json"

    def _swap(self, new: Path, unit: Unit, fingerprint: str) -> None:
        place = self.folder(unit.id)
        place.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                new.rename(place)  # refused if something is there
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            if self.status(unit, fingerprint).state == "done" and self.damage(unit.id) is None:
                return  # another process has landed the same unit meanwhile: it stays
            old = Path(tempfile.mkdtemp(prefix=f"old-{self.token}-", dir=self.work))
            with contextlib.suppress(FileNotFoundError):
                place.rename(old / "unit")
            shutil.rmtree(old, ignore_errors=True)


def _is_file_entry(name: str, entry: Any) -> bool:
    """Tell whether a manifest's entry names a file inside its unit, with a size and a checksum."""
    inside = all(SAFE_NAME.fullmatch(part) for part in name.split("/"))
    return inside and isinstance(entry, list) and list(map(type, entry)) == [int, str]


def _prefix(unit: Unit, fingerprint: str) -> str:
    return f"{unit.step}-{fingerprint[:12]}-"


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
