"""What changed between two builds: rows, spans, scores and settings, found by id, in memory that does not grow.

Both builds are read side by side. Where they have the same rows in the same order, nothing is kept; a row whose
counterpart has not come yet waits in a temporary file.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from spanferry.data.signature import parse_signature
from spanferry.flows.build_outcomes import filter_none, languages_of, rows_of, target_fields
from spanferry.flows.members import Build
from spanferry.flows.outcomes import Outcome, lost_because

ROWS: Final = (
    "added",
    "removed",
    "source changed",
    "now kept",
    "now dropped",
    "text changed",
    "spans changed",
    "labels changed",
    "same",
)
SPANS: Final = ("moved", "gained", "lost", "same")
_MOST_IDS: Final = 20
_LEAST_CHANGE: Final = 1e-3

Key = tuple[str, int, int, str, int]
Place = tuple[int, int, str]


@dataclass
class LanguageDiff:
    """What changed in one language.

    Attributes:
        rows: kind -> rows, one kind a row, the first of `ROWS` that fits.
        spans: kind -> spans of rows that both builds have. A span is known by its place in the source. It is the same
            if it labels the same characters; where the target text is another, if it labels the same words. In
            translate-test a span is known by its place in the user's text, so that none moves.
        ids: kind of row -> ``split/id`` of the first such rows.
        scores: what is scored -> [values in both builds, sum of changes, how many went up, how many went down].
    """

    rows: Counter[str] = field(default_factory=Counter)
    spans: Counter[str] = field(default_factory=Counter)
    ids: dict[str, list[str]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "rows": {kind: self.rows[kind] for kind in ROWS},
            "spans": {kind: self.spans[kind] for kind in SPANS},
            "ids": self.ids,
            "scores": {
                name: {"both": int(both), "mean_change": round(total / both, 4), "up": int(up), "down": int(down)}
                for name, (both, total, up, down) in self.scores.items()
            },
        }


@dataclass(frozen=True)
class Diff:
    """What changed between two builds.

    Attributes:
        signature: field of the signature -> its value in either build; None where it is not there.
        only: languages that only one of the builds has: ``(of the first, of the second)``.
        languages: BCP-47 -> what changed, for languages of both.
    """

    signature: Mapping[str, tuple[Any, Any]]
    only: tuple[list[str], list[str]]
    languages: Mapping[str, LanguageDiff]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "signature": {name: list(values) for name, values in self.signature.items()},
            "only_first": self.only[0],
            "only_second": self.only[1],
            "languages": {name: each.to_json() for name, each in self.languages.items()},
        }


def diff_builds(first: Build, second: Build, language: str | None = None) -> Diff:
    """Compare two finished builds.

    Args:
        first, second: the builds, the older first.
        language: one language only; both must have it.

    Raises:
        SpanferryError: one of them does not have the language, or its shards are gone.
    """
    here, there = languages_of(first, language), languages_of(second, language)
    return Diff(
        signature=diff_signatures(first.report["signature"], second.report["signature"]),
        only=([name for name in here if name not in there], [name for name in there if name not in here]),
        languages={name: _diff_language(first, second, name) for name in here if name in there},
    )


def diff_signatures(first: str, second: str) -> dict[str, tuple[Any, Any]]:
    """Return the fields of two signatures that differ.

    >>> diff_signatures("task:ner|model.beam:4|version:0.1.0", "task:ner|model.beam:1|seed:3|version:0.1.0")
    {'model.beam': (4, 1), 'seed': (None, 3)}
    """
    here, there = (dict(_leaves(parse_signature(each))) for each in (first, second))
    return {
        name: (here.get(name), there.get(name))
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
    }


def _leaves(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _diff_language(first: Build, second: Build, language: str) -> LanguageDiff:
    found = LanguageDiff()
    for name, here, there in _paired(first, second, language):
        kind = _compare(found, here, there)
        found.rows[kind] += 1
        if kind != "same" and len(ids := found.ids.setdefault(kind, [])) < _MOST_IDS:
            ids.append(name)
    return found


def _paired(first: Build, second: Build, language: str) -> Iterator[tuple[str, Outcome | None, Outcome | None]]:
    """Yield ``split/id`` and the outcome in either build; None where a build has no such row."""
    with _waiting_room() as room:
        for pair in zip_longest(rows_of(first, language), rows_of(second, language)):
            names = [None if row is None else f"{row.split}/{row.outcome['id']}" for row in pair]
            if names[0] is not None and names[0] == names[1]:
                yield names[0], pair[0].outcome, pair[1].outcome
                continue
            for side, (name, row) in enumerate(zip(names, pair, strict=True)):
                if name is None:
                    continue
                if (other := room.take(1 - side, name)) is None:
                    room.put(side, name, row.outcome)
                else:
                    yield (name, row.outcome, other) if side == 0 else (name, other, row.outcome)
        for side, name, outcome in room.rest():
            yield (name, outcome, None) if side == 0 else (name, None, outcome)


class _Room:
    """Rows of either build that wait for their counterpart, on disk."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE TABLE waiting (number INTEGER PRIMARY KEY, side, name, outcome)")
        connection.execute("CREATE INDEX by_name ON waiting (name, side, number)")

    def put(self, side: int, name: str, outcome: Outcome) -> None:
        self._connection.execute(
            "INSERT INTO waiting (side, name, outcome) VALUES (?, ?, ?)", (side, name, json.dumps(outcome))
        )

    def take(self, side: int, name: str) -> Outcome | None:
        """Return the first row of that name and side, and forget it."""
        query = "SELECT number, outcome FROM waiting WHERE name = ? AND side = ? ORDER BY number LIMIT 1"
        row = self._connection.execute(query, (name, side)).fetchone()
        if row is None:
            return None
        self._connection.execute("DELETE FROM waiting WHERE number = ?", (row[0],))
        outcome: Outcome = json.loads(row[1])
        return outcome

    def rest(self) -> Iterator[tuple[int, str, Outcome]]:
        """Yield what still waits, in the order in which it came."""
        for side, name, outcome in self._connection.execute("SELECT side, name, outcome FROM waiting ORDER BY number"):
            yield side, name, json.loads(outcome)


@contextmanager
def _waiting_room() -> Iterator[_Room]:
    with (
        tempfile.TemporaryDirectory(prefix="spanferry-diff-") as folder,
        closing(sqlite3.connect(Path(folder) / "waiting.sqlite", isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = OFF")  # nothing of it is needed after a crash
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        yield _Room(connection)


def _compare(found: LanguageDiff, here: Outcome | None, there: Outcome | None) -> str:
    """Count what is different in one row; return what kind of change it is."""
    if here is None or there is None:
        return "added" if here is None else "removed"
    (source, text), (other_source, other_text) = _texts(here), _texts(there)
    if source != other_source:
        return "source changed"
    same_text = text == other_text
    changed = _compare_spans(found, here, there, same_text)
    _compare_scores(found, here, there)
    kept = [not each["reasons"] for each in (here, there)]
    if kept[0] != kept[1]:
        return "now kept" if kept[1] else "now dropped"
    if not same_text:
        return "text changed"
    if changed:
        return "spans changed"
    labels = [None if each["target"] is None else each["target"]["labels"] for each in (here, there)]
    return "same" if labels[0] == labels[1] else "labels changed"


def _texts(outcome: Outcome) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the texts that a row is about, and what a machine made of them."""
    if "original" in outcome:  # translate-test
        return outcome["original"]["fields"], outcome["source"]
    return outcome["source"], target_fields(outcome)


def _compare_spans(found: LanguageDiff, here: Outcome, there: Outcome, same_text: bool) -> bool:
    before, after = _places(here), _places(there)
    changed = False
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is None and new is None:
            continue
        if old is None or new is None:
            kind = "gained" if old is None else "lost"
        else:
            same = old == new if same_text else old[2] == new[2]
            kind = "same" if same else "moved"
        found.spans[kind] += 1
        changed = changed or kind != "same"
    return changed


def _places(outcome: Outcome) -> dict[Key, Place | None]:
    """Return each source span, and where it is in the dataset: start, end and words; None if it is not there.

    In a row that a person corrected it is where the person labelled the same words so.
    """
    texts = target_fields(outcome)
    corrected = outcome["target"]["spans"] if "machine" in outcome else None
    times: Counter[tuple[str, int, int, str]] = Counter()
    found: dict[Key, Place | None] = {}
    for each in outcome["projections"]:
        start, end = ("start", "end") if "original" in outcome else ("source_start", "source_end")
        if each[start] is None:
            continue
        span = each["field"], each[start], each[end], each["label"]
        times[span] += 1
        place: Place | None = None
        if lost_because(outcome, each) is None:
            if corrected is None:
                place = each["start"], each["end"], texts[each["field"]][each["start"] : each["end"]]
            else:
                words = outcome["machine"]["fields"][each["field"]][each["start"] : each["end"]]
                kept = (
                    (start, end)
                    for start, end, label, name in corrected
                    if (label, name, texts[name][start:end]) == (each["label"], each["field"], words)
                )
                place = next(((start, end, words) for start, end in kept), None)
        found[(*span, times[span])] = place
    return found


def _compare_scores(found: LanguageDiff, here: Outcome, there: Outcome) -> None:
    for name, values in (
        ("translation", [_mean(each["score"] for each in side["translations"].values()) for side in (here, there)]),
        ("span score", [_mean(each["score"] for each in side["projections"]) for side in (here, there)]),
        ("confidence", [_mean(each.get("confidence") for each in side["projections"]) for side in (here, there)]),
    ):
        old, new = values
        if old is None or new is None:
            continue
        counts = found.scores.setdefault(name, [0, 0.0, 0, 0])
        counts[0] += 1
        counts[1] += new - old
        counts[2] += new - old > _LEAST_CHANGE
        counts[3] += old - new > _LEAST_CHANGE


def _mean(values: Iterator[float | None]) -> float | None:
    known = filter_none(values)
    return sum(known) / len(known) if known else None
