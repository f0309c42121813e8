"""Span algebra: tags and spans, spans and tokens, spans and spans. Pure functions, no input or output.

Three views of the same labels, and the ways between them:

    tags           ["B-PER", "I-PER", "O"]        one a token, in a chunk scheme (`SCHEMES`)
    token ranges   [TokenRange(0, 2, "PER")]      half-open, in tokens
    spans          [Span(0, 11, "PER")]           half-open, in characters of the text

Tags cannot hold spans that nest or cross; `flatten` chooses which to keep and returns what it left out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Final, Literal, NamedTuple

from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.example import Span

Scheme = Literal["IOB1", "IOB2", "BIOES", "BILOU", "IO"]
Snap = Literal["strict", "contract", "expand"]
Keep = Literal["longest", "shortest", "first"]
Offsets = tuple[int, int]

# Scheme -> the prefixes it writes, by the role they play.
SCHEMES: Final[dict[str, str]] = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES", "BILOU": "BILU", "IO": "I"}
_ALIASES: Final[dict[str, Scheme]] = {"BIO": "IOB2", "IOB": "IOB1", "BIO1": "IOB1", "BIO2": "IOB2", "IOBES": "BIOES"}


class TokenRange(NamedTuple):
    """A labelled range of tokens, ``start <= i < end``."""

    start: int
    end: int
    label: str


class TagError(DataError):
    """A tag that its scheme does not allow where it stands; ``position`` is its zero-based token."""

    def __init__(self, problem: str, *, position: int, hint: str | None = None) -> None:
        super().__init__(problem, hint=hint)
        self.position = position


def get_scheme(name: str) -> Scheme:
    """Return the scheme called ``name``, in any case; ``BIO`` is IOB2, ``IOBES`` is BIOES.

    Raises:
        ConfigError: there is no such scheme.

    >>> get_scheme("bio")
    'IOB2'
    """
    upper = name.upper()
    if upper in _ALIASES:
        return _ALIASES[upper]
    if upper not in SCHEMES:
        raise ConfigError(f"unknown tag scheme {name!r}: {did_you_mean(upper, [*SCHEMES, *_ALIASES])}")
    return upper  # type: ignore[return-value]  # it is a key of SCHEMES


def tags_to_ranges(tags: Sequence[str], scheme: Scheme = "IOB2", *, repair: bool = False) -> list[TokenRange]:
    """Read the labelled token ranges out of chunk tags.

    ``O`` is outside; any other tag is a prefix, a hyphen and a label (``B-PER``; the label may contain hyphens), or a
    bare prefix, whose label is then the empty string. The schemes, after Ramshaw & Marcus (1995) and Tjong Kim Sang &
    Veenstra (1999):

    - ``IOB2``: B- opens every range, I- continues it.
    - ``IOB1``: I- opens and continues; B- opens, and is written only where the token before ends a range of the same
      label.
    - ``BIOES``, ``BILOU``: as IOB2, and the last token is E- (L-), a range of one token is S- (U-).
    - ``IO``: I- only; ranges of one label that touch cannot be told apart and are read as one.

    Args:
        tags: one tag a token.
        scheme: see above.
        repair: False refuses what the scheme does not allow. True reads every prefix of every scheme the way conlleval
            does: B-, S- and U- open, E-, L-, S- and U- close, I- and E- continue an open range of their label and open
            one where there is none.

    Raises:
        TagError: a tag has no place in its scheme (an I- with nothing to continue, a B- that is never closed in BIOES,
            an unknown prefix); it names the position.

    >>> tags_to_ranges(["B-PER", "I-PER", "O", "B-LOC"])
    [TokenRange(start=0, end=2, label='PER'), TokenRange(start=3, end=4, label='LOC')]
    >>> tags_to_ranges(["O", "I-PER"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    spanferry.data.spans.TagError: tag 'I-PER' of token 1 follows 'O': expected B-PER, since IOB2 opens with B-
    >>> tags_to_ranges(["O", "I-PER"], repair=True)
    [TokenRange(start=1, end=2, label='PER')]
    """
    allowed = "BIESLU" if repair else SCHEMES[scheme]
    closing = scheme in ("BIOES", "BILOU") and not repair
    implicit = repair or scheme in ("IOB1", "IO")  # an I- may open
    ranges: list[TokenRange] = []
    start, open_label = -1, ""  # start < 0: no range is open

    for position, tag in enumerate(tags):
        if tag == "O":
            prefix, label = "O", ""
        else:
            prefix, _, label = tag.partition("-")
            if len(prefix) != 1 or prefix not in allowed:
                raise _unknown_tag(tag, position, scheme, allowed)
        continues = start >= 0 and prefix in "IEL" and label == open_label
        if start >= 0 and not continues:
            if closing:
                raise _unclosed(tags, position, scheme)
            ranges.append(TokenRange(start, position, open_label))
            start = -1
        if prefix == "O":
            continue
        if not continues:
            if prefix in "IEL" and not implicit:
                raise _orphan(tags, position, scheme)
            start, open_label = position, label
        if prefix in "ELSU":
            ranges.append(TokenRange(start, position + 1, open_label))
            start = -1
    if start >= 0:
        if closing:
            raise _unclosed(tags, len(tags), scheme)
        ranges.append(TokenRange(start, len(tags), open_label))
    return ranges


def _unknown_tag(tag: str, position: int, scheme: Scheme, allowed: str) -> TagError:
    shapes = ", ".join(f"{prefix}-LABEL" for prefix in allowed)
    return TagError(
        f"tag {tag!r} of token {position} is none of {scheme}: expected O or {shapes}",
        position=position,
        hint=f"set the scheme ({', '.join(SCHEMES)}), or name the column that holds the tags",
    )


def _orphan(tags: Sequence[str], position: int, scheme: Scheme) -> TagError:
    tag, before = tags[position], repr(tags[position - 1]) if position else "the start"
    _, _, label = tag.partition("-")
    opening = f"B-{label}" if label else "B"
    return TagError(
        f"tag {tag!r} of token {position} follows {before}: expected {opening}, since {scheme} opens with B-",
        position=position,
        hint="set scheme: IOB1 where I- may open, or repair: true to open a span there",
    )


def _unclosed(tags: Sequence[str], position: int, scheme: Scheme) -> TagError:
    tag, after = tags[position - 1], repr(tags[position]) if position < len(tags) else "the end"
    _, _, label = tag.partition("-")
    last = "E" if scheme == "BIOES" else "L"
    return TagError(
        f"tag {tag!r} of token {position - 1} comes before {after}: expected {last}-{label} to close its span first",
        position=position - 1,
        hint="set scheme: IOB2 where spans are not closed by a tag, or repair: true",
    )


def ranges_to_tags(ranges: Sequence[TokenRange], length: int, scheme: Scheme = "IOB2") -> list[str]:
    """Write token ranges as chunk tags, the inverse of `tags_to_ranges`.

    Args:
        ranges: in any order, without overlap.
        length: number of tokens.
        scheme: see `tags_to_ranges`.

    Raises:
        DataError: two ranges overlap (see `flatten`), a range ends past the last token, or two ranges of one label
            touch in ``IO``, which would merge them.

    >>> ranges_to_tags([TokenRange(0, 2, "PER"), TokenRange(2, 3, "PER")], 4, "IOB1")
    ['I-PER', 'I-PER', 'B-PER', 'O']
    """
    tags = ["O"] * length
    before = TokenRange(0, 0, "")
    for current in sorted(ranges):
        start, end, label = current
        if not 0 <= start < end <= length:
            raise DataError(f"token range {start}:{end} ({label}) does not lie in a sentence of {length} tokens")
        if start < before.end:
            raise DataError(
                f"token ranges {before.start}:{before.end} ({before.label}) and {start}:{end} ({label}) overlap: "
                "tags hold one label a token",
                hint="flatten() chooses a set that does not overlap and returns the rest",
            )
        touches = before.end > before.start and before.end == start and before.label == label
        if touches and scheme == "IO":
            raise DataError(
                f"two ranges of label {label!r} touch at token {start}: IO tags would merge them",
                hint="use IOB2, which tells them apart",
            )
        tail = f"-{label}" if label else ""
        tags[start:end] = [f"{prefix}{tail}" for prefix in _prefixes(end - start, scheme, touches)]
        before = current
    return tags


def _prefixes(length: int, scheme: Scheme, touches: bool) -> str:
    """Return the prefix of each token of a range; ``touches``: the token before ends a range of the same label."""
    if scheme == "IOB2" or (scheme == "IOB1" and touches):
        return "B" + "I" * (length - 1)
    if scheme in ("IO", "IOB1"):
        return "I" * length
    last, single = ("E", "S") if scheme == "BIOES" else ("L", "U")
    return single if length == 1 else "B" + "I" * (length - 2) + last


def tag_names(labels: Sequence[str], scheme: Scheme = "IOB2") -> list[str]:
    """Return every tag that spans of ``labels`` can have, ``O`` first, in the order of the labels.

    >>> tag_names(["PER", "LOC"])
    ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']
    """
    return ["O", *(f"{prefix}-{label}" if label else prefix for label in labels for prefix in SCHEMES[scheme])]


def snap(start: int, end: int, tokens: Sequence[Offsets], policy: Snap = "strict") -> Offsets | None:
    """Return the half-open token range of the characters ``start:end``, or None where the policy finds none.

    The policies are those of spaCy's ``Doc.char_span``:

    - ``strict``: both ends must be token boundaries;
    - ``contract``: the tokens that lie wholly inside;
    - ``expand``: the tokens that share at least one character.

    ``tokens`` are (start, end) offsets in order, without overlap.

    >>> tokens = [(0, 3), (4, 9), (9, 10)]          # "Zoë lacht."
    >>> [snap(1, 9, tokens, policy) for policy in ("strict", "contract", "expand")]
    [None, (1, 2), (0, 2)]
    """
    first = bisect_right(tokens, start, key=itemgetter(1))
    last = bisect_left(tokens, end, key=itemgetter(0))
    if first >= last:
        return None
    if policy == "strict" and (tokens[first][0] != start or tokens[last - 1][1] != end):
        return None
    if policy == "contract":
        first += tokens[first][0] < start
        last -= tokens[last - 1][1] > end
    return (first, last) if first < last else None


def snap_span(span: Span, tokens: Sequence[Offsets], policy: Snap = "strict") -> Span | None:
    """Return ``span`` with its ends on token boundaries, or None where the policy finds no token; see `snap`.

    >>> snap_span(Span(1, 8, "PER"), [(0, 3), (4, 9)], "expand")
    Span(start=0, end=9, label='PER', field='text')
    """
    found = snap(span.start, span.end, tokens, policy)
    if found is None:
        return None
    return Span(tokens[found[0]][0], tokens[found[1] - 1][1], span.label, span.field)


def tags_to_spans(
    tags: Sequence[str],
    tokens: Sequence[Offsets],
    scheme: Scheme = "IOB2",
    *,
    repair: bool = False,
    field: str = "text",
) -> tuple[Span, ...]:
    """Read character spans out of tags over token offsets, left to right; see `tags_to_ranges`.

    Raises:
        DataError: there are not as many tags as tokens, or a tag has no place in its scheme (`TagError`).

    >>> tags_to_spans(["B-PER", "O"], [(0, 3), (4, 9)])
    (Span(start=0, end=3, label='PER', field='text'),)
    """
    if len(tags) != len(tokens):
        raise DataError(f"found {len(tags)} tags for {len(tokens)} tokens: expected one a token")
    return tuple(
        Span(tokens[start][0], tokens[end - 1][1], label, field)
        for start, end, label in tags_to_ranges(tags, scheme, repair=repair)
    )


def spans_to_tags(
    spans: Sequence[Span],
    tokens: Sequence[Offsets],
    scheme: Scheme = "IOB2",
    *,
    policy: Snap = "strict",
    keep: Keep = "longest",
) -> tuple[list[str], tuple[Span, ...]]:
    """Write character spans as tags over token offsets; return the tags and the spans that they could not hold.

    Left out are the spans that ``policy`` cannot place on tokens, and those that lose to an overlapping one by the
    rule ``keep`` (see `flatten`; overlap is judged after snapping).

    >>> spans_to_tags([Span(0, 3, "PER"), Span(0, 9, "ORG")], [(0, 3), (4, 9)])
    (['B-ORG', 'I-ORG'], (Span(start=0, end=3, label='PER', field='text'),))
    """
    placed = {}
    for index, span in enumerate(spans):
        if (found := snap(span.start, span.end, tokens, policy)) is not None:
            placed[index] = TokenRange(*found, span.label)
    kept = _choose(list(placed.values()), keep)
    chosen = {index for index, wins in zip(placed, kept, strict=True) if wins}
    tags = ranges_to_tags([placed[index] for index in sorted(chosen)], len(tokens), scheme)
    return tags, tuple(span for index, span in enumerate(spans) if index not in chosen)


def overlaps(first: Span, second: Span) -> bool:
    """Tell whether the spans share a character of the same field.

    >>> overlaps(Span(0, 3, "A"), Span(2, 5, "B")), overlaps(Span(0, 3, "A"), Span(3, 5, "B"))
    (True, False)
    """
    return first.field == second.field and first.start < second.end and second.start < first.end


def contains(outer: Span, inner: Span) -> bool:
    """Tell whether every character of ``inner`` is in ``outer``; a span contains itself.

    >>> contains(Span(0, 5, "A"), Span(2, 5, "B")), contains(Span(2, 5, "B"), Span(0, 5, "A"))
    (True, False)
    """
    return outer.field == inner.field and outer.start <= inner.start and inner.end <= outer.end


def crosses(first: Span, second: Span) -> bool:
    """Tell whether the spans overlap and neither contains the other.

    >>> crosses(Span(0, 3, "A"), Span(2, 5, "B")), crosses(Span(0, 5, "A"), Span(2, 5, "B"))
    (True, False)
    """
    return overlaps(first, second) and not contains(first, second) and not contains(second, first)


def nesting_depths(spans: Sequence[Span]) -> list[int]:
    """Return for each span how many others contain it; of spans over the same characters, the earlier is the outer.

    >>> nesting_depths([Span(0, 9, "ORG"), Span(0, 3, "LOC"), Span(0, 3, "PER"), Span(4, 9, "PER")])
    [0, 1, 2, 1]
    """
    return [
        sum(
            contains(outer, inner) and (not contains(inner, outer) or there < here) for there, outer in enumerate(spans)
        )
        for here, inner in enumerate(spans)
    ]


def flatten(spans: Sequence[Span], keep: Keep = "longest") -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Split spans into a set without overlap and what it leaves out, both in the given order.

    Spans are taken one by one, each unless it overlaps one already taken:

    - ``longest``: longest first (the outermost of a nest), then leftmost;
    - ``shortest``: shortest first (the innermost), then leftmost;
    - ``first``: leftmost first, then longest.

    What is equal by the rule is taken in the given order.

    >>> flatten([Span(0, 3, "LOC"), Span(0, 9, "ORG"), Span(12, 15, "PER")])
    ((Span(start=0, end=9, label='ORG', field='text'), Span(start=12, end=15, label='PER', field='text')),
     (Span(start=0, end=3, label='LOC', field='text'),))
    """
    by_field: dict[str, list[int]] = {}
    for index, span in enumerate(spans):
        by_field.setdefault(span.field, []).append(index)
    chosen: set[int] = set()
    for indices in by_field.values():
        wins = _choose([TokenRange(spans[i].start, spans[i].end, spans[i].label) for i in indices], keep)
        chosen.update(index for index, win in zip(indices, wins, strict=True) if win)
    return (
        tuple(span for index, span in enumerate(spans) if index in chosen),
        tuple(span for index, span in enumerate(spans) if index not in chosen),
    )


def _choose(ranges: Sequence[TokenRange], keep: Keep) -> list[bool]:
    """Return for each range whether the rule of `flatten` takes it."""
    rules = {
        "longest": lambda r: (r.start - r.end, r.start),
        "shortest": lambda r: (r.end - r.start, r.start),
        "first": lambda r: (r.start, -r.end),
    }
    taken: list[Offsets] = []  # in order and disjoint, so that a neighbour decides
    wins = [False] * len(ranges)
    for index in sorted(range(len(ranges)), key=lambda i: rules[keep](ranges[i])):
        start, end, _ = ranges[index]
        at = bisect_left(taken, (start, end))
        if (at and taken[at - 1][1] > start) or (at < len(taken) and taken[at][0] < end):
            continue
        taken.insert(at, (start, end))
        wins[index] = True
    return wins
