"""Tokens to running text and back, with exact offsets both ways.

A translation model wants ``He said, "No."``, a token-labelled file has ``He said , " No . "``. `detokenize` decides
between each two tokens whether a space belongs there, and never changes a token: ``text[start:end]`` is the token,
and between two tokens stands one space or nothing. `locate` goes the other way, where the text is given.

The rules, in the order they are asked:

1. Writing systems without spaces (Chinese, Japanese; Thai, Lao, Khmer, Burmese among themselves) join.
2. Quotation marks attach to what they quote. ``"`` and ``'`` open and close in turn; the pairs „ “, “ ”, « », » « and
   ‘ ’ are told apart by what is open, so that German, English and French usage all come out.
3. Closing punctuation and brackets attach to the left, opening ones (also ¿ ¡ and a currency sign before a number) to
   the right.
4. Clitics attach: English ``'s n't 're``, French and Italian ``l' qu' dell'``.

A hyphen or slash that stands alone keeps its spaces: tokens do not tell a dash from a hyphen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from spanferry.data.errors import DataError

_LEFT: Final = frozenset(",.;:!?%‰)]}…’”›»،؛؟।॥。！？")  # attach to the word before
_RIGHT: Final = frozenset("([{¿¡")  # attach to the word after
_CURRENCY: Final = frozenset("$£€¥₹₩")
_CLITIC: Final = re.compile(r"(?:['’](?:s|m|d|re|ve|ll|t)|n['’]t)", re.IGNORECASE)
_ELISION: Final = re.compile(
    r"(?:[cdjlmnstv]|\w*qu|\w*ll|gl|un|quest|sant|tutt|mezz|dov|com|cos|anch|senz|grand|entr|aujourd)['’]",
    re.IGNORECASE,
)
_APOSTROPHES: Final = frozenset("'’")
_CLITIC_LETTERS: Final = frozenset({"s", "m", "d", "re", "ve", "ll", "t"})
_CUT_SHORT: Final = frozenset({"po", "mo", "be", "e"})  # Italian: po' (poco), E' (È)
# What closes a quotation mark that is open.
_CLOSERS: Final = {
    '"': '"', "'": "'", "``": "''", "“": "”", "„": "“”", "‚": "‘’", "‘": "’", "”": "”",
    "«": "»", "»": "«", "‹": "›", "›": "‹",
}  # fmt: skip
_QUOTES: Final = frozenset(_CLOSERS) | frozenset("’") | {"''"}
# Ranges of scripts that write no space between words: the first joins with anything, the second with its own kind.
_JOINS_ALL: Final = (
    (0x2E80, 0x303F), (0x3040, 0x30FF), (0x3100, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFE30, 0xFE4F), (0xFF00, 0xFF9F), (0x20000, 0x3FFFF),
)  # fmt: skip
_JOINS_OWN: Final = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x19E0, 0x19FF), (0xA9E0, 0xA9FF))


def detokenize(tokens: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return running text made of ``tokens`` and the (start, end) of each token in it.

    Raises:
        DataError: a token is empty.

    >>> detokenize(["He", "said", ",", '"', "No", ".", '"'])
    ('He said, "No."', ((0, 2), (3, 7), (7, 8), (9, 10), (10, 12), (12, 13), (13, 14)))
    >>> detokenize(["L'", "eau", "(", "25", "%", ")"])[0], detokenize(["他", "住", "在", "北京", "。"])[0]
    ("L'eau (25%)", '他住在北京。')
    """
    pieces: list[str] = []
    offsets: list[tuple[int, int]] = []
    end = 0
    for index, (token, space) in enumerate(zip(tokens, _spaces(tokens), strict=True)):
        if not token:
            raise DataError(f"token {index} is empty: expected at least one character")
        start = end + space
        end = start + len(token)
        pieces.append(" " + token if space else token)
        offsets.append((start, end))
    return "".join(pieces), tuple(offsets)


def locate(tokens: Iterable[str], text: str) -> tuple[tuple[int, int], ...]:
    """Return the (start, end) of each token in ``text``; only white space may lie between them.

    Raises:
        DataError: the text goes on with something else than the next token.

    >>> locate(["Zoë", "lacht", "."], "Zoë  lacht.")
    ((0, 3), (5, 10), (10, 11))
    """
    offsets: list[tuple[int, int]] = []
    end = 0
    for index, token in enumerate(tokens):
        start = end
        while not text.startswith(token, start):
            if start >= len(text) or not text[start].isspace():
                raise DataError(
                    f"token {index} is {token!r}, but the text goes on with {text[start : start + 20]!r}",
                    hint="tokens must be the words of the text; leave the text out (columns: {text: null}) to have it "
                    "made from the tokens",
                )
            start += 1
        if not token:
            raise DataError(f"token {index} is empty: expected at least one character")
        end = start + len(token)
        offsets.append((start, end))
    return tuple(offsets)


def _spaces(tokens: Sequence[str]) -> list[bool]:
    """Return for each token whether a space stands before it."""
    spaces = [False] * len(tokens)
    apostrophes = {index: _apostrophe(tokens, index) for index, token in enumerate(tokens) if token in _APOSTROPHES}
    open_quotes: list[str] = []
    glued = True  # nothing may stand between the token before and this one
    before = ""
    for index, token in enumerate(tokens):
        if token.isascii() and token.isalnum():  # most tokens
            opens = closes = attaches = right = False
        elif index in apostrophes and apostrophes[index] != "quote":
            opens, closes = False, True
            attaches, right = True, apostrophes[index] == "inside"
        else:
            opens = closes = False
            if token in _QUOTES:
                opens, closes = _quote_role(tokens, index, open_quotes, apostrophes)
            attaches = closes or (not opens and _attaches_left(token, before))
            right = opens or (not closes and _attaches_right(token, tokens, index))
        blank = token.isspace() or before.isspace()
        spaces[index] = not (glued or attaches or blank or _joined_script(before, token))
        glued, before = right, token
    return spaces


def _apostrophe(tokens: Sequence[str], index: int) -> str:
    """Tell what an apostrophe that is a token of its own is: "inside" a word, at its "end", or a "quote"."""
    before = tokens[index - 1] if index else ""
    after = tokens[index + 1] if index + 1 < len(tokens) else ""
    if before[-1:].isalpha():
        if after.lower() in _CLITIC_LETTERS or (after[:1].isalpha() and _ELISION.fullmatch(before + "'")):
            return "inside"
        if before.lower() in _CUT_SHORT:
            return "end"
    return "quote"


def _quote_role(
    tokens: Sequence[str], index: int, open_quotes: list[str], apostrophes: Mapping[int, str]
) -> tuple[bool, bool]:
    """Tell whether the quotation mark at ``index`` opens or closes, and keep the stack of what is open."""
    mark = tokens[index]
    for depth in range(len(open_quotes) - 1, -1, -1):
        if mark in _CLOSERS[open_quotes[depth]]:
            del open_quotes[depth:]
            return False, True
    if mark in ("’", "''"):
        return False, True
    later = any(
        tokens[other] in _CLOSERS[mark] and apostrophes.get(other, "quote") == "quote"
        for other in range(index + 1, len(tokens))
    )
    if not later and index and _is_unpaired_closer(mark, tokens[index - 1], index == len(tokens) - 1):
        return False, True
    open_quotes.append(mark)
    return True, False


def _is_unpaired_closer(mark: str, before: str, last: bool) -> bool:
    """Tell whether a mark with no partner to come attaches to the word before: at the end, 6 ", teachers ', … ”."""
    if last or mark in "”»›":
        return True
    return (mark == '"' and before[-1:].isdigit()) or (mark == "'" and before[-1:] in "sxz")


def _attaches_left(token: str, before: str) -> bool:
    if token[:1] in "'’nN" and _CLITIC.fullmatch(token):
        return before[-1:].isalnum() or before[-1:] == "."
    if len(token) > 1 and token[0] in ":;":  # an emoticon
        return False
    if token[:1] in ".…" and before == ",":  # an omission in a list
        return False
    return bool(token) and all(character in _LEFT for character in token)


def _attaches_right(token: str, tokens: Sequence[str], index: int) -> bool:
    if all(character in _RIGHT for character in token):
        return True
    after = tokens[index + 1] if index + 1 < len(tokens) else ""
    if token[-1:] in _CURRENCY and not token[:1].isdigit():
        before = tokens[index - 1] if index else ""
        return after[:1].isdigit() and not before[-1:].isdigit()
    return token[-1:] in "'’" and after[:1].isalnum() and _ELISION.fullmatch(token) is not None


def _joined_script(before: str, after: str) -> bool:
    if before.isascii() and after.isascii():
        return False
    left, right = ord(before[-1:] or "\0"), ord(after[:1] or "\0")
    if _within(left, _JOINS_ALL) or _within(right, _JOINS_ALL):
        return True
    return any(low <= left <= high and low <= right <= high for low, high in _JOINS_OWN)


def _within(point: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return point >= ranges[0][0] and any(low <= point <= high for low, high in ranges)
