"""Flesch-Kincaid grade and Coleman-Liau index, offline, by formulas and a counter that are written here.

Grade = 0.39 words/sentences + 11.8 syllables/words - 15.59 (Kincaid et al. 1975).
Index = 0.0588 letters per 100 words - 0.296 sentences per 100 words - 15.8 (Coleman and Liau 1975).
A word is a run of letters or digits, inner apostrophes and hyphens included. A sentence ends at `.`, `!`, `?` or `…`
before white space or the end, and at a line break, and counts if it has a word (so each line of a list of options is
a sentence). Syllables are the pieces of pyphen's US English hyphenation patterns, at least one a word: they
undercount words like "about" (patterns never cut off one letter) and are meant for English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

import pyphen

WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$)|\n")
HYPHENATION = pyphen.Pyphen(lang="en_US")


def count(prompts: Iterable[str]) -> tuple[int, int, int, int]:
    """Return the sentences, words, letters (and digits) and syllables of all prompts together.

    No sentence runs from one prompt into the next.
    """
    sentences = [found for prompt in prompts for part in SENTENCE_END.split(prompt) if (found := WORD.findall(part))]
    words = [word for sentence in sentences for word in sentence]
    letters = sum(character.isalnum() for word in words for character in word)
    return len(sentences), len(words), letters, sum(map(syllables, words))


@cache
def syllables(word: str) -> int:
    """Return the syllables of one word: its hyphenation pieces, hyphens in it counting as cuts."""
    return sum(1 + len(HYPHENATION.positions(part.lower())) for part in word.split("-") if part)


def readability(prompts: Iterable[str]) -> tuple[float | None, float | None]:
    """Return (Flesch-Kincaid grade, Coleman-Liau index) of all prompts pooled, (null, null) if they have no word.

    Pooled, not averaged over prompts, so that one-word prompts do not dominate. The paper does not say its variant.
    """
    sentences, words, letters, syllable_count = count(prompts)
    if not words:
        return None, None
    grade = 0.39 * words / sentences + 11.8 * syllable_count / words - 15.59
    index = 5.88 * letters / words - 29.6 * sentences / words - 15.8
    return grade, index
