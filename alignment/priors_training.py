"""Count priors over parallel text: eflomal aligns it once in both directions, and what it linked is counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from spanferry.alignment.priors import NULL, Priors
from spanferry.alignment.statistical import import_eflomal, parse_link, run_eflomal
from spanferry.alignment.tokens import tokenize, tokenizer_name
from spanferry.data.errors import DataError
from spanferry.translation.corpus import read_pairs
from spanferry.translation.languages import get_language

Links = list[tuple[int, int]]
Progress = Callable[[str, int], None]
_CHUNK = 2000


def make_priors_of_files(
    files: Sequence[Path],
    source: str,
    target: str,
    *,
    corpora: Sequence[str] | None = None,
    limit: int | None = None,
    min_count: float = 1.0,
    samplers: int = 3,
    effort: float = 1.0,
    progress: Progress | None = None,
) -> Priors:
    """Make priors of files of ``source TAB target TAB corpus``; what they were made from is in the record.

    Args:
        files: plain, ``.gz`` or ``.zst``.
        source, target: any code that `spanferry.translation.languages` understands.
        corpora: take only pairs whose third column is one of these.
        limit: take only the first so many pairs of each file, of those.
        min_count: see `Priors.pruned`.
        samplers, effort, progress: see `make_priors`.

    Raises:
        ConfigError: eflomal is not installed.
        DataError: a file cannot be read, or nothing of it is left.
        LanguageError: a language is not known.
        ModelError: eflomal failed.
    """
    codes = get_language(source).flores, get_language(target).flores
    taken: dict[str, int] = {}

    def pairs() -> Iterator[tuple[str, str]]:
        for file in files:
            found = read_pairs(file, *codes, named_by="--data")
            chosen = (pair for pair in found if corpora is None or pair.origin in corpora)
            for pair in islice(chosen, limit):
                taken[pair.origin] = taken.get(pair.origin, 0) + 1
                yield pair.source, pair.target

    made = make_priors(pairs(), *codes, samplers=samplers, effort=effort, progress=progress)
    data = [{"file": file.name, "sha256": _checksum(file)} for file in files]
    record = {**made.record, "data": data, "corpora": dict(sorted(taken.items()))}
    return replace(made, record=record).pruned(min_count)


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_priors(
    pairs: Iterable[tuple[str, str]],
    source: str,
    target: str,
    *,
    longest: int = 100,
    samplers: int = 3,
    effort: float = 1.0,
    progress: Progress | None = None,
) -> Priors:
    """Tokenise pairs of sentences, align them with eflomal, and count.

    The text streams through files; eflomal itself holds all of it in memory.

    Args:
        pairs: sentences that translate each other.
        source, target: FLORES-200 codes.
        longest: pairs with more words than this on a side are left out.
        samplers, effort: eflomal's; see `spanferry.alignment.statistical.EflomalAligner`.
        progress: told the step, ``"read"``, ``"align"`` or ``"count"``, and the pairs so far.

    Raises:
        ConfigError: eflomal is not installed.
        DataError: no pair has words on both sides.
        ModelError: eflomal failed.
    """
    engine = import_eflomal().Aligner(n_samplers=samplers, rel_iterations=effort)
    tell = progress or (lambda step, count: None)
    with TemporaryDirectory(prefix="spanferry-priors-") as folder:
        texts = [Path(folder, name) for name in ("source", "target")]
        links = [Path(folder, name) for name in ("forward", "backward")]
        count = 0
        with texts[0].open("w", encoding="utf-8") as left, texts[1].open("w", encoding="utf-8") as right:
            for number, (here, there) in enumerate(_words(pairs, source, target), 1):
                if here and there and max(len(here), len(there)) <= longest:
                    left.write(" ".join(here) + "\n")
                    right.write(" ".join(there) + "\n")
                    count += 1
                if number % _CHUNK == 0:
                    tell("read", number)
        if not count:
            raise DataError("no pair has words on both sides, expected sentences that translate each other")
        tell("align", count)
        with texts[0].open(encoding="utf-8") as left, texts[1].open(encoding="utf-8") as right:
            run_eflomal(engine, left, right, *links)
        tell("count", count)
        priors = count_links(_read(*texts, *links))
    record = {
        "source": source,
        "target": target,
        "pairs": count,
        "tokens": sorted({tokenizer_name(source), tokenizer_name(target)}),
        "aligner": f"eflomal-{version('eflomal')}",
    }
    return replace(priors, record=record)


def count_links(aligned: Iterable[tuple[list[str], list[str], Links, Links]]) -> Priors:
    """Count what two directed alignments say.

    Args:
        aligned: source words, target words, the links of source to target, at most one a target word, and those of
            target to source, at most one a source word.

    A pair of words counts half for each direction that links it.

    >>> priors = count_links([(["the", "wine"], ["Wein"], [(1, 0)], [(1, 0)])])
    >>> priors.words
    Counter({('wine', 'Wein'): 1.0, ('the', '<NULL>'): 1})
    >>> priors.jumps_forward, priors.fertility_backward
    (Counter({2: 1, 1: 1}), Counter({('Wein', 1): 1}))
    """
    halves: Counter[tuple[str, str]] = Counter()
    nulls: Counter[tuple[str, str]] = Counter()
    jumps: tuple[Counter[int], Counter[int]] = (Counter(), Counter())
    fertilities: tuple[Counter[tuple[str, int]], Counter[tuple[str, int]]] = (Counter(), Counter())
    for source, target, forward, backward in aligned:
        halves.update((source[i], target[j]) for i, j in (*forward, *backward))
        seen, heard = {j for _, j in forward}, {i for i, _ in backward}
        nulls.update((NULL, word) for j, word in enumerate(target) if j not in seen)
        nulls.update((word, NULL) for i, word in enumerate(source) if i not in heard)
        jumps[0].update(_jumps([i for i, _ in sorted(forward, key=lambda link: link[1])], len(source)))
        jumps[1].update(_jumps([j for _, j in sorted(backward)], len(target)))
        fertilities[0].update((source[i], number) for i, number in Counter(i for i, _ in forward).items())
        fertilities[1].update((target[j], number) for j, number in Counter(j for _, j in backward).items())
    words: Counter[tuple[str, str]] = Counter()
    for pair, count in halves.items():
        words[pair] = count / 2  # type: ignore[assignment]
    words.update(nulls)
    return Priors(words, *jumps, *fertilities)


def _jumps(places: list[int], length: int) -> Iterator[int]:
    """From before the first word over the places to behind the last."""
    last = -1
    for place in places:
        yield place - last
        last = place
    yield length - last


def _words(pairs: Iterable[tuple[str, str]], source: str, target: str) -> Iterator[tuple[list[str], list[str]]]:
    iterator = iter(pairs)
    while part := list(islice(iterator, _CHUNK)):
        sides = [tokenize([pair[side] for pair in part], code) for side, code in ((0, source), (1, target))]
        for left, right in zip(*sides, strict=True):
            yield [word.lower() for word in left.words], [word.lower() for word in right.words]


def _read(*files: Path) -> Iterator[tuple[list[str], list[str], Links, Links]]:
    streams = [file.open(encoding="utf-8") for file in files]
    try:
        for source, target, forward, backward in zip(*streams, strict=True):
            links = [[parse_link(link) for link in line.split()] for line in (forward, backward)]
            yield source.rstrip("\n").split(" "), target.rstrip("\n").split(" "), links[0], links[1]
    finally:
        for stream in streams:
            stream.close()
