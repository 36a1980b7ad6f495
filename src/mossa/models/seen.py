"""One example as a model sees it: its tokens, and which part each belongs to."""

from __future__ import annotations

from typing import Any

from mossa.models.conversations import systems_without_place
from mossa.models.prompts import PromptFormat
from mossa.tasks.task import Example

BORDER = "|"  # between tokens


def as_seen(form: PromptFormat, example: Example) -> list[str]:
    """Return a line per part (beginning, prompt, ending, target): how many tokens it has, and their texts."""
    encoded = form.encode([example], "this example", with_target=True)
    if not encoded:
        return [f"--- does not fit the model's {form.cutoff} tokens, so it is skipped"]
    (one,) = encoded
    tokens, end = list(one.tokens), one.prompt_length - len(form.suffix)
    begin = form.beginning(example)
    parts = {
        "beginning": tokens[:begin],
        "prompt": tokens[begin:end],
        "ending": tokens[end : one.prompt_length],
        "target": tokens[one.prompt_length :],
    }
    lines = [f"--- as the model sees it: {len(tokens)} tokens{', shortened' if one.shortened else ''}"]
    if systems_without_place(form, [example]):
        lines.append("the chat template has no place for its system message")
    return [*lines, *(f"{name} ({len(part)}): {_shown(form.tokenizer, part)}" for name, part in parts.items())]


def _shown(tokenizer: Any, tokens: list[int]) -> str:
    texts = [tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in tokens]
    return BORDER.join(text.replace("\n", "\\n") for text in texts)
