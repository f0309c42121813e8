"""Where exactly a span ends: punctuation around a target span, at the character level."""

from __future__ import annotations

from spanferry.projection.links import is_mark

_PAIRS = {
    ")": "(",
    "]": "[",
    "}": "{",
    "»": "«",
    "”": "“",
    "’": "‘",
    "）": "（",
    "」": "「",
    "』": "『",
    "】": "【",
    "》": "《",
}


def trim_punctuation(text: str, start: int, end: int, *, like: str) -> tuple[int, int]:
    """Leave out the punctuation around ``text[start:end]`` on each side where the source span `like` has none.

    A closing bracket stays when its opening one is inside; the point of an abbreviation ("J.", "U.S.") stays.
    A range of nothing but punctuation is returned as it is.

    >>> text = "Vive en «Madrid»."
    >>> start, end = trim_punctuation(text, 8, 17, like="Madrid")
    >>> text[start:end]
    'Madrid'
    >>> trim_punctuation("EE.UU.", 0, 6, like="USA"), trim_punctuation("Yahoo!", 0, 6, like="Yahoo!")
    ((0, 6), (0, 6))
    """
    first, last = start, end
    left, right = not is_mark(like[0]), not is_mark(like[-1])
    while first < last:
        opens, closes = is_mark(text[first]), is_mark(text[last - 1])
        if text[first].isspace() or (left and opens and not _closes_inside(text[first:last])):
            first += 1
        elif text[last - 1].isspace() or (right and closes and not _belongs(text[first:last])):
            last -= 1
        elif left and right and opens and closes:  # the two halves of one pair around the whole
            first, last = first + 1, last - 1
        else:
            break
    return (first, last) if first < last else (start, end)


def _belongs(piece: str) -> bool:
    """Tell whether the mark that ends `piece` is part of it."""
    mark = piece[-1]
    if mark == ".":
        word = piece.rsplit(maxsplit=1)[-1] if piece.split() else ""
        return "." in word[:-1].rstrip(".") or (len(word) == 2 and word[0].isalpha())
    opening = _PAIRS.get(mark)
    return opening is not None and piece.count(opening) >= piece.count(mark)


def _closes_inside(piece: str) -> bool:
    """Tell whether the bracket that begins `piece` has its other half in it."""
    return any(opening == piece[0] and closing in piece for closing, opening in _PAIRS.items())
