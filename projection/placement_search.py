"""The best places for two markers in a template, by a translation model: an exact search, many sentences at once.

For a source ``x`` in which one range is marked and a template ``y``, find the ranges (i, j) of ``y`` with the highest
log P(y with markers at i and j, end | x) (constrained decoding; Codec, Le et al. 2024, section 3). All variants are
beginnings and continuations of one another, so they form a tree of three levels: the template; from it branches, at
every i, the template with an opening marker; from that, at every j, the marked variant. The probability of a beginning
is at least that of whatever continues it (no token has a probability above 1), so a branch whose beginning is less
probable than the best whole variant is dropped, and nothing else is: the result is the true maximum.

Branches are followed with bounds from above, where the model has them cheaper than probabilities; a variant that comes
to its end and could still win is then asked for the true ones, without computing anything of it again.

The order only decides how soon a good variant is known, never what wins. It follows an estimate: the probability of
the beginning times that of the template's own remaining tokens. As long as no whole variant is known, the branch that
the estimate puts first is followed, an opening by a few tokens only, since its closing mostly stands near; then
whatever may still win is followed until the estimate expects it to fall below.

Codec's search walks one sentence depth-first, a token at a time. Here each sentence is a coroutine that hands out the
steps that it needs, and the steps of all sentences go to the model together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Literal

from spanferry.data.errors import ConfigError
from spanferry.projection.marked_template import MarkedTemplate, Variant
from spanferry.translation.prefix_scorer import Opened, Outcome, PrefixScorer, State, Step

_LEAST_FEED = 2
"""Fewer tokens a step save a position here and there, but make more steps."""
_DOUBTFUL_FEED = 4
"""The same of a variant that is expected to fall short, which the assumption of `delta` may drop at any token."""
_LONG = 30
"""Tokens of a template, up to which a search holds no more states a token than scorers reckon with."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """What to search for.

    Attributes:
        n_best: how many places to return, at least 1.
        delta: None for an exact search. Else the assumption, in nats, >= 0, that from any point after the closing
            marker the rest of the template is at most this much more probable than in the unmarked template. It saves
            most of the work, and is an assumption: `Found.gap` says how much a discarded place could at most gain.
        delta_from: ``"closing"``, or ``"opening"`` to assume it from any point after the opening marker already, which
            saves most of the openings too; nothing without `delta`.

    Raises:
        ConfigError: a value is out of range.
    """

    n_best: int = 1
    delta: float | None = None
    delta_from: Literal["opening", "closing"] = "closing"

    def __post_init__(self) -> None:
        if self.delta_from not in ("opening", "closing"):
            raise ConfigError(f"delta_from is {self.delta_from!r}: expected 'opening' or 'closing'")
        if self.n_best < 1 or (self.delta is not None and self.delta < 0):
            raise ConfigError(f"n_best={self.n_best}, delta={self.delta}: expected n_best >= 1, delta >= 0 or none")


@dataclass(frozen=True, slots=True)
class Placement:
    """A marked range of the template.

    Attributes:
        start, end: character offsets into the template, half-open.
        log_prob: log P(template with both markers, end | marked source), <= 0.
        opening, closing: log probability of the first token that differs from the template, and from the template
            with the opening marker: of marking exactly here, given what stands before.
    """

    start: int
    end: int
    log_prob: float
    opening: float
    closing: float


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        places: best first; of equal ones the leftmost, then the shortest. Fewer than asked where no more exist.
        exact: this is proven to be the true order, up to the rounding of the scorer's probabilities. Always so
            without `delta`; with it, when nothing that was discarded under the assumption could have won.
        gap: nats that a discarded place could at most gain on the last of `places`; 0 when `exact`.
        fed: target tokens that the model computed for it.
    """

    places: tuple[Placement, ...]
    exact: bool
    gap: float
    fed: int


@dataclass(slots=True, eq=False)
class _Branch:
    """A variant that is known up to somewhere: ``tokens[:fed]`` are in `state`, and `score` counts one token more.

    `end` is 0 while only the opening marker is in. `children` are the variants with a closing marker, by the index at
    which they leave this one; those in `early` leave the template itself, earlier.
    """

    start: int
    end: int = 0
    tokens: list[int] = field(default_factory=list)
    tail: int = 0
    state: State = None
    fed: int = 0
    score: float = 0.0
    opening: float = 0.0
    closing: float = 0.0
    early: frozenset[int] = frozenset()
    children: dict[int, list[_Branch]] = field(default_factory=dict)
    known: tuple[int, float] = (0, 0.0)
    """`fed` and `score` where it left the template, up to which the score is true."""
    left: int = 0
    """The index at which it left its opening: that of the closing marker."""
    rough: bool = False
    """`score` is only a bound."""

    @property
    def complete(self) -> bool:
        return self.fed == len(self.tokens) - 1


def search(
    template: MarkedTemplate, opened: Opened, settings: SearchSettings
) -> Generator[list[Step], list[Outcome], Found]:
    """Search one template; yields the steps that the model is to take and is sent their outcomes."""
    return (yield from _Search(template, opened, settings).run())


class _Search:
    def __init__(self, template: MarkedTemplate, opened: Opened, settings: SearchSettings) -> None:
        self._template, self._opened, self._settings = template, opened, settings
        self._prompt = list(opened.prompt)
        self._tokens = [*self._prompt, *template.tokens]
        # plain[i]: log P(tokens[:i]) of the template, the prompt for nothing.
        self._plain: list[float] = []
        self._best: list[Placement] = []
        self._lost = float("-inf")
        self._fed = 0

    def run(self) -> Generator[list[Step], list[Outcome], Found]:
        starts = [start for start in self._template.starts if self._template.ends and start < self._template.ends[-1]]
        if not starts:
            return Found((), True, 0.0, 0)
        live = yield from self._read_template(starts)
        while True:
            live = self._still_possible(live)
            if not live:
                break
            if ended := [branch for branch in live if branch.end and branch.complete]:
                yield from self._make_sure(ended)
                continue
            live = yield from self._follow(self._next(live), live)
        places = tuple(self._best)
        gap = max(0.0, self._lost - places[-1].log_prob) if len(places) == self._settings.n_best else 0.0
        return Found(places, gap == 0.0, gap, self._fed)

    @property
    def _threshold(self) -> float:
        wanted = self._settings.n_best
        return self._best[wanted - 1].log_prob if len(self._best) >= wanted else float("-inf")

    def _read_template(self, starts: Sequence[int]) -> Generator[list[Step], list[Outcome], list[_Branch]]:
        """Run the template alone: what every token of it, and every opening marker beside it, is worth."""
        before = len(self._prompt)
        branches = []
        for start in starts:
            opened = self._template.opened(start)
            early = self._template.early_ends(start, opened)
            branches.append((opened, _Branch(start, early=frozenset(early))))
            branches += [
                (self._template.from_template(self._template.marked(start, end, opened)), _Branch(start, end))
                for end in early
            ]
        ask = [(position - 1, self._tokens[position]) for position in range(before, len(self._tokens))]
        ask += [(before + variant.branch - 1, variant.tokens[variant.branch]) for variant, _ in branches]
        [outcome] = yield [Step(self._opened.state, 0, self._tokens[:-1], ask)]
        self._fed += len(self._tokens) - 1
        own = len(self._tokens) - before
        self._plain = [0.0] * (before + 1)
        for answer in outcome.answers[:own]:
            self._plain.append(self._plain[-1] + answer)
        for (variant, branch), answer in zip(branches, outcome.answers[own:], strict=True):
            branch.tokens, branch.tail = [*self._prompt, *variant.tokens], before + variant.tail
            branch.state, branch.fed, branch.opening = outcome.state, before + variant.branch, answer
            branch.score = self._plain[branch.fed] + answer
            branch.known = branch.fed, branch.score
        return [branch for _, branch in branches]

    def _next(self, live: list[_Branch]) -> list[_Branch]:
        """Choose what to follow: what is expected to be among the best, or else whatever may be."""
        missing = self._settings.n_best - len(self._best)
        if missing > 0:
            first = nsmallest(missing, live, key=self._unlikely)
            # A closing is followed to its end, so not before no opening is expected to have a better one.
            return [branch for branch in first if not branch.end] or first
        return [branch for branch in live if self._estimate(branch) >= self._threshold] or live

    def _follow(
        self, chosen: Sequence[_Branch], live: list[_Branch]
    ) -> Generator[list[Step], list[Outcome], list[_Branch]]:
        """Feed the chosen branches further, as far as they are expected to stay possible."""
        steps, born, fed = [], [], []
        for branch in chosen:
            if not branch.end and not branch.children:
                self._make_children(branch)
            last = len(branch.tokens) - 1 if branch.end else max(branch.children, default=branch.fed)
            until = min(last, self._expected_end(branch))
            if until == branch.fed:  # an opening all of whose variants leave the template earlier
                continue
            fed.append((branch, until, last))
            ask = []
            for position in range(branch.fed + 1, until + 1):
                offset = position - branch.fed - 1
                if position < last or branch.end:
                    ask.append((offset, branch.tokens[position]))
                ask += [(offset, child.tokens[position]) for child in branch.children.get(position, ())]
            steps.append(Step(branch.state, branch.fed, branch.tokens[branch.fed : until], ask, rough=True))
            self._fed += until - branch.fed
        outcomes = (yield steps) if steps else []
        for (branch, until, last), outcome in zip(fed, outcomes, strict=True):
            answers = iter(outcome.answers)
            score, branch.rough = branch.score, branch.rough or outcome.rough
            for position in range(branch.fed + 1, until + 1):
                before = score
                if position < last or branch.end:
                    score += next(answers)
                for child in branch.children.pop(position, ()):
                    child.closing = next(answers)
                    child.state, child.fed, child.score = outcome.state, position, before + child.closing
                    child.known, child.left, child.rough = branch.known, position, branch.rough
                    born.append(child)
            branch.state, branch.fed, branch.score = outcome.state, until, score
        exhausted = {id(branch) for branch in chosen if not branch.end and not branch.children}
        return [branch for branch in live if id(branch) not in exhausted] + born

    def _make_sure(self, ended: Sequence[_Branch]) -> Generator[list[Step], list[Outcome], None]:
        """Ask for the true scores of complete variants, the best first while too few are known."""
        wanted = self._settings.n_best - len(self._best)
        chosen = nsmallest(wanted, ended, key=self._unlikely) if wanted > 0 else ended
        steps = []
        for branch in chosen:
            ask = [(at - 1 - branch.fed, branch.tokens[at]) for at in range(branch.known[0] + 1, len(branch.tokens))]
            steps.append(Step(branch.state, branch.fed, (), ask))
        for branch, outcome in zip(chosen, (yield steps), strict=True):
            known, score = branch.known
            branch.score, branch.rough = score + sum(outcome.answers), False
            if branch.left:
                branch.closing = outcome.answers[branch.left - known - 1]

    def _make_children(self, branch: _Branch) -> None:
        """Lay out every closing of an opening, by where it leaves it."""
        template, before = self._template, len(self._prompt)
        template.prefetch(branch.start)
        opened = Variant(branch.tokens[before:], 0, 0)
        for end in template.ends:
            if end > branch.start and end not in branch.early:
                variant = template.marked(branch.start, end, opened)
                child = _Branch(branch.start, end, [*self._prompt, *variant.tokens], before + variant.tail)
                child.opening = branch.opening
                branch.children.setdefault(before + variant.branch, []).append(child)

    def _still_possible(self, live: list[_Branch]) -> list[_Branch]:
        """Take out what is complete, and drop what can no longer be among the best."""
        unfinished = []
        for branch in live:
            if branch.end and branch.complete and not branch.rough:
                place = Placement(branch.start, branch.end, branch.score, branch.opening, branch.closing)
                self._best.append(place)
            else:
                unfinished.append(branch)
        self._best.sort(key=lambda place: (-place.log_prob, place.start, place.end))
        del self._best[self._settings.n_best :]
        threshold = self._threshold
        possible = []
        for branch in unfinished:
            # Equal is not less: a place further left may still tie.
            if branch.score < threshold:
                continue
            if self._bound(branch) < threshold:
                self._lost = max(self._lost, branch.score)
            else:
                possible.append(branch)
        return possible

    def _rest(self, branch: _Branch) -> float:
        """What the template's own tokens that the branch has still before it are worth in the template."""
        remaining = len(branch.tokens) - branch.fed - 1
        return self._plain[-1] - self._plain[max(branch.tail, len(self._tokens) - remaining)]

    def _estimate(self, branch: _Branch) -> float:
        return branch.score + self._rest(branch)

    def _unlikely(self, branch: _Branch) -> float:
        return -self._estimate(branch)

    def _bound(self, branch: _Branch) -> float:
        """The most that any completion can score."""
        if self._settings.delta is None or not (branch.end or self._settings.delta_from == "opening"):
            return branch.score
        return branch.score + min(0.0, self._rest(branch) + self._settings.delta)

    def _expected_end(self, branch: _Branch) -> int:
        """How far to feed: where the score falls below the threshold if the template's tokens cost the same."""
        if branch.end and self._estimate(branch) >= self._threshold:
            return len(branch.tokens) - 1
        if len(self._best) < self._settings.n_best:
            return branch.fed + _LEAST_FEED
        if self._settings.delta is not None and branch.end:
            return branch.fed + _DOUBTFUL_FEED
        remaining = len(branch.tokens) - branch.fed - 1
        here = len(self._tokens) - remaining
        room = self._plain[here] - (branch.score - self._threshold)
        falls = bisect_left(self._plain, -room, lo=here, key=lambda value: -value)
        return branch.fed + max(_LEAST_FEED, falls - here + 1)


@dataclass(frozen=True, slots=True)
class Problem:
    """A template, and the source in which the range to be found is marked."""

    source: str
    template: MarkedTemplate


def search_all(
    problems: Sequence[Problem],
    scorer: PrefixScorer,
    *,
    source: str,
    target: str,
    settings: SearchSettings = SearchSettings(),
) -> list[Found]:
    """Search all problems, many at a time, neighbours in length together; one result a problem, in their order.

    Args:
        problems: what to search.
        scorer: the model.
        source, target: FLORES-200 codes.
        settings: see `SearchSettings`.
    """
    found: dict[int, Found] = {}
    running: dict[int, _Running] = {}
    waiting = sorted(range(len(problems)), key=lambda number: -len(problems[number].template.tokens))

    def go_on(number: int, work: _Running, outcomes: list[Outcome] | None) -> None:
        try:
            work.steps = next(work.search) if outcomes is None else work.search.send(outcomes)
            running[number] = work
        except StopIteration as stop:
            found[number] = stop.value
            running.pop(number, None)
            scorer.close(work.opened)

    while waiting or running:
        tokens = sum(work.tokens for work in running.values())
        # Sources are read a portion at a time, which is cheaper than one whenever another is done.
        if waiting and tokens <= scorer.open_tokens // 2:
            fresh: list[int] = []
            while waiting and (tokens < scorer.open_tokens or not fresh):
                fresh.append(waiting.pop())
                tokens += _weight(problems[fresh[-1]].template)
            sources = [problems[number].source for number in fresh]
            for number, opened in zip(fresh, scorer.open(sources, source=source, target=target), strict=True):
                template = problems[number].template
                go_on(number, _Running(opened, search(template, opened, settings), _weight(template)), None)
        outcomes = iter(scorer.run([step for work in running.values() for step in work.steps]))
        for number, work in list(running.items()):
            go_on(number, work, [next(outcomes) for _ in work.steps])
    return [found[number] for number in range(len(problems))]


def _weight(template: MarkedTemplate) -> int:
    """The tokens of a template, of a long one more than it has: what a search holds grows with the square of them."""
    tokens = len(template.tokens)
    return tokens * max(_LONG, tokens) // _LONG


@dataclass(slots=True)
class _Running:
    opened: Opened
    search: Generator[list[Step], list[Outcome], Found]
    tokens: int
    steps: list[Step] = field(default_factory=list)
