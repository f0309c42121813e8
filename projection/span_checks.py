"""Checks of one projected span: each returns what is wrong with it, or None. All are pure functions.

Filters of noisily projected labels are weighed by Ebing and Glavaš ("The Devil Is in the Word Alignment Details", ACL
2025, arXiv 2505.10507); the first three are of that kind, for a span and the projector's own words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from spanferry.alignment.base import Token
from spanferry.projection.base import Projection, TranslatedText
from spanferry.translation.protect import Protector

_WORD = re.compile(r"\w+")
_NUMBERS = Protector(["number"])


def comp_src(text: TranslatedText, projection: Projection) -> str | None:
    """COMP-SRC: every word of the source span has a counterpart in the target span.

    Passes where the method does not look at words.
    """
    share = projection.source_coverage
    return None if share is None or share == 1.0 else f"{share:.0%} of the source span's words have a counterpart"


def comp_tgt(text: TranslatedText, projection: Projection) -> str | None:
    """COMP-TGT: every word of the target span has a counterpart in the source span, so it has no gap.

    Passes where the method does not look at words.
    """
    share = projection.target_coverage
    return None if share is None or share == 1.0 else f"{share:.0%} of the target span's words have a counterpart"


def restr_tgt(text: TranslatedText, projection: Projection) -> str | None:
    """RESTR-TGT: a source span of one word has a target span of one word.

    Words are the tokens that the data brings, else runs of letters and digits.

    >>> from spanferry.data.example import Span
    >>> text = TranslatedText("fries", "patatas fritas", (Span(0, 5, "FOOD"),))
    >>> restr_tgt(text, Projection(text.spans[0], Span(0, 14, "FOOD"), "alignment"))
    'one word became 2'
    """
    if projection.target is None:
        return None
    here, there = projection.source, projection.target
    if _count_words(text.source, text.source_tokens, here.start, here.end) != 1:
        return None
    words = _count_words(text.target, text.target_tokens, there.start, there.end)
    return None if words <= 1 else f"one word became {words}"


def _count_words(text: str, tokens: tuple[Token, ...] | None, start: int, end: int) -> int:
    if tokens is None:
        return len(_WORD.findall(text[start:end]))
    return sum(1 for token in tokens if token.start < end and start < token.end)


def span_length(
    text: TranslatedText, projection: Projection, *, lowest: float = 0.25, highest: float = 4.0, shortest: int = 12
) -> str | None:
    """The target span is between `lowest` and `highest` times as wide as the source span (see `width`).

    Passes while both are narrower than `shortest`. The limits are our own: wider than the 3 of `length_ratio`, since
    a few words vary more than a sentence.
    """
    if projection.target is None:
        return None
    here, there = projection.source, projection.target
    source, target = text.source[here.start : here.end], text.target[there.start : there.end]
    return ratio_problem(source, target, lowest, highest, shortest)


def span_numbers(text: TranslatedText, projection: Projection) -> str | None:
    """The numbers of the source span stand in the target span; ``1,000.5`` and ``1.000,5`` are the same.

    A number that the translation writes in words fails: a check for review rather than for dropping.
    """
    if projection.target is None:
        return None
    here, there = projection.source, projection.target
    lost = _NUMBERS.lost(_NUMBERS.find(text.source[here.start : here.end]), text.target[there.start : there.end])
    return f"lost {', '.join(item.text for item in lost)}" if lost else None


def ratio_problem(source: str, target: str, lowest: float, highest: float, shortest: int) -> str | None:
    """Say by what factor the widths of two texts differ, if it lies outside ``lowest..highest``."""
    here, there = width(source), width(target)
    if max(here, there) < shortest or lowest * here <= there <= highest * here:
        return None
    return f"{there / max(here, 1):.2f} times as long as its source, expected {lowest:.2f} to {highest:.2f}"


def width(text: str) -> int:
    """Count the characters that show, a wide one (Chinese, Japanese, Korean) as two.

    A wide character says about as much as two Latin letters, so widths of translations compare better than lengths.

    >>> width("Peking"), width("北京")
    (6, 4)
    """
    if text.isascii():
        return len(text)
    return sum(map(_width_of_one, text))


@lru_cache(maxsize=1 << 14)
def _width_of_one(character: str) -> int:
    return 0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
