"""Files of dataset repositories on the Hugging Face hub: pinned and cached, with every failure as a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mossa.errors import DataError, choices
from mossa.hub import PATIENCE, by_hand, is_offline, named, refusal
from mossa.tasks.rows import kind_of

# The branch on which the hub keeps every public dataset as parquet, whatever its original format.
CONVERTED = "refs/convert/parquet"
USUAL_SPLITS = {"train", "test", "validation", "valid", "dev", "eval"}
FOR_A_TASK = "Leave the task out with tasks.only, or set tasks.revision to one that has it."


def hub_files(repository: str, revision: str, paths: Sequence[str]) -> dict[str, Path]:
    """Return the local copies of files of a dataset repository at `revision`, downloading what is not cached.

    A file appears in the cache only when it is complete, so an interrupted download continues at the first missing
    file. If everything is cached no network is used. Raises `DataError` if a file cannot be loaded.
    """
    from huggingface_hub import hf_hub_download

    found = {path: file for path in paths if (file := _cached(repository, revision, path))}
    missing = [path for path in paths if path not in found]
    if not missing:
        return found
    if is_offline():
        raise DataError(
            f"{_named(repository, revision)}: {len(missing)} of {len(paths)} files are not in the cache ({missing[0]}, "
            f"…) and HF_HUB_OFFLINE is set. {by_hand('dataset', repository, revision)}"
        )
    listed = set(hub_listing(repository, revision))
    absent = [path for path in missing if path not in listed]
    if absent:
        raise DataError(
            f"{_named(repository, revision)} has no file {absent[0]}"
            + (f" and {len(absent) - 1} others" if len(absent) > 1 else "")
            + f". {_similar(absent[0], listed)}Set tasks.revision to one that has it, or leave the task out with "
            "tasks.only."
        )
    try:
        for path in missing:
            found[path] = Path(hf_hub_download(repository, path, repo_type="dataset", revision=revision))
    except Exception as error:  # the client passes on what its HTTP library raises, which changes
        raise _refused(repository, revision, error) from error
    return found


def hub_tables(
    repository: str, revision: str, config: str | None, split: str, one: bool, hint: str = FOR_A_TASK
) -> list[Path]:
    """Return the local copies of the files of data of a split, in order; only the first if `one`.

    Without `config` the dataset must have only one. The files are where the hub puts what it converts
    (`config/split/0000.parquet`, or `config/partial-split/` of a dataset that is too large), or of another revision
    those whose names say the split. Raises `DataError`, ending in `hint`, for a configuration or split that is not
    there (with those that are).
    """
    listed = _cached_listing(repository, revision) if is_offline() else hub_listing(repository, revision)
    listed = sorted(path for path in listed if kind_of(Path(path)) and Path(path).name != "dataset_infos.json")
    folders = {"/".join(path.split("/")[:2]) for path in listed if path.count("/") == 2}
    configs = {folder.split("/")[0] for folder in folders}
    named = config or (configs.pop() if len(configs) == 1 else "default")
    paths = [path for path in listed if path.startswith((f"{named}/{split}/", f"{named}/partial-{split}/"))]
    if not paths and revision != CONVERTED:
        paths = _by_words(listed, config, split)
    if not paths and is_offline():
        raise DataError(
            f"{_named(repository, revision)}: {named}, {split} is not in the cache and HF_HUB_OFFLINE is set. "
            + by_hand("dataset", repository, revision)
        )
    if not paths:
        of_config = [folder for folder in folders if folder.startswith(f"{named}/")]
        raise DataError(
            f"{_named(repository, revision)} has no split {named}/{split}. "
            f"{choices(f'{named}/{split}', of_config or folders or listed)} {hint}"
        )
    return list(hub_files(repository, revision, paths[:1] if one else paths).values())


def _by_words(listed: list[str], config: str | None, split: str) -> list[str]:
    """Return the files in whose paths the configuration (if given) and the split are words.

    Where no path has the name of any split, all files are the split `train`.
    """
    words = {path: set(re.split(r"[^A-Za-z0-9]+", path.lower())) for path in listed}
    mine = [path for path in listed if config is None or set(re.split(r"[^a-z0-9]+", config.lower())) <= words[path]]
    if split == "train" and not any(words[path] & USUAL_SPLITS for path in mine):
        return mine
    return [path for path in mine if set(re.split(r"[^a-z0-9]+", split.lower())) <= words[path]]


def hub_listing(repository: str, revision: str) -> list[str]:
    """Return the paths of all files of a dataset repository; raises `DataError` if the hub does not answer."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(repository, revision=revision, timeout=PATIENCE)
    except Exception as error:  # see above
        raise _refused(repository, revision, error) from error
    return [file.rfilename for file in info.siblings or ()]


def in_cache(repository: str, revision: str, paths: Sequence[str]) -> bool:
    """Tell whether all these files of a dataset repository are in the cache."""
    return all(_cached(repository, revision, path) for path in paths)


def _cached(repository: str, revision: str, path: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repository, path, revision=revision, repo_type="dataset")
    except HFValidationError as error:
        raise _refused(repository, revision, error) from error
    return Path(found) if isinstance(found, str) else None


def _cached_listing(repository: str, revision: str) -> list[str]:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(repository, repo_type="dataset", revision=revision, local_files_only=True))
    except Exception as error:  # see above
        folder = getattr(error, "snapshot_path", None)  # some of its files are there
        if folder is None:
            return []
    return [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]


def _similar(path: str, listed: set[str]) -> str:
    folder, _, name = path.rpartition("/")
    stem = name.split("_10templates")[0]
    near = sorted(other for other in listed if stem in other)[:3]
    folders = sorted({other.split("/")[0] for other in listed if "/" in other})
    if near:
        return f"It has {', '.join(near)}. "
    if folder and folder not in folders:
        return f"Its folders are: {', '.join(folders) or '(none)'}. "
    return ""


def _named(repository: str, revision: str) -> str:
    return named("dataset", repository, revision)


def _refused(repository: str, revision: str, error: Exception) -> DataError:
    return DataError(refusal("dataset", repository, revision, "tasks.revision", error))
