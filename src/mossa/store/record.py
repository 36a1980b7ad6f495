"""What a run writes besides its units, so that its results can be read without its data, its base or its study file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from mossa.errors import RunFolderError
from mossa.models.rendering import Rendering
from mossa.names import SAFE_NAME
from mossa.store.disk import read_json
from mossa.store.folder import RunFolder, Status
from mossa.study.schema import Base, StudySettings
from mossa.units.unit import Unit

STUDY, RECORD = "study.yaml", "record.json"


@dataclass(frozen=True, slots=True)
class Record:
    """A study as it was planned: settings, folder, units and fingerprints, and a few prompts with targets per task.

    `rendering` is the text around every prompt; None in a folder of an earlier version.
    """

    study: StudySettings
    run: RunFolder
    units: dict[str, Unit]
    fingerprints: dict[str, str]
    prompts: dict[str, list[tuple[str, str]]]
    rendering: Rendering | None = None

    def status(self) -> dict[str, Status]:
        """Return the state of each unit now."""
        return {name: self.run.status(unit, self.fingerprints[name]) for name, unit in self.units.items()}


def write_record(record: Record) -> None:
    """Write the resolved study and the record into the run folder."""
    units = [
        {"step": unit.step, "key": unit.key, "settings": unit.settings, "inputs": unit.inputs, "fingerprint": mark}
        for unit, mark in zip(record.units.values(), record.fingerprints.values(), strict=True)
    ]
    run = record.run
    content = {"units": units, "prompts": record.prompts}
    content |= {"rendering": asdict(record.rendering)} if record.rendering else {}
    with run.writing():
        run.write(run.path / STUDY, yaml.safe_dump(record.study.model_dump(mode="json"), sort_keys=False))
        run.write(run.path / RECORD, json.dumps(content, ensure_ascii=False))


def planned_base(folder: Path) -> Base | None:
    """Return the base of the study that was last planned in a run folder, None if there is none that can be read."""
    try:
        return Base.model_validate(yaml.safe_load((folder / STUDY).read_text(encoding="utf-8"))["base"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        return None


def read_record(folder: Path) -> Record:
    """Return the record in a run folder; raises `RunFolderError` if there is none that can be read."""
    if not (folder / STUDY).is_file():
        there = sorted(path.parent.name for path in folder.glob(f"*/{STUDY}"))
        hint = f" It holds the run folders {', '.join(there)}: give one of them." if there else ""
        raise RunFolderError(
            f"{folder} is not a run folder: it has no {STUDY}.{hint or ' Give one that `mossa run` made: runs/NAME.'}"
        )
    if not (folder / RECORD).is_file():
        raise RunFolderError(
            f"{folder} has no {RECORD}: it was begun by an earlier version of mossa. Run the study again: what is done "
            "is kept, and the record is written."
        )
    try:
        study = StudySettings.model_validate(yaml.safe_load((folder / STUDY).read_text(encoding="utf-8")))
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        units = {}
        marks = {}
        for found in content["units"]:
            unit = Unit(_safe(found["step"]), _safe(found["key"]), found["settings"], tuple(found["inputs"]))
            units[unit.id] = unit
            marks[unit.id] = str(found["fingerprint"])
        prompts = {  # earlier versions kept no targets
            task: [(each, "") if isinstance(each, str) else (str(each[0]), str(each[1])) for each in those]
            for task, those in content["prompts"].items()
        }
        rendering = Rendering.read(content["rendering"]) if "rendering" in content else None
        return Record(study, RunFolder(folder), units, marks, prompts, rendering)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
        IndexError,
        AttributeError,
        yaml.YAMLError,
        ValidationError,
    ) as error:
        raise RunFolderError(f"{folder}: {STUDY} or {RECORD} cannot be read: {error}") from error


def recorded_rendering(run: RunFolder, made_from: str) -> Rendering | None:
    """Return what an earlier run of this folder rendered from the same sources, None if there is none."""
    try:
        rendering = Rendering.read(read_json(run.path / RECORD)["rendering"])
    except (RunFolderError, KeyError, TypeError):
        return None
    return rendering if rendering.made_from == made_from else None


def _safe(name: str) -> str:
    """Return part of a unit's place in the folder; raises `ValueError` if it could lead out of it."""
    if not all(SAFE_NAME.fullmatch(part) for part in name.split("@")) or ".." in name:
        raise ValueError(f"{name!r} is not the name of a unit")
    return name
