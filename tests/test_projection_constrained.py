"""Constrained decoding as a projector: what it does around the search, which has its own tests."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from spanferry.alignment.base import Token
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.constrained import ConstrainedProjector
from spanferry.projection.marked_template import MarkedTemplate, PieceEncoder
from spanferry.projection.marker_choice import DEFAULT_MARKERS, Markers, choose_markers, usable_markers
from spanferry.translation.base import Segment
from spanferry.translation.fake_scorer import FakePrefixScorer
from spanferry.translation.prefix_scorer import Opened, Outcome, Step


def spans_of(text: str, *words: str) -> tuple[Span, ...]:
    return tuple(
        Span(text.index(word), text.index(word) + len(word), f"L{number}") for number, word in enumerate(words)
    )


def project(text: TranslatedText, dictionary: dict[str, str], **settings: Any) -> tuple[Projection, ...]:
    projector = ConstrainedProjector(FakePrefixScorer(dictionary), **settings)
    [projections] = projector.project([text], source="eng_Latn", target="deu_Latn")
    return projections


def words(text: TranslatedText, projections: Sequence[Projection]) -> list[str | None]:
    return [None if p.target is None else text.target[p.target.start : p.target.end] for p in projections]


class Weighted(FakePrefixScorer):
    """Prefers the openings and closings that it is told to, by what the marker stands before or after."""

    def __init__(self, costs: dict[tuple[str, str], float]) -> None:
        super().__init__()
        self._costs = costs

    def _log_prob(self, wanted: Any, written: str, token: int) -> float:
        _, opening, inside = written.partition("[")
        if chr(token // 2) == "[" and not opening:
            return -0.1
        if chr(token // 2) == "]" and opening and "]" not in inside:
            return -self._costs.get((wanted.rendering, inside.strip()), 9.0)
        return 0.0


def test_the_weaker_of_two_spans_at_one_place_moves_to_its_next_best() -> None:
    text = TranslatedText("one two", "eins zwei", spans_of("one two", "one", "two"))
    costs = {("one", "eins"): 0.1, ("two", "eins"): 0.2, ("two", "zwei"): 0.5}
    one, two = ConstrainedProjector(Weighted(costs)).project([text], source="eng_Latn", target="deu_Latn")[0]
    assert words(text, [one, two]) == ["eins", "zwei"]
    assert one.score == pytest.approx(math.exp(-0.1))
    # Its best place has exp((-0.1 - 0.2) / 2); the one it got is exp(-0.3) times as probable.
    assert two.score == pytest.approx(math.exp(-0.15) * math.exp(-0.3))


def test_a_span_without_another_place_is_lost_with_its_reason_and_no_other_is() -> None:
    source = "one two three"
    text = TranslatedText(source, "eins drei", spans_of(source, "one", "two", "three"))
    costs = {("one", "eins"): 0.1, ("two", "eins"): 0.2, ("three", "drei"): 0.1}
    # Places that are 5 nats worse than the best are none, even where nobody else wants them.
    costs |= {("two", "eins drei"): 5.3}
    projections = ConstrainedProjector(Weighted(costs)).project([text], source="eng_Latn", target="deu_Latn")[0]
    assert words(text, projections) == ["eins", None, "drei"]
    assert projections[1].reason is Reason.OVERLAP


def test_spans_that_overlap_in_the_source_may_share_a_place() -> None:
    text = TranslatedText("big house", "Villa da", (Span(0, 9, "A"), Span(4, 9, "B")))
    costs = {("big house", "Villa"): 0.1, ("house", "Villa"): 0.1}
    projections = ConstrainedProjector(Weighted(costs)).project([text], source="eng_Latn", target="deu_Latn")[0]
    assert words(text, projections) == ["Villa", "Villa"]


def test_a_place_under_the_threshold_is_refused_with_its_score() -> None:
    text = TranslatedText("one more", "eins mehr", spans_of("one more", "one"))
    [kept] = project(text, {"one": "eins"}, min_score=0.9)
    [refused] = project(text, {"one": "eins"}, min_score=0.91)
    assert kept.target == Span(0, 4, "L0")
    assert (refused.target, refused.reason) == (None, Reason.LOW_SCORE)
    assert refused.score == kept.score == pytest.approx(math.exp(-0.1))
    assert refused.detail == "best place scores 0.905, threshold 0.91"


def test_the_margin_and_the_assumption_are_told() -> None:
    text = TranslatedText("one more", "eins mehr", spans_of("one more", "one"))
    [both] = project(text, {"one": "eins"}, n_best=2, delta=2.0)
    assert both.detail.startswith("margin 8.90; delta=2 (")
    [further] = project(text, {"one": "eins"}, delta=2.0, delta_from="opening")
    assert further.detail.startswith("delta=2 from opening (")
    [exact] = project(text, {"one": "eins"})
    assert exact.detail == ""


def test_an_engine_that_rounds_is_told() -> None:
    class Rounding(FakePrefixScorer):
        precision = "bfloat16"

    text = TranslatedText("one more", "eins mehr", spans_of("one more", "one"))
    projector = ConstrainedProjector(Rounding({"one": "eins"}), delta=2.0)
    [[projection]] = projector.project([text], source="eng_Latn", target="deu_Latn")
    assert projection.detail.endswith("; scored in bfloat16")


def test_find_gives_the_best_places_of_each_span_in_the_whole_text() -> None:
    text = TranslatedText(
        "No. one more", "Nein. eins mehr", (Span(4, 7, "A"),), (Segment(0, 3, 0, 5), Segment(4, 12, 6, 15))
    )
    projector = ConstrainedProjector(FakePrefixScorer({"one": "eins"}), n_best=3)
    [[places]] = projector.find([text], source="eng_Latn", target="deu_Latn")
    assert [text.target[place.start : place.end] for place in places.places] == ["eins", "eins mehr", "mehr"]
    assert places.margin == pytest.approx(8.9)
    assert places.score(0) == pytest.approx(math.exp(-0.1))
    assert places.score(1) == pytest.approx(math.exp(-0.1 - 8.9))


def test_a_span_across_segments_is_searched_in_all_of_them() -> None:
    source, target = "A b. C d. E f.", "A b! C d! E f!"
    segments = (Segment(0, 4, 0, 4), Segment(5, 9, 5, 9), Segment(10, 14, 10, 14))
    text = TranslatedText(source, target, (Span(2, 6, "X"),), segments)
    scorer = Recorded({"b.": "b!"})
    [[projection]] = ConstrainedProjector(scorer).project([text], source="eng_Latn", target="eng_Latn")
    assert scorer.sources == ["A [ b. C ] d."]
    assert projection.target is not None
    assert target[projection.target.start : projection.target.end] == "b! C"


def test_a_span_that_no_segment_holds_was_never_translated() -> None:
    text = TranslatedText("A b. C d.", "A b.", (Span(5, 6, "X"),), (Segment(0, 4, 0, 4),))
    [projection] = project(text, {})
    assert projection.reason is Reason.TRUNCATED


def test_a_text_that_holds_every_marker_or_is_too_long_says_so() -> None:
    full = "one " + " ".join("".join(pair) for pair in DEFAULT_MARKERS)
    [projection] = project(TranslatedText(full, full, (Span(0, 3, "X"),)), {})
    assert (projection.reason, projection.detail) == (Reason.NO_CANDIDATE, "the text holds every pair of markers")

    scorer = FakePrefixScorer()
    scorer.max_tokens = 20
    text = TranslatedText("one two", "one " * 8, (Span(0, 3, "X"),))
    [[projection]] = ConstrainedProjector(scorer).project([text], source="eng_Latn", target="eng_Latn")
    assert projection.reason is Reason.NO_CANDIDATE
    assert projection.detail == "26 tokens with markers, the model takes 20"


class Recorded(FakePrefixScorer):
    def __init__(self, dictionary: dict[str, str] | None = None) -> None:
        super().__init__(dictionary)
        self.sources: list[str] = []
        self.fed: list[int] = []

    def open(self, sources: Sequence[str], *, source: str, target: str) -> list[Opened]:
        self.sources += sources
        return super().open(sources, source=source, target=target)

    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        self.fed += [token for step in steps for token in step.feed]
        return super().run(steps)


def test_equal_texts_are_searched_once() -> None:
    text = TranslatedText("one two", "eins zwei", spans_of("one two", "one"))
    scorer = Recorded({"one": "eins"})
    rows = ConstrainedProjector(scorer).project([text] * 5, source="eng_Latn", target="deu_Latn")
    assert len(scorer.sources) == 1
    assert len(set(rows)) == 1


def test_scripts_without_spaces_are_marked_without_blanks_and_cut_at_every_character() -> None:
    text = TranslatedText("see Rome now", "现在看罗马2026吧", spans_of("see Rome now", "Rome"))
    scorer = Recorded({"Rome": "罗马"})
    [[projection]] = ConstrainedProjector(scorer).project([text], source="eng_Latn", target="zho_Hans")
    assert scorer.sources == ["see [ Rome ] now"]
    assert projection.target == Span(3, 5, "L0")
    # No token that begins a word but the first of the text: no blank was put in.
    assert {token // 2 for token in scorer.fed if token % 2 and token > 1} == {ord("现"), ord("[")}


def test_tokens_that_the_data_brings_are_the_only_boundaries() -> None:
    text = TranslatedText("in Rome.", "in Rom.", spans_of("in Rome.", "Rome"), target_tokens=(Token(0, 2), Token(3, 7)))
    [projection] = project(text, {"Rome": "Rom."})
    assert projection.target == Span(3, 7, "L0")


def test_markers_are_chosen_by_what_the_vocabulary_has_and_the_texts_leave_free() -> None:
    known = set("abc<>/()")

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [[ord(sign) if sign in known else 3 for sign in text if sign != " "] for text in texts]

    usable = usable_markers(DEFAULT_MARKERS, encode, 3)
    assert usable == [Markers("<a> ", " </a>"), Markers("( ", " )")]
    assert choose_markers(usable, "a", "b (c)") == Markers("<a> ", " </a>")
    assert choose_markers(usable, "a > b", "c") == Markers("( ", " )")
    assert choose_markers(usable, "a > b", "(c)") is None
    with pytest.raises(ConfigError, match=r"lacks every marker of \[  \]"):
        usable_markers([Markers("[ ", " ]")], encode, 3)


def test_wrong_settings_are_refused() -> None:
    for settings in (
        {"min_score": 1.5},
        {"n_best": 0},
        {"delta": -1.0},
        {"delta_from": "end"},
        {"markers": []},
        {"markers": [(" ", "]")]},
    ):
        with pytest.raises(ConfigError):
            ConstrainedProjector(FakePrefixScorer(), **settings)


def test_every_setting_is_in_the_fingerprint() -> None:
    variants: list[dict[str, Any]] = [
        {}, {"n_best": 2}, {"delta": 1.0}, {"delta": 1.0, "delta_from": "opening"}, {"min_score": 0.5},
        {"markers": [("[", "]")]},
    ]  # fmt: skip
    names = {ConstrainedProjector(FakePrefixScorer(), **settings).fingerprint for settings in variants}
    assert len(names) == len(variants)


@pytest.fixture(scope="module")
def subwords() -> Any:
    """A real byte-pair vocabulary, with Latin and Chinese words in it."""
    pytest.importorskip("transformers")
    from spanferry.translation.tokenizer_training import train_tokenizer

    lines = ["Der alte Mann wohnt in Köln am Rhein.", 'Sie sagte: "Ich komme nach Köln."', "我住在北京的一个老房子里。"]
    return train_tokenizer(lines * 50, vocabulary=900, languages=["deu_Latn", "zho_Hans"])


@pytest.mark.parametrize(
    "markers", [Markers("[ ", " ]"), Markers("[", "]"), Markers("<a>", "</a>"), Markers("« ", " »")]
)
@pytest.mark.parametrize(
    "text",
    [
        "Der alte Mann wohnt in Köln am Rhein.",
        'Sie sagte: "Ich komme nach Köln."  Zwei Blanks,\tTab; Änderung (neu)',
        "我住在北京的一个老房子里。",
        " Ω unbekannt 👩‍🍳 und Köln ",
    ],
)
def test_the_tokens_of_every_variant_are_those_of_the_marked_text(subwords: Any, markers: Markers, text: str) -> None:
    def encode(texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = subwords(list(texts), add_special_tokens=False)["input_ids"]
        return ids

    places = [i for i, sign in enumerate(text) if not sign.isspace()]
    chance = random.Random(1)
    starts, ends = sorted(chance.sample(places, 12)), sorted(i + 1 for i in chance.sample(places, 12))
    template = MarkedTemplate(text, starts, ends, markers, encoder=PieceEncoder(encode), end=2)
    assert template.tokens == [*encode([text])[0], 2]
    for start in starts:
        opened = template.opened(start)
        assert opened.tokens == [*encode([text[:start] + markers.opening + text[start:]])[0], 2]
        assert opened.tokens[: opened.branch] == template.tokens[: opened.branch]
        assert opened.tokens[opened.branch] != template.tokens[opened.branch]
        early = template.early_ends(start, opened)
        for end in [end for end in ends if end > start]:
            marked = template.marked(start, end, opened)
            assert marked.tokens == [*encode([markers.around(text, start, end)])[0], 2]
            assert marked.tokens[: marked.branch] == opened.tokens[: marked.branch]
            assert marked.tokens[marked.branch] != opened.tokens[marked.branch]
            assert marked.tokens[marked.tail - len(template.tokens) :] == template.tokens[marked.tail :]
            assert (end in early) == (marked.branch <= opened.branch)
