"""The three research questions in words, each with the sentences that answer it."""

from __future__ import annotations

from collections.abc import Iterable

QUESTIONS = {
    "rq1": "What did the base already hold?",
    "rq2": "What did instruction tuning change?",
    "rq3": "What carries over to tasks it was never tuned on?",
}
UNANSWERED = "This study cannot say; the reasons are listed below."


def by_question(answers: Iterable[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Return (question, sentences), every question in order; one without an answer says so."""
    found: dict[str, list[str]] = {key: [] for key in QUESTIONS}
    for key, sentence in answers:
        found.setdefault(key, []).append(sentence)
    return [(QUESTIONS.get(key, key), sentences or [UNANSWERED]) for key, sentences in found.items()]
