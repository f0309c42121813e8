"""Links that were made elsewhere, one line a sentence pair: the Pharaoh form, also called .talp.

``0-0 1-2`` links the first source word with the first target word and the second with the third (zero-based); a score
in 0..1 may follow a link, ``0-0:0.93``. An empty line is a pair without links.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from spanferry.alignment.base import Link, TokenizedText, WordAlignment
from spanferry.data.errors import DataError

_LINK = re.compile(r"(\d+)-(\d+)(?::([0-9.eE+-]+))?", re.ASCII)

Words = tuple[str, ...]


def parse_links(line: str) -> WordAlignment:
    """Read one line of links; a link given twice keeps its higher score.

    Raises:
        DataError: a word of the line is no link, or a score lies outside 0..1.

    >>> parse_links("1-2:0.5 0-0").links
    (Link(source=0, target=0, score=1.0), Link(source=1, target=2, score=0.5))
    >>> parse_links("0-0 1:1")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.DataError: '1:1' is no link, expected 'i-j' or 'i-j:score', zero-based
    """
    scores: dict[tuple[int, int], float] = {}
    for word in line.split():
        match = _LINK.fullmatch(word)
        if match is None:
            raise DataError(f"{word!r} is no link, expected 'i-j' or 'i-j:score', zero-based")
        pair = int(match[1]), int(match[2])
        scores[pair] = max(_score(match[3], word), scores.get(pair, 0.0))
    return WordAlignment(tuple(Link(*pair, score) for pair, score in sorted(scores.items())))


def format_links(alignment: WordAlignment, *, scores: bool = False) -> str:
    """Write links as one line, `parse_links` read backwards.

    >>> format_links(parse_links("1-2:0.5 0-0")), format_links(parse_links("1-2:0.5"), scores=True)
    ('0-0 1-2', '1-2:0.5')
    """
    if scores:
        return " ".join(f"{link.source}-{link.target}:{link.score:.6g}" for link in alignment.links)
    return " ".join(f"{link.source}-{link.target}" for link in alignment.links)


class GivenAligner:
    """Hands out the links it was given: an `Aligner` for a corpus that is aligned already.

    A pair is found again by its words, not by its place, so that the corpus may be cut into batches, reordered and
    asked for in part. Where the same pair stands several times with different links, its k-th occurrence within one
    call of `align` gets the k-th line.

    Args:
        pairs: the corpus, tokenised as the links count it.
        lines: one line of links a pair, in the same order; see `parse_links`.
        path: where the lines come from, for messages.

    Raises:
        DataError: lines and pairs differ in number, a line is malformed, or a link points past its sentence.

    >>> from spanferry.alignment.tokens import from_words
    >>> pairs = [(from_words(["good", "wine"]), from_words(["vino", "bueno"]))]
    >>> GivenAligner(pairs, ["0-1 1-0"]).align(pairs, source="eng_Latn", target="spa_Latn")[0].links[0]
    Link(source=0, target=1, score=1.0)
    >>> GivenAligner(pairs, ["0-1 2-0"], path="es.talp")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.DataError: es.talp:1: link 2-0 points past a pair of 2 source and 2 target words. Hint: ...
    """

    def __init__(
        self,
        pairs: Sequence[tuple[TokenizedText, TokenizedText]],
        lines: Sequence[str],
        *,
        path: str | Path | None = None,
    ) -> None:
        if len(pairs) != len(lines):
            raise DataError(f"{len(lines)} lines of links, expected {len(pairs)}: one a sentence pair", path=path)
        self._alignments: defaultdict[tuple[Words, Words], list[WordAlignment]] = defaultdict(list)
        digest = hashlib.sha256()
        for number, (pair, line) in enumerate(zip(pairs, lines, strict=True), 1):
            try:
                alignment = parse_links(line)
            except DataError as error:
                raise DataError(error.problem, path=path, line=number) from error
            _check_range(alignment, pair, path=path, line=number)
            words = _words(pair)
            self._alignments[words].append(alignment)
            digest.update(repr((words, format_links(alignment, scores=True))).encode("utf-8", "surrogatepass"))
        self._fingerprint = f"given:{digest.hexdigest()[:16]}"

    @classmethod
    def from_file(cls, path: str | Path, pairs: Sequence[tuple[TokenizedText, TokenizedText]]) -> GivenAligner:
        """Read the lines of a UTF-8 file.

        Raises:
            DataError: the file cannot be read, and as the class.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", path=path) from error
        except UnicodeDecodeError as error:
            raise DataError(f"byte {error.start} is not UTF-8", path=path, hint="convert the file to UTF-8") from error
        return cls(pairs, text.removesuffix("\n").split("\n") if text else [], path=path)

    @property
    def fingerprint(self) -> str:
        """Identity of the corpus and its links."""
        return self._fingerprint

    def align(
        self, pairs: Sequence[tuple[TokenizedText, TokenizedText]], *, source: str, target: str
    ) -> list[WordAlignment]:
        """Return the links given for each pair; the languages play no part.

        Raises:
            DataError: a pair is not in the corpus that the links were given for.
        """
        seen: defaultdict[tuple[Words, Words], int] = defaultdict(int)
        result = []
        for pair in pairs:
            words = _words(pair)
            given = self._alignments.get(words)
            if given is None:
                raise DataError(
                    f"no links were given for the pair {pair[0].text[:60]!r} / {pair[1].text[:60]!r}",
                    hint="the words must be those that the links count: tokenise as the alignment file did",
                )
            result.append(given[min(seen[words], len(given) - 1)])
            seen[words] += 1
        return result


def _score(written: str | None, word: str) -> float:
    try:
        score = 1.0 if written is None else float(written)
    except ValueError:
        score = -1.0
    if not 0.0 <= score <= 1.0:
        raise DataError(f"{word!r} has the score {written!r}, expected a number in 0..1")
    return score


def _words(pair: tuple[TokenizedText, TokenizedText]) -> tuple[Words, Words]:
    return tuple(pair[0].words), tuple(pair[1].words)


def _check_range(
    alignment: WordAlignment, pair: tuple[TokenizedText, TokenizedText], *, path: str | Path | None, line: int
) -> None:
    sources, targets = len(pair[0].tokens), len(pair[1].tokens)
    for link in alignment.links:
        if link.source >= sources or link.target >= targets:
            raise DataError(
                f"link {link.source}-{link.target} points past a pair of {sources} source and {targets} target words",
                path=path,
                line=line,
                hint="links count from 0, and count the words of the same tokenisation",
            )
