"""A piece of one translation, found again in another translation of the same text.

The piece is what stood between marks in a translation that was made with them; the other text was made without. Where
both read the same, so do the places. Else every range of words is a candidate, in so far as it reads like the piece,
or like the source's own words, as names and numbers do; of several that read alike, the one that is where the piece
would be is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spanferry.alignment.base import Token
from spanferry.projection.marks import Range
from spanferry.projection.selection import Candidate
from spanferry.projection.similarity import similarity
from spanferry.projection.snap import trim_punctuation

_MOST = 8
"""So many candidates of a piece are kept; those after them matter only if all of these are taken."""


class Piece(NamedTuple):
    """What to look for.

    Attributes:
        text: the translation that the piece is from.
        start, end: where in it the piece stands.
        words: what it translates.
    """

    text: str
    start: int
    end: int
    words: str


def find_piece(
    piece: Piece, target: str, stretch: Range, units: Sequence[Token], *, at_least: float = 0.7
) -> list[Candidate]:
    """Return where a piece may stand in another translation, best first; the score is the similarity, 0..1.

    Args:
        piece: what to look for.
        target: the other translation.
        stretch: the part of ``target`` to look in: what corresponds to ``piece.text``.
        units: what a place begins and ends at, over the whole of ``target``.
        at_least: a place reads as much like the piece as this, 0..1 (`similarity`).

    >>> units = [Token(0, 6), Token(7, 9), Token(10, 13), Token(14, 19), Token(19, 20)]
    >>> text = "Gestern in Rom"
    >>> find_piece(Piece(text, 11, 14, "Rome"), "Roms.. in Rom heute.", (0, 20), units)[0][:3]
    (10, 13, 1.0)
    """
    begin, stop = stretch
    inside = [unit for unit in units if unit.end > begin and unit.start < stop]
    if piece.text == target[begin:stop]:
        start, end = snapped(inside, begin + piece.start, begin + piece.end)
        return [Candidate(start, end, 1.0)]
    wanted = piece.text[piece.start : piece.end]
    keys = [wanted, piece.words] if _telling(piece.words) else [wanted]
    scored = _alike(keys, target, inside, at_least)
    expected = _expected(piece, target, begin, stop, [each for each in scored if each[2] == 1.0])
    candidates = [
        Candidate(start, end, score, min(1.0, abs(start - expected) / max(1, stop - begin)))
        for start, end, score in scored
    ]
    return sorted(candidates, key=lambda each: (-each.score, each.distance, each.start, each.end))[:_MOST]


def snapped(units: Sequence[Token], start: int, end: int) -> Range:
    """Widen a range to the units that it touches; a range that touches none stays.

    >>> snapped([Token(0, 3), Token(4, 9)], 5, 7)
    (4, 9)
    """
    touched = [unit for unit in units if unit.end > start and unit.start < end]
    return (touched[0].start, touched[-1].end) if touched else (start, end)


def _alike(keys: Sequence[str], target: str, units: Sequence[Token], at_least: float) -> list[tuple[int, int, float]]:
    """Return the ranges of units that read like one of the keys: those that read the same, if there are any."""
    longest = max(map(len, keys)) * (2 - at_least) / max(at_least, 0.1)
    read: dict[Range, str] = {}
    for first, opening in enumerate(units):
        for closing in units[first:]:
            if closing.end - opening.start > longest + 2:  # a quotation mark on either side
                break
            start, end = trim_punctuation(target, opening.start, closing.end, like=keys[0])
            if start < opening.end and end > closing.start:  # else it begins or ends with nothing but punctuation
                read[opening.start, closing.end] = target[start:end]
    folded = [key.casefold() for key in keys]
    for key in folded:
        same = [(*place, 1.0) for place, text in read.items() if text.casefold() == key]
        if same:
            return same
    scored = [(*place, max(similarity(key, text, at_least=at_least) for key in keys)) for place, text in read.items()]
    return [each for each in scored if each[2] > 0]


def _telling(words: str) -> bool:
    """Tell whether words are likely to stand in a translation as they are."""
    return any(map(str.isdigit, words)) or any(map(str.isupper, words))


def _expected(piece: Piece, target: str, begin: int, stop: int, same: Sequence[tuple[int, int, float]]) -> float:
    """Return where the piece would start in the stretch: the n-th mention there where it is the n-th here, else by
    its share of the way."""
    wanted = piece.text[piece.start : piece.end]
    here = _mentions(piece.text, wanted)
    if len(here) == len(same) and piece.start in here:
        return sorted(same)[here.index(piece.start)][0]
    return begin + (stop - begin) * piece.start / max(1, len(piece.text))


def _mentions(text: str, words: str) -> list[int]:
    found, at = [], text.find(words)
    while at >= 0:
        found.append(at)
        at = text.find(words, at + len(words))
    return found
