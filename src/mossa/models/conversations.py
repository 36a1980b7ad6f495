"""Prompts with turns before them: each has a beginning of its own, and the ending that all prompts have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mossa.errors import DataError, ModelError
from mossa.models.load_report import note
from mossa.models.rendering import MARK, PLAIN, TRIMS, render
from mossa.tasks.task import Example, Turn

if TYPE_CHECKING:
    from mossa.models.prompts import PromptFormat

Messages = list[dict[str, str]]


def with_turns(form: PromptFormat, examples: Sequence[Example], what: str) -> list[tuple[PromptFormat, Example]]:
    """Return each example without the turns before it, and the format whose beginning holds them.

    A system turn that the chat template has no place for is left out; `systems_without_place` counts them. Raises
    `DataError`, naming `what`, for a conversation that the template refuses, `ModelError` for a template that ends
    conversations in another way than single prompts, or that can no longer be rendered as it was.
    """
    chat = _chat(form) if form.rendering.trim else None
    place = has_place_for_system(form)
    made: list[tuple[PromptFormat, Example]] = []
    for number, example in enumerate(examples, 1):
        if not example.before:
            made.append((form, example))
            continue
        turns = example.before if place else tuple(turn for turn in example.before if turn[0] != "system")
        if chat is None:
            made.append((_plain(form, turns), replace(example, before=())))
            continue
        try:
            made.append(_chatted(form, chat, turns, example))
        except ModelError as error:
            raise DataError(f"{what}, conversation {number}: {error}") from error
    return made


def systems_without_place(form: PromptFormat, examples: Sequence[Example]) -> int:
    """Return how many examples have a system turn that the chat template has no place for."""
    count = sum(any(role == "system" for role, _ in example.before) for example in examples)
    return count if count and not has_place_for_system(form) else 0


def tell_systems_without_place(form: PromptFormat, examples: Sequence[Example]) -> None:
    """Tell, as a note, of how many examples the system turn is left out, if of any."""
    if lost := systems_without_place(form, examples):
        of = f"{lost} of {len(examples)} prompts go without theirs"
        note(f"The chat template has no place for a system message: {of}.")


def has_place_for_system(form: PromptFormat) -> bool:
    """Tell whether the template shows what a system message says."""
    if form.rendering.trim is None:
        return True
    word = "Systemword"
    try:
        text = _chat(form)([{"role": "system", "content": word}, {"role": "user", "content": MARK}])
    except ModelError:
        return False
    return word in text


def special_words(tokenizer: Any) -> set[str]:
    """Return the texts that a tokenizer reads as special tokens."""
    added: list[Any] = list(tokenizer.added_tokens_decoder.values())
    return {str(token) for token in added if token.special} | set(tokenizer.all_special_tokens)


def _chatted(
    form: PromptFormat, chat: Callable[[Messages], str], turns: Sequence[Turn], example: Example
) -> tuple[PromptFormat, Example]:
    """Return the format of one conversation: its beginning is what `apply_chat_template` gives.

    Where an earlier turn holds what looks like a special token, the parts are tokenized one by one, so that it stays
    text.
    """
    trim = TRIMS[form.rendering.trim or "nothing"]
    words = special_words(form.tokenizer)
    texts = [text for _, text in turns]
    apart = any(word in text for text in texts for word in words)
    shown = [f"{MARK}{place}{MARK}" for place in range(len(texts))] if apart else texts
    given = [{"role": role, "content": text} for (role, _), text in zip(turns, shown, strict=True)]
    system = [] if form.settings.system is None or (turns[:1] and turns[0][0] == "system") else [form.settings.system]
    messages = [*({"role": "system", "content": text} for text in system), *given]
    end = "\u2060Last\u2060"
    parts = chat([*messages, {"role": "user", "content": end}]).split(end)
    if len(parts) != 2 or parts[1] != form.rendering.after:
        raise ModelError("the chat template ends this conversation in another way than a single prompt.")
    before = parts[0]
    if not apart:
        rendering = replace(form.rendering, before=before, prefix=_tokens(form, before))
        return replace(form, rendering=rendering), replace(example, before=())
    prefix: list[int] = []
    for place, text in enumerate(texts):
        head, mark, before = before.partition(shown[place])
        if not mark:
            raise ModelError(
                "an earlier turn names a special token, and the chat template does not repeat it as it is."
            )
        prefix += [*_tokens(form, head), *_tokens(form, trim(text), text=True)]
    prefix += _tokens(form, before)
    rendering = replace(form.rendering, prefix=tuple(prefix), trim=None)
    return replace(form, rendering=rendering), replace(example, prompt=trim(example.prompt), before=())


def _plain(form: PromptFormat, turns: Sequence[Turn]) -> PromptFormat:
    """Return the format of a conversation under a template that is a text: the template once per question."""
    system = turns[0][1] if turns and turns[0][0] == "system" else form.settings.system
    first = render(form.tokenizer, form.settings.model_copy(update={"system": system}))
    if form.settings.template == "llama2":
        again, space, end = "[INST] ", " ", f" {form.tokenizer.eos_token or ''}{form.tokenizer.bos_token or ''}"
    else:
        template = PLAIN if form.settings.template in ("auto", "plain") else form.settings.template
        again, space, end = template.split("{prompt}")[0], "", "\n\n"
    prefix = list(first.prefix)
    for role, text in turns:
        if role == "user":
            prefix += [*_tokens(form, text, text=True), *_tokens(form, first.after + space)]
        elif role == "assistant":
            prefix += [*_tokens(form, text, text=True), *_tokens(form, end + again)]
    return replace(form, rendering=replace(form.rendering, prefix=tuple(prefix)))


def _chat(form: PromptFormat) -> Callable[[Messages], str]:
    """Return what renders messages; what a clock writes at their beginning is as in the recorded rendering."""

    def rendered(messages: Messages) -> str:
        try:
            return form.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template is a program of the model's author; whatever it raises is the answer
            raise ModelError(f"the chat template cannot render it ({error}).") from error

    system = [] if form.settings.system is None else [{"role": "system", "content": form.settings.system}]
    now, recorded = rendered([*system, {"role": "user", "content": MARK}]).split(MARK)[0], form.rendering.before
    start = _same(now, recorded)
    end = _same(now[start:][::-1], recorded[start:][::-1])
    written, wanted = now[: len(now) - end], recorded[: len(recorded) - end]
    if now == recorded:
        return rendered

    def as_recorded(messages: Messages) -> str:
        text = rendered(messages)
        if not text.startswith(written):
            raise ModelError(
                "the chat template no longer renders prompts as it did when the study was first run, and it is not "
                "known how this one was. Give the study another name to begin anew."
            )
        return wanted + text[len(written) :]

    return as_recorded


def _same(one: str, other: str) -> int:
    """Return how many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _tokens(form: PromptFormat, part: str, text: bool = False) -> tuple[int, ...]:
    """Return the tokens of a part; in a user's text (`text`) nothing is a special token."""
    if not part:
        return ()
    return tuple(form.tokenizer(part, add_special_tokens=False, split_special_tokens=text, verbose=False)["input_ids"])
