"""Brings a GGUF file once into a folder that transformers reads as any other, kept by the file's content."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mossa.errors import ModelError
from mossa.models.files import weight_files
from mossa.models.gguf import gguf_hash, gguf_parts
from mossa.study.schema import Base

VERSION = 2  # of what is made of a file: what an older version has left in the cache is not read
SPECIAL_TOKENS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
SPLIT_KEYS = ("split.no", "split.count", "split.tensors.count")


def readable(settings: Base, weights: bool = False, say: Callable[[str], None] | None = None) -> Base:
    """Return `settings` with a folder that transformers reads in the place of a GGUF; any other base as it is.

    The folder has configuration and tokenizer, or with `weights` configuration and weights in `settings.dtype`. It
    lies in the user's cache, is made by the first process that asks for it, and is mapped by all; `say` gets a line.
    Raises `ModelError` if the file cannot be read, gguf is not installed, or transformers does not read this
    architecture whole.
    """
    parts = gguf_parts(settings.model)
    if not parts:
        return settings
    folder = _folder(parts, settings.dtype if weights else "header")
    if not _is_sound(folder, weights):
        header = readable(settings).model if weights else ""
        with _landing(folder, weights, settings.model) as target:
            if target:
                if say:
                    say(f"{parts[0].name} is brought to {settings.dtype} once, and kept in {cache_folder()}.")
                with _whole(parts, target) as (file, sizes), _sentences(file):
                    if weights:
                        _save_weights(file, sizes, header, settings.dtype, target)
                    else:
                        _save_header(file, target)
    return settings.model_copy(update={"model": str(folder), "revision": None})


def waits_for_conversion(settings: Base) -> bool:
    """Tell whether the base is a GGUF of which the cache has no weights in its format yet."""
    parts = gguf_parts(settings.model)
    return bool(parts) and not _is_sound(_folder(parts, settings.dtype), weights=True)


def cache_folder() -> Path:
    """Return where converted models are kept: `mossa/gguf` in the user's cache. It may be deleted at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mossa" / "gguf"


def _folder(parts: list[Path], what: str) -> Path:
    return cache_folder() / f"{gguf_hash(parts)[:32]}-{what}-{VERSION}-transformers-{version('transformers')}"


def _is_sound(folder: Path, weights: bool) -> bool:
    """Tell whether a converted model is there and, where it has weights, their files are whole."""
    if not (folder / "config.json").is_file():
        return False
    try:
        if weights:
            weight_files(folder)
    except ModelError:
        return False
    return True


@contextmanager
def _landing(folder: Path, weights: bool, model: str) -> Iterator[Path | None]:
    """Yield where to make what becomes `folder` after the block, all of it or nothing; None if another has made it.

    One process at a time is in the block. Raises `ModelError` if the cache cannot be written.
    """
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if _is_sound(folder, weights):
                yield None
                return
            target = folder.with_name(f"{folder.name}.unfinished")
            for left in (folder, target):  # damaged, or of a process that was killed; nobody else is at work here
                shutil.rmtree(left, ignore_errors=True)
            target.mkdir()
            try:
                yield target
                target.rename(folder)
            finally:
                shutil.rmtree(target, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"{model} cannot be brought into the cache: {error}. Make room there, or set XDG_CACHE_HOME to another "
            "folder."
        ) from error


@contextmanager
def _whole(parts: list[Path], room: Path) -> Iterator[tuple[Path, dict[str, int]]]:
    """Yield one file that transformers can read (all parts, merged in `room` for the block) and its tensors' sizes.

    Raises `ModelError` if gguf is not installed, the file is damaged or transformers does not read its architecture.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ModelError(f"{parts[0]} is a GGUF file, which needs gguf. Install it with: pip install 'mossa[gguf]'")
    import gguf

    try:
        readers = [gguf.GGUFReader(part) for part in parts]
        fields = readers[0].fields
        architecture = str(fields["general.architecture"].contents())
        count = int(fields["split.count"].contents()) if "split.count" in fields else 1
    except (ValueError, KeyError, IndexError, OverflowError, TypeError) as error:
        raise ModelError(f"{parts[0]} is damaged or not whole ({error}). Download or copy it again.") from error
    if count not in (0, len(parts)):
        raise ModelError(
            f"{parts[0]} is one of {count} parts, and its name does not tell where the others are. Name all of them as "
            f"in model-00001-of-{count:05}.gguf."
        )
    if architecture not in (known := _architectures()):
        raise ModelError(
            f"{parts[0]} is a {architecture!r} model, and transformers reads GGUF files of these only: "
            f"{', '.join(sorted(known))}. Use the model's safetensors."
        )
    sizes = {tensor.name: int(tensor.n_elements) for reader in readers for tensor in reader.tensors}
    if len(parts) == 1:
        yield parts[0], sizes
        return
    from gguf.scripts.gguf_new_metadata import copy_with_new_metadata

    for reader in readers[1:]:
        readers[0].tensors.extend(reader.tensors)
    merged = room / "merged.gguf"
    with redirect_stderr(io.StringIO()):  # its bar
        copy_with_new_metadata(readers[0], gguf.GGUFWriter(merged, architecture), {}, SPLIT_KEYS)
    yield merged, sizes
    merged.unlink()


def _architectures() -> set[str]:
    """Return the architectures of which transformers reads GGUF files, under the names that the files use."""
    from transformers import modeling_gguf_pytorch_utils as old

    try:  # the second reader, which newer versions have for some
        new: Any = import_module("transformers.integrations.gguf").GGUF_CONFIG_ARCHS
    except (ImportError, AttributeError):
        new = ()
    known = {*old.GGUF_SUPPORTED_ARCHITECTURES, *new} - {"general", "tokenizer"}
    return known | {name.replace("_", sign) for name in known for sign in ("", "-")}  # qwen2moe, gpt-oss


def _save_header(file: Path, target: Path) -> None:
    """Write configuration and tokenizer of a GGUF file; the tokenizer has the tokens that the model embeds and no more.

    transformers' classes add what a file does not have, such as <|endoftext|> or <mask>, and some versions of it take
    another token for the one that ends a sequence (5.17: <|im_start|> for SmolLM2). So the file's own numbers count.
    """
    from gguf import GGUFReader
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

    config = AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name)
    config.save_pretrained(target)
    read = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    size = config.get_text_config().vocab_size
    rules = json.loads(read.backend_tokenizer.to_str())
    rules["added_tokens"] = [token for token in rules["added_tokens"] if token["id"] < size]
    fields = GGUFReader(file).fields
    special: dict[str, Any] = {}
    for name, field in SPECIAL_TOKENS.items():
        told = fields.get(f"tokenizer.ggml.{field}_token_id")
        token = read.convert_ids_to_tokens(int(told.contents())) if told else getattr(read, name)
        if token and read.convert_tokens_to_ids(token) < size:
            special[name] = token
    own = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(rules)), **special)
    template = fields.get("tokenizer.chat_template")
    own.chat_template = str(template.contents()) if template else read.chat_template
    own.save_pretrained(target)


def _save_weights(file: Path, sizes: dict[str, int], header: str, dtype: str, target: Path) -> None:
    """Write the weights of a GGUF file in `dtype` as safetensors, with no trace of how they were stored before."""
    import torch
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM

    packed = getattr(transformers, "GgufConfig", None)  # newer versions would keep some weights in GGUF's blocks
    options: dict[str, Any] = {"quantization_config": packed(dequantize=True)} if packed else {}
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(file.parent),
        gguf_file=file.name,
        config=AutoConfig.from_pretrained(header),
        dtype=getattr(torch, dtype),
        output_loading_info=True,
        **options,
    )
    model, report = loaded
    _check_complete(file, sizes, model, report)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)


def _check_complete(file: Path, sizes: dict[str, int], model: Any, report: Any) -> None:
    """Raise `ModelError` if weights of the model are not in the file, or numbers in the file have no place in it."""
    missing = sorted({*report["missing_keys"], *map(str, report["mismatched_keys"])})
    again = sizes.get("output.weight", 0) if model.config.get_text_config().tie_word_embeddings else 0
    left = sum(sizes.values()) - again - sum(parameter.numel() for parameter in model.parameters())
    if missing:
        what = f"lacks {len(missing)} of the model's weights (for example {missing[0]})"
    elif left > 0:
        ropes = ", rope_freqs.weight among them" if "rope_freqs.weight" in sizes else ""
        what = f"holds {left:,} numbers that transformers leaves out{ropes}"
    else:
        return
    raise ModelError(f"{file} {what}, so it would be another model. Use the model's safetensors.")


@contextmanager
def _sentences(file: Path) -> Iterator[None]:
    """Turn what transformers raises into a sentence, and keep its bars off the terminal."""
    from mossa.models.hub import quiet, sentences

    with sentences(str(file)), quiet(), redirect_stderr(io.StringIO()):
        yield
