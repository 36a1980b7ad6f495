"""A conversation as its earlier turns, the last message of the user, and the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mossa.errors import DataError, choices
from mossa.tasks.task import Example, Turn, Unusable

ROLES = {
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "system": "system",
    "developer": "system",
}
TOOLS = ("tool", "function", "function_call", "function_response", "observation", "ipython")
NO_TEXT = "with images, audio or other parts that are not text"
BESIDE = {  # keys of a message besides its text that make it unusable, with the reason
    "tool_calls": "with tool calls",
    "function_call": "with tool calls",
    "thinking": "with thoughts apart from the answer",
    "reasoning_content": "with thoughts apart from the answer",
    "reasoning": "with thoughts apart from the answer",
    **dict.fromkeys(("images", "image", "videos", "video", "audio"), NO_TEXT),
}


@dataclass(frozen=True, slots=True)
class Tags:
    """The keys of a message's role and text (the first one present counts), and the names of the roles."""

    role: tuple[str, ...] = ("role", "from")
    content: tuple[str, ...] = ("content", "value")
    roles: Mapping[str, str] | None = None  # default: ROLES
    tools: tuple[str, ...] = TOOLS


USUAL = Tags()


def from_turns(
    messages: Any,
    where: str,
    template: str | None = None,
    tags: Tags = USUAL,
    system: str = "",
    answered: bool = True,
) -> Example:
    """Return the example of a conversation: the last turn is the target, the user's turn before it the prompt.

    `system` is put before a conversation without a system message. Without `answered` the answer may be missing and the
    target is empty. Raises `Unusable`, with the reason, for a conversation that is not an example, and `DataError` for
    anything else.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise DataError(f"{where} must be a text or a list of messages, not {type(messages).__name__}.")
    turns = [_turn(message, f"{where}, message {number}", tags) for number, message in enumerate(messages, 1)]
    turns = [turn for turn in turns if turn[0] != "system" or turn[1].strip()]
    if system.strip() and turns[:1] and turns[0][0] != "system":
        turns.insert(0, ("system", system))
    if not answered and turns and turns[-1][0] != "assistant":
        turns.append(("assistant", "?"))
    if not turns or any(not text.strip() for _, text in turns):
        raise Unusable("empty")
    if turns[-1][0] != "assistant":
        raise Unusable("that end without an answer")
    if answered and messages[-1].get("weight") == 0:
        raise Unusable("whose answer has the weight 0, so that nothing learns it")
    *before, (_, prompt), (_, target) = _alternating(turns)
    return Example(prompt, target if answered else "", template, tuple(before))


def prompt_of(given: Any, where: str) -> Example:
    """Return the example without a target of a prompt: a text, or a list of messages (up to its last answer).

    Raises `DataError` for anything else.
    """
    if isinstance(given, str):
        return Example(checked_text(given, where), "")
    try:
        return from_turns(given, where, answered=False)
    except Unusable as reason:
        raise DataError(f"{where}: messages {reason} are not a prompt.") from reason


def prompts_of(given: Any) -> list[Example]:
    """Return the prompts in a list, or another iterable, of texts and lists of messages.

    Raises `DataError` for an item that is neither, and for a single prompt in place of a list.
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise DataError(f"prompts is one {type(given).__name__}; give a list of texts, such as [prompt].")
    if getattr(given, "ndim", 1) != 1:  # a table would be read as the names of its columns
        raise DataError(f"prompts is a {type(given).__name__} of rows and columns; give one column of it.")
    prompts = [*given]
    if prompts and all(isinstance(prompt, Mapping) for prompt in prompts):
        raise DataError("prompts is one list of messages; give a list of them, such as [messages].")
    return [prompt_of(prompt, f"prompts, example {number}") for number, prompt in enumerate(prompts, 1)]


def checked_text(value: str, where: str) -> str:
    """Return a text that can be written as UTF-8; raises `DataError` for half of a character."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where} holds half of a character ({error.reason}); fix the line.") from error
    return value


def _alternating(turns: list[Turn]) -> list[Turn]:
    """Return the turns: perhaps a system message, then user and assistant in turn."""
    own = turns[1:] if turns[0][0] == "system" else turns
    if len(own) % 2 or any(role != ("user", "assistant")[place % 2] for place, (role, _) in enumerate(own)):
        raise Unusable("whose turns do not alternate between user and assistant")
    return turns


def _turn(message: Any, where: str, tags: Tags) -> Turn:
    if not isinstance(message, Mapping):
        raise DataError(f"{where}: a message is an object with a role and a text, not {type(message).__name__}.")
    for key, reason in BESIDE.items():
        if message.get(key):
            raise Unusable(reason)
    role = message.get(next((key for key in tags.role if key in message), ""))
    known = ROLES if tags.roles is None else tags.roles
    if role in tags.tools:
        raise Unusable("with tool calls")
    if not isinstance(role, str) or role not in known:
        keys = ", ".join(map(repr, message)) or "none"
        raise DataError(f"{where}: its role is {role!r} (its keys are {keys}). {choices(str(role), known)}")
    content = message.get(next((key for key in tags.content if key in message), ""))
    return known[role], _plain(content, where)


def _plain(content: Any, where: str) -> str:
    """Return the text of a message, which may come in parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return checked_text(content, where)
    if not isinstance(content, Sequence):
        raise DataError(f"{where}: its content must be a text or a list of parts (here: {content!r}).")
    texts: list[str] = []
    for part in content:
        text = part.get("text") if isinstance(part, Mapping) else part
        if not isinstance(text, str) or (isinstance(part, Mapping) and part.get("type", "text") != "text"):
            raise Unusable(NO_TEXT)
        texts.append(checked_text(text, where))
    return "".join(texts)
