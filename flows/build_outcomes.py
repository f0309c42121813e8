"""A finished build as a stream of outcomes: what every command that looks at a build reads, one at a time.

An outcome is what `spanferry.flows.outcomes` describes. In a translate-test build its source is the translation that
the predictor saw, and its target the user's own text: in both directions labels go from ``source`` to ``target``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from spanferry.data.errors import BuildError, ConfigError, did_you_mean
from spanferry.data.example import Span
from spanferry.data.tasks import Task, get_task
from spanferry.flows.corrections import corrected, read_corrections
from spanferry.flows.members import Build, shards_of
from spanferry.flows.outcomes import Outcome, lost_because
from spanferry.flows.shards import read_records
from spanferry.translation.languages import get_language

Item = TypeVar("Item")


class Row(NamedTuple):
    """One outcome, and the split that it is in."""

    split: str
    outcome: Outcome


def languages_of(build: Build, chosen: str | None = None) -> list[str]:
    """Return the build's languages, BCP-47, or the one that was chosen by any of its names.

    Raises:
        ConfigError: the build does not have it.
        BuildError: it has none at all.
    """
    known = list(build.report["languages"])
    if not known:
        raise BuildError(f"{build.folder.root}: no language of this build is finished; run the build again")
    if chosen is None:
        return known
    name = get_language(chosen).bcp47
    if name not in known:
        raise ConfigError(f"--lang {chosen}: no language of {build.folder.root}; {did_you_mean(name, known)}")
    return [name]


def task_of(build: Build) -> Task:
    """Return the shape of a build's data."""
    return get_task(build.report["task"])


def languages_between(build: Build, language: str) -> tuple[str, str]:
    """Return the languages, BCP-47, of the source and the target of a language's outcomes."""
    source = build.report["source"]
    if build.direction == "translate-test":
        return source["pivot"], language
    return source["language"], source["language"] if build.direction == "back-translate" else language


def rows_of(build: Build, language: str, only: str | None = None) -> Iterator[Row]:
    """Yield every outcome of a language, kept or dropped, with what people corrected in it, see `corrections`.

    Args:
        build: a finished build.
        language: BCP-47, one of its languages.
        only: one split only.

    Raises:
        BuildError: the shards are gone.
    """
    for split in build.report["languages"][language]["splits"]:
        if only not in (None, split):
            continue
        shards = shards_of(build, language, split)
        corrections = read_corrections(build.folder, language, split)
        for shard in shards:
            for outcome in read_records(shard):
                yield Row(split, corrected(outcome, corrections.get(outcome["id"])) if corrections else outcome)


def target_fields(outcome: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts that labels were carried to: as corrected, else as translated; also of a dropped example."""
    if "machine" in outcome:
        return dict(outcome["target"]["fields"])
    return {field: each["text"] for field, each in outcome["translations"].items()}


def target_spans(outcome: Mapping[str, Any]) -> tuple[Span, ...]:
    """Return the spans on the target side; of a dropped example those that had a place before it was dropped."""
    if outcome["target"] is not None:
        return tuple(Span(*span) for span in outcome["target"]["spans"])
    return tuple(
        Span(each["start"], each["end"], each["label"], each["field"])
        for each in outcome["projections"]
        if each["start"] is not None
    )


def source_spans(outcome: Mapping[str, Any]) -> tuple[Span, ...]:
    """Return the spans that were carried."""
    return tuple(
        Span(each["source_start"], each["source_end"], each["label"], each["field"]) for each in outcome["projections"]
    )


def reasons_of(outcome: Outcome) -> list[str]:
    """Return every reason for which something of an example was lost: the whole of it, or a span; sorted.

    >>> reasons_of({"reasons": [], "projections": [{"reason": "unaligned"}, {"reason": None}]})
    ['unaligned']
    """
    spans = {lost_because(outcome, each) for each in outcome["projections"]}
    return sorted({*outcome["reasons"], *(reason for reason in spans if reason and reason != "example_dropped")})


def disagrees(projection: Mapping[str, Any]) -> bool:
    """Tell whether the methods that voted on a span named different places (no place is one of them).

    >>> vote = {"method": "a", "start": 0, "end": 3, "score": 1.0}
    >>> disagrees({"votes": [vote, vote | {"method": "b"}]}), disagrees({"votes": [vote, vote | {"end": 4}]})
    (False, True)
    """
    return len({(vote["start"], vote["end"]) for vote in projection.get("votes", ())}) > 1


def votes_of(outcome: Mapping[str, Any], projection: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return what each method voted for: the words, on the machine's text; None for no place."""
    text = outcome["translations"][projection["field"]]["text"]
    return [
        (vote["method"], None if vote["start"] is None else text[vote["start"] : vote["end"]])
        for vote in projection.get("votes", ())
    ]


class Reservoir(Generic[Item]):
    """A uniform sample of a stream of unknown length (Vitter 1985, "Random sampling with a reservoir", algorithm R).

    Args:
        size: how many to keep.
        seed: the same stream and seed give the same sample.

    >>> sample = Reservoir(3, seed=1)
    >>> for number in range(100): sample.add(number)
    >>> len(sample.items), sample.seen
    (3, 100)
    """

    def __init__(self, size: int, seed: int | str) -> None:
        self._size = size
        self._random = random.Random(seed)
        self._places: list[tuple[int, Item]] = []
        self.seen = 0

    def add(self, item: Item) -> None:
        """Take the next of the stream."""
        self.seen += 1
        if len(self._places) < self._size:
            self._places.append((self.seen, item))
        elif (place := self._random.randrange(self.seen)) < self._size:
            self._places[place] = (self.seen, item)

    @property
    def items(self) -> list[Item]:
        """What was drawn, in the order of the stream."""
        return [item for _, item in sorted(self._places, key=lambda place: place[0])]


def sample(items: Iterable[Item], size: int, seed: int | str) -> list[Item]:
    """Return a uniform sample of a stream, in its order; see `Reservoir`."""
    reservoir = Reservoir[Item](size, seed)
    for item in items:
        reservoir.add(item)
    return reservoir.items


def lowest_score(outcome: Mapping[str, Any]) -> float | None:
    """Return the least confidence, or else score, of an example's spans with a place; None where there is none.

    >>> lowest_score({"projections": [{"score": 0.9, "confidence": 0.4}, {"score": 0.5, "confidence": None}]})
    0.4
    """
    return min(
        filter_none(
            each.get("confidence") if each.get("confidence") is not None else each["score"]
            for each in outcome["projections"]
        ),
        default=None,
    )


def filter_none(values: Iterable[float | None]) -> Sequence[float]:
    """Return the values that are numbers."""
    return [value for value in values if value is not None]
