"""How many words a pair of texts has in common, before and after translation.

Translating the two texts of a pair apart makes different words of the same one. Models that judge pairs lean on common
words, so that what they meet at test time is no longer what they were trained on: "translating the premise and the
hypothesis independently can reduce the lexical overlap between them" (Artetxe, Labaka and Agirre, "Translation
Artifacts in Cross-lingual Transfer Learning", 2020). The measure here is the plainest one: the share of the
hypothesis's words that stand in the premise too, both as bags of words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from spanferry.alignment.tokens import tokenize
from spanferry.data.example import Example
from spanferry.projection.links import is_mark


class Overlap(NamedTuple):
    """Overlap of one example, 0..1, before and after translation; None where the hypothesis has no words."""

    label: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class OverlapRow:
    """Mean overlap of the examples of one label, in per cent, over the ``examples`` that have one on both sides."""

    label: str
    examples: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """After minus before, in points."""
        return self.after - self.before

    def to_json(self) -> dict[str, Any]:
        """Return everything but the label as plain data, percentages rounded to two decimals."""
        rates = {name: round(getattr(self, name), 2) for name in ("before", "after", "change")}
        return {"examples": self.examples, **rates}


@dataclass(frozen=True, slots=True)
class OverlapTable:
    """One row a label, in alphabetical order, and one of all examples."""

    rows: tuple[OverlapRow, ...]
    total: OverlapRow

    def to_json(self) -> dict[str, Any]:
        """Return ``total`` and ``per_label`` as plain data."""
        return {"total": self.total.to_json(), "per_label": {row.label: row.to_json() for row in self.rows}}

    def lines(self) -> list[str]:
        """Return the table as lines of fixed width, with a heading.

        >>> print("\\n".join(overlap_table([Overlap("neutral", 0.5, 0.25)]).lines()))
                     examples  before   after  change
        neutral             1   50.00   25.00  -25.00
        all                 1   50.00   25.00  -25.00
        """
        rows = [*self.rows, self.total]
        width = max(12, *(len(row.label) for row in rows))
        head = f"{'':{width}} {'examples':>8} {'before':>7} {'after':>7} {'change':>7}"
        return [
            head,
            *(f"{r.label:{width}} {r.examples:8} {r.before:7.2f} {r.after:7.2f} {r.change:+7.2f}" for r in rows),
        ]


def lexical_overlap(premise: Iterable[str], hypothesis: Sequence[str]) -> float | None:
    """Return the share of the words of ``hypothesis`` that ``premise`` has too, 0..1; None without words.

    Both are bags: a word that the premise has once covers one occurrence in the hypothesis. Case does not matter, and
    punctuation is no word.

    >>> lexical_overlap(["The", "dog", "sleeps", "."], ["A", "dog", "and", "a", "dog", "sleep", "."])
    0.16666666666666666

    (One of the two dogs, of six words.)
    """
    wanted = _bag(hypothesis)
    return (wanted & _bag(premise)).total() / wanted.total() if wanted else None


def overlaps_of(
    examples: Sequence[Example], language: str, *, premise: str = "premise", hypothesis: str = "hypothesis"
) -> list[float | None]:
    """Return the lexical overlap of each example's fields ``premise`` and ``hypothesis``, by words of the language.

    Args:
        language: FLORES-200 code of both fields; it decides what a word is (`spanferry.alignment.tokens`).

    >>> pair = Example("1", {"premise": "Zoë schläft in Köln.", "hypothesis": "Zoë ist in Köln."})
    >>> overlaps_of([pair], "deu_Latn")
    [0.75]
    """
    words = tokenize([each.fields[name] for each in examples for name in (premise, hypothesis)], language)
    return [lexical_overlap(here.words, there.words) for here, there in zip(words[::2], words[1::2], strict=True)]


def overlap_table(measured: Iterable[Overlap]) -> OverlapTable:
    """Return the mean overlap of each label, before and after; an example counts where it has both.

    >>> table = overlap_table([Overlap("yes", 0.8, 0.6), Overlap("yes", 0.4, 0.4), Overlap("no", None, 0.1)])
    >>> [(row.label, row.examples, round(row.before), round(row.after)) for row in table.rows], table.total.examples
    ([('yes', 2, 60, 50)], 2)
    """
    by_label: dict[str, list[tuple[float, float]]] = {}
    for label, before, after in measured:
        if before is not None and after is not None:
            by_label.setdefault(label, []).append((before, after))
    everything = [pair for pairs in by_label.values() for pair in pairs]
    return OverlapTable(tuple(_row(label, by_label[label]) for label in sorted(by_label)), _row("all", everything))


def _row(label: str, pairs: Sequence[tuple[float, float]]) -> OverlapRow:
    count = max(len(pairs), 1)
    before, after = (100 * sum(pair[side] for pair in pairs) / count for side in (0, 1))
    return OverlapRow(label, len(pairs), before, after)


def _bag(words: Iterable[str]) -> Counter[str]:
    return Counter(word.casefold() for word in words if not all(map(is_mark, word)))
