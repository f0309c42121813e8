"""The figures of a build's report that its counts do not hold, collected in one pass over the outcomes.

Memory does not grow with the build, but for eight bytes a row and side (digests of the texts, to find duplicates). What
is dear to compute (language identification, subword tokens) is computed on a random sample of texts.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final

from spanferry.flows.build_outcomes import (
    Reservoir,
    Row,
    disagrees,
    languages_between,
    lowest_score,
    reasons_of,
    rows_of,
    target_fields,
)
from spanferry.flows.members import Build
from spanferry.flows.outcomes import Outcome, lost_because
from spanferry.projection.span_checks import width

CARRIED: Final = "carried"
SAMPLE: Final = 1000
"""Texts a language that are identified and tokenized."""
_IN_A_GROUP: Final = 12
"""Examples that are drawn of each reason, label, ..."""
_MOST_GROUPS: Final = 80
"""Groups a language, the first that come: hundreds of labels are not all shown."""
_LOW: Final = 0.5
"""Score below which an example is one of low scores; only a group to sample from."""

Tokenize = Callable[[Sequence[str]], list[tuple[int, int]]]
"""Texts -> the number of subword tokens of each, and how many of them are unknown."""


@dataclass
class Histogram:
    """Counts of values between edges; what lies outside is counted in the first or last bin.

    >>> histogram = Histogram((0.0, 0.5, 1.0))
    >>> for value in (0.2, 0.5, 1.0, 7.0): histogram.add(value)
    >>> histogram.counts, round(histogram.mean, 3), histogram.total
    ([1, 3], 2.175, 4)
    """

    edges: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.edges) - 1)

    def add(self, value: float) -> None:
        """Count a value."""
        place = bisect_right(self.edges, value) - 1
        self.counts[min(max(place, 0), len(self.counts) - 1)] += 1
        self.sum += value

    @property
    def total(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """Their mean; 0 of none."""
        return self.sum / self.total if self.total else 0.0


LENGTH_EDGES: Final = tuple(2 ** (step / 4) for step in range(-8, 9))
SCORE_EDGES: Final = tuple(step / 20 for step in range(21))
CONFIDENCE_EDGES: Final = tuple(step / 10 for step in range(11))
TRANSLATION_EDGES: Final = tuple(step / 4 for step in range(-16, 1))


@dataclass
class TokenFigures:
    """Subword tokens of sampled texts.

    Attributes:
        source, target: tokens of all texts of either side.
        sentences: how many sentences the source texts have.
        unknown: those of the target side that stand for characters which the tokenizer does not have.
    """

    source: int = 0
    target: int = 0
    sentences: int = 0
    unknown: int = 0


@dataclass
class LanguageFigures:
    """What was seen of one language.

    Attributes:
        source_name, target_name: BCP-47 of the sides that labels were carried between.
        fates: (label, ``"carried"`` or the reason of its loss) -> spans.
        lengths: width of the target text over that of the source; a Chinese, Japanese or Korean character counts two.
        scores: of spans with a place, 0 to 1 by the scale of the method.
        confidence: probability that both ends are right, 0 to 1, of a build with a calibration.
        translations: mean natural-log probability of a target token, <= 0.
        votes: (method, other method) -> [spans on which both voted, spans for which they named the same place].
        disagreed, voted: spans on which the methods did not agree, of how many with several votes.
        duplicate_sources, duplicate_targets: rows whose texts an earlier row had, word for word.
        rows: how many.
        identified: language that a sampled target text was taken for -> texts; of 20 characters and more.
        tokens: subword tokens of sampled texts; None without a tokenizer.
        examples: group -> its sampled outcomes: ``kept``, ``low score``, ``disagreement``, each reason, each label.
    """

    source_name: str
    target_name: str
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    lengths: Histogram = field(default_factory=lambda: Histogram(LENGTH_EDGES))
    scores: Histogram = field(default_factory=lambda: Histogram(SCORE_EDGES))
    confidence: Histogram = field(default_factory=lambda: Histogram(CONFIDENCE_EDGES))
    translations: Histogram = field(default_factory=lambda: Histogram(TRANSLATION_EDGES))
    votes: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    disagreed: int = 0
    voted: int = 0
    duplicate_sources: int = 0
    duplicate_targets: int = 0
    rows: int = 0
    identified: Counter[str] = field(default_factory=Counter)
    tokens: TokenFigures | None = None
    examples: dict[str, list[Row]] = field(default_factory=dict)


def collect(build: Build, language: str, *, tokenize: Tokenize | None = None, seed: int = 0) -> LanguageFigures:
    """Look at every outcome of one language, once.

    Args:
        build: a finished build.
        language: BCP-47, one of its languages.
        tokenize: counts subword tokens; None leaves that out.
        seed: of the samples.
    """
    found = LanguageFigures(*languages_between(build, language))
    groups: dict[str, Reservoir[Row]] = {}
    texts = Reservoir[tuple[str, str]](SAMPLE, f"{seed}/{language}/texts")
    digests = array("Q"), array("Q")
    for row in rows_of(build, language):
        outcome = row.outcome
        source, target = "\n".join(outcome["source"].values()), "\n".join(target_fields(outcome).values())
        found.rows += 1
        for side, text in zip(digests, (source, target), strict=True):
            side.append(
                int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
            )
        if source.strip() and target.strip():
            found.lengths.add(width(target) / max(width(source), 1))
            texts.add((source, target))
        for each in outcome["translations"].values():
            if each["score"] is not None:
                found.translations.add(each["score"])
        for projection in outcome["projections"]:
            _add_span(found, outcome, projection)
        for group in _groups(outcome):
            if group not in groups and len(groups) < _MOST_GROUPS:
                groups[group] = Reservoir(_IN_A_GROUP, f"{seed}/{language}/{group}")
            if group in groups:
                groups[group].add(row)
    found.duplicate_sources, found.duplicate_targets = map(_duplicates, digests)
    found.examples = {name: group.items for name, group in sorted(groups.items(), key=_lost_first)}
    found.identified = identify(target for _, target in texts.items)
    if tokenize is not None:
        found.tokens = count_tokens(texts.items, tokenize, found.source_name)
    return found


def _add_span(found: LanguageFigures, outcome: Outcome, projection: Mapping[str, Any]) -> None:
    found.fates[projection["label"], lost_because(outcome, projection) or CARRIED] += 1
    if projection["start"] is not None:
        if projection["score"] is not None:
            found.scores.add(projection["score"])
        if projection.get("confidence") is not None:
            found.confidence.add(projection["confidence"])
    votes = sorted(projection.get("votes", ()), key=lambda vote: str(vote["method"]))
    if len(votes) > 1:
        found.voted += 1
        found.disagreed += disagrees(projection)
    for one, other in combinations(votes, 2):
        pair = found.votes.setdefault((one["method"], other["method"]), [0, 0])
        pair[0] += 1
        pair[1] += (one["start"], one["end"]) == (other["start"], other["end"])


def _groups(outcome: Outcome) -> list[str]:
    """Return what an example is an example of."""
    reasons = reasons_of(outcome)
    score = lowest_score(outcome)
    return [
        *(f"lost: {reason}" for reason in reasons),
        *(["low score"] if score is not None and score < _LOW else []),
        *(["disagreement"] if any(map(disagrees, outcome["projections"])) else []),
        *([] if reasons else ["kept"]),
        *sorted({f"label: {each['label']}" for each in outcome["projections"]}),
    ]


def _lost_first(group: tuple[str, object]) -> tuple[bool, str]:
    return not group[0].startswith("lost: "), group[0]


def _duplicates(digests: array[int]) -> int:
    import numpy as np

    return len(digests) - len(np.unique(np.frombuffer(digests, dtype=np.uint64))) if digests else 0


def identify(texts: Iterable[str], shortest: int = 20) -> Counter[str]:
    """Count the languages that py3langid takes texts for; shorter ones, where it guesses, are left out."""
    from spanferry.projection.text_checks import identify_language

    return Counter(identify_language(text)[0] for text in texts if len(text) >= shortest)


def count_tokens(pairs: Sequence[tuple[str, str]], tokenize: Tokenize, source: str) -> TokenFigures:
    """Count the subword tokens of both sides of the same texts.

    >>> pairs = [("It rains. We stay.", "Es regnet. Wir bleiben.")]
    >>> count_tokens(pairs, lambda texts: [(len(text), 0) for text in texts], "en")
    TokenFigures(source=18, target=23, sentences=2, unknown=0)
    """
    from spanferry.translation.languages import get_language
    from spanferry.translation.segments import sentence_ranges

    code = get_language(source).flores
    sentences = sum(max(1, len(sentence_ranges(here, code))) for here, _ in pairs)
    here, there = (tokenize([pair[side] for pair in pairs]) for side in (0, 1))
    tokens = [sum(number for number, _ in counts) for counts in (here, there)]
    return TokenFigures(tokens[0], tokens[1], sentences, sum(unknown for _, unknown in there))
