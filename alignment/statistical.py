"""Align by counting which words go together over the whole corpus: eflomal, an optional extra.

eflomal (Östling and Tiedemann, "Efficient Word Alignment with Markov Chain Monte Carlo", The Prague Bulletin of
Mathematical Linguistics 106, 2016) needs no model and no languages, but a corpus: thousands of pairs in one call, or
`priors` that were counted over such a corpus once (``spanferry models priors``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spanferry.alignment.base import CORPUS_WISE, Link, TokenizedText, WordAlignment
from spanferry.alignment.priors import NULL, Priors, PriorsByLanguage
from spanferry.alignment.symmetrize import get_symmetrization
from spanferry.data.errors import ConfigError, DataError, ModelError

Pair = tuple[TokenizedText, TokenizedText]
# eflomal's own limit (MAX_SENT_LEN); what it does beyond is to stop.
_MOST_WORDS = 1000
_DEPTHS = (1, 2, 3)


class EflomalAligner:
    """Aligns all pairs of one call in both directions and symmetrises.

    Corpus-wise: the links of a pair depend on the pairs beside it. Not deterministic: eflomal samples, its program has
    no option for the seed and takes it from the operating system, so two runs differ in a few links; more samplers
    make the differences fewer, and none makes them go. For links that are the same in every run take ``lexical``.

    Args:
        priors: a file of `spanferry models priors` or of `eflomal-makepriors`, or a list of them, one a pair of
            languages, in either direction; None for none.
        samplers: chains whose counts are averaged.
        symmetrization: see `spanferry.alignment.symmetrize`.
        depth: 1 lexical model (IBM 1), 2 with word order (HMM), 3 with fertility.
        effort: multiplies eflomal's own number of iterations, which falls with the size of the corpus.
        null_prior: prior probability that a word renders nothing, 0..1.

    The score of a link between words s and t is the harmonic mean of count(s, t) / count(s) and count(s, t) / count(t),
    counted over the links of the call, whatever the case.

    Raises:
        ConfigError: eflomal is not installed, or a setting is out of range.
        DataError: a file of priors cannot be read.
    """

    def __init__(
        self,
        *,
        symmetrization: str = "grow-diag-final-and",
        depth: int = 3,
        effort: float = 1.0,
        null_prior: float = 0.2,
        priors: str | Path | list[str | Path] | None = None,
        samplers: int = 3,
    ) -> None:
        if depth not in _DEPTHS:
            raise ConfigError(f"depth {depth}, expected one of {_DEPTHS}")
        if not effort > 0:
            raise ConfigError(f"effort {effort}, expected a number above 0")
        if not 0 < null_prior < 1:
            raise ConfigError(f"null_prior {null_prior}, expected a number between 0 and 1")
        if samplers < 1:
            raise ConfigError(f"samplers {samplers}, expected a whole number from 1 on")
        self._symmetrize = get_symmetrization(symmetrization)
        self._engine = import_eflomal().Aligner(
            model=depth, rel_iterations=effort, null_prior=null_prior, n_samplers=samplers
        )
        self._priors = PriorsByLanguage(priors)
        settings = f"{symmetrization}:{depth}:{effort}:{null_prior}:{samplers}"
        # The number goes up when other words are given to the same program.
        self._fingerprint = f"eflomal-{version('eflomal')}/2:{CORPUS_WISE}:{settings}"
        if self._priors.fingerprint:
            self._fingerprint += f":{self._priors.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Identity of the program and its parameters; the same does not mean the same links, see the class."""
        return self._fingerprint

    def align(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[WordAlignment]:
        """Return one alignment a pair; the languages choose the priors, and play no other part.

        Raises:
            ConfigError: there are priors, but none for these languages.
            DataError: a text has more than 1,000 words.
            ModelError: eflomal failed.
        """
        priors = self._priors.between(source, target)
        words = [tuple([_one_word(word.lower()) for word in text.words] for text in pair) for pair in pairs]
        for number, pair in enumerate(words):
            if max(map(len, pair)) > _MOST_WORDS:
                raise DataError(
                    f"pair {number} has {max(map(len, pair))} words, eflomal takes {_MOST_WORDS}",
                    hint="split the texts into sentences",
                )
        speaking = [number for number, pair in enumerate(words) if all(pair)]
        if not speaking:
            return [WordAlignment(()) for _ in pairs]
        forward, backward = self._run([words[number] for number in speaking], priors)
        links: list[set[tuple[int, int]]] = [set() for _ in pairs]
        for number, there, back in zip(speaking, forward, backward, strict=True):
            links[number] = self._symmetrize(there, back)
        return _with_scores(links, words)

    def _run(self, pairs: Sequence[tuple[list[str], ...]], priors: Priors | None) -> list[list[set[tuple[int, int]]]]:
        """Return the links of the two directions, both as (source, target)."""
        with TemporaryDirectory(prefix="spanferry-eflomal-") as folder:
            files = [Path(folder) / name for name in ("forward", "backward")]
            left, right = ([" ".join(pair[side]) + "\n" for pair in pairs] for side in (0, 1))
            run_eflomal(self._engine, left, right, *files, priors=None if priors is None else _eflomal_lines(priors))
            found = [file.read_text(encoding="ascii").split("\n")[: len(pairs)] for file in files]
        return [[{parse_link(link) for link in line.split()} for line in direction] for direction in found]


def _one_word(word: str) -> str:
    """Return a word as one that eflomal, which goes by white space, counts as one.

    >>> _one_word("new york"), _one_word("\\u3000")
    ('new_york', '_')
    """
    return "_".join(word.split()) or "_"


def run_eflomal(
    engine: Any,
    source: Iterable[str],
    target: Iterable[str],
    forward: Path,
    backward: Path,
    *,
    priors: Iterable[str] | None = None,
) -> None:
    """Run an `eflomal.Aligner` over lines of words, and let it write ``i-j`` links of both directions.

    Raises:
        ModelError: it failed.
    """
    try:
        engine.align(
            source,
            target,
            links_filename_fwd=str(forward),
            links_filename_rev=str(backward),
            priors_input=priors,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(f"eflomal failed: {error}") from error
    if not (forward.is_file() and backward.is_file()):
        raise ModelError("eflomal failed: it wrote no links")


def _eflomal_lines(priors: Priors) -> list[str]:
    """eflomal's own priors have no NULL in them, and it has a setting of its own for how frequent it is."""
    return [line for line in priors.lines() if f"\t{NULL}\t" not in line]


def import_eflomal() -> Any:
    """Return the package.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import eflomal
    except ImportError as error:
        raise ConfigError("the aligner eflomal is an extra: pip install 'spanferry[eflomal]'") from error
    return eflomal


def parse_link(link: str) -> tuple[int, int]:
    """Read ``i-j``.

    >>> parse_link("3-0")
    (3, 0)
    """
    source, _, target = link.partition("-")
    return int(source), int(target)


def _with_scores(links: Sequence[set[tuple[int, int]]], words: Sequence[tuple[list[str], ...]]) -> list[WordAlignment]:
    both: Counter[tuple[str, str]] = Counter()
    sources: Counter[str] = Counter()
    targets: Counter[str] = Counter()
    for pair, found in zip(words, links, strict=True):
        for i, j in found:
            both[pair[0][i], pair[1][j]] += 1
            sources[pair[0][i]] += 1
            targets[pair[1][j]] += 1

    def score(source: str, target: str) -> float:
        # The harmonic mean of c/a and c/b is 2c / (a + b).
        return 2 * both[source, target] / (sources[source] + targets[target])

    return [
        WordAlignment(tuple(Link(i, j, score(pair[0][i], pair[1][j])) for i, j in sorted(found)))
        for pair, found in zip(words, links, strict=True)
    ]
