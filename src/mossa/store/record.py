"""What a run leaves beside its units, so that its results can be read without its data, its base or its study file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import ValidationError

from mossa.errors import RunFolderError
from mossa.names import SAFE_NAME
from mossa.store.folder import RunFolder, Status
from mossa.study.schema import Study
from mossa.units.unit import Unit

STUDY, RECORD = "study.yaml", "record.json"


@dataclass(frozen=True, slots=True)
class Record:
    """A study as it was planned: settings, folder, units and fingerprints, and a few prompts with targets per task."""

    study: Study
    run: RunFolder
    units: dict[str, Unit]
    fingerprints: dict[str, str]
    prompts: dict[str, list[tuple[str, str]]]

    def status(self) -> dict[str, Status]:
        """Return where each unit stands now."""
        return {name: self.run.status(unit, self.fingerprints[name]) for name, unit in self.units.items()}


def write_record(record: Record) -> None:
    """Write the resolved study and the record into the run folder."""
    units = [
        {"step": unit.step, "key": unit.key, "settings": unit.settings, "inputs": unit.inputs, "fingerprint": mark}
        for unit, mark in zip(record.units.values(), record.fingerprints.values(), strict=True)
    ]
    run = record.run
    with run.writing():
        run.write(run.path / STUDY, yaml.safe_dump(record.study.model_dump(mode="json"), sort_keys=False))
        run.write(run.path / RECORD, json.dumps({"units": units, "prompts": record.prompts}, ensure_ascii=False))


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
        study = Study.model_validate(yaml.safe_load((folder / STUDY).read_text(encoding="utf-8")))
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
        return Record(study, RunFolder(folder), units, marks, prompts)
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


def _safe(name: str) -> str:
    """Return part of a unit's place in the folder; raises `ValueError` if it could lead out of it."""
    if not all(SAFE_NAME.fullmatch(part) for part in name.split("@")) or ".." in name:
        raise ValueError(f"{name!r} is no name of a unit")
    return name
