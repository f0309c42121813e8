"""There and back: a text translated into another language and that translation back into its own.

Training data that went this way reads like the text that a model meets in translate-test: translated by a machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from spanferry.translation.base import Segment, Translation


@dataclass
class _Block:
    """A stretch of the middle text, with what of both ends belongs to it; ranges are [start, end)."""

    middle: tuple[int, int]
    first: tuple[int, int]
    last: tuple[int, int] | None = None


def compose(first: Translation, second: Translation) -> Translation:
    """Return two translations as one: from the source of ``first`` to the text of ``second``.

    A segment of the result is the smallest stretch in which both hops agree: where one hop cut the text in the middle
    at other places than the other, the stretches are joined. Its score is the lower of the two, its flags are those of
    both.

    Raises:
        ValueError: ``second`` is not the translation of what ``first`` became.

    >>> there = Translation("One. Two.", "Eins. Zwei.", (Segment(0, 4, 0, 5), Segment(5, 9, 6, 11)), -0.1)
    >>> back = Translation("Eins. Zwei.", "A one. A two.", (Segment(0, 5, 0, 6), Segment(6, 11, 7, 13)), -0.3)
    >>> both = compose(there, back)
    >>> both.source, both.text, both.segments[1], both.score
    ('One. Two.', 'A one. A two.', Segment(source_start=5, source_end=9, target_start=7, target_end=13), -0.3)
    """
    if first.text != second.source:
        raise ValueError(f"the second translation is of {second.source[:40]!r}, expected one of {first.text[:40]!r}")
    blocks = [
        _Block((each.target_start, each.target_end), (each.source_start, each.source_end)) for each in first.segments
    ]
    for each in second.segments:
        touched = [block for block in blocks if _overlap(block.middle, (each.source_start, each.source_end))]
        if not touched:
            continue
        head = touched[0]
        for block in touched[1:]:  # they follow on one another
            head.middle, head.first = _joined(head.middle, block.middle), _joined(head.first, block.first)
            head.last = block.last if head.last is None else head.last
            blocks.remove(block)
        target = each.target_start, each.target_end
        head.last = target if head.last is None else _joined(head.last, target)
        head.middle = _joined(head.middle, (each.source_start, each.source_end))
    segments = tuple(Segment(*block.first, *block.last) for block in blocks if block.last is not None)
    scores = [score for score in (first.score, second.score) if score is not None]
    flags = tuple(sorted({*first.flags, *second.flags}))
    return Translation(first.source, second.text, segments, min(scores, default=None), flags)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _joined(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return min(one[0], other[0]), max(one[1], other[1])
