"""Prompts and targets as tokens: one constant beginning, one constant ending, one BOS, nothing cut at the end."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mossa.errors import DataError, ModelError, StudyError
from mossa.study.schema import Prompt
from mossa.tasks.task import Example

PLAIN = "{prompt}\nAnswer:\n"
# The default system prompt of Llama 2's chat models, which the paper's template puts before every prompt.
LLAMA2_SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\nIf a question does not make "
    "any sense, or is not factually coherent, explain why instead of answering something not correct. If you don't "
    "know the answer to a question, please don't share false information."
)
AT_ONCE = 4096  # examples that the tokenizer is given together; its lists of numbers take ten times what is kept
MARK = "\u2060PROMPT\u2060"  # stands for the prompt while a chat template is rendered; no real template contains it


@dataclass(frozen=True, slots=True)
class Encoded:
    """One input: its tokens, how many are the prompt, whether the prompt was shortened, its place in the list.

    `tokens` is an array of four bytes each: a mixture of hundreds of thousands of examples stays in memory.
    """

    tokens: Sequence[int]
    prompt_length: int
    shortened: bool
    index: int


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How prompts become tokens: `prefix + prompt + suffix`, where prefix and suffix are the same for every prompt.

    The three parts are tokenized one by one, so no merge across a border can make the ending differ between prompts.
    """

    tokenizer: Any
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    cutoff: int
    too_long: Literal["skip", "refuse", "shorten-start", "shorten-middle"]

    def encode(self, examples: Sequence[Example], what: str, with_target: bool) -> list[Encoded]:
        """Return the examples that fit, in their order; `index` tells which were skipped.

        With `with_target`, the target and the end-of-sequence token follow the prompt. Raises `DataError`, naming
        `what`, if one does not fit and the policy is `refuse`, or if prompts do not end in one constant token.
        """
        end = [self.tokenizer.eos_token_id] if with_target else []
        encoded: list[Encoded] = []
        for index, (prompt, target) in enumerate(self._pairs(examples, with_target)):
            room = self.cutoff - len(self.prefix) - len(self.suffix) - len(target) - len(end)
            fitted = self._fit(prompt, room, what, index)
            if fitted is None:
                continue
            head = [*self.prefix, *fitted, *self.suffix]
            tokens = array("i", [*head, *target, *end])
            encoded.append(Encoded(tokens, len(head), len(fitted) < len(prompt), index))
        if not self.suffix and len({example.tokens[example.prompt_length - 1] for example in encoded}) > 1:
            raise DataError(
                f"{what}: the prompts do not end in the same token, and prompt.template adds no ending, so the "
                "template would show where the task should. End prompt.template in a constant text after {prompt}."
            )
        return encoded

    def _fit(self, prompt: list[int], room: int, what: str, index: int) -> list[int] | None:
        if len(prompt) <= room and (prompt or self.prefix or self.suffix):
            return prompt
        if self.too_long == "refuse":
            raise DataError(
                f"{what}, example {index + 1}: {len(prompt)} tokens, but only {max(room, 0)} fit (prompt.cutoff is "
                f"{self.cutoff}). Set prompt.too_long to skip, shorten-start or shorten-middle."
            )
        if self.too_long == "skip" or room < 1:
            return None
        if self.too_long == "shorten-start":
            return prompt[len(prompt) - room :]
        return prompt[: room // 2] + prompt[len(prompt) - (room - room // 2) :]

    def _pairs(self, examples: Sequence[Example], with_target: bool) -> Iterator[tuple[list[int], list[int]]]:
        """Yield the tokens of every prompt and target."""
        for start in range(0, len(examples), AT_ONCE):
            some = examples[start : start + AT_ONCE]
            prompts = tokenize(self.tokenizer, [example.prompt for example in some])
            targets = tokenize(self.tokenizer, [example.target for example in some if with_target])
            yield from zip(prompts, targets or [[] for _ in some], strict=True)


def tokenize(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the tokens of each text; what looks like a special token in a text is text."""
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def make_format(tokenizer: Any, settings: Prompt, longest: int) -> PromptFormat:
    """Return the prompt format of the study for a model that takes `longest` tokens.

    Raises `StudyError` for a cutoff beyond the model, `ModelError` for a tokenizer without the chat template that was
    asked for.
    """
    cutoff = settings.cutoff or longest
    if cutoff > longest:
        raise StudyError(f"prompt.cutoff: {cutoff} tokens, but the model takes at most {longest}. Lower it.")
    before, after = _render(tokenizer, settings)
    begins = tokenizer.bos_token is not None and tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]
    prefix = tokenizer(before, add_special_tokens=False)["input_ids"] if before else []
    while prefix[1:2] == prefix[:1] == [tokenizer.bos_token_id]:
        prefix = prefix[1:]
    if begins and prefix[:1] != [tokenizer.bos_token_id]:
        prefix = [tokenizer.bos_token_id, *prefix]
    suffix = tokenizer(after, add_special_tokens=False)["input_ids"] if after else []
    if len(prefix) + len(suffix) + 2 > cutoff:
        raise StudyError(
            f"prompt.cutoff: {cutoff} tokens leave no room; the template alone has {len(prefix) + len(suffix)}."
        )
    return PromptFormat(tokenizer, tuple(prefix), tuple(suffix), cutoff, settings.too_long)


def _render(tokenizer: Any, settings: Prompt) -> tuple[str, str]:
    template = settings.template
    if template == "auto":
        template = "chat" if tokenizer.chat_template else "plain"
    if template == "chat":
        return _chat(tokenizer, settings.system)
    if template == "llama2":
        system = LLAMA2_SYSTEM if settings.system is None else settings.system
        return f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n", " [/INST]"
    before, after = (PLAIN if template == "plain" else template).split("{prompt}")
    return (f"{settings.system}\n" if settings.system else "") + before, after


def _chat(tokenizer: Any, system: str | None) -> tuple[str, str]:
    if not tokenizer.chat_template:
        raise ModelError("prompt.template: chat, but this tokenizer has no chat template. Use plain or llama2.")
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": MARK})
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of the model's author; whatever it raises is the answer
        raise ModelError(f"the tokenizer's chat template cannot be used: {error}") from error
    if text.count(MARK) != 1:
        raise ModelError("the tokenizer's chat template does not repeat the prompt exactly once. Use plain or llama2.")
    before, after = text.split(MARK)
    return before, after
