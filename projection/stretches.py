"""Where in a translation a span can lie at all: the stretch that renders its surroundings, and the words in it."""

from __future__ import annotations

from collections.abc import Sequence

import regex

from spanferry.alignment.base import Token
from spanferry.alignment.tokens import tokenize
from spanferry.data.example import Span
from spanferry.projection.base import TranslatedText
from spanferry.projection.marker_choice import UNSPACED_SCRIPTS
from spanferry.translation.languages import get_language

# Words of scripts that have them, else characters as readers see them.
_UNITS = regex.compile(r"[\p{Latin}\p{Cyrillic}\p{Greek}\p{M}]+|\p{N}+|(?!\s)\X", regex.VERSION1)


def stretch_of(span: Span, text: TranslatedText) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the part of the source that the span lies in and its rendering: all segments that it touches.

    None where it touches none. Where a span sticks out of its segments, the white space beside them comes along.

    >>> from spanferry.translation.base import Segment
    >>> segments = Segment(0, 3, 0, 5), Segment(4, 16, 6, 18)
    >>> text = TranslatedText("No. I like Rome.", "Nein. Ich mag Rom.", (), segments)
    >>> stretch_of(Span(11, 15, "LOC"), text)
    ((4, 16), (6, 18))
    """
    if not text.segments:
        return (0, len(text.source)), (0, len(text.target))
    touched = [each for each in text.segments if span.start < each.source_end and each.source_start < span.end]
    if not touched:
        return None
    first, last = min(touched[0].source_start, span.start), max(touched[-1].source_end, span.end)
    return (first, last), (touched[0].target_start, touched[-1].target_end)


def target_tokens(texts: Sequence[TranslatedText], language: str) -> list[tuple[Token, ...]]:
    """Return what a place may begin and end at: the data's own tokens, words, or characters where no spaces are.

    A text without spans and without tokens of its own has none.

    >>> text = TranslatedText("Rome", "罗马 2020", (Span(0, 4, "LOC"),))
    >>> [[text.target[start:end] for start, end in row] for row in target_tokens([text], "zho_Hans")]
    [['罗', '马', '2020']]
    """
    given = [text.target_tokens if text.spans else text.target_tokens or () for text in texts]
    return _tokens([text.target for text in texts], given, language)


def source_tokens(texts: Sequence[TranslatedText], language: str) -> list[tuple[Token, ...]]:
    """Return the same of the sources.

    >>> text = TranslatedText("Ana's dog", "el perro de Ana", (Span(0, 3, "PER"),))
    >>> source_tokens([text], "eng_Latn")
    [(Token(start=0, end=3), Token(start=3, end=5), Token(start=6, end=9))]
    """
    given = [text.source_tokens if text.spans else text.source_tokens or () for text in texts]
    return _tokens([text.source for text in texts], given, language)


def _tokens(texts: Sequence[str], given: Sequence[tuple[Token, ...] | None], language: str) -> list[tuple[Token, ...]]:
    missing = list(dict.fromkeys(text for text, tokens in zip(texts, given, strict=True) if tokens is None))
    if not missing:
        made = {}
    elif get_language(language).script in UNSPACED_SCRIPTS:
        made = {text: tuple(Token(*match.span()) for match in _UNITS.finditer(text)) for text in missing}
    else:
        made = dict(zip(missing, (text.tokens for text in tokenize(missing, language)), strict=True))
    return [made[text] if tokens is None else tokens for text, tokens in zip(texts, given, strict=True)]
