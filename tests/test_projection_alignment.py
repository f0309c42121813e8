"""Alignment projection: its two forms on known traps, and what holds for any links at all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.alignment.base import Link, Token, TokenizedText, WordAlignment
from spanferry.alignment.fake import FakeAligner
from spanferry.alignment.tokens import from_words
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.by_alignment import AlignmentProjector, AlignmentSettings, project_links
from spanferry.projection.links import trusted_links
from spanferry.projection.snap import trim_punctuation
from spanferry.translation.base import Segment

CANDIDATES = AlignmentSettings()
MIN_MAX = AlignmentSettings(form="min-max")


def project(
    source: str,
    target: str,
    spans: Sequence[tuple[int, int, str]],
    links: str,
    settings: AlignmentSettings = CANDIDATES,
) -> tuple[tuple[Projection, ...], list[str | None]]:
    """Project spans given in words, along links such as "0-1 2-0"; return the projections and the target words."""
    here, there = from_words(source.split()), from_words(target.split())
    text = TranslatedText(
        here.text,
        there.text,
        tuple(Span(here.tokens[a].start, here.tokens[b - 1].end, label) for a, b, label in spans),
        source_tokens=here.tokens,
        target_tokens=there.tokens,
    )
    pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
    found = project_links(text, here.tokens, there.tokens, [Link(i, j) for i, j in pairs], settings=settings)
    return found, [None if p.target is None else text.target[p.target.start : p.target.end] for p in found]


@pytest.mark.parametrize("settings", [CANDIDATES, MIN_MAX])
def test_unaligned_words_inside_a_span_do_not_split_it(settings: AlignmentSettings) -> None:
    # "O B I O I", the example of a well-known peer's README that its own code does not fill.
    _, words = project("wine list", "la lista de los vinos", [(0, 2, "X")], "0-4 1-1", settings)
    assert words == ["lista de los vinos"]


@pytest.mark.parametrize("settings", [CANDIDATES, MIN_MAX])
def test_reordered_neighbours_are_neither_merged_nor_deleted(settings: AlignmentSettings) -> None:
    for labels in ("A", "A"), ("A", "B"):
        spans = [(0, 2, labels[0]), (2, 4, labels[1])]
        _, words = project("red car big dog", "perro grande coche rojo", spans, "0-3 1-2 2-1 3-0", settings)
        assert words == ["coche rojo", "perro grande"]


@pytest.mark.parametrize("settings", [CANDIDATES, MIN_MAX])
def test_a_stray_link_far_away_does_not_stretch_the_span(settings: AlignmentSettings) -> None:
    source, target = "the place is good but service there is slow", "el sitio es bueno pero el servicio es lento lugar"
    links = "0-0 1-1 1-9 2-2 3-3 4-4 5-5 5-6 7-7 8-8"
    _, words = project(source, target, [(0, 2, "X")], links, settings)
    assert words == ["el sitio"]


def test_words_that_belong_to_others_split_a_span_more_than_unaligned_ones() -> None:
    # "dishes" is linked to "nourriture" by mistake; "était bonne avec des" renders other words.
    source, target = "food was good with dishes", "nourriture était bonne avec plats"
    _, words = project(source, target, [(0, 1, "X"), (4, 5, "X")], "0-0 1-1 2-2 3-3 4-4 4-0")
    assert words == ["nourriture", "plats"]


def test_two_spans_that_want_one_word_get_the_best_of_both() -> None:
    _, words = project("decor and food", "décor et nourriture", [(0, 1, "X"), (2, 3, "X")], "0-0 0-2 2-2")
    assert words == ["décor", "nourriture"]


def test_when_only_one_can_have_the_word_the_other_has_a_reason() -> None:
    projections, words = project("sweet tooth", "golosina", [(0, 1, "A"), (1, 2, "B")], "0-0 1-0")
    assert words.count("golosina") == 1
    [lost] = [projection for projection in projections if projection.target is None]
    assert lost.reason is Reason.OVERLAP


def test_nested_spans_may_share_words() -> None:
    spans = [(0, 3, "ORG"), (2, 3, "LOC")]
    _, words = project("Bank of England", "Englands Bank", spans, "0-1 2-0")
    assert words == ["Englands Bank", "Englands"]


def test_repeated_mentions_with_every_link_go_in_order() -> None:
    spans = [(0, 1, "X"), (2, 3, "X")]
    _, words_links = project("good and good", "gut und gut", spans, "0-0 0-2 2-0 2-2")
    assert words_links == ["gut", "gut"]
    projections, _ = project("good and good", "gut und gut", spans, "0-0 0-2 2-0 2-2")
    assert [projection.target.start for projection in projections if projection.target] == [0, 8]


def test_scores_of_links_count() -> None:
    here, there = from_words(["place"]), from_words(["le", "gros", "lieu"])
    text = TranslatedText(here.text, there.text, (Span(0, 5, "X"),))
    links = [Link(0, 0, 0.2), Link(0, 2, 0.9)]
    settings = AlignmentSettings(form="min-max", max_gap=0)
    [weak_form] = project_links(text, here.tokens, there.tokens, links, settings=settings)
    assert weak_form.target == Span(8, 12, "X")
    # 0.9 of 1.1 in links lead there, and the strongest of them has 0.9.
    assert weak_form.score == pytest.approx(0.9 / 1.1 * 0.9, abs=1e-6)


def test_a_span_that_is_rendered_in_part_scores_less() -> None:
    projections, words = project("a b c d", "p q", [(0, 4, "X")], "0-0 1-1")
    assert words == ["p q"]
    assert projections[0].score == projections[0].source_coverage == 0.5


def test_score_of_the_candidate_form_is_the_f1_of_its_links() -> None:
    # Worked by hand. The span "a b" has links a-0, b-2, b-9; word 2 is also linked to "c", word 1 to nothing.
    # Range 0..2: 2 inside, 3 leave the span, 3 + 0.1 leave the range: 2 * 2 / (3 + 3.1). All alternatives are lower.
    projections, words = project("a b c", "p q r s t u v w x y", [(0, 2, "X")], "0-0 1-2 1-9 2-2 2-3 2-4 2-5 2-6")
    assert words == ["p q r"]
    assert projections[0].score == pytest.approx(4 / 6.1, abs=1e-6)
    assert projections[0].source_coverage == 1.0
    assert projections[0].target_coverage == pytest.approx(2 / 3)


def test_a_low_score_is_a_reason_of_its_own() -> None:
    [projection], _ = project("a b", "p q", [(0, 1, "X")], "0-0 1-0", AlignmentSettings(min_score=0.9))
    assert projection.reason is Reason.LOW_SCORE
    assert projection.score == pytest.approx(2 / 3, abs=1e-6)


def test_a_span_outside_every_segment_was_truncated() -> None:
    text = TranslatedText("Rome. Paris.", "Roma.", (Span(0, 4, "L"), Span(6, 11, "L")), (Segment(0, 5, 0, 5),))
    projector = AlignmentProjector(FakeAligner({"rome": "roma"}))
    [(found, lost)] = projector.project([text], source="eng_Latn", target="ita_Latn")
    assert found.target == Span(0, 4, "L")
    assert lost.reason is Reason.TRUNCATED


def test_a_span_over_two_segments_is_one_span() -> None:
    segments = (Segment(0, 5, 0, 5), Segment(6, 12, 6, 12))
    text = TranslatedText("Rome. Paris.", "Roma. Parigi", (Span(0, 11, "L"),), segments)
    projector = AlignmentProjector(FakeAligner({"rome": "roma", "paris": "parigi"}))
    [(found,)] = projector.project([text], source="eng_Latn", target="ita_Latn")
    assert found.target == Span(0, 12, "L")


class Recording:
    """An aligner that links nothing and remembers what it was asked."""

    fingerprint = "recording"

    def __init__(self) -> None:
        self.calls: list[list[tuple[TokenizedText, TokenizedText]]] = []

    def align(
        self, pairs: Sequence[tuple[TokenizedText, TokenizedText]], *, source: str, target: str
    ) -> list[WordAlignment]:
        self.calls.append(list(pairs))
        return [WordAlignment(()) for _ in pairs]


def test_only_segments_with_spans_are_aligned_and_all_in_one_call() -> None:
    aligner = Recording()
    segments = (Segment(0, 5, 0, 5), Segment(6, 12, 6, 13))
    texts = [
        TranslatedText("Rome. Paris.", "Roma. Parigi.", (Span(6, 11, "L"),), segments),
        TranslatedText("no spans", "nessuno", ()),
        TranslatedText("Oslo", "Oslo", (Span(0, 4, "L"),)),
    ]
    AlignmentProjector(aligner).project(texts, source="eng_Latn", target="ita_Latn")
    assert [[(here.text, there.text) for here, there in call] for call in aligner.calls] == [
        [("Paris.", "Parigi."), ("Oslo", "Oslo")]
    ]


def test_tokens_of_the_data_are_used_and_labels_stand_on_them_whole() -> None:
    here, there = (Token(0, 5), Token(5, 6)), (Token(0, 6),)
    glued = TranslatedText("place,", "lugar,", (Span(0, 5, "X"),), (), here, there)
    free = TranslatedText("place,", "lugar,", (Span(0, 5, "X"),), (), here, None)
    projector = AlignmentProjector(FakeAligner({"place": "lugar,"}))
    [(whole,)] = projector.project([glued], source="eng_Latn", target="spa_Latn")
    assert whole.target == Span(0, 6, "X")
    [(bare,)] = AlignmentProjector(FakeAligner({"place": "lugar"})).project(
        [free], source="eng_Latn", target="spa_Latn"
    )
    assert bare.target == Span(0, 5, "X")
    by_character = AlignmentProjector(FakeAligner({"place": "lugar,"}), snap="character")
    [(trimmed,)] = by_character.project([glued], source="eng_Latn", target="spa_Latn")
    assert trimmed.target == Span(0, 5, "X")


@pytest.mark.parametrize(
    ("piece", "like", "expected"),
    [
        ("Madrid.", "Madrid", "Madrid"),
        ("¿Madrid?", "Madrid", "Madrid"),
        ("«Madrid»", "Madrid", "Madrid"),
        ("「東京」。", "Tokyo", "東京"),
        ("EE.UU.", "USA", "EE.UU."),
        ("J. R. R.", "JRR", "J. R. R."),
        ("HP (Inc)", "HP Inc", "HP (Inc)"),
        ("50%", "50 percent", "50%"),
        ("Yahoo!", "Yahoo!", "Yahoo!"),
        ("«Die Zeit»", '"Die Zeit"', "«Die Zeit»"),
        ("...", "x", "..."),
        ("C#", "C#", "C#"),
        ("'s-Hertogenbosch", "Den Bosch", "s-Hertogenbosch"),
    ],
)
def test_punctuation_around_a_span_goes_unless_the_source_has_it(piece: str, like: str, expected: str) -> None:
    start, end = trim_punctuation(f"x {piece} y", 2, 2 + len(piece), like=like)
    assert f"x {piece} y"[start:end] == expected


def test_identical_words_are_linked_and_keep_no_other_link() -> None:
    links = trusted_links(["Ana", "eats", "Pizza"], ["Pizza", "isst", "Ana"], [Link(0, 0), Link(1, 1), Link(2, 2)])
    assert {link[:2] for link in links} == {(0, 2), (1, 1), (2, 0)}


def test_words_that_stand_unequally_often_are_left_to_the_aligner() -> None:
    given_links = [Link(0, 1)]
    assert trusted_links(["Rome"], ["Rome", "Rome"], given_links) == given_links


def test_false_friends_are_left_to_the_aligner() -> None:
    given_links = [Link(0, 1)]
    assert trusted_links(["die", "x"], ["die", "sterben"], given_links) == given_links


def test_numbers_are_identical_words() -> None:
    assert trusted_links(["7", "am"], ["um", "7"], []) == [Link(0, 1)]


def test_links_of_punctuation_to_words_and_links_of_no_weight_are_dropped() -> None:
    assert trusted_links(["good", "."], ["gut", "."], [Link(0, 1), Link(1, 1), Link(0, 0, 0.0)]) == [Link(1, 1)]


@pytest.mark.parametrize(
    "settings", [{"form": "minmax"}, {"snap": "word"}, {"gap_cost": -1.0}, {"max_gap": -1}, {"min_score": 1.5}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        AlignmentSettings(**settings)  # type: ignore[arg-type]


# Any text, any spans, any links: letters as words, so that no two are identical across the sides.
def _ranges(length: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, length - 1), st.integers(0, length - 1)).map(lambda r: (min(r), max(r) + 1))


@st.composite
def anything(draw: st.DrawFn) -> tuple[TranslatedText, list[Link]]:
    here = from_words([f"s{chr(97 + i)}x" for i in range(draw(st.integers(1, 8)))])
    there = from_words([f"t{chr(97 + i)}y" for i in range(draw(st.integers(1, 8)))])
    words = draw(st.lists(_ranges(len(here.tokens)), min_size=1, max_size=5))
    spans = tuple(Span(here.tokens[a].start, here.tokens[b - 1].end, draw(st.sampled_from("AB"))) for a, b in words)
    pair = st.tuples(st.integers(0, len(here.tokens) - 1), st.integers(0, len(there.tokens) - 1))
    links = draw(st.dictionaries(pair, st.sampled_from([0.25, 0.5, 1.0]), max_size=16))
    text = TranslatedText(here.text, there.text, spans, (), here.tokens, there.tokens)
    return text, [Link(i, j, score) for (i, j), score in links.items()]


def run(case: tuple[TranslatedText, list[Link]], settings: AlignmentSettings) -> tuple[Projection, ...]:
    text, links = case
    assert text.source_tokens is not None and text.target_tokens is not None
    return project_links(text, text.source_tokens, text.target_tokens, links, settings=settings)


def disjoint(one: Span, other: Span) -> bool:
    return one.end <= other.start or other.end <= one.start


@given(anything(), st.sampled_from([CANDIDATES, MIN_MAX]))
def test_spans_that_stood_apart_stay_apart_and_none_is_forgotten(
    case: tuple[TranslatedText, list[Link]], settings: AlignmentSettings
) -> None:
    projections = run(case, settings)
    assert tuple(projection.source for projection in projections) == case[0].spans
    for one, other in combinations(projections, 2):
        if one.target and other.target and disjoint(one.source, other.source):
            assert disjoint(one.target, other.target)


@given(anything(), st.sampled_from([CANDIDATES, MIN_MAX]))
def test_a_span_has_a_place_or_a_reason_that_is_true(
    case: tuple[TranslatedText, list[Link]], settings: AlignmentSettings
) -> None:
    text, links = case
    assert text.source_tokens is not None and text.target_tokens is not None
    for projection in run(case, settings):
        span = projection.source
        linked = {
            text.target_tokens[link.target]
            for link in links
            if text.source_tokens[link.source].start < span.end and span.start < text.source_tokens[link.source].end
        }
        assert (projection.reason is Reason.UNALIGNED) == (not linked)
        if projection.target is not None:
            assert projection.target.start in {token.start for token in linked}
            assert projection.target.end in {token.end for token in linked}
            assert projection.score is not None and 0 < projection.score <= 1
            assert projection.source_coverage is not None and 0 < projection.source_coverage <= 1


@given(anything(), st.randoms(use_true_random=False), st.sampled_from([CANDIDATES, MIN_MAX]))
def test_the_order_of_links_does_not_matter(
    case: tuple[TranslatedText, list[Link]], chance: object, settings: AlignmentSettings
) -> None:
    text, links = case
    shuffled = sorted(links, key=lambda link: chance.random())  # type: ignore[attr-defined]
    assert run(case, settings) == run((text, shuffled), settings)


@given(st.integers(1, 9), st.data(), st.sampled_from([CANDIDATES, MIN_MAX]))
def test_word_for_word_translations_keep_every_span(
    length: int, data: st.DataObject, settings: AlignmentSettings
) -> None:
    words = data.draw(st.lists(_ranges(length), min_size=1, max_size=5))
    here = from_words([f"s{chr(97 + i)}x" for i in range(length)])
    there = from_words([f"t{chr(97 + i)}y" for i in range(length)])
    spans = tuple(Span(here.tokens[a].start, here.tokens[b - 1].end, "A") for a, b in words)
    text = TranslatedText(here.text, there.text, spans, (), here.tokens, there.tokens)
    projections = run((text, [Link(i, i) for i in range(length)]), settings)
    assert [p.target and (p.target.start, p.target.end) for p in projections] == [(s.start, s.end) for s in spans]
    assert all(projection.score == 1.0 for projection in projections)


def test_the_fingerprint_tells_settings_and_aligners_apart() -> None:
    made = [
        AlignmentProjector(FakeAligner()),
        AlignmentProjector(FakeAligner({"a": "b"})),
        AlignmentProjector(FakeAligner(), form="min-max"),
        AlignmentProjector(FakeAligner(), gap_cost=0.2),
        AlignmentProjector(FakeAligner(), snap="token"),
        AlignmentProjector(FakeAligner(), identical=False),
        AlignmentProjector(FakeAligner(), min_score=0.5),
    ]
    assert len({projector.fingerprint for projector in made}) == len(made)
