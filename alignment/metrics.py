"""Precision, recall, F1 and alignment error rate against gold links, and readers of the gold formats.

Gold links are sure (S) or possible (P, which holds every sure link too): annotators mark what must be linked, and what
may be. With A the links found,

    precision = |A ∩ P| / |A|        recall = |A ∩ S| / |S|        AER = 1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|)

summed over the corpus before dividing. References: Och and Ney, "Improved Statistical Alignment Models", ACL 2000;
Och and Ney, Computational Linguistics 29(1), 2003, section 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spanferry.alignment.base import TokenizedText, WordAlignment
from spanferry.alignment.tokens import split_on_space
from spanferry.data.errors import DataError

_GOLD_LINK = re.compile(r"(\d+)([-p])(\d+)")


@dataclass(frozen=True, slots=True)
class GoldLinks:
    """The gold links of one sentence pair, zero-based; every sure link is possible too.

    >>> GoldLinks(sure=frozenset({(0, 0)}), possible=frozenset({(1, 2)})).possible == {(0, 0), (1, 2)}
    True
    """

    sure: frozenset[tuple[int, int]]
    possible: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "possible", self.possible | self.sure)


@dataclass(frozen=True, slots=True)
class GoldPair:
    """A sentence pair with its gold links."""

    source: TokenizedText
    target: TokenizedText
    links: GoldLinks


@dataclass(frozen=True, slots=True)
class AlignmentScore:
    """Counts over a corpus, and the rates that follow from them, in 0..1.

    Attributes:
        found: links found, |A|.
        sure: sure gold links, |S|.
        found_sure: |A ∩ S|.
        found_possible: |A ∩ P|.
    """

    found: int
    sure: int
    found_sure: int
    found_possible: int

    @property
    def precision(self) -> float:
        """Share of the found links that are at least possible; 1.0 when none was found."""
        return self.found_possible / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the sure links that were found; 1.0 when gold has none."""
        return self.found_sure / self.sure if self.sure else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    @property
    def aer(self) -> float:
        """Alignment error rate; 0.0 is perfect."""
        total = self.found + self.sure
        return 1.0 - (self.found_sure + self.found_possible) / total if total else 0.0


def score_alignments(alignments: Sequence[WordAlignment], gold: Sequence[GoldLinks]) -> AlignmentScore:
    """Count the links of ``alignments`` against ``gold``, pair by pair.

    Raises:
        DataError: the two differ in length.

    The example is worked by hand: A has 3 links, S has 2; one of A is sure, two are possible, so that precision is
    2/3, recall 1/2 and AER 1 - (1 + 2) / (3 + 2) = 0.4.

    >>> from spanferry.alignment.base import Link
    >>> found = WordAlignment((Link(0, 0), Link(1, 2), Link(2, 2)))
    >>> score = score_alignments([found], [GoldLinks(sure=frozenset({(0, 0), (1, 1)}), possible=frozenset({(1, 2)}))])
    >>> round(score.precision, 3), score.recall, round(score.aer, 3)
    (0.667, 0.5, 0.4)
    """
    if len(alignments) != len(gold):
        raise DataError(f"{len(alignments)} alignments for {len(gold)} gold pairs, expected as many")
    found = sure = found_sure = found_possible = 0
    for alignment, reference in zip(alignments, gold, strict=True):
        links = {(link.source, link.target) for link in alignment.links}
        found += len(links)
        sure += len(reference.sure)
        found_sure += len(links & reference.sure)
        found_possible += len(links & reference.possible)
    return AlignmentScore(found, sure, found_sure, found_possible)


def aer(alignments: Sequence[WordAlignment], gold: Sequence[GoldLinks]) -> float:
    """Alignment error rate over a corpus, in 0..1; see `score_alignments`.

    >>> aer([WordAlignment(())], [GoldLinks(frozenset({(0, 0)}))])
    1.0
    """
    return score_alignments(alignments, gold).aer


def parse_gold_links(line: str, *, one_based: bool = False) -> GoldLinks:
    """Read ``i-j`` (sure) and ``ipj`` (possible) links, separated by white space.

    Raises:
        DataError: a word of the line is neither, or is below the first index.

    >>> parse_gold_links("1-1 2p3", one_based=True) == GoldLinks(frozenset({(0, 0)}), frozenset({(1, 2)}))
    True
    """
    kinds: dict[str, set[tuple[int, int]]] = {"-": set(), "p": set()}
    for word in line.split():
        match = _GOLD_LINK.fullmatch(word)
        if match is None:
            raise DataError(f"link {word!r}, expected 'i-j' for a sure or 'ipj' for a possible link")
        link = int(match[1]) - one_based, int(match[3]) - one_based
        if min(link) < 0:
            raise DataError(f"link {word!r} in a file that counts from 1")
        kinds[match[2]].add(link)
    return GoldLinks(frozenset(kinds["-"]), frozenset(kinds["p"]))


def read_naacl_gold(texts: str | Path, links: str | Path) -> list[GoldPair]:
    """Read the shared-task form: a file of ``source ||| target`` and one of one-based ``i-j`` and ``ipj`` links.

    Raises:
        DataError: a line is not of this form, a link points past a sentence, or the files differ in length.
    """
    pairs = [line.split("|||") for line in _lines(texts)]
    golds = _lines(links)
    if len(pairs) != len(golds):
        raise DataError(f"{len(golds)} lines of links, expected {len(pairs)}: one a line of {texts}", path=links)
    for number, pair in enumerate(pairs, 1):
        if len(pair) != 2:
            raise DataError(f"{len(pair) - 1} separators, expected one: 'source ||| target'", path=texts, line=number)
    return [
        _gold_pair(pair[0], pair[1], gold, path=links, line=number, one_based=True)
        for number, (pair, gold) in enumerate(zip(pairs, golds, strict=True), 1)
    ]


def read_tsv_gold(path: str | Path) -> list[GoldPair]:
    """Read XL-WA's form: source, target and zero-based ``i-j`` links, separated by tabs; words by white space.

    Raises:
        DataError: a line has not three columns, a link is malformed or points past a sentence.
    """
    pairs = []
    for number, line in enumerate(_lines(path), 1):
        columns = line.split("\t")
        if len(columns) != 3:
            raise DataError(f"{len(columns)} columns, expected source, target and links", path=path, line=number)
        pairs.append(_gold_pair(*columns, path=path, line=number, one_based=False))
    return pairs


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", path=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} is not UTF-8", path=path, hint="convert the file to UTF-8") from error


def _gold_pair(source: str, target: str, links: str, *, path: str | Path, line: int, one_based: bool) -> GoldPair:
    try:
        gold = parse_gold_links(links, one_based=one_based)
    except DataError as error:
        raise DataError(error.problem, path=path, line=line) from error
    pair = GoldPair(split_on_space(source), split_on_space(target), gold)
    for i, j in sorted(gold.possible):
        if i >= len(pair.source.tokens) or j >= len(pair.target.tokens):
            raise DataError(
                f"link {i + one_based}-{j + one_based} points past a pair of {len(pair.source.tokens)} and "
                f"{len(pair.target.tokens)} words",
                path=path,
                line=line,
            )
    return pair
