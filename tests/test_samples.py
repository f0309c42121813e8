"""The sample data keeps what its README promises: counts, labels, parallel rows, and the hard cases."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest

SAMPLES = files("spanferry.data") / "samples"
JSONL = [f"{stem}.{lang}.jsonl" for stem in ("entities", "slots") for lang in ("en", "de", "es")]
PARALLEL = [name for name in JSONL if ".en." not in name]
GROUP = {"entities": "domain", "slots": "intent"}

Row = dict[str, Any]


def stem_of(name: str) -> str:
    return name.partition(".")[0]


def text_of(name: str) -> str:
    return (SAMPLES / name).read_text(encoding="utf-8")


def rows_of(name: str) -> list[Row]:
    return [json.loads(line) for line in text_of(name).splitlines()]


def labels_of(row: Row) -> Counter[str]:
    return Counter(span["label"] for span in row["spans"])


def surfaces_of(row: Row) -> list[str]:
    return [row["text"][span["start"] : span["end"]] for span in row["spans"]]


def conll_sentences() -> list[tuple[str, list[tuple[str, str]]]]:
    """(id, [(token, tag), ...]) per block of the CoNLL file."""
    sentences = []
    for block in text_of("entities.en.conll").rstrip("\n").split("\n\n"):
        comment, *lines = block.split("\n")
        pairs = [(token, tag) for token, tag in (line.split("\t") for line in lines)]
        sentences.append((comment.removeprefix("# id = "), pairs))
    return sentences


def promised_counts() -> dict[str, tuple[int, int]]:
    table = re.findall(r"^\| `([^`]+)` \| (\d+) \| (\d+) \|", text_of("README.md"), flags=re.MULTILINE)
    return {name: (int(rows), int(spans)) for name, rows, spans in table}


def promised_names(heading: str) -> set[str]:
    """The names in backticks of one item of the README's label list."""
    item = re.search(rf"^- {heading}: (.*?)\.\n(?=- |\n)", text_of("README.md"), flags=re.MULTILINE | re.DOTALL)
    assert item is not None
    return {name for name in re.findall(r"`([^`]+)`", item[1]) if " " not in name}


def is_nested(row: Row) -> bool:
    spans = row["spans"]
    return any(
        inner is not outer and outer["start"] <= inner["start"] and inner["end"] <= outer["end"]
        for outer in spans
        for inner in spans
    )


def has_adjacent_with_one_label(row: Row) -> bool:
    return any(
        left["label"] == right["label"] and row["text"][left["end"] : right["start"]] == " "
        for left, right in zip(row["spans"], row["spans"][1:], strict=False)
    )


def test_the_readme_names_every_data_file() -> None:
    present = {entry.name for entry in SAMPLES.iterdir()} - {
        "README.md",
        "demo-entities.yaml",
        "demo-slots.yaml",
        "demo-predict.yaml",
    }
    assert set(promised_counts()) == present == {*JSONL, "entities.en.conll"}


@pytest.mark.parametrize("name", JSONL)
def test_counts_are_those_of_the_readme(name: str) -> None:
    rows = rows_of(name)
    assert (len(rows), sum(len(row["spans"]) for row in rows)) == promised_counts()[name]


def test_there_is_as_much_as_the_demo_and_the_tests_need() -> None:
    sizes = {name: len(rows_of(name)) for name in JSONL}
    assert sizes["entities.en.jsonl"] >= 210
    assert sizes["slots.en.jsonl"] >= 160
    assert min(sizes["entities.de.jsonl"], sizes["entities.es.jsonl"]) >= 60
    assert min(sizes["slots.de.jsonl"], sizes["slots.es.jsonl"]) >= 50


@pytest.mark.parametrize("name", JSONL)
def test_rows_have_exactly_the_documented_columns(name: str) -> None:
    expected = {"id", "text", "spans", GROUP[stem_of(name)]}
    for row in rows_of(name):
        assert set(row) == expected
        assert row["text"] == row["text"].strip() != ""
        assert all(set(span) == {"start", "end", "label"} for span in row["spans"])


@pytest.mark.parametrize("name", JSONL)
def test_spans_are_in_range_trimmed_sorted_and_not_doubled(name: str) -> None:
    for row in rows_of(name):
        keys = [(span["start"], -span["end"], span["label"]) for span in row["spans"]]
        assert keys == sorted(set(keys)), row["id"]
        for span, surface in zip(row["spans"], surfaces_of(row), strict=True):
            assert 0 <= span["start"] < span["end"] <= len(row["text"]), row["id"]
            assert surface == surface.strip(), row["id"]


@pytest.mark.parametrize("name", JSONL)
def test_spans_begin_and_end_at_word_edges(name: str) -> None:
    for row in rows_of(name):
        for span in row["spans"]:
            padded = f" {row['text']} "
            at_start = padded[span["start"] : span["start"] + 2]
            at_end = padded[span["end"] : span["end"] + 2]
            assert re.match(r"\w\w", at_start) is None, (row["id"], span)
            assert re.match(r"\w\w", at_end) is None, (row["id"], span)


@pytest.mark.parametrize("name", JSONL)
def test_ids_and_texts_are_unique(name: str) -> None:
    rows = rows_of(name)
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == len(rows)


@pytest.mark.parametrize("name", JSONL)
def test_labels_and_intents_are_those_of_the_readme(name: str) -> None:
    rows = rows_of(name)
    used = {label for row in rows for label in labels_of(row)}
    groups = {row[GROUP[stem_of(name)]] for row in rows}
    promised = promised_names("Entities" if name.startswith("entities") else "Slots")
    if ".en." in name:
        assert used == promised
    assert used <= promised
    if name.startswith("slots"):
        assert groups <= promised_names("Intents")
    if name == "slots.en.jsonl":
        assert groups == promised_names("Intents")
        assert len(groups) == 22
    if name == "entities.en.jsonl":
        assert len(groups) == 14


@pytest.mark.parametrize("name", PARALLEL)
def test_a_translated_row_matches_its_english_row(name: str) -> None:
    stem = stem_of(name)
    english = {row["id"]: row for row in rows_of(f"{stem}.en.jsonl")}
    for row in rows_of(name):
        source = english[row["id"]]
        assert labels_of(row) == labels_of(source), row["id"]
        assert row[GROUP[stem]] == source[GROUP[stem]], row["id"]
        assert is_nested(row) == is_nested(source), row["id"]


@pytest.mark.parametrize("stem", ["entities", "slots"])
def test_german_and_spanish_cover_the_same_rows(stem: str) -> None:
    german, spanish = ([row["id"] for row in rows_of(f"{stem}.{lang}.jsonl")] for lang in ("de", "es"))
    assert german == spanish


@pytest.mark.parametrize("name", PARALLEL)
def test_protected_matter_is_the_same_in_every_language(name: str) -> None:
    protected = re.compile(r"https?://\S*\w|[\w.]+@[\w.]*\w|\{\w+\}")
    english = {row["id"]: row for row in rows_of(f"{stem_of(name)}.en.jsonl")}
    for row in rows_of(name):
        assert sorted(protected.findall(row["text"])) == sorted(protected.findall(english[row["id"]]["text"]))


@pytest.mark.parametrize("name", PARALLEL)
def test_some_translations_change_the_order_of_the_labels(name: str) -> None:
    english = {row["id"]: row for row in rows_of(f"{stem_of(name)}.en.jsonl")}
    moved = [
        row["id"]
        for row in rows_of(name)
        if [span["label"] for span in row["spans"]] != [span["label"] for span in english[row["id"]]["spans"]]
    ]
    assert len(moved) >= 4


@pytest.mark.parametrize("name", [name for name in JSONL if ".es." in name])
def test_spanish_opens_its_questions_and_exclamations(name: str) -> None:
    for row in rows_of(name):
        text = re.sub(r"https?://\S+", "", row["text"])
        assert text.count("¿") == text.count("?") and text.count("¡") == text.count("!"), row["id"]


HARD: dict[str, tuple[Callable[[Row], bool], int, int]] = {
    # what: (test of a row, at least so many of the entity rows, of the slot rows)
    "nested": (is_nested, 10, 5),
    "repeated": (lambda row: max(Counter(surfaces_of(row)).values(), default=0) > 1, 10, 8),
    "adjacent, same label": (has_adjacent_with_one_label, 3, 1),
    "no span": (lambda row: not row["spans"], 15, 20),
    "square brackets": (lambda row: "[" in row["text"] and "]" in row["text"], 3, 1),
    "round brackets": (lambda row: "(" in row["text"] and ")" in row["text"], 3, 2),
    "straight quotes": (lambda row: '"' in row["text"], 4, 3),
    "curly quotes": (lambda row: "“" in row["text"] and "”" in row["text"], 4, 0),
    "digits": (lambda row: re.search(r"\d", row["text"]) is not None, 20, 20),
    "URL": (lambda row: "https://" in row["text"], 2, 1),
    "e-mail": (lambda row: re.search(r"\w@\w", row["text"]) is not None, 3, 1),
    "placeholder": (lambda row: re.search(r"\{\w+\}", row["text"]) is not None, 2, 2),
    "35 words or more": (lambda row: len(row["text"].split()) >= 35, 5, 1),
    "three words or fewer": (lambda row: len(row["text"].split()) <= 3, 3, 5),
    "several sentences": (lambda row: len(re.findall(r"[a-z]\. [A-Z]", row["text"])) >= 2, 3, 0),
    "emoji": (lambda row: max(row["text"]) > "\U0001f000", 2, 1),
    "accents in a span": (lambda row: re.search("[à-ž]", "".join(surfaces_of(row))) is not None, 4, 4),
    "5 to 14 words": (lambda row: 5 <= len(row["text"].split()) <= 14, 135, 102),
}


@pytest.mark.parametrize("what", HARD)
def test_the_hard_cases_are_there(what: str) -> None:
    found, in_entities, in_slots = HARD[what]
    assert sum(map(found, rows_of("entities.en.jsonl"))) >= in_entities
    assert sum(map(found, rows_of("slots.en.jsonl"))) >= in_slots


def test_conll_tokens_and_tags_say_what_the_jsonl_says() -> None:
    flat = [row for row in rows_of("entities.en.jsonl") if not is_nested(row)]
    sentences = conll_sentences()
    assert [sentence_id for sentence_id, _ in sentences] == [row["id"] for row in flat[: len(sentences)]]
    spans = 0
    for row, (_, pairs) in zip(flat, sentences, strict=False):
        assert "".join(token for token, _ in pairs) == "".join(row["text"].split())
        entities: list[tuple[str, str]] = []
        for token, tag in pairs:
            if tag.startswith("B-"):
                entities.append((token, tag[2:]))
            elif tag.startswith("I-"):
                words, label = entities[-1]
                assert label == tag[2:]
                entities[-1] = (words + token, label)
            else:
                assert tag == "O"
        surfaces = ("".join(surface.split()) for surface in surfaces_of(row))
        assert entities == list(zip(surfaces, (span["label"] for span in row["spans"]), strict=True))
        spans += len(entities)
    assert (len(sentences), spans) == promised_counts()["entities.en.conll"]
