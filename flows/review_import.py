"""The way back of the review loop: corrections are checked row by row, stored, compared with the machine's version.

Nothing is stored unless every row is good. The dataset is then written anew from the shards, without any model, and
every later build keeps the corrections, see `spanferry.flows.corrections`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spanferry.data.errors import BuildError, DataError, did_you_mean
from spanferry.data.example import Span
from spanferry.data.inline import from_inline
from spanferry.data.spreadsheet import SheetRow, read_sheet
from spanferry.flows.build_outcomes import task_of
from spanferry.flows.config import load_config
from spanferry.flows.corrections import read_corrections, write_corrections
from spanferry.flows.dataset import finish_build
from spanferry.flows.jobs import BuildPlan
from spanferry.flows.members import Build, shards_of
from spanferry.flows.places import share_dataset
from spanferry.flows.progress import Silent
from spanferry.flows.review_row import Edited, edited_row, known_labels
from spanferry.flows.review_sheet import review_columns
from spanferry.flows.shards import read_records
from spanferry.flows.source import read_before
from spanferry.projection.metrics import SpanScores, span_scores
from spanferry.translation.languages import get_language

Key = tuple[str, str, str]
"""Language (BCP-47), split and id of an example."""
Bad = tuple[SheetRow, str]
"""A row, and what is wrong with it."""

_MOST_ERRORS: Final = 50
_FOR_PEOPLE: Final = frozenset({"score", "why"})
"""Columns that nothing is read from."""
_CHANGED_IDS: Final = "a program may have read it as a number or a date: take .xlsx, or import the column as text"


@dataclass(frozen=True)
class Reviewed:
    """What came back for one language.

    Attributes:
        rows: how many rows there were, changed or not.
        changed: how many of them differ from the machine's version.
        chrf: chrF2 of the machine's texts against those that came back, 0 to 100, over all rows.
        ter: their translation edit rate, in per cent: edits a hundred words.
        spans: the machine's spans against those that came back.
        labels: how many rows came back with the labels that were predicted, in per cent; None where none are.
    """

    rows: int
    changed: int
    chrf: float
    ter: float
    spans: SpanScores = field(default_factory=SpanScores)
    labels: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; percentages rounded to two decimals."""
        figures = {"rows": self.rows, "changed": self.changed, "chrf": round(self.chrf, 2), "ter": round(self.ter, 2)}
        labels = {} if self.labels is None else {"labels": round(self.labels, 2)}
        return figures | labels | {"spans": self.spans.to_json()}


def import_review(build: Build, path: Path) -> dict[str, Reviewed]:
    """Bring back a spreadsheet that `export_review` wrote and people edited; return what they changed, by language.

    A row that is as the machine left it is no correction; where there was one before, it is taken back. Rows that are
    not in the spreadsheet stay as they are.

    Raises:
        DataError: rows are not good: one line a row says where, what was found and what was expected.
        BuildError: parts of the build are gone.
    """
    plan = plan_again(build)
    with build.folder.claimed():
        edited = _check(build, path)
        _store(build, edited)
        finish_build(plan, Silent())
        share_dataset(build.folder)
    by_language: dict[str, list[Edited]] = {}
    for (language, _, _), each in edited.items():
        by_language.setdefault(language, []).append(each)
    return {language: compare(rows) for language, rows in by_language.items()}


def plan_again(build: Build) -> BuildPlan:
    """Return the plan of a finished build as it was, from its folder alone: no model and no source is opened.

    Raises:
        BuildError: the source as it was read is gone.
    """
    folder = build.folder
    config = load_config(folder.root / "config.yaml")
    places = build.report["source"]["splits"]
    splits = [split for place in places if (split := read_before(folder, place)) is not None]
    if len(splits) < len(places):
        raise BuildError(f"{folder.root}: the source as it was read is gone; run the build again")
    own = build.direction == "translate-test"  # each language has splits of its own
    sources = {
        name: tuple(split for split in splits if not own or split.place == f"{name}/{split.name}")
        for name in (get_language(each).bcp47 for each in config.datasets)
    }
    return BuildPlan(config, folder, sources, build.report["models"])


def _read(build: Build, path: Path, errors: list[Bad]) -> dict[Key, SheetRow]:
    """Return the rows of the spreadsheet by the example that they are about; note those that are about none."""
    task, predicted = task_of(build), build.direction == "translate-test"
    needed = {*review_columns(task, task.required_fields, predicted=predicted)} - _FOR_PEOPLE
    languages = build.report["languages"]
    found: dict[Key, SheetRow] = {}
    for row in read_sheet(path):
        if missing := sorted(needed - row.cells.keys()):
            raise DataError(f"the header has no column {missing[0]!r}: found {', '.join(row.cells)}", path=path)
        language, split = row.cells["language"], row.cells["split"]
        if language not in languages:
            errors.append((row, f"found language {language!r}; {did_you_mean(language, languages)}"))
            continue
        if split not in (splits := languages[language]["splits"]):
            errors.append((row, f"found split {split!r}; {did_you_mean(split, splits)}"))
            continue
        try:
            key = (language, split, from_inline(row.cells["id"])[0])
        except DataError as error:
            errors.append((row, f"id: {error.problem}"))
            continue
        if key in found:
            errors.append((row, f"found id {key[2]!r} again, expected each once: row {found[key].number} has it too"))
        found.setdefault(key, row)
    return found


def _check(build: Build, path: Path) -> dict[Key, Edited]:
    """Return each row of the spreadsheet beside the machine's version, in the order of the build.

    Raises:
        DataError: rows are not good.
    """
    task = task_of(build)
    errors: list[Bad] = []
    rows = _read(build, path, errors)
    known = known_labels(build, {language for language, _, _ in rows})
    found: dict[Key, Edited] = {}
    seen: set[Key] = set()
    for key, outcome in _outcomes(build, rows):
        row = rows[key]
        seen.add(key)
        if outcome["target"] is None:
            errors.append((row, f"example {key[2]!r} was dropped ({', '.join(outcome['reasons'])}): remove the row"))
            continue
        try:
            found[key] = edited_row(build, task, row, outcome, language=key[0], known=known)
        except DataError as error:
            errors.append((row, f"{error.problem}{f'. Hint: {error.hint}' if error.hint else ''}"))
    errors += [
        (
            rows[key],
            f"found id {key[2]!r}, which {key[0]}/{key[1]} of {build.folder.root} does not have. Hint: {_CHANGED_IDS}",
        )
        for key in rows.keys() - seen
    ]
    _raise(path, errors)
    return found


def _outcomes(build: Build, rows: Mapping[Key, SheetRow]) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Yield the machine's outcomes that the rows are about."""
    for language, split in dict.fromkeys((language, split) for language, split, _ in rows):
        for shard in shards_of(build, language, split):
            for outcome in read_records(shard):
                if (key := (language, split, outcome["id"])) in rows:
                    yield key, outcome


def _store(build: Build, edited: Mapping[Key, Edited]) -> None:
    """Put the changed rows among the corrections, and take those out that are as the machine left them."""
    for language, split in dict.fromkeys((language, split) for language, split, _ in edited):
        stored = read_corrections(build.folder, language, split)
        for (_, _, id_), each in ((key, each) for key, each in edited.items() if key[:2] == (language, split)):
            if each.changed:
                stored[id_] = each.correction
            else:
                stored.pop(id_, None)
        write_corrections(build.folder, language, split, stored.values())


def compare(rows: Sequence[Edited]) -> Reviewed:
    """Say how far the machine's version is from what came back.

    Texts by sacrebleu: chrF2 (Popović 2015) and TER (Snover et al. 2006) with what came back as the reference. Spans by
    exact match: where the text of an example is as it was, by their offsets, else by their label and words.
    """
    from sacrebleu.metrics import CHRF, TER

    machine = [text for row in rows for text in row.machine.fields.values()]
    people = [row.correction.fields[name] for row in rows for name in row.machine.fields]
    numbered = list(enumerate(rows))
    return Reviewed(
        rows=len(rows),
        changed=sum(row.changed for row in rows),
        chrf=CHRF().corpus_score(machine, [people]).score,
        ter=TER(normalized=True, asian_support=True).corpus_score(machine, [people]).score,
        labels=100 * (1 - sum(row.relabelled for row in rows) / len(rows)) if rows[0].correction.labels else None,
        spans=span_scores(
            {str(index): _comparable(row, row.correction.fields, row.correction.spans) for index, row in numbered},
            {str(index): _comparable(row, row.machine.fields, row.machine.spans) for index, row in numbered},
        ),
    )


def _comparable(row: Edited, fields: Mapping[str, str], spans: Iterable[Span]) -> list[Span]:
    """Return spans that are equal where they are the same; offsets in an edited text are no measure of that."""
    if dict(row.machine.fields) == dict(row.correction.fields):
        return list(spans)
    words = [(span.label, fields[span.field][span.start : span.end]) for span in sorted(spans)]
    times: Counter[tuple[str, str]] = Counter()
    found = []
    for label, text in words:
        times[label, text] += 1
        found.append(Span(0, times[label, text], label, field=text))
    return found


def _raise(path: Path, errors: Sequence[Bad]) -> None:
    if errors:
        ordered = sorted(errors, key=lambda bad: bad[0].number)
        lines = [f"{path}: row {row.number}: {problem}" for row, problem in ordered[:_MOST_ERRORS]]
        more = [f"{len(errors) - _MOST_ERRORS} more rows are not good"] if len(errors) > _MOST_ERRORS else []
        raise DataError("\n".join([*lines, *more, "nothing was stored"]))
