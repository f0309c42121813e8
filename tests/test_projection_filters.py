"""Filters: what each refuses and what it lets pass, and that a verdict touches what it is about and nothing else."""

from __future__ import annotations

import math
from typing import Any

import pytest

from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.filters import (
    SPAN_CHECKS,
    TEXT_CHECKS,
    Verdict,
    filter_names,
    filter_settings,
    judge,
    load_filter,
    load_filters,
)

EN, DE = "eng_Latn", "deu_Latn"


def text_verdict(name: str, source: str, target: str, *, language: str = DE, **settings: object) -> str | None:
    check = load_filter(name, **settings).text_check  # type: ignore[arg-type]
    assert check is not None
    return check(TranslatedText(source, target, ()), (), EN, language)


def span_verdict(
    name: str, source: str, target: str, coverage: tuple[float | None, float | None] = (None, None), **settings: object
) -> str | None:
    """Judge a span that is the whole source, projected onto the whole target."""
    check = load_filter(name, **settings).span_check  # type: ignore[arg-type]
    assert check is not None
    span = Span(0, len(source), "X")
    place = Span(0, len(target), "X")
    return check(TranslatedText(source, target, (span,)), Projection(span, place, "m", 1.0, None, "", *coverage))


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("empty", "Hello.", ""),
        ("empty", "Hello.", " \n"),
        ("copied", "We met in old Rome.", "we met  in old rome."),
        ("length_ratio", "A short line of text here.", "ja " * 30),
        ("length_ratio", "A line of text that goes on and on and on.", "Nein."),
        ("repetition", "It was good.", "Es war gut gut gut gut."),
        ("repetition", "It was good.", "Es war . . . . . . . ."),
        ("repetition", "It was good.", "und so weiter und so weiter und so weiter und so weiter"),
        ("repetition", "Wait .... now.", "Warte .... jetzt jetzt jetzt jetzt jetzt jetzt jetzt jetzt jetzt"),
        ("script", "It was good.", "Это было хорошо."),
        ("language", "We met at the old market.", "We met at the old market in the middle of the town yesterday."),
        ("protected", "Pay 1,024 at https://a.org now", "Zahlen Sie 1.042 auf https://a.org"),
        ("protected", "Dear {name}, hi", "Liebe Name, hallo"),
    ],
)
def test_texts_that_are_refused(name: str, source: str, target: str) -> None:
    assert text_verdict(name, source, target)


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("empty", "", ""),
        ("empty", "Hello.", "Hallo."),
        ("copied", "Barack Obama", "Barack Obama"),
        ("copied", "We met in old Rome.", "Wir trafen uns in Rom."),
        ("length_ratio", "OK", "Einverstanden"),
        ("length_ratio", "A line of text that goes on.", "Eine Zeile Text, die weitergeht."),
        ("repetition", "Ha ha ha ha ha!", "Ha ha ha ha ha!"),
        ("repetition", "It was very, very good.", "Es war sehr, sehr, sehr gut."),
        ("repetition", "a million people", "1000000 Menschen"),
        ("script", "It was good.", "Es war gut."),
        ("script", "42", "42"),
        ("language", "ok", "ok"),
        ("language", "We met at the old market.", "Wir haben uns gestern auf dem alten Markt in der Stadt getroffen."),
        ("protected", "Pay 1,024.50 at https://a.org now", "Zahlen Sie 1.024,50 auf https://a.org"),
    ],
)
def test_texts_that_pass(name: str, source: str, target: str) -> None:
    assert text_verdict(name, source, target) is None


def test_chinese_is_as_long_as_english_by_width() -> None:
    source, target = "The committee met in Beijing yesterday.", "委员会昨天在北京开会。"
    assert text_verdict("length_ratio", source, target, language="zho_Hans") is None
    assert text_verdict("script", source, target, language="zho_Hans") is None
    assert text_verdict("script", source, target, language="jpn_Jpan") is None
    assert text_verdict("script", source, source, language="zho_Hans")


def test_a_language_that_the_identifier_does_not_know_passes() -> None:
    # Tigrinya has no label in py3langid 0.4, see the project's ecosystem notes: it would be taken for Amharic.
    assert text_verdict("language", "x", "ሰላም ዓለም ከመይ ኣለኹም ሎሚ መዓልቲ ጽቡቕ እዩ", language="tir_Ethi") is None


@pytest.mark.parametrize(
    ("name", "source", "target", "coverage"),
    [
        ("comp_src", "wine list", "lista", (0.5, 1.0)),
        ("comp_tgt", "wine list", "lista de vinos", (1.0, 2 / 3)),
        ("restr_tgt", "fries", "patatas fritas", (1.0, 1.0)),
        ("span_length", "the committee", "der Ausschuss für Wirtschaft und Währung und Industrie", (1.0, 1.0)),
        ("span_numbers", "2 May 1999", "2. Mai 1998", (1.0, 1.0)),
    ],
)
def test_spans_that_are_refused(name: str, source: str, target: str, coverage: tuple[float, float]) -> None:
    assert span_verdict(name, source, target, coverage)


@pytest.mark.parametrize(
    ("name", "source", "target", "coverage"),
    [
        ("comp_src", "wine list", "lista de vinos", (1.0, 2 / 3)),
        ("comp_src", "wine list", "lista", (None, None)),
        ("comp_tgt", "wine list", "lista", (0.5, 1.0)),
        ("restr_tgt", "wine list", "lista de vinos", (1.0, 1.0)),
        ("restr_tgt", "fries", "Pommes", (1.0, 1.0)),
        ("span_length", "USA", "Vereinigte", (1.0, 1.0)),
        ("span_length", "Beijing University", "北京大学", (1.0, 1.0)),
        ("span_numbers", "2 May 1999", "2. Mai 1999", (1.0, 1.0)),
        ("span_numbers", "Rome", "Rom", (1.0, 1.0)),
    ],
)
def test_spans_that_pass(name: str, source: str, target: str, coverage: tuple[float | None, float | None]) -> None:
    assert span_verdict(name, source, target, coverage) is None


def test_thresholds_are_settings() -> None:
    source, target = "A line of text here.", "Eine Zeile Text ist hier zu sehen."
    assert text_verdict("length_ratio", source, target) is None
    assert text_verdict("length_ratio", source, target, highest=1.5)
    assert text_verdict("protected", "Pay 5 at {x}", "Zahle fünf bei {x}", kinds=["placeholder"]) is None


SPANS = Span(0, 3, "PER"), Span(8, 13, "FOOD")
TEXT = TranslatedText("Ana ate fries", "Ana aß Pommes frites", SPANS)
FOUND = (
    Projection(SPANS[0], Span(0, 3, "PER"), "m", 1.0, None, "", 1.0, 1.0),
    Projection(SPANS[1], Span(7, 20, "FOOD"), "m", 0.8, None, "", 1.0, 1.0),
)


def run(**filters: dict[str, object] | None) -> tuple[tuple[Projection, ...], list[Verdict]]:
    return judge(TEXT, FOUND, load_filters(filters), field="text", source=EN, target=DE)


def test_a_flag_changes_nothing() -> None:
    projections, verdicts = run(restr_tgt=None)
    assert projections == FOUND
    assert verdicts == [Verdict("restr_tgt", "text", 1, "one word became 2", "flag")]


def test_drop_span_drops_that_span_alone_and_says_why() -> None:
    (kept, lost), verdicts = run(restr_tgt={"on_fail": "drop_span"})
    assert kept == FOUND[0]
    assert (lost.target, lost.reason, lost.detail) == (None, Reason.FILTERED, "restr_tgt: one word became 2")
    assert [verdict.on_fail for verdict in verdicts] == ["drop_span"]


def test_filters_of_texts_see_the_spans_that_are_left_whatever_the_order() -> None:
    for names in ("comp_ins", "restr_tgt"), ("restr_tgt", "comp_ins"):
        settings = {"comp_ins": {"on_fail": "drop_example"}, "restr_tgt": {"on_fail": "drop_span"}}
        _, verdicts = run(**{name: settings[name] for name in names})
        assert [(v.filter, v.span, v.detail) for v in verdicts] == [
            ("restr_tgt", 1, "one word became 2"),
            ("comp_ins", None, "FOOD: 0 of 1 spans"),
        ]


def test_a_span_that_is_lost_already_is_not_judged() -> None:
    lost = Projection(SPANS[1], None, "m", reason=Reason.UNALIGNED)
    projections, verdicts = judge(
        TEXT, (FOUND[0], lost), load_filters(dict.fromkeys(SPAN_CHECKS)), field="text", source=EN, target=DE
    )
    assert projections == (FOUND[0], lost)
    assert verdicts == []


@pytest.mark.parametrize("name", filter_names())
def test_every_filter_explains_itself_and_loads(name: str) -> None:
    check = SPAN_CHECKS.get(name) or TEXT_CHECKS[name]
    assert check.__doc__
    loaded = load_filter(name)
    assert loaded.on_fail == "flag"
    assert (loaded.span_check is None) != (loaded.text_check is None)


def test_mistakes_in_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'length_ratio'"):
        load_filter("lenght_ratio")
    with pytest.raises(ConfigError, match="did you mean 'lowest'"):
        load_filter("script", lowset=0.3)
    with pytest.raises(ConfigError, match="did you mean 'drop_span'"):
        load_filter("comp_src", on_fail="drop_spans")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="not drop_span"):
        load_filter("script", on_fail="drop_span")
    with pytest.raises(ConfigError, match="has no setting 'name': known: highest"):
        load_filters({"length_ratio": {"name": "script"}})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("protected", {"kinds": ["url", "nubmer"]}, "filter 'protected': kinds has 'nubmer': did you mean 'number'"),
        ("protected", {"kinds": "number"}, "kinds is 'number', expected a list of some of code, math"),
        ("protected", {"kinds": [3]}, "kinds has 3: known: code"),
        ("length_ratio", {"highest": "3"}, "filter 'length_ratio': highest is '3', expected a number"),
        ("length_ratio", {"highest": True}, "highest is True, expected a number"),
        ("length_ratio", {"highest": float("nan")}, "highest is nan, expected a number"),
        ("length_ratio", {"lowest": 3.5}, "lowest is 3.5 and highest 3, expected lowest to be no more"),
        ("script", {"lowest": None}, "lowest is None, expected a number"),
        ("span_length", {"lowest": 9, "highest": 1}, "lowest is 9 and highest 1, expected lowest to be no more"),
        ("span_length", {"shortest": 2.5}, r"shortest is 2\.5, expected a whole number"),
        ("copied", {"fewest_words": [4]}, r"fewest_words is \[4\], expected a whole number"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_named(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_filter(name, **settings)


@pytest.mark.parametrize("name", filter_names())
def test_every_default_is_a_value_that_its_setting_can_have(name: str) -> None:
    load_filter(name, **filter_settings(name))
    load_filter(name, **{key: math.inf for key in filter_settings(name) if key == "highest"})
