"""Pairs of markers: which a model can read and write, and which a text leaves free.

A marker is put into a text as it stands here, blanks included, and taken out again the same way, so that the text
around it is never touched: ``Köln.`` becomes ``[ Köln ].``, and without ``[ `` and `` ]`` it is ``Köln.`` again. In
scripts that write without spaces between words there are no blanks: ``我住在[科隆]。``
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from spanferry.data.errors import ConfigError


class Markers(NamedTuple):
    """What stands before and after a marked range, blanks included.

    >>> Markers("[ ", " ]").around("See Rome.", 4, 8)
    'See [ Rome ].'
    """

    opening: str
    closing: str

    def around(self, text: str, start: int, end: int) -> str:
        """Return the text with ``text[start:end]`` marked."""
        return f"{text[:start]}{self.opening}{text[start:end]}{self.closing}{text[end:]}"

    def fitted(self, script: str) -> Markers:
        """Return the pair as it is written in a script (ISO 15924): without blanks where words have none between them.

        >>> Markers("[ ", " ]").fitted("Hans"), Markers("[ ", " ]").fitted("Latn")
        (Markers(opening='[', closing=']'), Markers(opening='[ ', closing=' ]'))
        """
        if script in UNSPACED_SCRIPTS:
            return Markers(self.opening.strip(), self.closing.strip())
        return self

    def free_in(self, text: str) -> bool:
        """Tell whether no character of the markers occurs in the text (letters, digits and blanks do not count)."""
        signs = {sign for sign in self.opening + self.closing if not sign.isalnum() and not sign.isspace()}
        return signs.isdisjoint(text)


UNSPACED_SCRIPTS = frozenset(("Hans", "Hant", "Hani", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"))
"""ISO 15924 codes of scripts without spaces between words (Korean has them)."""

DEFAULT_MARKERS = (
    Markers("[ ", " ]"),
    Markers("<a> ", " </a>"),
    Markers("( ", " )"),
    Markers("{ ", " }"),
    Markers("« ", " »"),
    Markers("* ", " *"),
    Markers("| ", " |"),
)
"""Tried in this order. Square brackets are what Codec and EasyProject use; the tags are LabelPigeon's."""


def usable_markers(
    pairs: Sequence[Markers], encode: Callable[[Sequence[str]], list[list[int]]], unknown: int | None
) -> list[Markers]:
    """Keep the pairs that a model's vocabulary can write, where a word begins and within one.

    Args:
        pairs: markers to look at.
        encode: texts -> token ids, special tokens excluded.
        unknown: the id that stands for what the vocabulary lacks.

    Raises:
        ConfigError: none is left.
    """
    # A marker twice, without a space between: the second one is within a word.
    pieces = [[text for marker in map(str.strip, pair) for text in (marker, marker + marker)] for pair in pairs]
    encoded = iter(encode([text for texts in pieces for text in texts]))
    kept = []
    for pair, texts in zip(pairs, pieces, strict=True):
        ids = [next(encoded) for _ in texts]
        if all(sequence and unknown not in sequence for sequence in ids):
            kept.append(pair)
    if not kept:
        tried = ", ".join("".join(pair) for pair in pairs)
        raise ConfigError(
            f"the model's vocabulary lacks every marker of {tried}: give markers that it has, or fine-tune the model "
            "with added tokens"
        )
    return kept


def choose_markers(pairs: Sequence[Markers], *texts: str) -> Markers | None:
    """Return the first pair of which nothing occurs in any of the texts; None if all are taken.

    >>> choose_markers(DEFAULT_MARKERS, "see [1]", "siehe [1]")
    Markers(opening='<a> ', closing=' </a>')
    """
    return next((pair for pair in pairs if all(map(pair.free_in, texts))), None)
