"""Puts the tables of all landed units together."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mossa import __version__
from mossa.store.disk import checksum
from mossa.store.folder import MANIFEST, RunFolder
from mossa.units.unit import Unit

if TYPE_CHECKING:
    import pandas as pd

TABLES = (
    "similarity", "difference", "evaluation", "replies", "adapters", "spectrum", "tasks", "projection",
    "separability", "layer_map", "affinity", "dendrogram", "place",
)  # fmt: skip


MADE_FROM = "results/.made-from"


def gather(run: RunFolder, units: dict[str, Unit], fingerprints: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Return every table of the units that are done, in the plan's order; a unit that is not done adds no rows.

    A table is every parquet file that a step writes, by its name: a new one needs no entry anywhere. A unit whose files
    are not as they were written counts as not done.
    """
    import pandas as pd  # here, for a run that has nothing to do gathers nothing

    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}  # known ones first, others as they come
    for name, unit in units.items():
        manifest = run.manifest(name)
        if manifest is None or run.status(unit, fingerprints[name]).state != "done":
            continue
        files = [file for file in manifest["files"] if Path(file).suffix == ".parquet"]
        if files and run.damage(name) is None:
            for file in files:
                table = Path(file).stem
                frame = pd.read_parquet(run.folder(name) / file)
                if table == "adapters":
                    frame["seconds"] = manifest.get("seconds")
                parts.setdefault(table, []).append(frame)
    return {name: _joined(frames) for name, frames in parts.items() if frames}


def made_from(run: RunFolder, units: dict[str, Unit], fingerprints: dict[str, str]) -> str:
    """Return a hash of the manifests of the units that are done: of what tables and report are made from."""
    done = [name for name, mark in fingerprints.items() if run.status(units[name], mark).state == "done"]
    return hashlib.sha256("\n".join(checksum(run.folder(name) / MANIFEST) for name in done).encode()).hexdigest()


def is_gathered(run: RunFolder, units: dict[str, Unit], fingerprints: dict[str, str]) -> bool:
    """Tell whether the tables were finished from the units as they are now, and are as they were written."""
    mark = run.path / MADE_FROM
    return mark.is_file() and mark.read_text() == _mark(run, units, fingerprints)


def mark_gathered(run: RunFolder, units: dict[str, Unit], fingerprints: dict[str, str]) -> None:
    """Note from which units the tables were made, and what is in them."""
    with run.writing():
        run.write(run.path / MADE_FROM, _mark(run, units, fingerprints))


def _mark(run: RunFolder, units: dict[str, Unit], fingerprints: dict[str, str]) -> str:
    files = sorted((run.path / MADE_FROM).parent.glob("[!.]*"))
    content = {file.name: checksum(file) for file in files if file.is_file()}
    return json.dumps({"mossa": __version__, "units": made_from(run, units, fingerprints), "files": content})


def write_tables(tables: dict[str, pd.DataFrame], folder: Path, run: RunFolder) -> None:
    """Write each table as parquet and CSV, each file replaced at once; tables that are no longer there are removed."""
    with run.writing():
        folder.mkdir(parents=True, exist_ok=True)
        (run.path / MADE_FROM).unlink(missing_ok=True)  # until all are whole again, they count as old
        for name in TABLES:
            if name not in tables:
                (folder / f"{name}.parquet").unlink(missing_ok=True)
                (folder / f"{name}.csv").unlink(missing_ok=True)
        for name, table in tables.items():
            for suffix, write in ((".parquet", table.to_parquet), (".csv", table.to_csv)):
                temporary = folder / f".{name}{suffix}.partial"
                write(temporary, index=False)
                temporary.replace(folder / f"{name}{suffix}")


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    with warnings.catch_warnings():
        # columns that hold only nulls in some unit: pandas announces that their type will matter one day
        warnings.simplefilter("ignore", FutureWarning)
        return pd.concat(frames, ignore_index=True).infer_objects()  # the types that reading the written table gives
