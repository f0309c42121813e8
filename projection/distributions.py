"""Tag distributions over the tokens of a text: carried across a translation, averaged, and decoded into spans.

What `spanferry.projection.ensemble` does with spans is done here one step earlier, with everything a tagger knew. That
translate-train and translate-test are better together is the finding of Ebing and Glavaš ("The Devil Is in the Word
Alignment Details: On Translation-Based Cross-Lingual Transfer for Token Classification Tasks", ACL 2025, arXiv
2505.10507), who ensemble their predictions. Here the distributions of the words of a translation are projected onto the
tokens of the original and averaged there with those of a model that reads the original itself; tokens that nothing was
projected onto keep the other model's.

A token without a distribution is a row of NaN: it is missing, which is not the same as probability 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanferry.alignment.base import Link
from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Span
from spanferry.data.spans import snap, tags_to_ranges
from spanferry.projection.base import Projection

_OUTSIDE: Final = "O"
_TOLERANCE: Final = 1e-3  # softmaxes of half precision, summed
_SMALLEST: Final = 1e-300  # keeps the logarithm of an impossible tag finite, so that every text has a best path


@dataclass(frozen=True, eq=False)
class TagDistribution:
    """What a tagger thinks of every token of a text.

    Attributes:
        tokens: (start, end) of each token, half-open, in characters of the text; in order, without overlap.
        tags: IOB2 tags, ``O`` among them, and ``B-`` for every label that has ``I-``.
        probabilities: [tokens, tags], 0..1, each row with the sum 1, or all NaN where the token has none.

    Raises:
        DataError: the parts do not fit together, or a row is no distribution.

    >>> zoe = TagDistribution(((0, 3), (4, 9)), ("O", "B-PER", "I-PER"), [[0.1, 0.9, 0.0], [np.nan] * 3])
    >>> zoe.known
    array([ True, False])
    """

    tokens: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        _check_tags(self.tags)
        shape = len(self.tokens), len(self.tags)
        rows = np.asarray(self.probabilities, dtype=np.float64)
        if not rows.size and not self.tokens:
            rows = np.empty(shape)
        if rows.shape != shape:
            raise DataError(
                f"found probabilities of shape {list(rows.shape)}, expected {list(shape)}: a row for each of "
                f"{shape[0]} tokens, and in it one for each of the tags {', '.join(self.tags)}"
            )
        object.__setattr__(self, "probabilities", rows)
        missing = np.isnan(rows).all(axis=1)
        with np.errstate(invalid="ignore"):
            good = (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= _TOLERANCE)
        if (bad := np.flatnonzero(~(good | missing))).size:
            raise DataError(
                f"token {bad[0]}: the probabilities {rows[bad[0]].tolist()} are no distribution: expected numbers in "
                "0..1 with the sum 1, or NaN throughout for a token without one",
                hint="a model's logits must go through a softmax first",
            )

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which tokens have a distribution: [tokens]."""
        return np.asarray(~np.isnan(self.probabilities).any(axis=1))

    def filled(self, other: TagDistribution) -> TagDistribution:
        """Return this distribution with the rows of ``other`` where it has none itself.

        Raises:
            DataError: the two are over different tokens.
        """
        tags = _common_tags([self, other])
        ours, theirs = _over(self, tags), _over(other, tags)
        _check_tokens([self, other])
        return TagDistribution(self.tokens, tags, np.where(self.known[:, None], ours, theirs))


def softmax(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the softmax of each row of ``logits`` [tokens, tags].

    >>> softmax([[0.0, 0.0], [1000.0, 0.0]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    """
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def project_by_links(
    translation: TagDistribution, links: Iterable[Link], tokens: Sequence[tuple[int, int]]
) -> TagDistribution:
    """Carry distributions from the words of a translation onto the tokens of the original, along word links.

    A token of the original takes the mean of its linked words' distributions, weighted by the scores of the links. A
    token without links has none. Where the word that is linked best to a token is also that of the token before it, the
    two render one word, which one span cannot open twice: the second token's ``B-`` becomes ``I-``, label by label.

    Args:
        translation: over the words of the translation.
        links: ``source`` counts the words of the translation, ``target`` the tokens of the original.
        tokens: of the original, (start, end) in characters.

    Raises:
        DataError: a link leads out of one of the two.

    >>> words = TagDistribution(((0, 9),), ("O", "B-LOC", "I-LOC"), [[0.0, 1.0, 0.0]])      # "Stuttgart"
    >>> carried = project_by_links(words, [Link(0, 0), Link(0, 1)], [(0, 3), (4, 8), (9, 11)])
    >>> decode(carried)
    ['B-LOC', 'I-LOC', 'O']
    """
    sums = np.zeros((len(tokens), len(translation.tags)))
    weights = np.zeros(len(tokens))
    best: dict[int, tuple[float, int]] = {}  # token -> (score, -word) of its best link
    for word, token, score in links:
        if not (0 <= word < len(translation.tokens) and 0 <= token < len(tokens)):
            raise DataError(
                f"link {word}-{token} leads out of a translation of {len(translation.tokens)} words or an original of "
                f"{len(tokens)} tokens",
                hint="the source of a link is the translation here, its target the original",
            )
        if score <= 0 or not translation.known[word]:
            continue
        sums[token] += score * translation.probabilities[word]
        weights[token] += score
        best[token] = max(best.get(token, (0.0, 0)), (score, -word))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / weights[:, None]  # 0 / 0: no links, NaN
    for token, (_, word) in best.items():
        if token - 1 in best and best[token - 1][1] == word:
            means[token] = _moved(means[token], translation.tags, "B", "I")
    return TagDistribution(tuple(tokens), translation.tags, means)


def project_by_spans(
    translation: TagDistribution, projections: Iterable[Projection], tokens: Sequence[tuple[int, int]]
) -> TagDistribution:
    """Carry distributions from the predicted spans of a translation onto the places that the spans were carried to.

    The first token of a carried span takes the distribution of the span's first word, every other token that of its
    last word. The place in the carried span decides between ``B-`` and ``I-``: a label's probabilities for both are
    added up under the prefix that the token has there; with one word for several tokens, and several words for one,
    nothing else would give a span. All other tokens have no distribution.

    Args:
        translation: over the words of the translation.
        projections: ``source`` lies in the translation, ``target`` in the original; those that lost their target carry
            nothing. Of spans that meet on a token the one with the higher score keeps it, of equals the earlier.
        tokens: of the original, (start, end) in characters.

    >>> words = TagDistribution(((0, 4),), ("O", "B-LOC", "I-LOC"), [[0.25, 0.75, 0.0]])    # "Rome"
    >>> place = Projection(Span(0, 4, "LOC"), Span(2, 10, "LOC"), "alignment", 1.0)
    >>> project_by_spans(words, [place], [(0, 1), (2, 4), (5, 10)]).probabilities.tolist()
    [[nan, nan, nan], [0.25, 0.75, 0.0], [0.25, 0.0, 0.75]]
    """
    rows = np.full((len(tokens), len(translation.tags)), np.nan)
    placed = [projection for projection in projections if projection.target is not None]
    for projection in sorted(placed, key=lambda each: -(each.score or 0.0)):
        assert projection.target is not None
        words = snap(projection.source.start, projection.source.end, translation.tokens, "expand")
        places = snap(projection.target.start, projection.target.end, tokens, "expand")
        if words is None or places is None or not translation.known[[words[0], words[1] - 1]].all():
            continue
        if not np.isnan(rows[slice(*places)]).all():
            continue
        opening, rest = translation.probabilities[words[0]], translation.probabilities[words[1] - 1]
        rows[places[0]] = _moved(opening, translation.tags, "I", "B")
        rows[places[0] + 1 : places[1]] = _moved(rest, translation.tags, "B", "I")
    return TagDistribution(tuple(tokens), translation.tags, rows)


def mean_distribution(
    members: Sequence[TagDistribution | None], weights: Sequence[float] | None = None
) -> TagDistribution:
    """Return the weighted mean of distributions over the same tokens, token by token.

    A member that is None, or has no distribution for a token, takes no part in that token's mean; the weights of the
    others are scaled up to 1. A token that no member knows has none. A tag that a member does not have is impossible to
    it, probability 0.

    Raises:
        ConfigError: no member is there, or weights are negative or not one a member.
        DataError: the members are over different tokens.

    >>> tags, tokens = ("O", "B-PER"), ((0, 3), (4, 9))
    >>> test = TagDistribution(tokens, tags, [[0.2, 0.8], [np.nan, np.nan]])
    >>> train = TagDistribution(tokens, tags, [[0.6, 0.4], [0.9, 0.1]])
    >>> mean_distribution([test, train]).probabilities.round(2).tolist()
    [[0.4, 0.6], [0.9, 0.1]]
    """
    shares = check_weights(weights, len(members))
    present = [(member, share) for member, share in zip(members, shares, strict=True) if member is not None]
    if not present:
        raise ConfigError("an ensemble of no members has no mean: every member is missing")
    distributions = [member for member, _ in present]
    _check_tokens(distributions)
    tags = _common_tags(distributions)
    values = np.stack([np.nan_to_num(_over(member, tags)) for member in distributions])  # [members, tokens, tags]
    votes = np.stack([share * member.known for member, share in present])  # [members, tokens]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.einsum("mnt,mn->nt", values, votes) / votes.sum(axis=0)[:, None]
    return TagDistribution(distributions[0].tokens, tags, mean)


def decode(distribution: TagDistribution) -> list[str]:
    """Return the most probable IOB2 tags that are a valid sequence: one a token, by Viterbi's algorithm.

    The probability of a sequence is the product of its tags'; ``I-X`` may follow only ``B-X`` and ``I-X``. Of equally
    probable sequences the one whose last tags come earlier in ``tags`` is taken, so that with ``O`` in front doubt is
    no span. A token without a distribution is ``O``.

    >>> tags = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    >>> decode(TagDistribution(((0, 3), (4, 9)), tags, [[0.1, 0.5, 0.0, 0.4, 0.0], [0.1, 0.0, 0.4, 0.0, 0.5]]))
    ['B-PER', 'I-PER']

    (0.5 * 0.4 for PER and 0.4 * 0.5 for LOC are equal; the best tag of each token, B-PER and I-LOC, is no sequence.)
    """
    tags, count = distribution.tags, len(distribution.tokens)
    if not count:
        return []
    certain = np.zeros(len(tags))
    certain[tags.index(_OUTSIDE)] = 1.0
    rows = np.where(distribution.known[:, None], distribution.probabilities, certain)
    scores = np.log(np.maximum(rows, _SMALLEST))
    allowed = np.array([[_may_follow(after, before) for after in tags] for before in tags])
    barrier = np.where(allowed, 0.0, -np.inf)  # [before, after]
    best = scores[0] + np.where([_may_follow(tag, _OUTSIDE) for tag in tags], 0.0, -np.inf)
    came_from = np.empty((count, len(tags)), dtype=np.intp)
    for position in range(1, count):
        paths = _tied(best[:, None] + barrier)
        came_from[position] = paths.argmax(axis=0)
        best = paths.max(axis=0) + scores[position]
    path = [int(_tied(best).argmax())]
    for position in range(count - 1, 0, -1):
        path.append(int(came_from[position, path[-1]]))
    return [tags[index] for index in reversed(path)]


def decode_spans(distribution: TagDistribution, *, field: str = "text") -> list[tuple[Span, float]]:
    """Return the spans of `decode`, left to right, each with the mean probability of its tags, 0..1.

    >>> decode_spans(TagDistribution(((0, 3), (4, 9)), ("O", "B-PER", "I-PER"), [[0.1, 0.9, 0.0], [0.3, 0.0, 0.7]]))
    [(Span(start=0, end=9, label='PER', field='text'), 0.8)]
    """
    ranges = tags_to_ranges(decode(distribution))
    tokens = distribution.tokens
    spans = [Span(tokens[start][0], tokens[end - 1][1], label, field) for start, end, label in ranges]
    return [(span, span_probability(distribution, span)) for span in spans]


def span_probability(distribution: TagDistribution, span: Span) -> float:
    """Return the mean probability, over the known tokens of ``span``, of the tags that it asks for; 0.0 without any.

    >>> both = TagDistribution(((0, 3), (4, 9)), ("O", "B-PER", "I-PER"), [[0.1, 0.9, 0.0], [np.nan] * 3])
    >>> span_probability(both, Span(0, 9, "PER"))
    0.9
    """
    found = snap(span.start, span.end, distribution.tokens, "expand")
    columns: Mapping[str, int] = {tag: index for index, tag in enumerate(distribution.tags)}
    chances = []
    for token in range(*(found or (0, 0))):
        if distribution.known[token]:
            column = columns.get(_tag("B" if found and token == found[0] else "I", span.label))
            chances.append(0.0 if column is None else float(distribution.probabilities[token, column]))
    return sum(chances) / len(chances) if chances else 0.0


def check_weights(weights: Sequence[float] | None, members: int) -> list[float]:
    """Return one weight a member, 1.0 each where none are given.

    Raises:
        ConfigError: there are more or fewer, one is negative or no number, or all are 0.
    """
    if weights is None:
        return [1.0] * members
    if len(weights) != members:
        raise ConfigError(f"found {len(weights)} weights for {members} members of an ensemble: expected one each")
    if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise ConfigError(f"weights are {list(weights)}: expected numbers from 0 up, one of them above 0")
    return list(weights)


def _tag(prefix: str, label: str) -> str:
    return f"{prefix}-{label}" if label else prefix


def _split(tag: str) -> tuple[str, str]:
    prefix, _, label = tag.partition("-")
    return prefix, label


def _may_follow(after: str, before: str) -> bool:
    prefix, label = _split(after)
    return prefix != "I" or (before != _OUTSIDE and _split(before)[1] == label)


def _tied(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make what differs by rounding alone equal, so that a tie is one on every machine."""
    return np.asarray(np.round(scores, 9))


def _moved(row: NDArray[np.float64], tags: Sequence[str], from_: str, to: str) -> NDArray[np.float64]:
    """Return ``row`` with each label's probability under one prefix added to that under the other, if it has both."""
    moved = row.copy()
    for index, tag in enumerate(tags):
        prefix, label = _split(tag)
        if tag != _OUTSIDE and prefix == from_ and (other := _tag(to, label)) in tags:
            moved[tags.index(other)] += moved[index]
            moved[index] = 0.0
    return moved


def _common_tags(members: Sequence[TagDistribution]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for member in members for tag in member.tags))


def _over(member: TagDistribution, tags: Sequence[str]) -> NDArray[np.float64]:
    """Return the probabilities of ``member`` with one column for each of ``tags``."""
    columns = {tag: index for index, tag in enumerate(tags)}
    wide = np.where(member.known[:, None], np.zeros(len(tags)), np.nan)
    wide[:, [columns[tag] for tag in member.tags]] = member.probabilities
    return wide


def _check_tags(tags: Sequence[str]) -> None:
    known = set(tags)
    problem = None
    if len(known) != len(tags):
        problem = "a tag stands there twice"
    elif _OUTSIDE not in known:
        problem = "O is not among them"
    for tag in tags:
        prefix, label = _split(tag)
        if tag != _OUTSIDE and prefix not in ("B", "I"):
            problem = f"{tag!r} is no tag of IOB2"
        elif tag != _OUTSIDE and prefix == "I" and _tag("B", label) not in known:
            problem = f"{tag!r} could never be opened, since {_tag('B', label)!r} is not among them"
    if problem is not None:
        raise DataError(
            f"tags {', '.join(tags)}: {problem}; expected O, and B-LABEL (with I-LABEL) for every label",
            hint="a tagger of another scheme is read by its spans",
        )


def _check_tokens(members: Sequence[TagDistribution]) -> None:
    for number, member in enumerate(members):
        if member.tokens != members[0].tokens:
            raise DataError(
                f"members 0 and {number} of an ensemble are over different tokens ({len(members[0].tokens)} and "
                f"{len(member.tokens)}): expected the tokens of the same text",
                hint="project a translation's distributions onto the original's tokens first",
            )
