"""Marks around several ranges of a sentence: written into it, and read back from what a model made of it.

Two families. *Brackets* (EasyProject, Chen et al. 2023): every range has the same pair, ``[ Ana ] met [ Bo ]``, so
that their order, nesting and content have to tell which is which. *Tags* (LabelPigeon, 2026): every range has a name of
its own, ``<a>Ana</a> met <b>Bo</b>``, and may cross others.

The reader is a parser of these marks and of nothing else: all other characters, a literal ``<`` or ``&`` included, are
text. It reads the marks as they were written; only if that does not come out even, it also takes what models make of
them: full-width and CJK brackets, doubled ones, tags in capitals, with blanks, escaped, or without their slash. White
space on the inner side of a mark is the mark's; the writer is given ranges without white space at their ends, so that
what is read back is what was written, to the character.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from spanferry.projection.marker_choice import Markers

Range = tuple[int, int]
"""Half-open range of code points."""

Alike = Callable[[int, str], float]
"""How well (0..1) a marked piece of the translation goes with range ``i`` of the source."""

_ORDER_BONUS = 0.2
"""What keeping the source's order is worth when brackets are told apart, on the scale of `Alike`."""

# What models write in the place of a bracket: full-width forms, and what is usual in Chinese and Japanese.
_VARIANTS = {
    "[": "[［【〔〖《",
    "]": "]］】〕〗》",
    "(": "(（",
    ")": ")）",
    "{": "{｛",
    "}": "}｝",
    "«": "«《‹",
    "»": "»》›",
}
_OPENS, _SLASH, _CLOSES = "(?:[<＜〈‹]|&lt;)", "[/／∕]", "(?:[>＞〉›]|&gt;)"
_TAG_OPENING = re.compile(r"<(\w+)>")


class Stripped(NamedTuple):
    """A marked text without its marks.

    >>> stripped = Stripped.of("See [ Rome ].", [(4, 6), (10, 12)])
    >>> stripped.text, stripped.at(6), stripped.at(10), stripped.at(12)
    ('See Rome.', 4, 8, 8)
    """

    text: str
    removed: tuple[Range, ...]
    starts: tuple[int, ...]
    before: tuple[int, ...]

    @classmethod
    def of(cls, marked: str, removed: Sequence[Range]) -> Stripped:
        """Take stretches, in order and apart from one another, out of a text."""
        pieces, position = [], 0
        for start, end in removed:
            pieces.append(marked[position:start])
            position = end
        lengths = accumulate((end - start for start, end in removed), initial=0)
        starts = tuple(start for start, _ in removed)
        return cls("".join([*pieces, marked[position:]]), tuple(removed), starts, tuple(lengths))

    def at(self, position: int) -> int:
        """Return where a position of the marked text is in the text without marks; within a mark, where that was."""
        index = bisect_right(self.starts, position)
        if index and position < self.removed[index - 1][1]:
            return self.removed[index - 1][0] - self.before[index - 1]
        return position - self.before[index]


class Written(NamedTuple):
    """A text with marks in it, and the stretches that they take up, blanks included."""

    text: str
    removed: tuple[Range, ...]


class MarksRead(NamedTuple):
    """What came back.

    Attributes:
        text: without marks.
        removed: the stretches of the marked text that are not in `text`, in order.
        places: a range of the source each, its place in `text`; None where its marks did not come back.
        whole: every mark came back, once, and the ranges overlap only where those of the source do.
    """

    text: str
    removed: tuple[Range, ...]
    places: tuple[Range | None, ...]
    whole: bool


def write_marks(text: str, ranges: Sequence[Range], pairs: Sequence[Markers]) -> Written:
    """Put marks around ranges of a text: different ranges, without white space at their ends, nested as they may be.

    >>> write_marks("Bank of England", [(0, 15), (8, 15)], [Markers("<a>", "</a>"), Markers("<b>", "</b>")]).text
    '<a>Bank of <b>England</b></a>'
    """
    # At one place: what ends before what begins, the inner end first, the outer beginning first.
    events = [(end, 0, -start, pair.closing) for (start, end), pair in zip(ranges, pairs, strict=True)]
    events += [(start, 1, -end, pair.opening) for (start, end), pair in zip(ranges, pairs, strict=True)]
    pieces, removed, position, length = [], [], 0, 0
    for at, _, _, mark in sorted(events):
        pieces += [text[position:at], mark]
        length += at - position + len(mark)
        removed.append((length - len(mark), length))
        position = at
    return Written("".join([*pieces, text[position:]]), tuple(removed))


def tag_markers(count: int, text: str) -> list[Markers]:
    """Return tags with names that the text has no tag of: ``a`` to ``z``, then ``1``, ``2`` and so on.

    >>> [pair.opening for pair in tag_markers(2, "Press <a> or </B>.")]
    ['<c>', '<d>']
    """
    folded = text.casefold()
    names = (name for name in _names() if f"<{name}>" not in folded and f"</{name}>" not in folded)
    return [Markers(f"<{name}>", f"</{name}>") for _, name in zip(range(count), names, strict=False)]


def _names() -> Iterator[str]:
    yield from "abcdefghijklmnopqrstuvwxyz"
    number = 0
    while True:
        yield str(number := number + 1)


def read_marks(
    marked: str, ranges: Sequence[Range], pairs: Sequence[Markers], *, alike: Alike | None = None
) -> MarksRead:
    """Read back the marks that `write_marks` wrote for these ranges and pairs, from a translation.

    Args:
        marked: the translation of the text with marks.
        ranges: the ranges in the source; their order and nesting tell brackets apart.
        pairs: a range each: all the same bracket, or each a tag of its own.
        alike: tells brackets apart where several could be a range's; None goes by the order alone. Order counts with
            0.2, so that another assignment has to be clearly better.

    >>> brackets, names = [Markers("[ ", " ]")] * 2, ["Ana", "Bo"]
    >>> ranges = [(0, 3), (8, 10)]  # of "Ana met Bo."
    >>> read = read_marks("[[ Bo ] met［Ana］.", ranges, brackets, alike=lambda i, piece: piece == names[i])
    >>> read.text, read.places, read.whole
    ('Bo metAna.', ((6, 9), (0, 2)), True)
    >>> tags = [Markers("<a>", "</a>"), Markers("<b>", "</b>")]
    >>> read_marks("<b>Bo</b> met < A >Ana</a >, 1 < 2", ranges, tags)[::2]
    ('Bo met Ana, 1 < 2', ((7, 10), (0, 2)))
    """
    if not ranges:
        return MarksRead(marked, (), (), True)
    read = _read_tags if _TAG_OPENING.fullmatch(pairs[0].opening.strip()) else _read_brackets
    exact = read(marked, ranges, pairs, alike, lenient=False)
    if exact.whole:
        return exact
    loose = read(marked, ranges, pairs, alike, lenient=True)
    return loose if loose.whole or not any(exact.places) else exact


class _Token(NamedTuple):
    start: int
    end: int
    opens: bool
    name: str = ""


def _read_tags(
    marked: str, ranges: Sequence[Range], pairs: Sequence[Markers], alike: Alike | None, *, lenient: bool
) -> MarksRead:
    numbers = {pair.opening.strip()[1:-1]: number for number, pair in enumerate(pairs)}
    names = "|".join(map(re.escape, numbers))
    form = rf"{_OPENS}\s*({_SLASH})?\s*({names})\s*{_CLOSES}" if lenient else f"<(/)?({names})>"
    tokens = [
        _Token(*match.span(), match[1] is None, match[2].casefold())
        for match in re.finditer(form, marked, re.IGNORECASE if lenient else 0)
    ]
    places: list[tuple[_Token, _Token] | None] = [None] * len(ranges)
    for name, number in numbers.items():
        match [token for token in tokens if token.name == name]:
            # A second opening tag is a closing one without its slash.
            case [first, second] if first.opens and (not second.opens or lenient):
                places[number] = first, second
    return _stripped(marked, tokens, places, ranges, even=len(tokens) == 2 * len(ranges))


def _read_brackets(
    marked: str, ranges: Sequence[Range], pairs: Sequence[Markers], alike: Alike | None, *, lenient: bool
) -> MarksRead:
    opening, closing = (mark.strip() for mark in pairs[0])
    if lenient:
        opening, closing = _VARIANTS.get(opening, opening), _VARIANTS.get(closing, closing)
    tokens = [
        _Token(*match.span(), match[0] in opening)
        for match in re.finditer(f"[{re.escape(opening)}{re.escape(closing)}]", marked)
    ]
    wanted = _forest(ranges)
    found = _parse(tokens)
    if lenient and (found is None or _shape(found) != _shape(wanted)):
        found = _parse(_undoubled(marked, tokens))
    places: list[tuple[_Token, _Token] | None] = [None] * len(ranges)
    if found is not None and _shape(found) == _shape(wanted):
        for number, node in _assigned(wanted, found, marked, alike):
            places[number] = node.opening, node.closing
    return _stripped(marked, tokens, places, ranges, even=True)


def _undoubled(marked: str, tokens: Sequence[_Token]) -> list[_Token]:
    """Leave one of each run of equal brackets: the innermost."""
    kept: list[_Token] = []
    for token in tokens:
        if kept and kept[-1].opens == token.opens and not marked[kept[-1].end : token.start].strip():
            if not token.opens:
                continue
            kept.pop()
        kept.append(token)
    return kept


class _Node(NamedTuple):
    """A bracketed range and those in it: of the source (``number``) or of the translation (its tokens)."""

    children: list[_Node]
    number: int = -1
    opening: _Token = _Token(0, 0, True)
    closing: _Token = _Token(0, 0, False)


def _forest(ranges: Sequence[Range]) -> list[_Node]:
    """Nest ranges that do not cross."""
    roots: list[_Node] = []
    above: list[_Node] = []
    for number in sorted(range(len(ranges)), key=lambda number: (ranges[number][0], -ranges[number][1])):
        while above and ranges[above[-1].number][1] <= ranges[number][0]:
            above.pop()
        node = _Node([], number)
        (above[-1].children if above else roots).append(node)
        above.append(node)
    return roots


def _parse(tokens: Sequence[_Token]) -> list[_Node] | None:
    levels: list[list[_Node]] = [[]]
    openings: list[_Token] = []
    for token in tokens:
        if token.opens:
            openings.append(token)
            levels.append([])
        elif openings:
            inside = levels.pop()
            levels[-1].append(_Node(inside, -1, openings.pop(), token))
        else:
            return None
    return None if openings else levels[0]


_Shape = tuple["_Shape", ...]


def _shape(nodes: Sequence[_Node]) -> _Shape:
    return tuple(sorted(_shape(node.children) for node in nodes))


def _assigned(
    wanted: Sequence[_Node], found: Sequence[_Node], marked: str, alike: Alike | None
) -> Iterator[tuple[int, _Node]]:
    """Pair the ranges of the source with those found, level by level: the assignment with the highest sum."""
    order = list(range(len(found)))
    shapes = [_shape(node.children) for node in found]
    if len(wanted) > 1 and (alike is not None or [_shape(node.children) for node in wanted] != shapes):
        from scipy.optimize import linear_sum_assignment

        worth = [
            [
                (0.0 if alike is None else alike(node.number, marked[other.opening.end : other.closing.start].strip()))
                + _ORDER_BONUS * (i == j)
                - 1000.0 * (_shape(node.children) != shapes[j])
                for j, other in enumerate(found)
            ]
            for i, node in enumerate(wanted)
        ]
        order = [int(j) for j in linear_sum_assignment(worth, maximize=True)[1]]
    for node, j in zip(wanted, order, strict=True):
        yield node.number, found[j]
        yield from _assigned(node.children, found[j].children, marked, alike)


def _stripped(
    marked: str,
    tokens: Sequence[_Token],
    pairs: Sequence[tuple[_Token, _Token] | None],
    ranges: Sequence[Range],
    *,
    even: bool,
) -> MarksRead:
    """Take the marks out, the white space on their inner sides with them, and say where the ranges are then."""
    removed: list[Range] = []
    for token in tokens:
        start, end = token.start, token.end
        if token.opens:
            end += len(marked) - end - len(marked[end:].lstrip())
        else:
            start = len(marked[:start].rstrip())
        if removed and start <= removed[-1][1]:
            removed[-1] = (min(start, removed[-1][0]), max(end, removed[-1][1]))
        else:
            removed.append((start, end))
    stripped = Stripped.of(marked, removed)
    places: list[Range | None] = []
    for pair in pairs:
        place = (0, 0) if pair is None else (stripped.at(pair[0].end), stripped.at(pair[1].start))
        places.append(place if place[0] < place[1] else None)
    whole = even and None not in places
    for number, other in _newly_overlapping(places, ranges):
        places[number] = places[other] = None
        whole = False
    return MarksRead(stripped.text, tuple(removed), tuple(places), whole)


def _newly_overlapping(places: Sequence[Range | None], ranges: Sequence[Range]) -> list[Range]:
    return [
        (number, other)
        for number, place in enumerate(places)
        for other in range(number)
        if place is not None
        and (there := places[other]) is not None
        and place[0] < there[1]
        and there[0] < place[1]
        and not (ranges[number][0] < ranges[other][1] and ranges[other][0] < ranges[number][1])
    ]
