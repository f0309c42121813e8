"""A method made of methods: the cheap and certain are asked first, the dear and careful only where those are unsure.

The steps of a cascade are asked in turn. An answer is taken, and its span not sent any further, when

- it is at least as sure as its step's ``accept`` asks (by its calibrated confidence, or without one by its score), or
- as many methods as ``agree`` says have by then named the same place.

Answers that were taken never overlap unless their spans did; of two that would, the surer is taken and the other span
asks on. What no method was sure of is decided by all votes at once (``combine``), around what was taken, so that
spans which stood apart in the source stay apart (`spanferry.projection.selection`):

``"first"``
    the answer of the earliest step that has one;
``"agreement"``
    the place that most methods name;
``"weighted"``
    the place with the highest sum of the confidences (or scores; a method that has neither counts 0.5) of those that
    name it.

Scores of different methods are no probabilities, and do not compare; those of calibrated steps do. An ensemble is a
cascade that takes no answer before all methods were asked.

A step sees only the spans that are still undecided, and only texts that hold one. So an aligner that learns from the
texts of its call (eflomal without priors) belongs to the first step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Projector, Reason, TranslatedText, Vote
from spanferry.projection.registry import Aligners, load_projector
from spanferry.projection.selection import Candidate, select

Combine = Literal["first", "agreement", "weighted"]

DEFAULT_STEPS: tuple[Mapping[str, Any], ...] = ({"method": "match", "accept": 0.7}, {"method": "alignment"})
"""What needs no model beyond the aligner; the figures are in `docs/projection.md`."""
ENSEMBLE_STEPS: tuple[Mapping[str, Any], ...] = ({"method": "match"}, {"method": "alignment"})
"""The same methods, none of which is heard alone."""

_OF_A_STEP = ("method", "accept", "name")
# What a method without score and confidence weighs.
_UNSCORED = 0.5
# `select` wants scores above 0, and a place with the score 0 is better than none.
_LEAST = 1e-4


@dataclass(frozen=True, slots=True)
class Step:
    """One method of a cascade.

    Attributes:
        projector: the method.
        name: what votes and projections call it.
        accept: an answer that is at least this sure is taken without asking further, 0..1; None: it is one vote.

    Raises:
        ConfigError: ``accept`` is no number in 0..1.
    """

    projector: Projector
    name: str
    accept: float | None = None

    def __post_init__(self) -> None:
        accept = self.accept
        if accept is not None and (isinstance(accept, bool | str) or not 0 <= accept <= 1):
            raise ConfigError(f"step {self.name!r}: accept is {accept!r}, expected a number from 0 to 1")


class CascadeProjector:
    """Carries spans by several methods in turn.

    Args:
        steps: the methods in the order in which they are asked, each a `Step`, or its settings by name: ``method``,
            ``accept`` and ``name`` (see `Step`), and every setting of the method itself, as `load_projector` takes
            them (``aligner``, ``aligner_settings``, ``calibration``, ...).
        agree: so many methods that name one place decide, at least 2; None: agreement alone does not.
        combine: how votes decide where no method was sure, see the module.

    A projection has as ``method`` the name of the step at which its answer was taken, or ``"cascade"`` where all votes
    decided; its score is that of the step, or the share of the votes that its place has, 0..1. A span that no
    method found has the reason of the last that was asked.

    Raises:
        ConfigError: a setting is unknown or out of range, or two steps have one name.

    >>> from spanferry.alignment.fake import FakeAligner
    >>> from spanferry.projection.by_alignment import AlignmentProjector
    >>> careful = AlignmentProjector(FakeAligner({"wine": "vino tinto"}))
    >>> quick = AlignmentProjector(FakeAligner({"cheese": "queso"}))
    >>> cascade = CascadeProjector([Step(quick, "quick", accept=0.9), Step(careful, "careful")])
    >>> text = TranslatedText("cheese and wine", "queso y vino tinto", (Span(0, 6, "FOOD"), Span(11, 15, "DRINK")))
    >>> [projections] = cascade.project([text], source="eng_Latn", target="spa_Latn")
    >>> for each in projections:
    ...     print(text.target[each.target.start : each.target.end], each.method, [vote.method for vote in each.votes])
    queso quick ['quick']
    vino tinto cascade ['quick', 'careful']
    """

    method: ClassVar[str] = "cascade"

    def __init__(
        self,
        steps: Sequence[Step | Mapping[str, Any]] = DEFAULT_STEPS,
        *,
        agree: int | None = 2,
        combine: Combine = "weighted",
    ) -> None:
        if agree is not None and (isinstance(agree, bool) or not isinstance(agree, int) or agree < 2):
            raise ConfigError(f"agree is {agree!r}: expected a whole number from 2 on, or null")
        if combine not in get_args(Combine):
            raise ConfigError(f"combine is {combine!r}: {did_you_mean(str(combine), get_args(Combine))}")
        self.steps = load_steps(steps, Aligners())
        self.agree = agree
        self.combine: Combine = combine

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the projections: the rules, and all steps with their own."""
        steps = ",".join(f"{step.name}:accept={step.accept}:{step.projector.fingerprint}" for step in self.steps)
        return f"{self.method}/1(agree={self.agree},combine={self.combine},steps=[{steps}])"

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return, a text, exactly one `Projection` a span, in the order of ``text.spans``, with its votes."""
        boards = [_Board(text) for text in texts]
        for step in self.steps:
            undecided = [board for board in boards if board.undecided]
            if not undecided:
                break
            answers = step.projector.project([board.rest() for board in undecided], source=source, target=target)
            for board, row in zip(undecided, answers, strict=True):
                board.hear(step, row, self.agree)
        return [board.decide(self.combine, self.method) for board in boards]


class EnsembleProjector(CascadeProjector):
    """Carries spans by several methods, each asked for every span: a cascade that takes no answer before the end.

    Args:
        steps: as `CascadeProjector`, without ``accept``; `ENSEMBLE_STEPS`, the methods of its default, if absent.
        combine: how the votes decide, see the module.

    Raises:
        ConfigError: as `CascadeProjector`, or a step has ``accept``.
    """

    method: ClassVar[str] = "ensemble"

    def __init__(
        self, steps: Sequence[Step | Mapping[str, Any]] = ENSEMBLE_STEPS, *, combine: Combine = "weighted"
    ) -> None:
        super().__init__(steps, agree=None, combine=combine)
        for step in self.steps:
            if step.accept is not None:
                raise ConfigError(f"step {step.name!r}: an ensemble asks every method; for accept, take 'cascade'")


def load_steps(steps: object, aligners: Aligners) -> tuple[Step, ...]:
    """Make the steps of a cascade from their settings; a `Step` is taken as it is.

    Raises:
        ConfigError: says which step, and what is wrong with it.

    >>> [step.name for step in load_steps([{"method": "alignment", "aligner": "fake", "accept": 0.9}], Aligners())]
    ['alignment(fake)']
    """
    if not isinstance(steps, list | tuple) or not steps:
        raise ConfigError(f"steps is {steps!r}: expected a list, as in [{{method: alignment, accept: 0.9}}, ...]")
    made = [_load_step(number, settings, aligners) for number, settings in enumerate(steps, 1)]
    for name, times in Counter(step.name for step in made).items():
        if times > 1:
            raise ConfigError(f"{times} steps are called {name!r}: give each a `name` of its own")
    return tuple(made)


def _load_step(number: int, settings: object, aligners: Aligners) -> Step:
    if isinstance(settings, Step):
        return settings
    if not isinstance(settings, Mapping) or not isinstance(settings.get("method"), str):
        raise ConfigError(
            f"step {number} is {settings!r}: expected a mapping with a method, as in {{method: alignment}}"
        )
    method, aligner = settings["method"], settings.get("aligner")
    name = settings.get("name") or (f"{method}({aligner})" if isinstance(aligner, str) else method)
    own = {key: value for key, value in settings.items() if key not in _OF_A_STEP}
    try:
        return Step(load_projector(method, aligners, **own), str(name), settings.get("accept"))
    except ConfigError as error:
        raise ConfigError(f"step {number} ({method}): {error}") from error


class _Board:
    """What the methods said of the spans of one text so far, and which answers were taken."""

    def __init__(self, text: TranslatedText) -> None:
        self._text = text
        self._answers: list[list[tuple[Step, Projection]]] = [[] for _ in text.spans]
        self._taken: dict[int, Projection] = {}

    @property
    def undecided(self) -> list[int]:
        """The numbers of the spans whose answer was not taken yet."""
        return [i for i in range(len(self._text.spans)) if i not in self._taken]

    def rest(self) -> TranslatedText:
        """The text with the undecided spans alone."""
        spans, placed = self._text.spans, self._text.placed
        return replace(
            self._text,
            spans=tuple(spans[i] for i in self.undecided),
            placed=None if placed is None else tuple(placed[i] for i in self.undecided),
        )

    def hear(self, step: Step, answers: Sequence[Projection], agree: int | None) -> None:
        """Take down a method's answers for the undecided spans, and take those that are sure enough."""
        offers: dict[int, Projection] = {}
        for i, answer in zip(self.undecided, answers, strict=True):
            self._answers[i].append((step, answer))
            if answer.target is None:
                continue
            supporters = [each.name for each, said in self._answers[i] if _place(said) == _place(answer)]
            if agree is not None and len(supporters) >= agree:
                offers[i] = replace(answer, detail=_joined(answer.detail, f"agreed by {', '.join(supporters)}"))
            elif step.accept is not None and (_sureness(answer) or 0.0) >= step.accept:
                offers[i] = answer
        places = {i: (_place(answer), _sureness(answer) or 0.0) for i, answer in offers.items()}
        chosen = self._select(
            {i: [Candidate(*place, max(sure, _LEAST))] for i, (place, sure) in places.items() if place}
        )
        for i, answer in offers.items():
            if chosen[i] is not None:
                self._taken[i] = replace(answer, method=step.name)

    def decide(self, combine: Combine, method: str) -> tuple[Projection, ...]:
        """Return one projection a span: what was taken, and for the rest what the votes say together."""
        ballots = {i: _ballot(self._answers[i], combine) for i in self.undecided}
        chosen = self._select(ballots)
        done = []
        for i, span in enumerate(self._text.spans):
            said = self._answers[i]
            votes = tuple(Vote(step.name, answer.target, answer.score) for step, answer in said)
            place = chosen[i]
            if i in self._taken:
                done.append(replace(self._taken[i], votes=votes))
            elif place is not None:
                # The first that named the place speaks for it: its coverage stands, its score makes way for the votes.
                first = next(answer for _, answer in said if _place(answer) == (place.start, place.end))
                supporters = [step.name for step, answer in said if _place(answer) == (place.start, place.end)]
                detail = f"{combine}: {', '.join(supporters)} of {len(said)}"
                score = min(1.0, round(place.score, 6))
                done.append(replace(first, method=method, score=score, confidence=None, detail=detail, votes=votes))
            else:
                done.append(_lost(span, said, method, votes, found=bool(ballots[i])))
        return tuple(done)

    def _select(self, ballots: Mapping[int, Sequence[Candidate]]) -> list[Candidate | None]:
        """Choose places for spans of ``ballots`` that go together with each other and with all that was taken."""
        spans = self._text.spans
        # No sum of other places outweighs one that was taken.
        taken = {i: [Candidate(*place, 1.0 + len(spans))] for i, each in self._taken.items() if (place := _place(each))}
        candidates = [taken.get(i) or ballots.get(i, ()) for i in range(len(spans))]
        return select([(span.start, span.end) for span in spans], candidates).chosen


def _ballot(said: Sequence[tuple[Step, Projection]], combine: Combine) -> list[Candidate]:
    """Return the places that were named, best first, each with its support in 0..1."""
    support: dict[tuple[int, int], float] = {}
    rank: dict[tuple[int, int], float] = {}
    for number, (_, answer) in enumerate(said):
        place = _place(answer)
        if place is None:
            continue
        sure = _sureness(answer)
        rank.setdefault(place, number / len(said))
        weight = {"first": 0.0, "agreement": 1.0, "weighted": _UNSCORED if sure is None else sure}[combine]
        support[place] = support.get(place, 0.0) + weight / len(said)
    if combine == "first":
        support = {place: 1.0 - rank[place] for place in support}
    candidates = [Candidate(*place, max(support[place], _LEAST), rank[place]) for place in support]
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.distance))


def _place(answer: Projection) -> tuple[int, int] | None:
    return None if answer.target is None else (answer.target.start, answer.target.end)


def _sureness(answer: Projection) -> float | None:
    return answer.score if answer.confidence is None else answer.confidence


def _lost(
    span: Span, said: Sequence[tuple[Step, Projection]], method: str, votes: tuple[Vote, ...], *, found: bool
) -> Projection:
    if found:
        places = "every place that was named is in the way of a surer one"
        return Projection(span, None, method, reason=Reason.OVERLAP, detail=places, votes=votes)
    last = said[-1][1]
    reasons = "; ".join(f"{step.name}: {answer.reason}" for step, answer in said)
    return Projection(span, None, method, last.score, last.reason, reasons, votes=votes)


def _joined(*remarks: str) -> str:
    return "; ".join(filter(None, remarks))
