"""What must come through unchanged: found, verified, masked, restored."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.data.errors import ConfigError
from spanferry.translation.protect import KINDS, Item, Protector, edges, mask

PROTECTOR = Protector()


def kinds_and_texts(text: str) -> list[tuple[str, str]]:
    return [(item.kind, item.text) for item in PROTECTOR.find(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nothing to see, really; nothing!", []),
        ("See https://a.org/x?y=1&z=ü#top.", [("url", "https://a.org/x?y=1&z=ü#top")]),
        ("(http://en.wikipedia.org/wiki/Zen_(koan))", [("url", "http://en.wikipedia.org/wiki/Zen_(koan)")]),
        ("请看https://a.org/x。谢谢", [("url", "https://a.org/x")]),
        ("„www.a.de/b“ and shop.example.com, too", [("url", "www.a.de/b"), ("url", "shop.example.com")]),
        ("Mail j.doe+x@mail.a.org, please", [("email", "j.doe+x@mail.a.org")]),
        ("联系foo@bar.com吧", [("email", "foo@bar.com")]),
        ("Hi {name}, {0}, {}, {{x y}}, ${v}", [("placeholder", p) for p in ("{name}", "{0}", "{}", "{{x y}}", "${v}")]),
        ("%s of %(n)d at %5.2f and %1$s", [("placeholder", p) for p in ("%s", "%(n)d", "%5.2f", "%1$s")]),
        ("100% sure, 5%", [("number", "100"), ("number", "5")]),
        ("<b>bold</b> <br/> <a x='y z'>", [("placeholder", p) for p in ("<b>", "</b>", "<br/>", "<a x='y z'>")]),
        ("a < b and c > d; I <3 you", [("number", "3")]),
        ("Tom &amp; Jerry &#169;", [("placeholder", "&amp;"), ("placeholder", "&#169;")]),
        ("Let $x^2 + 1$ be \\(a_1\\) or \\[b\\]", [("math", "$x^2 + 1$"), ("math", "\\(a_1\\)"), ("math", "\\[b\\]")]),
        ("It costs $5 or $10, not $7-$8.", [("number", n) for n in ("5", "10", "7", "8")]),
        ("He has $x$ and pays in US$ or CA$ only", [("math", "$x$")]),
        ("Call `f(1)` and ``g`h`` now", [("code", "`f(1)`"), ("code", "``g`h``")]),
        ("1,000.5 and 12 300 and 19:30 and 3", [("number", n) for n in ("1,000.5", "12 300", "19:30", "3")]),
        ("٣ من ١٢٫٥", [("number", "٣"), ("number", "١٢٫٥")]),
    ],
)
def test_find(text: str, expected: list[tuple[str, str]]) -> None:
    assert kinds_and_texts(text) == expected


def test_only_the_kinds_asked_for() -> None:
    text = "3 {a} https://a.org `x`"
    assert [item.kind for item in Protector(["url", "number"]).find(text)] == ["number", "url"]
    assert Protector([]).find(text) == []


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown kind of protected matter 'nummer': did you mean 'number'\?"):
        Protector(["nummer"])


@pytest.mark.parametrize(
    ("source", "target", "lost"),
    [
        ("It has 1,000.5 m", "Es hat 1.000,5 m", []),
        ("It has 12,300 m", "Il y a 12\u202f300 m", []),
        ("It has 12,300 m", "Es hat 1.300 m", ["12,300"]),
        ("at 19.30", "um 19:30 Uhr", []),
        ("three at two", "3 um 2", []),
        ("3 dogs", "drei Hunde", ["3"]),
        ("3 dogs", "٣ كلاب", []),
        ("3 and 3", "3 und drei", ["3"]),
        ("in 2019 300 men", "im Jahr 2019 waren 300 Mann", []),
        ("1,2,3", "1, 2, 3", []),
        ("1.5 and 51", "51 und 1,5", []),
        ("See https://a.org/x.", "Siehe https://a.org/x.", []),
        ("See https://a.org/x.", "Siehe https://a.org/xy.", ["https://a.org/x"]),
        ("Hi {name}!", "Hallo {Name}!", ["{name}"]),
        ("Hi {name}!", "{name} {name}!", ["{name}"]),
        ("{a} and {b}", "{b} und {a}", []),
        ("%s is $x$", "$x$ ist %s", []),
        ("Run `ls`", "Führe 'ls' aus", ["`ls`"]),
    ],
)
def test_what_counts_as_lost(source: str, target: str, lost: list[str]) -> None:
    assert [item.text for item in PROTECTOR.lost(PROTECTOR.find(source), target)] == lost


PIECES = st.sampled_from(
    [
        "https://a.org/x",
        "a@b.de",
        "{name}",
        "%s",
        "$x^2$",
        "`f()`",
        "3",
        "1,000.5",
        "word",
        "X1",
        "...",
        "你",
        "é",
        "()",
    ]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=8).map(" ".join))
def test_items_are_in_order_and_an_unchanged_text_loses_nothing(text: str) -> None:
    items = PROTECTOR.find(text)
    position = 0
    for item in items:
        assert position <= item.start < item.end
        assert text[item.start : item.end] == item.text
        position = item.end
    assert PROTECTOR.lost(items, text) == []
    assert PROTECTOR.lost(items, "") == sorted(items, key=lambda item: item.start)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=8).map(" ".join))
def test_mask_and_restore_are_inverse(text: str) -> None:
    masked = mask(text, PROTECTOR.find(text), "X{}")
    assert masked.restore(masked.text) == text


def test_stand_ins_avoid_what_the_sentence_has() -> None:
    items = [Item("placeholder", 15, 18, "{a}"), Item("placeholder", 23, 26, "{b}")]
    masked = mask("x1 and X2 like {a} and {b}", items, "X{}")
    assert masked.text == "x1 and X2 like X3 and X4"
    assert masked.restore("X4 et X3 aiment x1") == "{b} et {a} aiment x1"


@pytest.mark.parametrize("translated", ["nothing", "X1", "X1 X2 X2", "X1 X23", "AX1 X2"])
def test_restore_refuses_what_is_not_there_exactly_once(translated: str) -> None:
    sentence = "{a} {b}"
    assert mask(sentence, PROTECTOR.find(sentence), "X{}").restore(translated) is None


def test_a_tag_that_touches_a_word_is_given_room_and_closed_up_again() -> None:
    sentence = "an <b>old</b> house"
    masked = mask(sentence, PROTECTOR.find(sentence), "X{}")
    assert masked.text == "an X1 old X2 house"
    assert masked.restore("ein X1 altes X2 Haus") == "ein <b>altes</b> Haus"


def test_a_number_in_a_word_is_not_masked() -> None:
    sentence = "MP3 with 128 kb"
    assert mask(sentence, PROTECTOR.find(sentence), "X{}").text == "MP3 with X1 kb"


def test_ten_stand_ins_are_told_apart() -> None:
    sentence = " ".join("{" + letter + "}" for letter in "abcdefghijkl")
    masked = mask(sentence, PROTECTOR.find(sentence), "X{}")
    assert masked.restore(" ".join(reversed(masked.text.split()))) == " ".join(reversed(sentence.split()))


@pytest.mark.parametrize(
    ("sentence", "inner"),
    [
        ("See https://a.org.", "See"),
        ("{name}, come here (https://a.org)!", ", come here ("),
        ("Go to https://a.org now", "Go to https://a.org now"),
        ("{a} {b} is %s", "is"),
        ("no items", "no items"),
        ("{a}", ""),
    ],
)
def test_edges(sentence: str, inner: str) -> None:
    start, end = edges(sentence, PROTECTOR.find(sentence))
    assert sentence[start:end] == inner


def test_blocks() -> None:
    text = "Look:\n```python\nx = 1\n\ny = 2\n```\nand\n$$\na = b\n$$ too ``` alone"
    found = [text[start:end] for start, end in PROTECTOR.blocks(text)]
    assert found == ["```python\nx = 1\n\ny = 2\n```", "$$\na = b\n$$"]
    assert Protector(["url"]).blocks(text) == []


@pytest.mark.parametrize("unit", ["a", "a.", "a-", "1", "1,", "$", "$a", "`", "\\(", "{", "<a ", "a@", "www.", "%("])
def test_a_long_run_of_anything_takes_no_time(unit: str) -> None:
    # Quadratic expressions would run for minutes on this, and the suite would not end.
    text = (unit * 100_000)[:100_000]
    PROTECTOR.blocks(text)
    items = PROTECTOR.find(text)
    assert all(item.kind in KINDS for item in items)
