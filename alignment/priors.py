"""What was counted once over much parallel text: which words render each other, and how far one jumps in between.

The file is eflomal's own form of priors (its `eflomal-makepriors` writes it, tab-separated), with a first line of ours
that says what it was made from. eflomal and the aligner `lexical` both read either.

=========================  ===========================================================================================
``LEX s t n``              words ``s`` and ``t``, in lower case, were linked ``n`` times; with ``<NULL>`` on one side,
                           the other was linked with nothing
``HMMF jump n``            two target words in a row are linked with source words ``jump`` apart, ``n`` times
``HMMR jump n``            the same with the sides exchanged
``FERF s k n``             ``s`` was linked with ``k`` target words, ``n`` times
``FERR t k n``             the same with the sides exchanged
=========================  ===========================================================================================
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from spanferry.data.errors import ConfigError, DataError

NULL = "<NULL>"
BUNDLED = Path(__file__).parent / "bundled" / "priors"
"""The priors that are shipped; its README says what they were counted in."""

BUNDLED_FILES = {
    ("eng_Latn", language): f"en-{code}.gz"
    for language, code in (("deu_Latn", "de"), ("spa_Latn", "es"), ("fra_Latn", "fr"), ("ita_Latn", "it"))
}
"""Languages (FLORES-200 codes) -> file in `BUNDLED`."""

_HEADER = "# spanferry priors "
_COLUMNS = {"LEX": 4, "FERF": 4, "FERR": 4, "HMMF": 3, "HMMR": 3}


@dataclass(frozen=True)
class Priors:
    """Counts of links over a corpus; see the module for what each is.

    Attributes:
        words: (source word, target word) -> links; `NULL` on one side counts the words that were linked with nothing.
        jumps_forward, jumps_backward: distance in words -> how often.
        fertility_forward, fertility_backward: (word, links) -> how often.
        record: what they were made from: ``source`` and ``target`` (FLORES-200 codes), ``pairs``, ``data``, ...; empty
            for a file of eflomal's own.
        checksum: SHA-256 of the file, in hexadecimal; empty if they were not read from one.

    >>> priors = Priors(words=Counter({("wine", "Wein"): 3}), record={"source": "eng_Latn", "target": "deu_Latn"})
    >>> priors.turned().words, priors.turned().record["source"]
    (Counter({('Wein', 'wine'): 3}), 'deu_Latn')
    """

    words: Counter[tuple[str, str]] = field(default_factory=Counter)
    jumps_forward: Counter[int] = field(default_factory=Counter)
    jumps_backward: Counter[int] = field(default_factory=Counter)
    fertility_forward: Counter[tuple[str, int]] = field(default_factory=Counter)
    fertility_backward: Counter[tuple[str, int]] = field(default_factory=Counter)
    record: Mapping[str, Any] = field(default_factory=dict)
    checksum: str = ""

    def turned(self) -> Priors:
        """The same counts with source and target exchanged."""
        return Priors(
            words=Counter({(target, source): count for (source, target), count in self.words.items()}),
            jumps_forward=self.jumps_backward,
            jumps_backward=self.jumps_forward,
            fertility_forward=self.fertility_backward,
            fertility_backward=self.fertility_forward,
            record={**self.record, "source": self.record.get("target"), "target": self.record.get("source")},
            checksum=self.checksum,
        )

    def pruned(self, least: float) -> Priors:
        """Leave out the pairs of words that were linked fewer than ``least`` times, and what only they spoke of.

        >>> Priors(words=Counter({("a", "b"): 1, ("c", "d"): 2})).pruned(2).words
        Counter({('c', 'd'): 2})
        """
        words = Counter({pair: count for pair, count in self.words.items() if count >= least})
        sources, targets = {source for source, _ in words}, {target for _, target in words}
        return Priors(
            words=words,
            jumps_forward=self.jumps_forward,
            jumps_backward=self.jumps_backward,
            fertility_forward=Counter({key: n for key, n in self.fertility_forward.items() if key[0] in sources}),
            fertility_backward=Counter({key: n for key, n in self.fertility_backward.items() if key[0] in targets}),
            record={**self.record, "min_count": least},
        )

    def lines(self) -> Iterator[str]:
        """Yield the lines of eflomal's form, without header and line ends, sorted."""
        for (source, target), count in sorted(self.words.items()):
            yield f"LEX\t{source}\t{target}\t{count:g}"
        for kind, fertilities in (("FERF", self.fertility_forward), ("FERR", self.fertility_backward)):
            for (word, number), count in sorted(fertilities.items()):
                yield f"{kind}\t{word}\t{number}\t{count:g}"
        for kind, jumps in (("HMMF", self.jumps_forward), ("HMMR", self.jumps_backward)):
            for jump, count in sorted(jumps.items()):
                yield f"{kind}\t{jump}\t{count:g}"


def write_priors(priors: Priors, path: str | Path) -> None:
    """Write a file, packed if its name ends in ``.gz``; the same counts give the same bytes.

    Raises:
        DataError: the file cannot be written.
    """
    text = _HEADER + json.dumps(dict(priors.record), ensure_ascii=False, sort_keys=True) + "\n"
    text += "".join(f"{line}\n" for line in priors.lines())
    content = text.encode("utf-8")
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", path=path) from error


def read_priors(path: str | Path) -> Priors:
    """Read a file of priors, ours or eflomal's, plain or ``.gz``.

    Raises:
        DataError: the file is missing or not UTF-8, or a line is not of the form.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        with _text(content, packed=path.suffix == ".gz") as lines:
            return _parse(lines, path, hashlib.sha256(content).hexdigest())
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} is not UTF-8", path=path) from error
    except (OSError, EOFError) as error:
        hint = "make priors with: spanferry models priors"
        raise DataError(f"cannot be read as priors: {error}", path=path, hint=hint) from error


def _text(content: bytes, *, packed: bool) -> TextIO:
    stream: Any = io.BytesIO(content)
    return io.TextIOWrapper(gzip.GzipFile(fileobj=stream) if packed else stream, encoding="utf-8", newline="\n")


def _parse(lines: TextIO, path: Path, checksum: str) -> Priors:
    words: Counter[tuple[str, str]] = Counter()
    jumps: dict[str, Counter[int]] = {"HMMF": Counter(), "HMMR": Counter()}
    fertilities: dict[str, Counter[tuple[str, int]]] = {"FERF": Counter(), "FERR": Counter()}
    record: dict[str, Any] = {}
    for number, line in enumerate(lines, 1):
        if number == 1 and line.startswith(_HEADER):
            record = _record(line, path)
            continue
        columns = line.rstrip("\n").split("\t")
        kind = columns[0]
        try:
            if len(columns) != _COLUMNS[kind]:
                raise ValueError
            count = float(columns[-1])
            if not 0.0 <= count < float("inf"):
                raise ValueError
            if kind == "LEX":
                words[columns[1], columns[2]] += count  # type: ignore[assignment]  # eflomal's counts may be fractions
            elif kind in jumps:
                jumps[kind][int(columns[1])] += count  # type: ignore[assignment]
            else:
                fertilities[kind][columns[1], int(columns[2])] += count  # type: ignore[assignment]
        except (KeyError, ValueError) as error:
            raise DataError(
                f"found {line.rstrip()[:60]!r}, expected LEX, FERF or FERR and three columns, or HMMF or HMMR and two",
                path=path,
                line=number,
                hint="priors are made by: spanferry models priors",
            ) from error
    if not words:
        raise DataError("holds no LEX line, expected pairs of words with their counts", path=path)
    return Priors(
        words, jumps["HMMF"], jumps["HMMR"], fertilities["FERF"], fertilities["FERR"], record=record, checksum=checksum
    )


def _record(line: str, path: Path) -> dict[str, Any]:
    try:
        record = json.loads(line[len(_HEADER) :])
    except ValueError as error:
        raise DataError(f"header is not JSON: {error}", path=path, line=1) from error
    if not isinstance(record, dict):
        raise DataError("header is not a JSON object", path=path, line=1)
    return record


class PriorsByLanguage:
    """Files of priors, and which of them speaks of a pair of languages.

    Args:
        files: a file, or one for each pair of languages, read when this is made; ``"bundled"`` for those that are
            shipped, each read when its languages are asked for; None for none.

    Raises:
        ConfigError: two files are for the same languages, or one of several does not say which languages it is for.
        DataError: a file cannot be read.
    """

    def __init__(self, files: str | Path | list[str | Path] | None) -> None:
        self._bundled = files == "bundled"
        if files is None or self._bundled:
            files = []
        names = [files] if isinstance(files, str | Path) else list(files)
        self._priors = [read_priors(name) for name in names]
        seen: set[frozenset[Any]] = set()
        for name, priors in zip(names, self._priors, strict=True):
            languages = frozenset((priors.record.get("source"), priors.record.get("target")))
            if len(names) > 1 and None in languages:
                raise ConfigError(f"{name}: does not say which languages it is for, as one of several priors must")
            if languages in seen:
                raise ConfigError(f"{name}: a second file of priors for the same languages")
            seen.add(languages)

    @property
    def fingerprint(self) -> str:
        """Identity of the files' contents, in any order; empty without a file."""
        if self._bundled:
            contents = [(BUNDLED / name).read_bytes() for name in BUNDLED_FILES.values()]
            return f"bundled-{hashlib.sha256(b''.join(contents)).hexdigest()[:16]}"
        return ",".join(sorted(priors.checksum[:16] for priors in self._priors))

    def between(self, source: str, target: str) -> Priors | None:
        """Return the priors from ``source`` to ``target`` (FLORES-200 codes), made in either direction.

        A single file that does not say its languages is taken as it is. None if there are no files, or of those that
        are shipped none for these languages.

        Raises:
            ConfigError: files were given, but none for these languages.
        """
        if self._bundled:
            if name := BUNDLED_FILES.get((source, target)):
                return read_priors(BUNDLED / name)
            name = BUNDLED_FILES.get((target, source))
            return read_priors(BUNDLED / name).turned() if name else None
        for priors in self._priors:
            languages = priors.record.get("source"), priors.record.get("target")
            if languages in ((source, target), (None, None)):
                return priors
            if languages == (target, source):
                return priors.turned()
        if self._priors:
            known = ", ".join(f"{p.record.get('source')}-{p.record.get('target')}" for p in self._priors)
            raise ConfigError(
                f"no priors for {source}-{target}, only for {known}. Make them with `spanferry models priors` and add "
                "the file to the aligner's setting `priors` (a list holds one file a pair of languages)"
            )
        return None
