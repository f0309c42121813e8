"""One row of a spreadsheet that came back from people, held against the machine's version of the same example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from spanferry.data.errors import DataError, did_you_mean, shortened
from spanferry.data.example import Example, Span
from spanferry.data.inline import from_inline
from spanferry.data.spreadsheet import SheetRow
from spanferry.data.tasks import Task
from spanferry.flows.build_outcomes import languages_between, rows_of, task_of
from spanferry.flows.corrections import Correction
from spanferry.flows.members import Build
from spanferry.flows.outcomes import unpack
from spanferry.flows.review_sheet import is_predicted, label_columns, text_columns
from spanferry.projection.prediction import Label
from spanferry.translation.languages import get_language

_ONLY_TARGET: Final = "only the target is to be edited; if the data changed since, export again"
_ONLY_SPANS: Final = "the text of test data stays as it is: only its spans are to be edited"


@dataclass(frozen=True)
class Edited:
    """A row of the spreadsheet beside the machine's version of it."""

    machine: Example
    correction: Correction

    @property
    def changed(self) -> bool:
        """Whether a text, a span or a label is another."""
        return (
            dict(self.machine.fields) != dict(self.correction.fields)
            or tuple(sorted(self.machine.spans)) != self.correction.spans
            or self.relabelled
        )

    @property
    def relabelled(self) -> bool:
        """Whether a label is another."""
        return any(self.machine.labels.get(name) != label for name, label in self.correction.labels.items())


@dataclass(frozen=True)
class Known:
    """The labels that a build may have: of spans, and by column as a cell shows them -> as the data has them."""

    spans: frozenset[str]
    labels: Mapping[str, Mapping[str, Label]]


def known_labels(build: Build, languages: Iterable[str]) -> Known:
    """Return the labels that the build may have: those it has, that its source declares, that its predictor knows."""
    task, folder = task_of(build), build.folder
    spans = {label for entry in build.report["languages"].values() for label in entry["total"]["labels"]}
    labels: dict[str, dict[str, Label]] = {name: {} for name in task.labels}
    manifests = (folder.read_json(folder.source_split(place)) for place in build.report["source"]["splits"])
    for manifest in filter(None, manifests):
        spans.update(manifest["spans"] or ())
        for name in task.labels:
            labels[name].update((str(label), label) for label in manifest["labels"].get(name) or ())
    for language in languages if build.direction == "translate-test" else ():
        for row in rows_of(build, language):
            said = row.outcome["prediction"]
            tags = (said.get("distribution") or {}).get("tags", ())
            spans.update(tag.partition("-")[2] for tag in tags if "-" in tag)
            for name in task.labels:
                seen = [row.outcome["target"]["labels"].get(name), *said["label_distributions"].get(name, ())]
                labels[name].update((str(label), label) for label in seen if label is not None)
    return Known(frozenset(spans), labels)


def edited_row(
    build: Build, task: Task, row: SheetRow, outcome: Mapping[str, Any], *, language: str, known: Known
) -> Edited:
    """Return one row beside the machine's version.

    Raises:
        DataError: it has another source, an empty target or another one of test data, spans that cannot be read, an
            unknown label, or texts for fields that the example does not have.
    """
    machine = unpack(outcome["target"])
    fields: dict[str, str] = {}
    spans: list[Span] = []
    for name in outcome["source"]:
        here, there = text_columns(task, name)
        for column in (here, there):
            if column not in row.cells:
                raise DataError(f"found no column {column!r}, and the example has a {name!r}")
        if not is_predicted(outcome):
            _require_same(here, _read(row, here, name)[0], outcome["source"][name], _ONLY_TARGET)
        fields[name], own = _read(row, there, name)
        if is_predicted(outcome):
            _require_same(there, fields[name], machine.fields[name], _ONLY_SPANS)
        elif outcome["source"][name].strip() and not fields[name].strip():
            raise DataError(f"{there}: found nothing, expected a text")
        if own and name != task.spans_in:
            raise DataError(
                f"{there}: found a span, and task {task.name!r} has none here", hint=r"\[ is only a bracket"
            )
        for span in own:
            if span.label not in known.spans:
                raise DataError(f"{there}: found label {span.label!r}; {did_you_mean(span.label, known.spans)}")
        spans += own
    _require_no_more(task, row, outcome)
    labels = {
        name: _label(name, _read(row, name, name)[0].strip(), machine.labels.get(name), known.labels[name])
        for name in label_columns(task, outcome)
    }
    target = get_language(languages_between(build, language)[1]).flores
    return Edited(machine, Correction(outcome["id"], outcome["source"], fields, tuple(sorted(spans)), target, labels))


def _read(row: SheetRow, column: str, field: str) -> tuple[str, tuple[Span, ...]]:
    try:
        return from_inline(row.cells[column], field=field)
    except DataError as error:
        raise DataError(f"{column}: {error.problem}", hint=error.hint) from None


def _require_same(column: str, found: str, expected: str, hint: str) -> None:
    if found != expected:
        there = shortened(expected)
        raise DataError(f"{column}: found {shortened(found)}, expected {there}, as in the build", hint=hint)


def _require_no_more(task: Task, row: SheetRow, outcome: Mapping[str, Any]) -> None:
    """Refuse a text in a column that the example has no field for: a fourth choice where there are three."""
    own = {column for name in outcome["source"] for column in text_columns(task, name)}
    for column, text in row.cells.items():
        if column.startswith(("source_", "target_")) and column not in own and text.strip():
            raise DataError(f"{column}: found {shortened(text)}, expected nothing: the example has no such text")


def _label(column: str, found: str, machine: Label, known: Mapping[str, Label]) -> Label:
    """Return the label that a cell stands for."""
    if found == ("" if machine is None else str(machine)):
        return machine
    if found in known:
        return known[found]
    if isinstance(machine, float):
        try:
            return float(found)
        except ValueError:
            raise DataError(f"{column}: found {found!r}, expected a number") from None
    raise DataError(f"{column}: found label {found!r}; {did_you_mean(found, known)}")
