"""Parallel text for training: read it, choose from it, word-align it, join languages through English.

Every function is pure or streams from a file; nothing here knows of subwords or models. The order of work is
:func:`read_pairs` -> :func:`choose` -> :func:`pivot_pairs` -> :func:`align_words`, and what comes out are
:class:`SentencePair` values whose links `translation.marking` and `translation.training_data` use.
"""

from __future__ import annotations

import gzip
import io
import random
import re
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from spanferry.data.errors import DataError, SpanferryError

Range = tuple[int, int]
"""Half-open range of Unicode code points in a text."""

_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two sentences that translate each other.

    `links` pairs character ranges of `source` with character ranges of `target` that mean the same; it is empty
    until the pair has been aligned. Languages are FLORES-200 codes, `origin` names the corpus.

    >>> SentencePair("eng_Latn", "deu_Latn", "Good day!", "Guten Tag!", "tatoeba").reversed().source
    'Guten Tag!'
    """

    source_language: str
    target_language: str
    source: str
    target: str
    origin: str
    links: tuple[tuple[Range, Range], ...] = ()

    def reversed(self) -> SentencePair:
        """The same pair read the other way, links included."""
        return SentencePair(
            source_language=self.target_language,
            target_language=self.source_language,
            source=self.target,
            target=self.source,
            origin=self.origin,
            links=tuple((target, source) for source, target in self.links),
        )


def words(text: str) -> list[Range]:
    """Character ranges of the words and single punctuation marks of `text`.

    >>> text = "Tom's 3 dogs."
    >>> [text[start:end] for start, end in words(text)]
    ['Tom', "'", 's', '3', 'dogs', '.']
    """
    return [match.span() for match in _WORD.finditer(text)]


def read_pairs(
    path: Path, source_language: str, target_language: str, *, named_by: str = "`data` in the recipe"
) -> Iterator[SentencePair]:
    """Read `source TAB target TAB origin` lines from a plain, `.gz` or `.zst` file.

    Args:
        path: the file.
        source_language, target_language: of the first two columns.
        named_by: where the user named the file, for what messages tell them to do.

    Raises:
        DataError: the file is missing, is damaged or not UTF-8, or a line has not three columns.
        SpanferryError: a `.zst` file, and the package zstandard is not installed.
    """
    with _open_text(path, named_by) as lines, _readable(path):
        for number, line in enumerate(lines, start=1):
            columns = line.rstrip("\n").split("\t")
            if len(columns) < 3:
                raise DataError(
                    f"found {len(columns)} tab-separated columns, expected source sentence, target sentence, corpus",
                    path=path,
                    line=number,
                )
            yield SentencePair(source_language, target_language, columns[0], columns[1], columns[2])


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one line what stops the reading of a file, whatever packed it."""
    damage: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
    if path.suffix == ".zst":
        import zstandard

        damage = (*damage, zstandard.ZstdError)
    try:
        yield
    except UnicodeDecodeError as error:
        problem = f"found the byte 0x{error.object[error.start]:02x}, expected UTF-8"
        raise DataError(problem, path=path, hint="convert the file (iconv -t utf-8)") from None
    except damage as error:
        packed = f", expected a whole {path.suffix} file" if path.suffix in (".gz", ".zst") else ""
        raise DataError(f"cannot be read ({error}){packed}", path=path, hint="fetch or write it again") from None


def _open_text(path: Path, named_by: str) -> TextIO:
    if not path.is_file():
        raise DataError("no such file of sentence pairs", path=path, hint=f"check {named_by}")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="\n")
    if path.suffix == ".zst":
        try:
            import zstandard
        except ModuleNotFoundError as error:
            raise SpanferryError(
                f"{path}: reading .zst needs the package zstandard. Install it (pip install 'spanferry[train]'), "
                f"or unpack the file (zstd -d) and name the unpacked one by {named_by}."
            ) from error
        return io.TextIOWrapper(zstandard.open(path, "rb"), encoding="utf-8", newline="\n")
    return path.open(encoding="utf-8", newline="\n")


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of one corpus is taken: at most `pairs` sentence pairs of `min_words` to `max_words` words.

    Words are counted on the source side by spaces. The pairs taken are the first that fit, so a shuffled file gives
    a random sample.
    """

    pairs: int
    min_words: int = 1
    max_words: int = 60


def choose(pairs: Iterable[SentencePair], quotas: Mapping[str, Sequence[Quota]]) -> Iterator[SentencePair]:
    """Keep what the quotas of each corpus allow; a corpus without quotas is left out.

    A pair is counted on the first quota of its corpus that it fits and that is not yet full.

    >>> def pair(text):
    ...     return SentencePair("eng_Latn", "deu_Latn", text, text, "news")
    >>> kept = choose([pair("a b"), pair("a b c"), pair("c d")], {"news": [Quota(pairs=1, max_words=2)]})
    >>> [each.source for each in kept]
    ['a b']
    """
    taken: dict[tuple[str, int], int] = defaultdict(int)
    for pair in pairs:
        length = pair.source.count(" ") + 1
        for number, quota in enumerate(quotas.get(pair.origin, ())):
            fits = quota.min_words <= length <= quota.max_words
            if fits and taken[pair.origin, number] < quota.pairs:
                taken[pair.origin, number] += 1
                yield pair
                break


def pivot_pairs(first: Iterable[SentencePair], second: Iterable[SentencePair]) -> list[SentencePair]:
    """Join two corpora through identical source sentences: en-de and en-es give de-es.

    Each sentence of either corpus is used at most once, so that one English sentence with twenty German and thirty
    Spanish versions does not give six hundred pairs.

    >>> de = [SentencePair("eng_Latn", "deu_Latn", "Yes.", "Ja.", "tatoeba")]
    >>> es = [SentencePair("eng_Latn", "spa_Latn", "Yes.", "Sí.", "tatoeba")]
    >>> [(pair.source, pair.target, pair.target_language) for pair in pivot_pairs(de, es)]
    [('Ja.', 'Sí.', 'spa_Latn')]
    """
    waiting: dict[str, list[SentencePair]] = defaultdict(list)
    for pair in first:
        waiting[pair.source].append(pair)
    joined = []
    for pair in second:
        if partners := waiting.get(pair.source):
            partner = partners.pop()
            joined.append(
                SentencePair(
                    source_language=partner.target_language,
                    target_language=pair.target_language,
                    source=partner.target,
                    target=pair.target,
                    origin=pair.origin,
                )
            )
    return joined


def align_words(pairs: Sequence[SentencePair]) -> list[SentencePair]:
    """Give each pair its word links: eflomal in both directions, joined by grow-diag.

    All pairs must have the same two languages: the lexicon is learned from them together (Östling and Tiedemann
    2016, "Efficient word alignment with Markov Chain Monte Carlo"), so a few thousand pairs are the least that makes
    sense. Pairs without a word on one side come back without links.

    Raises:
        SpanferryError: eflomal is not installed.
    """
    try:
        import eflomal
    except ModuleNotFoundError as error:
        raise SpanferryError(
            "Word alignment of the training corpus needs the package eflomal. Install it (pip install "
            "'spanferry[train]'), or set guided_alignment.weight, markers.share and augment.exchange_names to 0."
        ) from error
    spans = [(words(pair.source), words(pair.target)) for pair in pairs]
    usable = [number for number, (source, target) in enumerate(spans) if source and target]
    with tempfile.TemporaryDirectory() as folder:
        forward, backward = Path(folder, "forward"), Path(folder, "backward")
        eflomal.Aligner().align(
            [_spaced(pairs[number].source, spans[number][0]) for number in usable],
            [_spaced(pairs[number].target, spans[number][1]) for number in usable],
            links_filename_fwd=str(forward),
            links_filename_rev=str(backward),
        )
        aligned = list(pairs)
        with forward.open() as forward_lines, backward.open() as backward_lines:
            for number, forward_line, backward_line in zip(usable, forward_lines, backward_lines, strict=True):
                links = grow_diag(_parse_links(forward_line), _parse_links(backward_line))
                source, target = spans[number]
                aligned[number] = replace(pairs[number], links=tuple((source[i], target[j]) for i, j in sorted(links)))
    return aligned


def _spaced(text: str, spans: Sequence[Range]) -> str:
    return " ".join(text[start:end] for start, end in spans)


def _parse_links(line: str) -> set[tuple[int, int]]:
    return {(int(i), int(j)) for i, j in (link.split("-") for link in line.split())}


def grow_diag(forward: set[tuple[int, int]], backward: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """Symmetrise two directed alignments by grow-diag (Koehn, Och and Marcu 2003, section 4.5).

    Starts from the links that both have and adds, until nothing changes, links of either that touch a kept link
    (diagonals included) and whose source or target word has no link yet.

    >>> sorted(grow_diag({(0, 0), (1, 1), (2, 1)}, {(0, 0), (1, 1)}))
    [(0, 0), (1, 1), (2, 1)]
    """
    links = forward & backward
    candidates = sorted((forward | backward) - links)
    sources, targets = {i for i, _ in links}, {j for _, j in links}
    grown = True
    while grown and candidates:
        grown = False
        rest = []
        for i, j in candidates:
            free = i not in sources or j not in targets
            near = any((i + di, j + dj) in links for di in (-1, 0, 1) for dj in (-1, 0, 1))
            if free and near:
                links.add((i, j))
                sources.add(i)
                targets.add(j)
                grown = True
            else:
                rest.append((i, j))
        candidates = rest
    return links


def without_final_mark(pair: SentencePair) -> SentencePair:
    """The pair as a user would type it in a hurry: source in lower case, no full stop at the end of either side.

    Comes back unchanged where that would move an offset (lower-casing that changes the length) or where only one
    side ends in a mark.

    >>> without_final_mark(SentencePair("eng_Latn", "deu_Latn", "Call Tom.", "Ruf Tom an.", "tatoeba")).target
    'Ruf Tom an'
    """
    source, target = pair.source.lower(), pair.target
    if len(source) != len(pair.source) or source[-1:] not in ".?!" or target[-1:] not in ".?!":
        return pair
    source, target = source[:-1], target[:-1]
    kept = tuple(link for link in pair.links if link[0][1] <= len(source) and link[1][1] <= len(target))
    return replace(pair, source=source, target=target, links=kept)


def common_names(pairs: Iterable[SentencePair], *, longest: int = 3) -> list[str]:
    """Runs of one to `longest` capitalised words that stand in the middle of both sides, sorted and without repeats.

    They are mostly names of people, places and products, and are what :func:`exchange_names` puts in.

    >>> pair = SentencePair("eng_Latn", "deu_Latn", "He met Ana Lovrić there.", "Er traf dort Ana Lovrić.", "wiki")
    >>> common_names([pair])
    ['Ana Lovrić']
    """
    run = re.compile(r"(?<=\w )[A-ZÀ-ÖØ-Þ][a-zà-öø-ÿ]\w*(?: [A-ZÀ-ÖØ-Þ]\w+)*")
    found = set()
    for pair in pairs:
        for match in run.finditer(pair.source):
            name = match.group()
            if name.count(" ") < longest and re.search(rf"(?<=\w ){re.escape(name)}\b", pair.target):
                found.add(name)
    return sorted(found)


def exchange_names(pair: SentencePair, names: Sequence[str], chance: random.Random) -> SentencePair:
    """Put a random name in the place of a capitalised word that stands once on each side and is linked to itself.

    Everyday corpora know hardly any name but "Tom"; a model trained on them learns to write "Tom" and not to copy.

    >>> pair = SentencePair("eng_Latn", "deu_Latn", "Tom runs.", "Tom läuft.", "tatoeba",
    ...                     links=(((0, 3), (0, 3)), ((4, 8), (4, 9))))
    >>> changed = exchange_names(pair, ["Ana Lovrić"], random.Random(1))
    >>> changed.target, changed.links
    ('Ana Lovrić läuft.', (((0, 10), (0, 10)), ((11, 15), (11, 16))))
    """
    shared = [
        (source, target)
        for source, target in pair.links
        if pair.source[slice(*source)] == pair.target[slice(*target)]
        and pair.source[source[0]].isupper()
        and source[1] - source[0] >= 3
    ]
    if not shared or not names:
        return pair
    source, target = chance.choice(shared)
    old = pair.source[slice(*source)]
    if len(re.findall(rf"\b{re.escape(old)}\b", pair.source)) != 1:
        return pair
    if len(re.findall(rf"\b{re.escape(old)}\b", pair.target)) != 1:
        return pair
    new = chance.choice(names)
    links = tuple((_shifted(one, source, len(new)), _shifted(other, target, len(new))) for one, other in pair.links)
    return replace(
        pair,
        source=pair.source[: source[0]] + new + pair.source[source[1] :],
        target=pair.target[: target[0]] + new + pair.target[target[1] :],
        links=links,
    )


def _shifted(span: Range, replaced: Range, length: int) -> Range:
    if span == replaced:
        return span[0], span[0] + length
    change = length - (replaced[1] - replaced[0])
    return (span[0] + change, span[1] + change) if span[0] >= replaced[1] else span
