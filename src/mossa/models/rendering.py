"""What stands around every prompt: rendered once, so that no clock and no other process can render it otherwise."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import takewhile
from typing import Any

from mossa.errors import ModelError, StudyError
from mossa.study.schema import Prompt

PLAIN = "{prompt}\nAnswer:\n"
# The default system prompt of Llama 2's chat models, which the paper's template puts before every prompt.
LLAMA2_SYSTEM = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\nIf a question does not make "
    "any sense, or is not factually coherent, explain why instead of answering something not correct. If you don't "
    "know the answer to a question, please don't share false information."
)
MARK = "\u2060Prompt\u2060"  # stands for the prompt while a chat template is rendered; no real template contains it
# What a chat template may do to a message, and messages that tell one from the other, and from everything else
TRIMS: dict[str, Callable[[str], str]] = {
    "nothing": str,
    "both ends": str.strip,
    "start": str.lstrip,
    "end": str.rstrip,
    "lines at both ends": lambda text: text.strip("\n"),
    "lines at the end": lambda text: text.rstrip("\n"),
}
PROBES = (f" \n\t{MARK} \t\n", f"\n\n {MARK}\n \n", f"{MARK}  a\r\n\n  <b> & \"c\" 'd' {{e}} \\n É\u00a0")
# Text whose tokens tell one tokenizer from another: words, numbers, spaces, code, other scripts, composed letters.
FIXED_TEXTS = (
    "The quick brown fox doesn't jump over 13,579.24 lazy dogs; it's 12:30, isn't it?",
    '  def f(x):\n\treturn {"a": x ** 2}  # 100%\r\n\n',
    "Zażółć gęślą jaźń, ÉCOLE Écol\u0065\u0301, Привет мир, 你好世界, 안녕하세요, مرحبا, नमस्ते, 🙂👩‍👩‍👧",
)
ATTEMPTS = 3  # to render all of them at one time of a clock that a template may write
SAMPLES = ("a", "Z", "7", "?")  # prompts that begin and end in other tokens
Text = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Rendering:
    """What stands before and after every prompt, as text and as the tokens that are the same for every prompt.

    `trim`: which key of `TRIMS` a chat template does to a prompt; None if it is not a chat template. `made_from` tells
    the base and the settings from which it was rendered. `end`: what follows every target, `probe`: a hash of the
    tokens of a fixed text; both empty where an older record does not say.
    """

    before: str
    after: str
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    trim: str | None = None
    made_from: str = ""
    end: tuple[int, ...] = ()
    probe: str = ""

    @property
    def hash(self) -> str:
        """Return a SHA-256 of all of it."""
        content = asdict(self)
        for name in ("end", "probe"):
            if not content[name]:
                del content[name]  # as older versions hashed it
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @classmethod
    def read(cls, content: dict[str, Any]) -> Rendering:
        """Return a rendering from what JSON kept of its fields; raises `TypeError` or `KeyError` if it is not one."""
        fields: dict[str, Any] = {name: tuple(content[name]) for name in ("prefix", "suffix")}
        fields["end"] = tuple(content.get("end", ()))
        made = cls(**{**content, **fields})
        if not (made.trim is None or made.trim in TRIMS):
            raise KeyError(made.trim)
        return made


def render(tokenizer: Any, settings: Prompt, made_from: str = "") -> Rendering:
    """Return what stands around prompts by these settings; raises `ModelError` if the chat template cannot be used.

    Around a chat prompt it is what `apply_chat_template` gives. Around any other prompt it begins with what the
    tokenizer itself puts before a text, be it a BOS, `[gMASK] <sop>` or nothing.
    """
    last = tokenizer.eos_token_id
    probe = hashlib.sha256(json.dumps([_tokens(tokenizer, text) for text in FIXED_TEXTS]).encode()).hexdigest()
    around = _around(tokenizer, settings, made_from)
    return replace(around, end=() if last is None else (int(last),), probe=probe)


def check_same_tokens(recorded: Rendering, now: Rendering) -> None:
    """Raise `StudyError` if the tokenizer no longer cuts text as it did when the study was first run."""
    if recorded.probe and recorded.probe != now.probe:
        raise StudyError(
            "The tokenizer gives other tokens than when this study was first run, so what is done and what is to do "
            "would not fit together. Use the versions of transformers and tokenizers that the manifests in units/ "
            "name, or give the study another name to begin anew."
        )


def _around(tokenizer: Any, settings: Prompt, made_from: str) -> Rendering:
    template = settings.template
    if template == "auto":
        template = "chat" if tokenizer.chat_template else "plain"
    if template == "chat":
        return _chat(tokenizer, settings.system, made_from)
    if template == "llama2":
        system = LLAMA2_SYSTEM if settings.system is None else settings.system
        before, after = f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n", " [/INST]"
    else:
        before, after = (PLAIN if template == "plain" else template).split("{prompt}")
        before = (f"{settings.system}\n" if settings.system else "") + before
    first, prefix, suffix = first_tokens(tokenizer), _tokens(tokenizer, before), _tokens(tokenizer, after)
    if prefix[: len(first)] != first:
        prefix = first + prefix
    return Rendering(before, after, prefix, suffix, made_from=made_from)


def first_tokens(tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens that a tokenizer puts before any text."""
    for sample in SAMPLES:
        bare, whole = _tokens(tokenizer, sample), tuple(tokenizer(sample)["input_ids"])
        for start in range(len(whole)):
            if bare and whole[start : start + len(bare)] == bare:
                return whole[:start]
    raise ModelError("the tokenizer gives no tokens for plain letters, so nothing can be said with it.")


def otherwise(recorded: Rendering, now: Rendering) -> str | None:
    """Return a sentence if prompts would be rendered differently now than was recorded, None if they would not."""
    if recorded.hash == replace(now, end=now.end if recorded.end else (), probe=recorded.probe).hash:
        return None
    old, new = (f"{each.before}\n{each.after}".splitlines() for each in (recorded, now))
    pairs = [(one, other) for one, other in zip(old, new, strict=False) if one != other]
    what = f"{pairs[0][1][:80]!r} and not {pairs[0][0][:80]!r}" if pairs else "with other tokens"
    if recorded.end != now.end and recorded.end:
        what = f"targets would end in token {now.end} and not {recorded.end}"
    return (
        f"The chat template would be rendered differently now ({what}); the study goes on as it was rendered when it "
        "was first run. Give it another name to begin anew."
    )


def _chat(tokenizer: Any, system: str | None, made_from: str) -> Rendering:
    if not tokenizer.chat_template:
        raise ModelError("prompt.template: chat, but this tokenizer has no chat template. Use plain or llama2.")
    for _ in range(ATTEMPTS):
        parts = _rendered(tokenizer, system, MARK).split(MARK)
        if len(parts) != 2:
            raise ModelError(
                "the tokenizer's chat template does not repeat the prompt exactly once. Use plain or llama2."
            )
        before, after = parts
        given = [_rendered(tokenizer, system, probe) for probe in PROBES]
        for name, trim in TRIMS.items():
            if given == [before + trim(probe) + after for probe in PROBES]:
                wholes = [_tokens(tokenizer, before + sample + after) for sample in SAMPLES]
                suffix = _shared([whole[::-1] for whole in wholes])[::-1]
                return Rendering(before, after, _shared(wholes), suffix, name, made_from)
    raise ModelError(
        "the tokenizer's chat template does more to a prompt than trim it, or gives another text each time. "
        "Use plain or llama2."
    )


def _rendered(tokenizer: Any, system: str | None, prompt: str) -> str:
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": prompt})
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of the model's author; whatever it raises is the answer
        raise ModelError(f"the tokenizer's chat template cannot be used: {error}") from error


def _shared(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return what all sequences begin with."""
    return tuple(same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*sequences, strict=False)))


def _tokens(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()
