"""Spans carried by ranking candidates: which range of the translation does the model take for a rendering of the span?

Every range of target words up to a length limit is a candidate. Three ways to score one, by the setting ``context``:

``"none"``
    The two phrases as translations of each other, out of their sentences: the direct score of NMTScore
    (`translation_scores.phrase_scores`), as T-Projection ranks its candidates (Garcia-Ferrero, Agerri and Rigau 2023).
    With ``directions="both"`` and ``normalize=True`` it is theirs; with ``"back"`` only P(span | candidate) counts,
    since P(candidate | span) per token prefers candidates with easy words at their ends.

``"sentence"``
    Whether the words of the range come from the span or from the rest of the sentence, by two passes over the
    translation a span, however many candidates it has (`translation_scores.Belonging`).

``"mixture"`` (default)
    The phrase score times the square root of the sentence's share. Only the candidates with the highest shares
    (``top``) are scored as phrases, so that it is also several times faster than ``"none"``.

A model knows little of names. With ``surface`` (default), a range that reads the same as the span, or nearly so, has
what `match` gives for it as evidence of its own beside ``"none"`` and ``"mixture"``: with s that score and m the
model's, its score is ``1 - (1 - s) * (1 - m)``, and that of the other ranges of the span ``(1 - s) * m``.

Which candidates go together is decided for all spans of a text at once: ranges overlap only where their spans
did, mentions of the same words go one to one, and of equal candidates the one at the span's relative place wins
(`selection`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from spanferry.alignment.base import Token
from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.links import is_mark
from spanferry.projection.marker_choice import UNSPACED_SCRIPTS
from spanferry.projection.match import MatchProjector
from spanferry.projection.selection import Candidate, select
from spanferry.projection.snap import trim_punctuation
from spanferry.projection.stretches import source_tokens, stretch_of, target_tokens
from spanferry.projection.translation_scores import Belonging, phrase_scores, word_log_probs
from spanferry.translation.languages import get_language
from spanferry.translation.phrase_scorer import CTranslate2PhraseScorer, PhraseScorer

Context = Literal["mixture", "sentence", "none"]
Directions = Literal["back", "both"]
Range = tuple[int, int]
"""First word of a candidate, and the one after its last."""

_METHOD = "candidates"
_AT_ONCE = 500
"""Texts whose candidates are in memory at the same time."""
_MOST_OPTIONS = 20
"""So many places of a span are looked at when places are in one another's way."""
_FARTHEST = 0.05
"""And none that scores less than this share of the best: a label is better lost than put at random."""


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """How candidates are found and scored.

    Attributes:
        context: ``"mixture"``, ``"sentence"`` or ``"none"``, see the module.
        directions: ``"back"``: P(span | candidate); ``"both"``: the mean with P(candidate | span).
        normalize: divide by the score of a phrase as its own translation; the model must be able to write a language
            that it reads.
        surface: count what reads the same, see the module; not for ``"sentence"``.
        top: mixture only: how many candidates of a span are scored as phrases, >= 1.
        max_ratio, max_extra: a candidate has at most ``max_ratio * n + max_extra`` words for a span of n words, n
            counted in target words where a text has more of them than its source; > 0 and >= 0.
        min_score: a span whose best candidate scores less has none, reason ``low_score``; 0..1.

    Raises:
        ConfigError: a value is out of range.
    """

    context: Context = "mixture"
    directions: Directions = "back"
    normalize: bool = False
    surface: bool = True
    top: int = 40
    max_ratio: float = 2.0
    max_extra: int = 3
    min_score: float = 0.0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("context", self.context, get_args(Context)),
            ("directions", self.directions, get_args(Directions)),
        ):
            if value not in allowed:
                raise ConfigError(f"projection setting {name} is {value!r}: {did_you_mean(str(value), allowed)}")
        if self.top < 1 or self.max_ratio <= 0 or self.max_extra < 0 or not 0 <= self.min_score <= 1:
            raise ConfigError(
                f"projection settings top={self.top}, max_ratio={self.max_ratio}, max_extra={self.max_extra}, "
                f"min_score={self.min_score}: expected top >= 1, max_ratio > 0, max_extra >= 0 and 0 <= min_score <= 1"
            )

    def __str__(self) -> str:
        """The settings that play a part, as they stand in a fingerprint."""
        phrases = f",directions={self.directions},normalize={self.normalize},surface={self.surface}"
        if self.context == "sentence":
            phrases = ""
        top = f",top={self.top}" if self.context == "mixture" else ""
        limits = f"max_ratio={self.max_ratio:g},max_extra={self.max_extra},min_score={self.min_score:g}"
        return f"context={self.context}{phrases}{top},{limits}"


@dataclass(frozen=True, slots=True)
class _Task:
    """One span with what surrounds it on both sides.

    Attributes:
        phrase: the span's words.
        rest: the source without the span.
        rendering: the stretch of the target in which its place is.
        offset: where that begins in the target.
        words: the stretch's words, offsets into `rendering`.
        ranges: the candidates.
        surface: what the candidates that read the same as the span, or nearly so, score by that alone.
        middle: the span's relative place in its stretch, 0..1.
    """

    phrase: str
    rest: str
    rendering: str
    offset: int
    words: tuple[Token, ...]
    ranges: tuple[Range, ...]
    surface: Mapping[Range, float]
    middle: float

    def text_of(self, place: Range) -> str:
        return self.rendering[self.words[place[0]].start : self.words[place[1] - 1].end]

    def distance(self, place: Range) -> float:
        return abs((place[0] + place[1]) / (2 * len(self.words)) - self.middle)


@dataclass(frozen=True, slots=True)
class _Nothing:
    """A span without candidates."""

    reason: Reason
    detail: str


class CandidatesProjector:
    """Carries spans by ranking candidates with a translation model that speaks both languages, in both directions.

    Args:
        model: a folder, a hub id or ``"bundled"``, or any `PhraseScorer`.
        context, directions, normalize, surface, top, max_ratio, max_extra, min_score: see `CandidateSettings`.
        settings: what `load_ctranslate2` takes; not for a `PhraseScorer`.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: there is no such model.

    >>> from spanferry.translation.fake_phrase_scorer import FakePhraseScorer
    >>> projector = CandidatesProjector(FakePhraseScorer({"red": "rojas", "houses": "casas"}))
    >>> text = TranslatedText("two red houses", "dos casas rojas", (Span(4, 7, "COLOUR"), Span(4, 14, "THING")))
    >>> [projections] = projector.project([text], source="eng_Latn", target="spa_Latn")
    >>> [text.target[p.target.start : p.target.end] for p in projections]
    ['rojas', 'casas rojas']
    """

    def __init__(
        self,
        model: PhraseScorer | str | Path = "bundled",
        *,
        context: Context = "mixture",
        directions: Directions = "back",
        normalize: bool = False,
        surface: bool = True,
        top: int = 40,
        max_ratio: float = 2.0,
        max_extra: int = 3,
        min_score: float = 0.0,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = CandidateSettings(context, directions, normalize, surface, top, max_ratio, max_extra, min_score)
        self.scorer: PhraseScorer = (
            CTranslate2PhraseScorer(model, **(settings or {})) if isinstance(model, (str, Path)) else model
        )
        self._match = MatchProjector()

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the projections."""
        return f"candidates/1({self.settings},model={self.scorer.fingerprint})"

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return, a text, exactly one `Projection` a span, in the order of ``text.spans``.

        Raises:
            LanguageError: the model does not speak ``source`` or ``target``.
        """
        projected: list[tuple[Projection, ...]] = []
        for first in range(0, len(texts), _AT_ONCE):
            some = texts[first : first + _AT_ONCE]
            rows = self._tasks(some, source, target)
            scores = self._scores([task for row in rows for task in row if isinstance(task, _Task)], source, target)
            projected += [self._project(text, row, scores) for text, row in zip(some, rows, strict=True)]
        return projected

    def _tasks(self, texts: Sequence[TranslatedText], source: str, target: str) -> list[list[_Task | _Nothing]]:
        sides = zip(texts, source_tokens(texts, source), target_tokens(texts, target), strict=True)
        gap = "" if get_language(source).script in UNSPACED_SCRIPTS else " "
        rows = [[self._task(span, text, here, there, gap) for span in text.spans] for text, here, there in sides]
        if self.settings.surface and self.settings.context != "sentence":
            found = self._match.find(texts, source=source, target=target)
            rows = [
                [_with_surface(task, places or ()) for task, places in zip(row, places_of_row, strict=True)]
                for row, places_of_row in zip(rows, found, strict=True)
            ]
        return self._short_enough(rows, source, target)

    def _task(
        self, span: Span, text: TranslatedText, here: Sequence[Token], there: Sequence[Token], gap: str
    ) -> _Task | _Nothing:
        stretch = stretch_of(span, text)
        if stretch is None:
            return _Nothing(Reason.TRUNCATED, "in no translated segment")
        (begin, stop), (first, last) = stretch
        phrase, rendering = text.source[span.start : span.end], text.target[first:last]
        words = tuple(Token(start - first, end - first) for start, end in there if first <= start and end <= last)
        around = sum(begin <= token.start and token.end <= stop for token in here)
        length = max(1, sum(token.start < span.end and span.start < token.end for token in here))
        if around < len(words):  # a span of one word may be many characters
            length = math.ceil(length * len(words) / max(around, 1))
        longest = int(self.settings.max_ratio * length + self.settings.max_extra)
        ranges = tuple(_ranges(rendering, words, longest, like=phrase))
        if not ranges:
            return _Nothing(Reason.NO_CANDIDATE, "nothing to choose from: the translation has no words")
        rest = gap.join(filter(None, (text.source[begin : span.start].strip(), text.source[span.end : stop].strip())))
        middle = (span.start + span.end - 2 * begin) / (2 * (stop - begin))
        return _Task(phrase, rest, rendering, first, words, ranges, {}, middle)

    def _short_enough(
        self, rows: list[list[_Task | _Nothing]], source: str, target: str
    ) -> list[list[_Task | _Nothing]]:
        """Take out what is longer than the model can read or write."""
        tasks = [task for row in rows for task in row if isinstance(task, _Task)]
        here = list(dict.fromkeys(text for task in tasks for text in (task.phrase, task.rest)))
        there = list(dict.fromkeys(task.rendering for task in tasks))
        lengths = dict(zip(here, self.scorer.count_tokens(here, source), strict=True))
        written = dict(zip(there, map(len, self.scorer.target_offsets(there, target)), strict=True))

        def checked(task: _Task | _Nothing) -> _Task | _Nothing:
            if isinstance(task, _Task):
                tokens = max(lengths[task.phrase], lengths[task.rest], written[task.rendering])
                if tokens > self.scorer.max_tokens:
                    limit = f"{tokens} tokens, the model takes {self.scorer.max_tokens}"
                    return _Nothing(Reason.NO_CANDIDATE, limit)
            return task

        return [[checked(task) for task in row] for row in rows]

    def _scores(self, tasks: Sequence[_Task], source: str, target: str) -> dict[int, dict[Range, float]]:
        """Return the scores of the candidates of every task: id of the task -> candidate -> score."""
        context, top = self.settings.context, self.settings.top
        tried = {id(task): list(task.ranges) for task in tasks}
        shares: dict[int, Belonging] = {}
        if context != "none":
            shares = self._shares(tasks, source, target)
        if context == "sentence":
            return {id(task): {place: shares[id(task)].share(*place) for place in task.ranges} for task in tasks}
        if context == "mixture":
            for task in tasks:
                nats = shares[id(task)].nats
                ranges = sorted(task.ranges, key=lambda place: -nats(*place))
                tried[id(task)] = list(dict.fromkeys([*ranges[:top], *task.surface]))
        pairs = {id(task): [(task.phrase, task.text_of(place)) for place in tried[id(task)]] for task in tasks}
        phrases = phrase_scores(
            (pair for row in pairs.values() for pair in row),
            self.scorer,
            source=source,
            target=target,
            both=self.settings.directions == "both",
            normalize=self.settings.normalize,
        )
        scores = {
            number: {place: phrases[pair] for place, pair in zip(tried[number], pairs[number], strict=True)}
            for number in tried
        }
        for task in tasks:
            row = scores[id(task)]
            if context == "mixture":
                for place in row:
                    row[place] *= math.sqrt(shares[id(task)].share(*place))
            if task.surface:
                scores[id(task)] = _with_evidence(row, task.surface)
        return scores

    def _shares(self, tasks: Sequence[_Task], source: str, target: str) -> dict[int, Belonging]:
        """Score each rendering given the span, and given the rest; equal ones once."""
        pairs = list(dict.fromkeys((text, task.rendering) for task in tasks for text in (task.phrase, task.rest)))
        renderings = list(dict.fromkeys(task.rendering for task in tasks))
        offsets = dict(zip(renderings, self.scorer.target_offsets(renderings, target), strict=True))
        scored = self.scorer.score(
            [pair[0] for pair in pairs], [pair[1] for pair in pairs], source=source, target=target
        )
        known = dict(zip(pairs, scored, strict=True))

        def words(text: str, task: _Task) -> list[float]:
            return word_log_probs(known[text, task.rendering], offsets[task.rendering], task.words)

        return {id(task): Belonging(words(task.phrase, task), words(task.rest, task)) for task in tasks}

    def _project(
        self, text: TranslatedText, row: Sequence[_Task | _Nothing], scores: Mapping[int, Mapping[Range, float]]
    ) -> tuple[Projection, ...]:
        options = [_best(task, scores[id(task)]) if isinstance(task, _Task) else [] for task in row]
        chosen = select([(span.start, span.end) for span in text.spans], options).chosen
        return tuple(self._projection(*each, text) for each in zip(text.spans, row, options, chosen, strict=True))

    def _projection(
        self,
        span: Span,
        task: _Task | _Nothing,
        options: Sequence[Candidate],
        place: Candidate | None,
        text: TranslatedText,
    ) -> Projection:
        if isinstance(task, _Nothing):
            return Projection(span, None, _METHOD, None, task.reason, task.detail)
        score = min(1.0, round((place or options[0]).score, 6))
        if place is None:
            return Projection(span, None, _METHOD, score, Reason.OVERLAP)
        if score < self.settings.min_score:
            detail = f"best candidate scores {score:.3f}, threshold {self.settings.min_score:g}"
            return Projection(span, None, _METHOD, score, Reason.LOW_SCORE, detail)
        start, end = place.start, place.end
        if text.target_tokens is None:
            start, end = trim_punctuation(text.target, start, end, like=task.phrase)
        return Projection(span, Span(start, end, span.label, span.field), _METHOD, score)


def _with_evidence(scores: Mapping[Range, float], surface: Mapping[Range, float]) -> dict[Range, float]:
    """Join the model's scores with what reads alike, taking both as probabilities.

    A range that reads alike with s is right if either says so; the others only if what reads alike is wrong.

    >>> _with_evidence({(0, 1): 0.5, (0, 2): 0.9}, {(0, 1): 0.8})
    {(0, 1): 0.9, (0, 2): 0.18}
    """
    wrong = 1 - max(surface.values())
    return {
        place: round(1 - (1 - surface[place]) * (1 - min(1.0, score)) if place in surface else wrong * score, 9)
        for place, score in scores.items()
    }


def _with_surface(task: _Task | _Nothing, places: Sequence[Candidate]) -> _Task | _Nothing:
    """Note which candidates `match` finds too."""
    if isinstance(task, _Nothing) or not places:
        return task
    known = {(place.start - task.offset, place.end - task.offset): place.score for place in places}
    offsets = {place: (task.words[place[0]].start, task.words[place[1] - 1].end) for place in task.ranges}
    return replace(task, surface={place: known[its] for place, its in offsets.items() if its in known})


def _ranges(text: str, words: Sequence[Token], longest: int, *, like: str) -> Iterator[Range]:
    """Yield every range of at most `longest` words, without those that begin or end with punctuation unlike the span.

    >>> list(_ranges("a, b", [Token(0, 1), Token(1, 2), Token(3, 4)], 2, like="x"))
    [(0, 1), (2, 3)]
    """
    bare = [all(map(is_mark, text[start:end])) for start, end in words]
    opens, closes = is_mark(like[0]), is_mark(like[-1])
    for first in range(len(words)):
        if bare[first] and not opens:
            continue
        for last in range(first + 1, min(first + longest, len(words)) + 1):
            if closes or not bare[last - 1]:
                yield first, last


def _best(task: _Task, scores: Mapping[Range, float]) -> list[Candidate]:
    """Return the best candidates, in characters of the whole target; best first, then the shorter, then the first."""
    found = [
        Candidate(
            task.offset + task.words[place[0]].start,
            task.offset + task.words[place[1] - 1].end,
            score,
            task.distance(place),
        )
        for place, score in scores.items()
        if score > 0
    ]
    found.sort(key=lambda option: (-option.worth, option.end - option.start, option.start))
    return [option for option in found[:_MOST_OPTIONS] if option.score >= _FARTHEST * found[0].score]
