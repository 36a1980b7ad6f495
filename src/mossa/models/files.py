"""What identifies a model: the files that are loaded from it. Reads them without loading any library of models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from mossa.errors import ModelError
from mossa.models.gguf import gguf_hash, gguf_parts
from mossa.study.schema import Base

ADAPTER_WEIGHTS = "adapter_model.safetensors"
CONFIGURATION = ("config.json", "generation_config.json")
# What the tokenizers of transformers read; a test asks each of their classes for the names of its files
TOKENIZER = re.compile(
    r"tokenizer(_config)?(\.[\d.]+)?\.json|tokenizer\.model.*|[^/]*\.(model|spm|tiktoken|jinja)|prophetnet\.tokenizer|"
    r"(added_tokens|special_tokens_map|tekken|byte_maps|normalizer|emoji|word_shape|word_pronunciation)\.json|"
    r"([a-z]+_)?vocab[^/]*\.(json|txt)|merges\.txt|dict\.txt|bpe\.codes|additional_chat_templates/[^/]*\.jinja"
)
NEVER_READ = re.compile(r"(.*/)?\..*|.*\.(md|bin|pt|pth|ckpt|h5|msgpack|onnx|gguf|safetensors)")


def base_fingerprint(settings: Base, what: str = "base.model", tokenizer: bool = True) -> str:
    """Return what identifies the model (and its tokenizer): the hub's commit, or a SHA-256 of the files loaded.

    Code from another repository counts by its commit. Raises `ModelError`, beginning with `what`, if the model cannot
    be read or the hub gives no commit.
    """
    if parts := gguf_parts(settings.model):
        return gguf_hash(parts)
    folder = Path(settings.model)
    if folder.is_dir():
        found = folder_hash(folder, settings.trust_remote_code, tokenizer)
    else:
        from mossa.models.hub import commit_of

        found = f"{settings.model}@{commit_of(settings.model, settings.revision, what)}"
    elsewhere = _code_elsewhere(settings, what) if settings.trust_remote_code else ()
    return found + "".join(f"+{code}" for code in elsewhere)


def adapter_fingerprint(source: str) -> str:
    """Return a SHA-256 of an adapter's two files, wherever they lie: in a folder, or on the hub and then in its cache.

    Raises `ModelError` if one of them is not there or not whole.
    """
    folder = Path(source)
    if not (folder / "adapter_config.json").is_file():
        from mossa.models.hub import adapter_folder

        folder = adapter_folder(source)
    return _hash(folder, [folder / "adapter_config.json", *weight_files(folder, adapter=True)])


def folder_hash(folder: Path, trusted: bool = False, tokenizer: bool = True) -> str:
    """Return a SHA-256 over the names and contents of the files that a model (and its tokenizer) is loaded of.

    Weights, configuration, tokenizer. If the model brings code and is `trusted` to run it, every file of the folder
    but other weights and documents counts, for that code may read any. Raises `ModelError` as `weight_files` does.
    """
    weights = weight_files(folder)
    own_code = trusted and any(folder.rglob("*.py"))
    others = [
        path
        for path in folder.rglob("*")
        if path.is_file() and _is_read(path.relative_to(folder).as_posix(), own_code, tokenizer)
    ]
    return _hash(folder, {*weights, *others})


def _is_read(name: str, own_code: bool, tokenizer: bool) -> bool:
    if own_code:
        return not NEVER_READ.fullmatch(name)
    return name in CONFIGURATION or (tokenizer and TOKENIZER.fullmatch(name) is not None)


def _hash(folder: Path, files: Any) -> str:
    stats = ((path, path.stat()) for path in sorted(files))
    return _hash_files(folder, tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in stats))


@lru_cache
def _hash_files(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """Return a SHA-256 over the files; read once per process, unless size or time of one of them changes."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        name = path.relative_to(folder).as_posix()
        with path.open("rb") as handle:
            digest.update(f"{name}:{hashlib.file_digest(handle, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _code_elsewhere(settings: Base, what: str) -> Iterator[str]:
    """Yield `repository@commit` of the code that the model takes from others (`repository--module.Class`)."""
    from mossa.models.hub import commit_of, stored

    found: set[tuple[str, str]] = set()
    for name in ("config.json", "tokenizer_config.json"):
        path = stored(settings.model, name, settings.revision, what)
        for named in (_read_json(path).get("auto_map") or {}).values() if path else ():
            for reference in map(str, named if isinstance(named, list) else [named]):
                repository, apart, place = reference.partition("--")
                if apart:
                    found.add((repository, f"{place.rpartition('.')[0].replace('.', '/')}.py"))
    for repository, module in sorted(found):
        yield f"{repository}@{commit_of(repository, None, what, module)}"


def weight_files(folder: Path, adapter: bool = False) -> list[Path]:
    """Return the files of weights (and their index) that are loaded from a folder, as transformers and PEFT choose.

    Raises `ModelError` if there are none as safetensors, one that the index names is not there, or one is not whole.
    """
    named = None if adapter else _read_json(folder / "config.json").get("transformers_weights")
    single = folder / (ADAPTER_WEIGHTS if adapter else named or "model.safetensors")
    index = None if adapter else folder / (named or "model.safetensors.index.json")
    if single.is_file() and single != index:
        weights, index = [single], None
    elif index and index.is_file():
        weights = sorted({folder / name for name in _indexed(index)})
        if missing := [path.name for path in weights if not path.is_file()]:
            raise ModelError(
                f"{folder} lacks {len(missing)} of its files of weights (for example {missing[0]}); the download was "
                "cut short. Download or copy it again."
            )
    else:
        raise ModelError(_no_weights(folder, single.name))
    for path in weights:
        held, needed = path.stat().st_size, _stated_size(path)
        if held != needed:
            raise ModelError(
                f"{path} is not whole: it has {held:,} bytes"
                + (f" and its header speaks of {needed:,}" if needed else " and no header that can be read")
                + ". Download or copy it again."
            )
    return [*weights, index] if index else weights


def tensor_names(weights: list[Path]) -> set[str]:
    """Return the names of the tensors in files of weights."""
    headers = (_header(path) for path in weights if path.suffix == ".safetensors")
    return {name for header in headers if header for name in header[1]}


def _no_weights(folder: Path, wanted: str) -> str:
    """Say what is in a folder instead of weights."""
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pth"})
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if not pickled and not others and not any(folder.glob("*config.json")):
        return (
            f"{folder} is not a folder of a model: it has no config.json and no *.safetensors. Name one that "
            "save_pretrained has written, or a model on the hub."
        )
    if others:
        return f"{folder} has no {wanted} and no index of several files; there is {', '.join(others)}, which is not it."
    found = f" (there is {', '.join(pickled)}; convert it with save_pretrained)" if pickled else ""
    return f"{folder} has no *.safetensors; weights are read in no other format{found}."


def _read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds, nothing if it is missing or not an object: loading the model then raises."""
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _indexed(index: Path) -> Iterator[str]:
    """Yield the file names that an index gives to its tensors."""
    try:
        names: Mapping[str, Any] = json.loads(index.read_bytes())["weight_map"]
        yield from map(str, names.values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{index} cannot be read ({error}). Download or copy it again.") from error


def _header(path: Path) -> tuple[int, dict[str, dict[str, list[int]]]] | None:
    """Return the bytes of a safetensors file's header and what it says of each tensor, None if it cannot be read."""
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > path.stat().st_size:
            return None
        try:
            tensors = json.loads(handle.read(length))
        except ValueError:
            return None
    return (8 + length, tensors) if isinstance(tensors, dict) else None


def _stated_size(path: Path) -> int | None:
    """Return how many bytes a safetensors file should have by its own header, None if it has none that can be read."""
    header = _header(path)
    if header is None:
        return None
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header[1].items() if name != "__metadata__"]
    except (KeyError, AttributeError, TypeError, IndexError):
        return None
    return header[0] + max(ends, default=0)
