"""What lies beside the data in a folder of tasks, and file names that look like parts of one data set, as sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

# what follows the name of a set in the name of a file that is a split or a part of it
A_PART_OF_ONE = re.compile(r"((^|[-_.])(train|test|val|valid|validation|dev|eval))?(-\d{5}-of-\d{5})?$", re.IGNORECASE)
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}  # and all whose names begin with a dot or "~$"


def is_system(path: Path) -> bool:
    """Tell whether an operating system or an editor left this file or folder."""
    return path.name.startswith((".", "~$")) or path.name.lower() in SYSTEM_FILES


def few(names: Sequence[str]) -> str:
    """Return the first three names."""
    return f"{', '.join(names[:3])}{' and others' if len(names) > 3 else ''}"


def not_read(folder: Path, read: Collection[Path]) -> list[str]:
    """Return sentences about what is in `folder` and not among the files and folders that are `read`."""
    rest = sorted(path for path in folder.iterdir() if path not in read)
    system = [path.name for path in rest if is_system(path)]
    others = [f"{path.name}{'/' if path.is_dir() else ''}" for path in rest if not is_system(path)]
    notes = [f"ignored {len(system)} system files: {', '.join(system[:3])}"] if system else []
    return [*notes, *([f"not read: {few(others)}"] if others else [])]


def parts_of_one(names: Sequence[str]) -> list[str]:
    """Return a sentence if files have names like splits or parts of one data set."""
    stems = {name: A_PART_OF_ONE.sub("", name) for name in names}
    counted = Counter(stems.values())
    looks = [name for name, stem in stems.items() if not stem or (stem != name and counted[stem] > 1)]
    said = "these names look like splits or parts of one data set, but each file is a task of its own"
    how = "put the rows of one task into one file, and mossa draws the splits from it"
    return [f"{', '.join(looks[:3])}: {said}; {how}"] if looks else []
