"""What every projector must do, run over every built-in one: a new projector adds one row to `SETTINGS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from spanferry.alignment.fake import FakeAligner
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Projector, TranslatedText
from spanferry.projection.registry import PROJECTORS, load_projector
from spanferry.translation.base import Segment
from spanferry.translation.fake import FakeTranslator
from spanferry.translation.fake_phrase_scorer import FakePhraseScorer
from spanferry.translation.fake_scorer import FakePrefixScorer

Dictionary = Mapping[str, str]

# Name -> the settings that make it run without a model, given what each source word becomes in the target.
SETTINGS: dict[str, Callable[[Dictionary], dict[str, Any]]] = {
    "alignment": lambda dictionary: {"aligner": FakeAligner(dictionary)},
    "cascade": lambda dictionary: {
        "steps": [
            {"method": "alignment", "aligner": FakeAligner(dictionary), "accept": 0.9},
            {"method": "constrained", "model": FakePrefixScorer(dictionary)},
        ],
    },
    "candidates": lambda dictionary: {"model": FakePhraseScorer(dictionary)},
    "constrained": lambda dictionary: {"model": FakePrefixScorer(dictionary)},
    "ensemble": lambda dictionary: {
        "steps": [
            {"method": "min-max", "aligner": FakeAligner(dictionary)},
            {"method": "constrained", "model": FakePrefixScorer(dictionary)},
        ],
    },
    "markers": lambda dictionary: {"model": FakeTranslator(dictionary), "aligner": FakeAligner(dictionary)},
    "match": lambda dictionary: {"glossary": dictionary},
    "min-max": lambda dictionary: {"aligner": FakeAligner(dictionary)},
}


# A method with a setting that makes another method of it: name, and the setting.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"alignment, learned": ("alignment", {"form": "learned"})}


@pytest.fixture(params=[*sorted(PROJECTORS.builtin), *VARIANTS])
def make(request: pytest.FixtureRequest) -> Callable[..., Projector]:
    """A maker of the projector under test: dictionary -> projector."""
    name, others = VARIANTS.get(request.param, (request.param, {}))
    return lambda dictionary=None: load_projector(name, **SETTINGS[name](dictionary or {}), **others)


def spans_of(text: str, *labelled: tuple[str, str]) -> tuple[Span, ...]:
    """Spans by their text; a text given again means its next occurrence."""
    seen: dict[str, int] = {}
    found = []
    for words, label in labelled:
        start = text.index(words, seen.get(words, 0))
        seen[words] = start + len(words)
        found.append(Span(start, start + len(words), label))
    return tuple(found)


def project(projector: Projector, text: TranslatedText, source: str = "eng_Latn", target: str = "eng_Latn") -> Any:
    [projections] = projector.project([text], source=source, target=target)
    assert [projection.source for projection in projections] == list(text.spans)
    for projection in projections:
        check(projection, text)
    return projections


def check(projection: Projection, text: TranslatedText) -> None:
    assert (projection.target is None) == (projection.reason is not None)
    assert projection.method
    assert projection.score is None or 0 <= projection.score <= 1
    if projection.target is not None:
        words = text.target[projection.target.start : projection.target.end]
        assert words.strip() == words != ""
        assert projection.target.label == projection.source.label
        assert projection.target.field == projection.source.field


IDENTITY = {
    "plain": ("eng_Latn", "Zoë met Ana Ruiz in Köln.", [("Zoë", "PER"), ("Ana Ruiz", "PER"), ("Köln", "LOC")]),
    "neighbours with one label": ("eng_Latn", "red blue green", [("red", "C"), ("blue", "C"), ("green", "C")]),
    "repeated mentions": ("eng_Latn", "Rome is Rome and Rome.", [("Rome", "LOC")] * 3),
    "nested": ("eng_Latn", "the Bank of England said", [("Bank of England", "ORG"), ("England", "LOC")]),
    "crossing": ("eng_Latn", "one two three", [("one two", "A"), ("two three", "B")]),
    "Chinese": ("zho_Hans", "张伟住在北京。", [("张伟", "PER"), ("北京", "LOC")]),
    "Japanese": ("jpn_Jpan", "田中さんは東京に住む。", [("東京", "LOC")]),
    "Thai": ("tha_Thai", "ฉันรักกรุงเทพ", [("กรุงเทพ", "LOC")]),
    "Arabic": ("arb_Arab", "زار أحمد القاهرة أمس", [("أحمد", "PER"), ("القاهرة", "LOC")]),
    "emoji": ("eng_Latn", "I ❤️ Rome 👩‍🍳🇮🇹 today", [("Rome 👩‍🍳🇮🇹", "LOC"), ("today", "DATE")]),
    "combining marks": (
        "eng_Latn",
        "Zoe\u0308 ate pa\u0302te\u0301 twice",
        [("Zoe\u0308", "PER"), ("pa\u0302te\u0301", "FOOD")],
    ),
    "markers in the text": ("eng_Latn", "[ Rome ] <a>and</a> [ Paris ]", [("Rome", "LOC"), ("Paris", "LOC")]),
    "markers in the span": ("eng_Latn", "see [ Rome ] now", [("[ Rome ]", "LOC")]),
    "whole text": ("eng_Latn", "all of it", [("all of it", "X")]),
    "beyond the basic plane": ("eng_Latn", "𝒳 and 𝒴 meet", [("𝒴", "VAR")]),
}


@pytest.mark.parametrize("case", IDENTITY)
def test_identity_translation_returns_the_same_spans(make: Callable[..., Projector], case: str) -> None:
    language, text, labelled = IDENTITY[case]
    spans = spans_of(text, *labelled)
    projections = project(make(), TranslatedText(text, text, spans), language, language)
    assert [projection.target for projection in projections] == list(spans)


def test_one_range_may_have_two_labels(make: Callable[..., Projector]) -> None:
    spans = Span(0, 5, "LOC"), Span(0, 5, "ORG")
    projections = project(make(), TranslatedText("Paris won", "Paris won", spans))
    assert [projection.target for projection in projections] == list(spans)


def test_the_order_of_the_target_may_be_reversed(make: Callable[..., Projector]) -> None:
    text = TranslatedText(
        "one two three four",
        "vier drei zwei eins",
        spans_of("one two three four", ("one", "A"), ("two", "A"), ("four", "B")),
    )
    dictionary = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}
    projections = project(make(dictionary), text)
    assert [text.target[p.target.start : p.target.end] for p in projections] == ["eins", "zwei", "vier"]


def test_spans_come_back_in_the_order_they_were_given(make: Callable[..., Projector]) -> None:
    text = "one two three"
    spans = tuple(reversed(spans_of(text, ("one", "A"), ("three", "B"))))
    projections = project(make(), TranslatedText(text, text, spans))
    assert [projection.target for projection in projections] == list(spans)


def test_a_longer_rendering_is_one_span(make: Callable[..., Projector]) -> None:
    text = TranslatedText("hot fries", "patatas fritas calientes", spans_of("hot fries", ("fries", "FOOD")))
    [projection] = project(make({"fries": "patatas fritas", "hot": "calientes"}), text)
    assert projection.target == Span(0, 14, "FOOD")


def test_a_span_without_a_counterpart_has_a_reason(make: Callable[..., Projector]) -> None:
    text = TranslatedText("uh hello", "hallo", spans_of("uh hello", ("uh", "NOISE"), ("hello", "GREET")))
    lost, found = project(make({"hello": "hallo"}), text)
    assert lost.target is None and lost.reason is not None
    assert found.target == Span(0, 5, "GREET")


def test_an_empty_translation_loses_every_span_with_a_reason(make: Callable[..., Projector]) -> None:
    for target in ("", "  "):
        [projection] = project(make(), TranslatedText("Rome", target, (Span(0, 4, "LOC"),)))
        assert projection.target is None and projection.reason is not None


def test_texts_without_spans_and_no_texts(make: Callable[..., Projector]) -> None:
    projector = make()
    assert projector.project([], source="eng_Latn", target="deu_Latn") == []
    texts = [
        TranslatedText("", "", ()),
        TranslatedText("Rome", "Rome", (Span(0, 4, "LOC"),)),
        TranslatedText("no label", "no label", ()),
    ]
    projections = projector.project(texts, source="eng_Latn", target="eng_Latn")
    assert [len(row) for row in projections] == [0, 1, 0]


def test_the_field_of_a_span_is_kept(make: Callable[..., Projector]) -> None:
    [projection] = project(make(), TranslatedText("Rome", "Rome", (Span(0, 4, "LOC", "title"),)))
    assert projection.target == Span(0, 4, "LOC", "title")


def test_segments_keep_equal_words_of_different_sentences_apart(make: Callable[..., Projector]) -> None:
    source, target = "Rome. I like Rome.", "Rome? No. I like Rome."
    segments = (Segment(0, 5, 0, 9), Segment(6, 18, 10, 22))
    text = TranslatedText(source, target, (Span(13, 17, "LOC"),), segments)
    [projection] = project(make(), text)
    assert projection.target == Span(17, 21, "LOC")


def test_the_same_call_gives_the_same_answer_alone_and_in_a_batch(make: Callable[..., Projector]) -> None:
    texts = [TranslatedText(text, text, spans_of(text, *labelled)) for _, text, labelled in list(IDENTITY.values())[:4]]
    projector = make()
    together = projector.project(texts, source="eng_Latn", target="eng_Latn")
    alone = [projector.project([text], source="eng_Latn", target="eng_Latn")[0] for text in texts]
    assert together == alone


def test_the_fingerprint_names_what_matters(make: Callable[..., Projector]) -> None:
    assert make().fingerprint == make().fingerprint
    assert make({"one": "eins"}).fingerprint != make({"one": "uno"}).fingerprint


def test_every_projector_is_under_contract() -> None:
    assert set(SETTINGS) == set(PROJECTORS.builtin)
