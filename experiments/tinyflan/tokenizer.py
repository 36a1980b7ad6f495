"""The word-level tokenizer of TinyFLAN: every word and mark its texts can hold, spaces kept, nothing lost."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from mossa.tinyflan.catalogue import CUE, specifications
from mossa.tinyflan.world import read_data

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
MARKS = tuple(".,:;?!")
# A word carries the space before it, as in SentencePiece, so that decoding gives back the text.
SPACE = "▁"


def strings(data: Any) -> Iterator[str]:
    """Yield every string in nested lists and dictionaries, keys included."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from strings(value)


def vocabulary() -> list[str]:
    """Return all tokens in a fixed order: special ones, marks, the space, then the words by the alphabet."""
    sources: list[Any] = [CUE, list(read_data("world.yaml").values())]
    for task in specifications().values():
        sources += [task.lexicon, list(task.fields.values()), task.target, task.natural, task.templates]
    text = " ".join(string for source in sources for string in strings(source))
    words = set(re.findall(r"[a-z]+", re.sub(r"\{\w+\}", " ", text)))
    return [*SPECIAL, *MARKS, SPACE, *(SPACE + word for word in sorted(words))]


def token_ids(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], special: bool = True) -> list[list[int]]:
    """Return the token ids of each text, after `<s>` if `special`."""
    return cast(list[list[int]], tokenizer(list(texts), add_special_tokens=special)["input_ids"])


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer; it puts `<s>` before a text, ends an answer in `</s>` and pads with `<pad>`."""
    tokens = {token: number for number, token in enumerate(vocabulary())}
    backend = Tokenizer(models.WordLevel(tokens, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
            pre_tokenizers.Punctuation("isolated"),
        ]
    )
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokens["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="right",
        model_max_length=256,
    )
