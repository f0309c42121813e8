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
from spanferry.data.example import Example, Span
from spanferry.data.inline import from_inline
from spanferry.data.spreadsheet import SheetRow, read_sheet
from spanferry.data.tasks import Task
from spanferry.flows.build_outcomes import languages_between, task_of
from spanferry.flows.config import load_config
from spanferry.flows.corrections import Correction, read_corrections, write_corrections
from spanferry.flows.dataset import finish_build
from spanferry.flows.jobs import BuildPlan
from spanferry.flows.members import Build, shards_of
from spanferry.flows.outcomes import unpack
from spanferry.flows.progress import Silent
from spanferry.flows.review import ABOUT, check_direction, text_columns
from spanferry.flows.shards import read_records
from spanferry.flows.source import read_before
from spanferry.projection.metrics import SpanScores, span_scores
from spanferry.translation.languages import get_language

Key = tuple[str, str, str]
"""Language (BCP-47), split and id of an example."""
Bad = tuple[SheetRow, str]
"""A row, and what is wrong with it."""

_MOST_ERRORS: Final = 50


@dataclass(frozen=True)
class Edited:
    """A row of the spreadsheet beside the machine's version of it."""

    machine: Example
    correction: Correction

    @property
    def changed(self) -> bool:
        """Whether a text or a span is another."""
        return (
            dict(self.machine.fields) != dict(self.correction.fields)
            or tuple(sorted(self.machine.spans)) != self.correction.spans
        )


@dataclass(frozen=True)
class Reviewed:
    """What came back for one language.

    Attributes:
        rows: how many rows there were, changed or not.
        changed: how many of them differ from the machine's version.
        chrf: chrF2 of the machine's texts against those that came back, 0 to 100, over all rows.
        ter: their translation edit rate, in per cent: edits a hundred words.
        spans: the machine's spans against those that came back.
    """

    rows: int
    changed: int
    chrf: float
    ter: float
    spans: SpanScores = field(default_factory=SpanScores)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data; percentages rounded to two decimals."""
        figures = {"rows": self.rows, "changed": self.changed, "chrf": round(self.chrf, 2), "ter": round(self.ter, 2)}
        return figures | {"spans": self.spans.to_json()}


def import_review(build: Build, path: Path) -> dict[str, Reviewed]:
    """Bring back a spreadsheet that `export_review` wrote and people edited; return what they changed, by language.

    A row that is as the machine left it is no correction; where there was one before, it is taken back. Rows that are
    not in the spreadsheet stay as they are.

    Raises:
        DataError: rows are not good: one line a row says where, what was found and what was expected.
        BuildError: the build is of test data, or parts of it are gone.
    """
    check_direction(build)
    plan = plan_again(build)
    with build.folder.claimed():
        edited = _check(build, path)
        _store(build, edited)
        finish_build(plan, Silent())
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
    splits = [read_before(folder, name) for name in build.report["source"]["splits"]]
    whole = tuple(split for split in splits if split is not None)
    if len(whole) < len(splits):
        raise BuildError(f"{folder.root}: the source as it was read is gone; run the build again")
    sources = {get_language(name).bcp47: whole for name in config.datasets}
    return BuildPlan(config, folder, sources, build.report["models"])


def _read(build: Build, path: Path, errors: list[Bad]) -> dict[Key, SheetRow]:
    """Return the rows of the spreadsheet by the example that they are about; note those that are about none."""
    task = task_of(build)
    needed = [*ABOUT, *(column for name in task.fields for column in text_columns(task, name))]
    languages = build.report["languages"]
    found: dict[Key, SheetRow] = {}
    for row in read_sheet(path):
        if missing := [column for column in needed if column not in row.cells]:
            raise DataError(f"no column {missing[0]!r}: found {', '.join(row.cells)}", path=path)
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
    task, labels = task_of(build), _labels(build)
    errors: list[Bad] = []
    rows = _read(build, path, errors)
    found: dict[Key, Edited] = {}
    seen: set[Key] = set()
    for key, outcome in _outcomes(build, rows):
        row = rows[key]
        seen.add(key)
        if outcome["target"] is None:
            errors.append((row, f"example {key[2]!r} was dropped ({', '.join(outcome['reasons'])}): remove the row"))
            continue
        try:
            found[key] = _edited(build, task, row, outcome, language=key[0], labels=labels)
        except DataError as error:
            errors.append((row, f"{error.problem}{f'. Hint: {error.hint}' if error.hint else ''}"))
    errors += [
        (rows[key], f"found id {key[2]!r}, which {key[0]}/{key[1]} of {build.folder.root} does not have")
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


def _edited(
    build: Build, task: Task, row: SheetRow, outcome: Mapping[str, Any], *, language: str, labels: frozenset[str]
) -> Edited:
    """Return one row beside the machine's version.

    Raises:
        DataError: it has another source, an empty target, spans that cannot be read, or an unknown label.
    """
    fields: dict[str, str] = {}
    spans: list[Span] = []
    for name in task.fields:
        here, there = text_columns(task, name)
        source, _ = from_inline(row.cells[here])
        if source != outcome["source"][name]:
            raise DataError(
                f"{here}: found {_short(source)}, expected {_short(outcome['source'][name])}, as in the build",
                hint="only the target is to be edited; if the data changed since, export again",
            )
        try:
            fields[name], own = from_inline(row.cells[there], field=name)
        except DataError as error:
            raise DataError(f"{there}: {error.problem}", hint=error.hint) from None
        if source.strip() and not fields[name].strip():
            raise DataError(f"{there}: found nothing, expected a text")
        if own and name != task.spans_in:
            raise DataError(
                f"{there}: found a span, and task {task.name!r} has none here", hint=r"\[ is only a bracket"
            )
        for span in own:
            if span.label not in labels:
                raise DataError(f"{there}: found label {span.label!r}; {did_you_mean(span.label, labels)}")
        spans += own
    machine = unpack(outcome["target"])
    target = get_language(languages_between(build, language)[1]).flores
    return Edited(machine, Correction(outcome["id"], outcome["source"], fields, tuple(sorted(spans)), target))


def _labels(build: Build) -> frozenset[str]:
    """Return the labels that spans of the build may have: those it has, and those that the source declares."""
    seen = {label for entry in build.report["languages"].values() for label in entry["total"]["labels"]}
    manifests = (build.folder.read_json(build.folder.source_split(name)) for name in build.report["source"]["splits"])
    return frozenset(seen.union(*((facts or {}).get("spans") or () for facts in manifests)))


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


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
