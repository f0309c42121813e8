"""Spans that read the same or nearly so on both sides, and what counts as the same."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.alignment.base import Token
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.match import MatchProjector
from spanferry.projection.quantities import moments, numbers_agree
from spanferry.projection.surface import surface_key
from spanferry.translation.base import Segment


def spans_of(text: str, *words: str) -> tuple[Span, ...]:
    """Spans by their words; words given again mean their next occurrence."""
    found, seen = [], dict[str, int]()
    for word in words:
        start = text.index(word, seen.get(word, 0))
        seen[word] = start + len(word)
        found.append(Span(start, start + len(word), "X"))
    return tuple(found)


def project(text: TranslatedText, language: str = "deu_Latn", **options: Any) -> tuple[Projection, ...]:
    [projections] = MatchProjector(**options).project([text], source="eng_Latn", target=language)
    return projections


def place(source: str, words: str, target: str, language: str = "deu_Latn", **options: Any) -> tuple[str | None, float]:
    [projection] = project(TranslatedText(source, target, spans_of(source, words)), language, **options)
    found = projection.target and target[projection.target.start : projection.target.end]
    return found, projection.score or 0.0


@pytest.mark.parametrize(
    ("words", "target", "found", "score"),
    [
        ("Zoë", "Heute kam Zoë.", "Zoë", 1.0),
        ("Zoe", "Heute kam ZOË.", "ZOË", 0.98),
        ("São Paulo", "Er lebt in Sao-Paulo, sagt er.", "Sao-Paulo", 0.98),
        ("e-mail", "eine Email schreiben", "Email", 0.98),
        ("Covid 19", "wegen Covid-19 zu", "Covid-19", 0.98),
        ("1,234.5 km", "nur 1.234,5 km weit", "1.234,5 km", 0.98),
        ("5 %", "um 5% mehr", "5%", 0.98),
        ("7:30 pm", "um 19.30 Uhr los", "19.30 Uhr", 0.95),
        ("6 p.m.", "um 18 Uhr.", "18 Uhr", 0.95),
        ("5 am", "um 5 Uhr morgens auf", "5 Uhr morgens", 0.95),
        ("3/25/2024", "am 25.03.2024 an", "25.03.2024", 0.95),
        # One edit in ten characters, times 0.9.
        ("Commission", "die Kommission sagt", "Kommission", 0.81),
    ],
)
def test_what_reads_the_same_is_found(words: str, target: str, found: str, score: float) -> None:
    place_found, place_score = place(f"so {words} then", words, target)
    assert (place_found, place_score) == (found, pytest.approx(score))


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("Cologne", "Er lebt in Köln."),
        ("1,234.5", "nur 12.345 Leute"),  # the same digits, another number
        ("Article 12", "der Artikel 13"),  # alike but for the number, which is what counts
        ("7 pm", "um 7 Uhr"),  # in the morning
        ("3/4/2024", "3-04-2024"),  # neither side says which is the month
        ("Ana", "Ann"),  # of three letters, one is a third
    ],
)
def test_what_reads_otherwise_is_not(words: str, target: str) -> None:
    assert place(f"so {words} then", words, target)[0] is None


def test_words_may_come_in_another_order() -> None:
    found, score = place(
        "the European Parliament voted", "European Parliament", "el Parlamento Europeo votó", "spa_Latn"
    )
    # Sorted: "european parliament" and "europeo parlamento", 2 + 2 edits in 19 characters; a tenth less, twice.
    assert (found, score) == ("Parlamento Europeo", pytest.approx(0.9 * 0.9 * (1 - 4 / 19)))


def test_short_words_in_lower_case_are_trusted_less() -> None:
    assert place("they die here", "die", "die Leute")[1] == 0.5
    assert place("the EU said", "EU", "die EU sagt")[1] == 1.0


def test_only_the_same_is_found_without_fuzziness() -> None:
    assert place("the Commission", "Commission", "die Kommission", fuzzy=1.0) == (None, 0.0)


def test_a_glossary_counts_as_the_same() -> None:
    glossary = {"cologne": "Köln", "EU": ["Europäische Union", "Europäischen Union"]}
    assert place("in Cologne now", "Cologne", "jetzt in Köln", glossary=glossary) == ("Köln", 0.98)
    found = place("in the EU now", "EU", "jetzt in der Europäischen Union", glossary=glossary)
    assert found == ("Europäischen Union", 0.98)
    assert MatchProjector(glossary=glossary).fingerprint != MatchProjector().fingerprint


def test_mentions_of_equal_number_go_one_to_one() -> None:
    source = "Rome, Rome and Rome"
    text = TranslatedText(source, "Rome und Rome, ja, und auch noch Rome", (Span(6, 10, "X"),))
    [projection] = project(text)
    assert (projection.target, projection.score) == (Span(9, 13, "X"), 1.0)


def test_other_mentions_go_to_the_nearest_place_and_say_that_they_are_less_sure() -> None:
    source = "Now at the very end of it comes Rome"
    text = TranslatedText(source, "Rome kommt erst jetzt und ganz am Ende: Rome", spans_of(source, "Rome"))
    [projection] = project(text)
    assert (projection.target, projection.score) == (Span(40, 44, "X"), 0.9)


def test_two_spans_do_not_share_one_mention() -> None:
    source = "Rome is Rome"
    one, two = project(TranslatedText(source, "das ist Rome", spans_of(source, "Rome", "Rome")))
    assert one.reason is Reason.OVERLAP
    assert two.target == Span(8, 12, "X")


def test_places_end_where_the_tokens_of_the_data_do() -> None:
    text = TranslatedText("Rome now", "jetzt (Rome).", (Span(0, 4, "X"),), target_tokens=(Token(0, 5), Token(6, 13)))
    [projection] = project(text)
    assert projection.target == Span(6, 13, "X")
    [projection] = project(TranslatedText("Rome now", "jetzt (Rome).", (Span(0, 4, "X"),)))
    assert projection.target == Span(7, 11, "X")


def test_low_scores_and_untranslated_parts_have_their_reasons() -> None:
    source = "the Commission met Ana"
    text = TranslatedText(source, "die Kommission traf Ana", spans_of(source, "Commission", "Ana"))
    one, two = project(text, min_score=0.9)
    assert (one.reason, one.score) == (Reason.LOW_SCORE, pytest.approx(0.81))
    assert two.target is not None
    text = TranslatedText("Ana. Ben.", "Ana.", spans_of("Ana. Ben.", "Ben"), (Segment(0, 4, 0, 4),))
    assert project(text)[0].reason is Reason.TRUNCATED


def test_a_match_is_looked_for_in_its_own_segments_alone() -> None:
    source, target = "Ann. Ben.", "Ben. Ana."
    text = TranslatedText(source, target, spans_of(source, "Ben"), (Segment(0, 4, 0, 4), Segment(5, 9, 5, 9)))
    assert project(text)[0].reason is Reason.NO_CANDIDATE


@pytest.mark.parametrize("options", [{"fuzzy": 0.0}, {"fuzzy": 1.1}, {"min_score": -0.1}])
def test_settings_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected 0 < fuzzy <= 1 and 0 <= min_score <= 1"):
        MatchProjector(**options)  # type: ignore[arg-type]


words = st.text(st.characters(categories=("Ll", "Lu", "Nd", "Mn")), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(words, min_size=1, max_size=8), st.data())
def test_spans_stay_where_they_are_in_the_same_text(texts: list[str], data: st.DataObject) -> None:
    text = " ".join(texts)
    tokens = [Token(len(" ".join(texts[:n])) + (n > 0), len(" ".join(texts[: n + 1]))) for n in range(len(texts))]
    first = data.draw(st.integers(0, len(tokens) - 1))
    last = data.draw(st.integers(first, len(tokens) - 1))
    span = Span(tokens[first].start, tokens[last].end, "X")
    [projection] = project(TranslatedText(text, text, (span,), (), tuple(tokens), tuple(tokens)))
    assert projection.target == span
    assert projection.score in (0.5, 1.0)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["Ana", "Anna", "Ben", "die", "1,5", "Haus", "house", ","]), min_size=1, max_size=10))
def test_spans_that_stood_apart_stay_apart_on_token_boundaries(texts: list[str]) -> None:
    source, target = "Ana and Ben and Ana house 1.5", " ".join(texts)
    spans = spans_of(source, "Ana", "Ben", "Ana", "house", "1.5")
    ends = {len(" ".join(texts[: n + 1])) for n in range(len(texts))}
    tokens = tuple(Token(end - len(word), end) for end, word in zip(sorted(ends), texts, strict=True))
    found = [each.target for each in project(TranslatedText(source, target, spans, (), None, tokens))]
    taken = sorted((each.start, each.end) for each in found if each)
    assert all(start in {token.start for token in tokens} and end in ends for start, end in taken)
    assert all(one[1] <= other[0] for one, other in pairwise(taken))


@given(st.integers(0, 10**9), st.integers(0, 99))
def test_numbers_agree_across_locales(whole: int, cents: int) -> None:
    english = f"{whole:,}.{cents:02}"
    german = english.translate(str.maketrans(",.", ".,"))
    french = english.translate({ord(","): "\u202f", ord("."): ","})
    assert numbers_agree(english, german) and numbers_agree(english, french)
    assert not numbers_agree(english, f"{whole:,}.{(cents + 1) % 100:02}")
    arabic = german.translate({ord("0") + digit: 0x660 + digit for digit in range(10)})
    assert numbers_agree(english, arabic)


@given(st.integers(0, 23), st.integers(0, 59))
def test_times_agree_across_clocks(hour: int, minute: int) -> None:
    half = "am" if hour < 12 else "p.m."
    assert moments(f"{(hour - 1) % 12 + 1}:{minute:02} {half}") == moments(f"{hour}:{minute:02} Uhr")


@pytest.mark.parametrize("text", ["13:00 pm", "25:00", "7:75", "31/31/2024", "2024-02-30", "twelve", "", "1.2.3"])
def test_what_is_no_time_or_date(text: str) -> None:
    assert moments(text) == frozenset()


@given(st.text(max_size=20))
def test_a_key_does_not_depend_on_the_normal_form(text: str) -> None:
    assert surface_key(unicodedata.normalize("NFC", text)) == surface_key(unicodedata.normalize("NFD", text))
    assert surface_key(f"{text} - ") == surface_key(text)
