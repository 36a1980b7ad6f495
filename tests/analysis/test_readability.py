"""Readability against counts made by hand."""

import pytest

from mossa.analysis import readability
from mossa.analysis.readability import count, syllables


def test_a_text_counted_by_hand():
    prompts = ["The cat sat on the mat. It was happy!", "Is it raining today?"]
    assert count(prompts) == (3, 13, 43, 16)
    grade, index = readability(prompts)
    assert grade == pytest.approx(0.39 * 13 / 3 + 11.8 * 16 / 13 - 15.59)
    assert index == pytest.approx(0.0588 * 4300 / 13 - 0.296 * 300 / 13 - 15.8)


def test_lines_of_options_are_sentences_and_numbers_are_words():
    assert count(["Is 3.5 more than 2?\nOPTIONS:\n- yes\n- no"])[:2] == (4, 9)
    assert count(["e.g. this"])[0] == 2  # a known error: an abbreviation ends a sentence
    assert count(["don't stop-gap"]) == (1, 2, 11, 3)


def test_hyphenation_pieces_are_syllables_and_never_fewer_than_one():
    assert [syllables(word) for word in ("comprehension", "Question", "x", "2024", "l'été")] == [4, 2, 1, 1, 1]
    assert syllables("about") == 1  # a known undercount: patterns never cut off one letter


def test_harder_prompts_read_as_harder():
    easy = readability(["The cat sat. The dog ran. We had fun."])
    hard = readability(["Understanding multilingual representations necessitates considerable interdisciplinarity."])
    assert easy[0] < hard[0]
    assert easy[1] < hard[1]


def test_no_words_have_no_readability():
    assert readability([]) == (None, None)
    assert readability(["...", "!?"]) == (None, None)


def test_pooled_counts_do_not_depend_on_the_order_of_prompts():
    prompts = ["One two three.", "A considerably longer sentence follows here", "Yes"]
    assert readability(prompts) == readability(prompts[::-1])
