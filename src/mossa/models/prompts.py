"""Prompts and targets as tokens: one constant beginning, one constant ending, one BOS, nothing cut at the end."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from mossa.errors import DataError, StudyError
from mossa.models.conversations import special_words, with_turns
from mossa.models.rendering import TRIMS, Rendering, render
from mossa.study.schema import Prompt
from mossa.tasks.task import Example

AT_ONCE = 4096  # examples that the tokenizer is given together; its lists of numbers take ten times what is kept


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input: its tokens, how many are the prompt, whether the prompt was shortened, its place in the list.

    `tokens` is an array of four bytes each: a mixture of hundreds of thousands of examples stays in memory.
    """

    tokens: Sequence[int]
    prompt_length: int
    shortened: bool
    index: int


def targets_of(examples: Sequence[Encoded]) -> list[int]:
    """Return the number of target tokens of each example, its end of sequence included."""
    return [len(example.tokens) - example.prompt_length for example in examples]


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How prompts become tokens: `prefix + prompt + suffix`, where prefix and suffix are the same for every prompt.

    The three parts are tokenized one by one, so no merge across a border can make the ending differ between prompts. A
    chat prompt is tokenized whole, as `apply_chat_template` does, and taken if it ends in the suffix all the same.
    """

    tokenizer: Any
    rendering: Rendering
    cutoff: int
    settings: Prompt

    @property
    def prefix(self) -> tuple[int, ...]:
        """Return the tokens before every prompt."""
        return self.rendering.prefix

    @property
    def suffix(self) -> tuple[int, ...]:
        """Return the tokens after every prompt."""
        return self.rendering.suffix

    def encode(self, examples: Sequence[Example], what: str, with_target: bool) -> list[Encoded]:
        """Return the examples that fit, in their order; `index` tells which were skipped.

        With `with_target`, the target and the end-of-sequence token follow the prompt. Raises `DataError`, naming
        `what`, if one does not fit and the policy is `refuse`, or if prompts do not end in one constant token.
        """
        if any(example.before for example in examples):
            formats = with_turns(self, examples, what)
            each = (form._encode([one], what, with_target, place) for place, (form, one) in enumerate(formats))
            encoded = list(chain.from_iterable(each))
        else:
            encoded = self._encode(examples, what, with_target)
        if not self.suffix and len({example.tokens[example.prompt_length - 1] for example in encoded}) > 1:
            raise DataError(
                f"{what}: the prompts do not end in the same token, and prompt.template adds no ending, so the "
                "template would show where the task should. End prompt.template in a constant text after {prompt}."
            )
        return encoded

    def beginning(self, example: Example) -> int:
        """Return how many tokens stand before the prompt of an example, its earlier turns included."""
        ((form, _),) = with_turns(self, [example], "this example")
        return len(form.prefix)

    def _encode(self, examples: Sequence[Example], what: str, with_target: bool, first: int = 0) -> list[Encoded]:
        """Return the examples that fit, the first of which is at the place `first`."""
        end = list(self.rendering.end or (self.tokenizer.eos_token_id,)) if with_target else []
        encoded: list[Encoded] = []
        for index, (prompt, whole, target) in enumerate(self._parts(examples, with_target), first):
            room = self.cutoff - len(target) - len(end)
            fitted = prompt
            if whole is None or len(whole) > room:
                fitted = self._fit(prompt, room - len(self.prefix) - len(self.suffix), what, index)
                if fitted is None:
                    continue
                whole = [*self.prefix, *fitted, *self.suffix]
            tokens = array("i", [*whole, *target, *end])
            encoded.append(Encoded(tokens, len(whole), len(fitted) < len(prompt), index))
        return encoded

    def _fit(self, prompt: list[int], room: int, what: str, index: int) -> list[int] | None:
        if len(prompt) <= room and (prompt or self.prefix or self.suffix):
            return prompt
        if self.settings.too_long == "refuse":
            raise DataError(
                f"{what}, example {index + 1}: {len(prompt)} tokens, but only {max(room, 0)} fit (prompt.cutoff is "
                f"{self.cutoff}). Set prompt.too_long to skip, shorten-start or shorten-middle."
            )
        if self.settings.too_long == "skip" or room < 1:
            return None
        if self.settings.too_long == "shorten-start":
            return prompt[len(prompt) - room :]
        return prompt[: room // 2] + prompt[len(prompt) - (room - room // 2) :]

    def _parts(
        self, examples: Sequence[Example], with_target: bool
    ) -> Iterator[tuple[list[int], list[int] | None, list[int]]]:
        """Yield the tokens of every prompt alone, with all around it if that is tokenized whole, and of its target."""
        trim = TRIMS[self.rendering.trim or "nothing"]
        for start in range(0, len(examples), AT_ONCE):
            some = examples[start : start + AT_ONCE]
            texts = [trim(example.prompt) for example in some]
            targets = tokenize(self.tokenizer, [example.target for example in some if with_target])
            wholes = self._wholes(texts) if self.rendering.trim else [None for _ in some]
            yield from zip(tokenize(self.tokenizer, texts), wholes, targets or [[] for _ in some], strict=True)

    def _wholes(self, texts: list[str]) -> list[list[int] | None]:
        """Return the tokens of each chat prompt with all around it, as `apply_chat_template` gives them.

        None for one that would not end in the suffix, or holds what looks like a special token, which stays text.
        """
        before, after, suffix = self.rendering.before, self.rendering.after, list(self.suffix)
        special = special_words(self.tokenizer)
        wholes: list[list[int]] = self.tokenizer(
            [before + text + after for text in texts], add_special_tokens=False, verbose=False
        )["input_ids"]
        return [
            whole if whole[len(whole) - len(suffix) :] == suffix and not any(word in text for word in special) else None
            for whole, text in zip(wholes, texts, strict=True)
        ]


def tokenize(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the tokens of each text; what looks like a special token in a text is text."""
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def make_format(tokenizer: Any, settings: Prompt, longest: int, rendering: Rendering | None = None) -> PromptFormat:
    """Return the prompt format of the study for a model that takes `longest` tokens.

    `rendering`: what was rendered when the study was planned; without, it is rendered now. Raises `StudyError` for a
    cutoff beyond the model, `ModelError` for a chat template that cannot be used.
    """
    cutoff = settings.cutoff or longest
    if cutoff > longest:
        raise StudyError(f"prompt.cutoff: {cutoff} tokens, but the model takes at most {longest}. Lower it.")
    rendering = rendering or render(tokenizer, settings)
    around = len(rendering.prefix) + len(rendering.suffix)
    if around + 2 > cutoff:
        raise StudyError(f"prompt.cutoff: {cutoff} tokens leave no room; the template alone has {around}.")
    return PromptFormat(tokenizer, rendering, cutoff, settings)
