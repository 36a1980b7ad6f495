"""One model in memory at a time: the base, the base with an adapter on it, or a whole checkpoint instead."""

from __future__ import annotations

import gc
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from mossa.models.adapters import loaded_adapter
from mossa.models.base import LoadedBase, load_base, load_checkpoint, load_config, load_tokenizer, longest_input
from mossa.models.gguf import gguf_parts
from mossa.models.hub import check_place, quiet, sentences, stored
from mossa.models.prompts import PromptFormat, make_format
from mossa.models.rendering import Rendering
from mossa.study.schema import Base, Kind, Prompt


class ModelLoader:
    """Takes one model off the loader after putting the last one back; loads the base once for all adapters."""

    def __init__(self, settings: Base, device: str) -> None:
        self.settings, self.device = settings, device
        self._stack = ExitStack()
        self._taken: Any = None

    @cached_property
    def tokenizer(self) -> Any:
        """Return the base's tokenizer, which feeds all models."""
        return load_tokenizer(self.settings)

    @cached_property
    def base(self) -> LoadedBase:
        """Return the base; it is put away while a whole other model is in use."""
        return load_base(self.settings, self.device)

    @property
    def parameters(self) -> int | None:
        """Return how many parameters the base has, if it is in memory."""
        return self.base.parameters if "base" in self.__dict__ else None

    def format(self, prompt: Prompt, rendering: Rendering | None = None) -> PromptFormat:
        """Return how prompts become tokens, without loading any weights; as `make_format`, `rendering` is recorded."""
        longest = longest_input(load_config(self.settings), self.tokenizer)
        return make_format(self.tokenizer, prompt, longest, rendering)

    def take(self, kind: Kind, source: str | Path) -> Any:
        """Return a model in evaluation mode, to be used until the next one is taken.

        Raises `ModelError` if it cannot be loaded or does not belong to this base.
        """
        self.put_back()
        if kind == "base":
            return self.base.model
        if kind == "adapter":
            return self._stack.enter_context(loaded_adapter(self.base, source))
        self.__dict__.pop("base", None)  # it is loaded again when it is needed: two whole models may not fit
        gc.collect()
        self._taken = load_checkpoint(str(source), self.settings, self.tokenizer, self.device)
        return self._taken

    def put_back(self) -> None:
        """Take off whatever adapter is on the base, and let go of a whole other model."""
        self._stack.close()
        self._taken = None


def kind_of(source: str, what: str) -> Kind:
    """Return whether a folder, a GGUF file or a repository on the hub holds an adapter or a checkpoint.

    Raises `ModelError`, beginning with `what`, if it cannot be read.
    """
    check_place(source, what)
    if gguf_parts(source):
        return "checkpoint"
    if stored(source, "adapter_config.json", None, what):
        return "adapter"
    with sentences(f"{what}: {source}"), quiet():
        cached_file(source, "config.json")
    return "checkpoint"
