"""Candidates ranked by translation scores: the formulas by hand, the ranking against brute force, the bundled model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.alignment.base import Token
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection import candidates as module
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.candidates import CandidatesProjector
from spanferry.projection.translation_scores import phrase_scores
from spanferry.translation.base import Segment
from spanferry.translation.ct2 import load_ctranslate2
from spanferry.translation.fake_phrase_scorer import FakePhraseScorer
from spanferry.translation.phrase_scorer import CTranslate2PhraseScorer

LANGUAGES = {"source": "eng_Latn", "target": "deu_Latn"}


class Table(FakePhraseScorer):
    """Log-probabilities as they stand in a table: (source, target) -> tokens' and the end's; else -9 for each."""

    def __init__(self, table: Mapping[tuple[str, str], list[float]]) -> None:
        super().__init__()
        self._table = table
        self.asked: list[tuple[str, str]] = []

    def score(self, sources: Sequence[str], targets: Sequence[str], *, source: str, target: str) -> list[list[float]]:
        pairs = list(zip(sources, targets, strict=True))
        self.asked += pairs
        return [self._table.get(pair, [-9.0] * (len(pair[1].split()) + 1)) for pair in pairs]


def spans_of(text: str, *words: str) -> tuple[Span, ...]:
    return tuple(Span(text.index(word), text.index(word) + len(word), "X") for word in words)


def project(text: TranslatedText, scorer: FakePhraseScorer, **options: Any) -> tuple[Projection, ...]:
    [projections] = CandidatesProjector(scorer, **options).project([text], **LANGUAGES)
    return projections


def words(text: TranslatedText, projections: Sequence[Projection]) -> list[str | None]:
    return [each.target and text.target[each.target.start : each.target.end] for each in projections]


# Vamvas and Sennrich 2022, section 3.1: p(y|x)^(1/|y|) / p(y|y)^(1/|y|), the mean of both directions.
RED = {
    ("red", "rot"): [-0.2, -0.4],  # exp(-0.3)
    ("rot", "rot"): [-0.1, -0.1],  # exp(-0.1)
    ("rot", "red"): [-0.9, -0.1],  # exp(-0.5)
    ("red", "red"): [-0.3, -0.1],  # exp(-0.2)
}


@pytest.mark.parametrize(
    ("options", "score"),
    [
        ({}, (math.exp(-0.3) / math.exp(-0.1) + math.exp(-0.5) / math.exp(-0.2)) / 2),  # 0.779775
        ({"normalize": False}, (math.exp(-0.3) + math.exp(-0.5)) / 2),  # 0.673674
        ({"both": False}, math.exp(-0.3)),  # 0.740818
        ({"both": False, "normalize": False}, math.exp(-0.5)),  # 0.606531
    ],
)
def test_phrase_scores_are_those_of_nmtscore(options: dict[str, bool], score: float) -> None:
    assert phrase_scores([("red", "rot")], Table(RED), **LANGUAGES, **options) == {("red", "rot"): pytest.approx(score)}


def test_each_pair_is_scored_once_and_so_is_each_phrase_by_itself() -> None:
    scorer = Table(RED)
    phrase_scores([("red", "rot"), ("red", "blau"), ("red", "rot")], scorer, **LANGUAGES)
    assert len(scorer.asked) == len(set(scorer.asked)) == 2 * 2 + 1 + 2


def test_out_of_context_the_phrase_with_the_best_score_wins() -> None:
    text = TranslatedText("a red car", "ein rot Auto", spans_of("a red car", "red"))
    [projection] = project(text, Table(RED), context="none", directions="both", normalize=True)
    assert words(text, [projection]) == ["rot"]
    assert projection.score == pytest.approx((math.exp(-0.2) + math.exp(-0.3)) / 2, abs=1e-6)


CAR = {
    ("red", "ein rot Auto"): [-3.0, -1.0, -6.0, -1.0],
    ("a car", "ein rot Auto"): [-1.0, -9.0, -1.0, -1.0],
    **RED,
}
"""Gains of the three words: -2, 8 (counts as 5), -5."""


def test_in_context_the_words_that_come_from_the_span_win() -> None:
    text = TranslatedText("a red car", "ein rot Auto", spans_of("a red car", "red"))
    scorer = Table(CAR)
    [projection] = project(text, scorer, context="sentence")
    assert words(text, [projection]) == ["rot"]
    assert projection.score == pytest.approx(1 / (1 + math.exp(-5 / 3)), abs=1e-6)
    assert len(scorer.asked) == 2  # however many candidates there are


def test_the_mixture_is_the_phrase_score_times_the_root_of_the_share() -> None:
    text = TranslatedText("a red car", "ein rot Auto", spans_of("a red car", "red"))
    [projection] = project(text, Table(CAR))
    assert words(text, [projection]) == ["rot"]
    assert projection.score == pytest.approx(math.exp(-0.5) * math.sqrt(1 / (1 + math.exp(-5 / 3))), abs=1e-6)


def test_only_the_top_candidates_are_scored_as_phrases() -> None:
    text = TranslatedText("a red car", "ein rot Auto", spans_of("a red car", "red"))
    scorer = Table(CAR)
    project(text, scorer, top=2)
    # Two passes for the sentence; then "rot" (5 nats) and "ein rot" (3 nats), backwards alone.
    assert scorer.asked[2:] == [("rot", "red"), ("ein rot", "red")]


def test_what_reads_the_same_needs_no_model_to_be_found() -> None:
    text = TranslatedText("we met Zoë now", "jetzt trafen wir Zoë", spans_of("we met Zoë now", "Zoë"))
    [projection] = project(text, Table({}))
    assert (words(text, [projection]), projection.score) == (["Zoë"], 1.0)
    [projection] = project(text, Table({}), surface=False)
    assert projection.score is not None and projection.score < 0.01


def test_a_candidate_is_no_longer_than_the_limit() -> None:
    target = "eins zwei drei vier fünf sechs"
    table = {(" ".join(target.split()[:n]), "one"): [-1 / n] * 2 for n in range(1, 7)}
    text = TranslatedText("one and so on and on", target, spans_of("one and so on", "one"))
    assert words(text, project(text, Table(table), context="none")) == ["eins zwei drei vier fünf"]
    options = {"context": "none", "max_ratio": 1.0, "max_extra": 1}
    assert words(text, project(text, Table(table), **options)) == ["eins zwei"]


def test_mentions_of_the_same_words_go_one_to_one() -> None:
    source, target = "dog sees dog", "Hund sieht Hund"
    text = TranslatedText(source, target, (Span(9, 12, "B"), Span(0, 3, "A")))
    for context in ("none", "sentence", "mixture"):
        one, two = project(text, FakePhraseScorer({"dog": "Hund", "sees": "sieht"}), context=context)
        assert (one.target, two.target) == (Span(11, 15, "B"), Span(0, 4, "A"))


def test_two_spans_that_want_one_place_do_not_both_get_it() -> None:
    table = {("eins", "one"): [-0.1, -0.1], ("eins", "two"): [-0.2, -0.2], ("zwei", "two"): [-1.0, -1.0]}
    text = TranslatedText("one two", "eins zwei", spans_of("one two", "one", "two"))
    assert words(text, project(text, Table(table), context="none")) == ["eins", "zwei"]
    del table["zwei", "two"]  # exp(-9) is under a twentieth of exp(-0.2): no place at all
    one, two = project(text, Table(table), context="none")
    assert (words(text, [one, two]), two.reason) == (["eins", None], Reason.OVERLAP)
    assert two.score == pytest.approx(math.exp(-0.2), abs=1e-6)


def test_a_span_below_the_threshold_has_a_reason_and_its_score() -> None:
    text = TranslatedText("a red car", "ein rot Auto", spans_of("a red car", "red"))
    [projection] = project(text, Table(RED), context="none", min_score=0.7)
    assert (projection.target, projection.reason) == (None, Reason.LOW_SCORE)
    assert projection.score == pytest.approx(math.exp(-0.5), abs=1e-6)
    assert projection.detail == "best candidate scores 0.607, threshold 0.7"


def test_nothing_to_choose_from_has_its_reasons() -> None:
    scorer = FakePhraseScorer()
    span = Span(5, 8, "X")
    [projection] = project(TranslatedText("One. Two.", "...", (span,)), scorer)
    assert projection.reason is Reason.NO_CANDIDATE
    [projection] = project(TranslatedText("One. Two.", "Eins.", (span,), (Segment(0, 4, 0, 5),)), scorer)
    assert projection.reason is Reason.TRUNCATED


def test_a_text_that_is_too_long_for_the_model_stops_no_other() -> None:
    scorer = FakePhraseScorer()
    scorer.max_tokens = 5  # type: ignore[misc]
    short = TranslatedText("Rome now", "Rome nun", (Span(0, 4, "X"),))
    long = TranslatedText("Rome " * 6, "Rome " * 6, (Span(0, 4, "X"),))
    [one], [two] = CandidatesProjector(scorer).project([long, short], **LANGUAGES)
    assert (one.reason, one.detail) == (Reason.NO_CANDIDATE, "6 tokens, the model takes 5")
    assert two.target == Span(0, 4, "X")


def test_texts_by_the_thousand_are_taken_a_portion_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TranslatedText(f"w{n} Rome x", f"y w{n} Rome", (Span(0, 2, "X"),)) for n in range(5)]
    projector = CandidatesProjector(FakePhraseScorer())
    whole = projector.project(texts, **LANGUAGES)
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    assert projector.project(texts, **LANGUAGES) == whole
    assert all(projection.target for [projection] in whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": "sentences"}, "context is 'sentences': did you mean 'sentence'"),
        ({"directions": "forth"}, "directions is 'forth'"),
        ({"top": 0}, "expected top >= 1"),
        ({"min_score": 1.5}, "0 <= min_score <= 1"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CandidatesProjector(FakePhraseScorer(), **options)


def test_the_fingerprint_names_the_settings_that_play_a_part() -> None:
    def fingerprint(**options: Any) -> str:
        return CandidatesProjector(FakePhraseScorer(), **options).fingerprint

    assert fingerprint() != fingerprint(context="none") != fingerprint(context="none", directions="both")
    assert fingerprint(context="sentence", top=3) == fingerprint(context="sentence")
    assert fingerprint(context="mixture", top=3) != fingerprint(context="mixture")


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_one_span_gets_the_best_of_all_ranges(data: st.DataObject) -> None:
    target = " ".join(f"t{n}" for n in range(data.draw(st.integers(1, 6))))
    places = [Token(n, n + 2) for n in range(0, len(target), 3)]
    ranges = [(a.start, b.end) for i, a in enumerate(places) for b in places[i : i + 5]]
    scores = {place: data.draw(st.floats(-8, -0.01)) for place in ranges}
    table = {(target[start:end], "word"): [score] for (start, end), score in scores.items()}
    text = TranslatedText("word", target, (Span(0, 4, "X"),), (), (Token(0, 4),), tuple(places))
    [projection] = project(text, Table(table), context="none", max_ratio=1, max_extra=4, surface=False)
    assert projection.target is not None
    assert scores[projection.target.start, projection.target.end] == pytest.approx(max(scores.values()), abs=2e-6)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["ein", "Hund", "sieht", "roter", "Haus", ","]), min_size=1, max_size=9),
    st.sampled_from(["none", "sentence", "mixture"]),
)
def test_spans_that_stood_apart_stay_apart_on_token_boundaries(target: list[str], context: str) -> None:
    source = "a dog sees a red house"
    spans = spans_of(source, "dog", "sees", "red house")
    scorer = FakePhraseScorer({"a": "ein", "dog": "Hund", "sees": "sieht", "red": "roter", "house": "Haus"})
    ends = [len(" ".join(target[: n + 1])) for n in range(len(target))]
    tokens = tuple(Token(end - len(word), end) for end, word in zip(ends, target, strict=True))
    text = TranslatedText(source, " ".join(target), spans, (), None, tokens)
    taken = sorted((p.target.start, p.target.end) for p in project(text, scorer, context=context) if p.target)
    assert all(start in {token.start for token in tokens} and end in ends for start, end in taken)
    assert all(one[1] <= other[0] for one, other in pairwise(taken))


@pytest.fixture(scope="module")
def bundled(model_cache: Path) -> CTranslate2PhraseScorer:
    return CTranslate2PhraseScorer(load_ctranslate2("bundled", device="cpu", cache_dir=model_cache))


@pytest.mark.parametrize("context", ["none", "sentence", "mixture"])
def test_the_bundled_model_finds_plain_things(bundled: CTranslate2PhraseScorer, context: Any) -> None:
    source, target = "The dog sleeps in the house.", "Im Haus schläft der Hund."
    text = TranslatedText(source, target, spans_of(source, "dog", "house"))
    # Nothing is left of the source without the second one's span.
    whole = TranslatedText("The house", "Das Haus", (Span(0, 9, "X"),))
    projections, [other] = CandidatesProjector(bundled, context=context).project([text, whole], **LANGUAGES)
    assert other.target is not None and other.target.end == 8
    for found, wanted in zip(words(text, projections), ("Hund", "Haus"), strict=True):
        assert found is not None and wanted in found


def test_the_models_tokens_are_laid_over_the_text(bundled: CTranslate2PhraseScorer) -> None:
    texts = ["Im Haus schläft der Hund.", "Überraschung!", ""]
    offsets = bundled.target_offsets(texts, "deu_Latn")
    scores = bundled.score(["x"] * 3, texts, **LANGUAGES)
    assert [len(row) + 1 for row in offsets] == [len(row) for row in scores]
    for text, row in zip(texts, offsets, strict=True):
        assert "".join(text[start:end] for start, end in row).replace(" ", "") == text.replace(" ", "")
