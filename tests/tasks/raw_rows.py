"""One row of every raw dataset of FLAN 2021 with the columns it has on the hub; the first column is made to vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from mossa.tasks.flan2021.sources import groups

PAIR = {"premise": "A dog runs.", "hypothesis": "An animal moves.", "label": 0}
CHOICES = {"text": ["the sun", "the moon", "a lamp", "a tree"], "label": ["A", "B", "C", "D"]}
SENTENCES = {"sentence1": "He sold it.", "sentence2": "It was sold.", "label": 1, "idx": 3}


def pair(language: str, text: str) -> dict[str, Any]:
    return {"translation": {"en": "The house is old.", language: text}}


def same(names: list[str], row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: row for name in names}  # noqa: C420


ROWS: dict[str, dict[str, Any]] = {
    **same(["anli_r1", "anli_r2", "anli_r3"], {**PAIR, "uid": "u1", "reason": "because"}),
    "cb": {**PAIR, "idx": 1},
    **same(["mnli_matched", "mnli_mismatched", "rte"], {**PAIR, "idx": 1}),
    "qnli": {"question": "Who ran?", "sentence": "A dog ran.", "label": 0, "idx": 1},
    "snli": PAIR,
    "wnli": SENTENCES,
    "copa": {"premise": "It rained.", "choice1": "I got wet.", "choice2": "I sang.", "question": "effect", "idx": 0}
    | {"label": 0},
    "hellaswag": {"ctx": "A man opens", "ind": 4, "activity_label": "Opening", "ctx_a": "A man", "ctx_b": "opens"}
    | {"endings": ["a door.", "the rain.", "a colour.", "nobody."], "source_id": "s", "split": "train"}
    | {"split_type": "indomain", "label": "0"},
    "piqa": {"goal": "dry a shirt", "sol1": "hang it up", "sol2": "put it in water", "label": 0},
    "imdb_reviews": {"text": "I liked it.", "label": 1},
    "sentiment140": {"text": "so happy", "date": "Mon", "user": "u", "sentiment": 4, "query": "NO_QUERY"},
    "sst2": {"sentence": "a fine film", "label": 1, "idx": 5},
    "yelp_polarity_reviews": {"text": "Good food.", "label": 1},
    "glue_mrpc": SENTENCES,
    "glue_qqp": {"question1": "How old is it?", "question2": "What is its age?", "label": 1, "idx": 5},
    "paws_wiki": {"sentence1": "A met B.", "sentence2": "B met A.", "label": 1, "id": 7},
    "stsb": {**SENTENCES, "label": 3.8},
    **same(
        ["arc_challenge", "arc_easy"], {"question": "What shines?", "id": "x", "choices": CHOICES, "answerKey": "A"}
    ),
    "natural_questions": {"question": "who wrote hamlet", "answer": ["Shakespeare", "William Shakespeare"]},
    "trivia_qa": {"question": "Who wrote Hamlet?", "question_id": "tc_1"}
    | {"answer": {"value": "Shakespeare", "normalized_value": "shakespeare", "aliases": ["Will"]}},
    "common_gen": {"concepts": ["dog", "run", "field"], "gem_id": "g", "concept_set_id": 1}
    | {"target": "A dog runs in a field.", "references": ["A dog runs in a field."]},
    "dart": {"tripleset": [["Mars", "moon", "Phobos"]], "gem_id": "g", "dart_id": 1}
    | {"target": "Phobos is a moon of Mars.", "references": []},
    "e2e_nlg": {"meaning_representation": "name[The Eagle], food[French]", "gem_id": "g"}
    | {"target": "The Eagle serves French food.", "references": []},
    "web_nlg_en": {"input": ["Mars | moon | Phobos"], "gem_id": "g", "target": "Phobos is a moon of Mars."}
    | {"references": [], "category": "Astronomy", "webnlg_id": "w"},
    "bool_q": {"question": "is mars a planet", "answer": True, "passage": "Mars is a planet."},
    "drop": {"question": "How many?", "section_id": "s", "query_id": "q", "passage": "Two dogs ran."}
    | {"answers_spans": {"spans": ["2"], "types": ["number"]}},
    "multirc": {"question": "Who ran?", "paragraph": "A dog ran.", "answer": "a dog", "label": 1}
    | {"idx": {"paragraph": 0, "question": 0, "answer": 0}},
    "openbookqa": {"question_stem": "What shines?", "id": "x", "choices": CHOICES, "answerKey": "A"}
    | {"fact1": "the sun shines", "humanScore": 1.0, "clarity": 1.0, "turkIdAnonymized": "t"},
    **same(
        ["squad_v1", "squad_v2"],
        {"question": "What is Mars?", "id": "x", "title": "Mars", "context": "Mars is a planet."}
        | {"answers": {"text": ["a planet"], "answer_start": [8]}},
    ),
    "cosmos_qa": {"question": "Why?", "id": "x", "context": "I ran home."}
    | {"answer0": "I was late.", "answer1": "I was early.", "answer2": "No one.", "answer3": "None.", "label": 0},
    "record": {"query": "@placeholder won.", "passage": "Ann beat Bob.\n@highlight\nAnn is happy", "entities": ["Ann"]}
    | {"entity_spans": {"text": ["Ann"], "start": [0], "end": [3]}, "answers": ["Ann"]}
    | {"idx": {"passage": 0, "query": 0}},
    "definite_pronoun_resolution": {"sentence": "The dog saw a cat and it ran.", "pronoun": "it"}
    | {"candidates": ["the dog", "the cat"], "label": 0},
    "winogrande": {"sentence": "Ann beat Bob because _ was fast.", "option1": "Ann", "option2": "Bob", "answer": "1"},
    "wsc": {"text": "Ann thanked Bob since he helped.", "span1_index": 2, "span2_index": 4, "span1_text": "Bob"}
    | {"span2_text": "he", "idx": 0, "label": 1},
    "para_crawl_enes": pair("es", "La casa es vieja."),
    "wmt14_enfr": pair("fr", "La maison est vieille."),
    "wmt16_translate_csen": pair("cs", "Dům je starý."),
    "wmt16_translate_deen": pair("de", "Das Haus ist alt."),
    "wmt16_translate_fien": pair("fi", "Talo on vanha."),
    "wmt16_translate_roen": pair("ro", "Casa este veche."),
    "wmt16_translate_ruen": pair("ru", "Дом старый."),
    "wmt16_translate_tren": pair("tr", "Ev eski."),
    "aeslc": {"email_body": "We meet at noon.", "subject_line": "Meeting"},
    "ag_news_subset": {"description": "A dog won a prize.", "title": "Dog wins", "label": 4},
    "cnn_dailymail": {"article": "A dog won.", "highlights": "Dog wins .", "id": "x"},
    **same(["gigaword", "multi_news"], {"document": "a dog won a prize .", "summary": "dog wins"}),
    "samsum": {"dialogue": "A: hi\r\nB: hello", "id": "x", "summary": "A greets B."},
    "wiki_lingua_english_en": {
        "article": {"document": ["Wash it well."], "summary": ["Wash."], "section_name": ["How"]}
    }
    | {"url": "u"},
    "xsum": {"document": "A dog won.", "summary": "A dog has won.", "id": "x"},
    "coqa": {"story": "Ann ran home.", "source": "mctest", "questions": ["Who ran?", "Where?"]}
    | {"answers": {"input_text": ["Ann", "home"], "answer_start": [0, 8], "answer_end": [3, 12]}},
    "quac": {"context": "Ann was born in Rome.", "wikipedia_page_title": "Ann", "section_title": "Life"}
    | {"background": "Ann is a painter.", "questions": ["Where was she born?", "When?"], "dialogue_id": "d"}
    | {"orig_answers": {"texts": ["in Rome", "CANNOTANSWER"], "answer_starts": [13, 20]}},
    "wic": {"sentence1": "a bank of sand", "word": "bank", "sentence2": "a bank with money", "start1": 2, "label": 0},
    "trec": {"text": "Where is Rome ?", "coarse_label": 4, "fine_label": 40},
    "cola": {"sentence": "The dog ran.", "label": 1, "idx": 0},
    "math_dataset": {"question": "b'Solve 2*x = 4 for x.\\n'", "answer": "b'2\\n'"},
    **same(["fix_punct", "true_case", "word_segment"], pair("da", "Huset er gammelt.")),
}


def rows(name: str, start: int, count: int) -> list[dict[str, Any]]:
    """Return `count` rows of a dataset that differ in their first column."""
    first = next(iter(ROWS[name]))
    return [{**ROWS[name], first: _varied(ROWS[name][first], number)} for number in range(start, start + count)]


def save_raw(root: Path, name: str, train: int = 24, test: int = 8) -> None:
    """Save a small replica of a raw dataset, laid out as the hub lays out what it converts to parquet."""
    where = groups()[name].datasets[name]
    for split, start, count in ((where.train, 0, train), (where.test, train, test)):
        if split is not None:
            folder = root / where.repository / (where.config or "plain_text") / split
            folder.mkdir(parents=True, exist_ok=True)
            parquet.write_table(pa.Table.from_pylist(rows(name, start, count)), folder / "0000.parquet")


def _varied(value: Any, number: int) -> Any:
    if isinstance(value, dict):
        return {key: _varied(inner, number) for key, inner in value.items()}
    if isinstance(value, list):
        return [_varied(inner, number) for inner in value]
    return f"{value[:-3]} Number {number}.{value[-3:]}" if value.startswith("b'") else f"{value} Number {number}."
