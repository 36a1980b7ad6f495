"""Puts the tables of all landed units together."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd

from mossa.errors import RunFolderError
from mossa.pipeline.store import RunFolder
from mossa.pipeline.unit import Unit

TABLES = (
    "similarity",
    "difference",
    "evaluation",
    "adapters",
    "spectrum",
    "tasks",
    "projection",
    "separability",
    "layer_map",
    "affinity",
)


def gather(run: RunFolder, units: dict[str, Unit], fingerprints: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Return every table of the units that are done, in the plan's order; a unit that is not done adds no rows.

    Raises `RunFolderError` if a landed table is not as it was written.
    """
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for name, unit in units.items():
        if run.status(unit, fingerprints[name]).state != "done":
            continue
        manifest = run.manifest(name)
        assert manifest is not None
        for file in manifest["files"]:
            table = Path(file).stem
            if Path(file).suffix == ".parquet" and table in parts:
                frame = pd.read_parquet(run.folder(name) / file)
                if table == "adapters":
                    frame["seconds"] = manifest["seconds"]
                parts[table].append(frame)
    return {name: _joined(frames) for name, frames in parts.items() if frames}


def write_tables(tables: dict[str, pd.DataFrame], folder: Path, run: RunFolder) -> None:
    """Write each table as parquet and CSV; each file is replaced at once, so a reader never sees half of one."""
    with run.writing():
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            for suffix, write in ((".parquet", table.to_parquet), (".csv", table.to_csv)):
                temporary = folder / f".{name}{suffix}.partial"
                write(temporary, index=False)
                temporary.replace(folder / f"{name}{suffix}")


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the tables that `write_tables` wrote; raises `RunFolderError` if there are none."""
    found = {
        name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES if (folder / f"{name}.parquet").is_file()
    }
    if not found:
        raise RunFolderError(f"{folder} has no tables yet. Run the study first.")
    return found


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    with warnings.catch_warnings():
        # columns that hold only nulls in some unit: pandas announces that their type will matter one day
        warnings.simplefilter("ignore", FutureWarning)
        return pd.concat(frames, ignore_index=True)
