"""What people corrected in a build: kept beside it, put into the dataset by every later build.

A correction lies in ``corrections/<language>/<split>.jsonl``, outside the state that may be deleted. It holds the
text that it was made for, so that it is never put on another one: where a row is gone, was dropped, or has another
text now, its correction stays on file, is not used, and is counted as such. Of a translation that is the source text;
of a prediction it is the user's own text, so that what was corrected outlives another translation or predictor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from spanferry.alignment.tokens import tokenize
from spanferry.data.correction_columns import POST_EDITED, correction_features, correction_row
from spanferry.data.example import Span
from spanferry.data.schema import Schema
from spanferry.data.tasks import Task
from spanferry.flows.dataset_rows import RowWriter
from spanferry.flows.folder import BuildFolder
from spanferry.flows.outcomes import Outcome, pack, unpack
from spanferry.flows.shards import read_records, write_records
from spanferry.projection.prediction import Label


@dataclass(frozen=True)
class Correction:
    """One example as a person wants it.

    Attributes:
        id: the example.
        source: field -> the source text that it was made for; of a prediction, the translation that was shown.
        fields: field -> the corrected target text; of a prediction, the user's own text.
        spans: the corrected spans, sorted.
        language: FLORES-200 code of the target text.
        labels: label column -> the corrected label of a prediction; none for a translation, whose labels are the
            source's.
    """

    id: str
    source: Mapping[str, str]
    fields: Mapping[str, str]
    spans: tuple[Span, ...]
    language: str
    labels: Mapping[str, Label] = field(default_factory=dict)

    def fits(self, outcome: Mapping[str, Any]) -> bool:
        """Tell whether the example is still in the build, kept, and has the text of then."""
        if "original" in outcome:
            return bool(dict(self.fields) == outcome["original"]["fields"])
        return outcome["target"] is not None and dict(self.source) == outcome["source"]


def corrections_file(folder: BuildFolder, language: str, split: str) -> Path:
    """Return where the corrections of one language (BCP-47) and split lie."""
    return folder.root / "corrections" / language / f"{split}.jsonl"


def read_corrections(folder: BuildFolder, language: str, split: str) -> dict[str, Correction]:
    """Return the corrections of one language and split by id; none where there is no file."""
    path = corrections_file(folder, language, split)
    if not path.exists():
        return {}
    return {
        record["id"]: Correction(**{**record, "spans": tuple(Span(**span) for span in record["spans"])})
        for record in read_records(path)
    }


def write_corrections(folder: BuildFolder, language: str, split: str, corrections: Iterable[Correction]) -> None:
    """Write the corrections of one language and split, sorted by id; where there are none, there is no file."""
    path = corrections_file(folder, language, split)
    records = [asdict(each) for each in sorted(corrections, key=lambda each: each.id)]
    if records:
        write_records(path, records)
    else:
        path.unlink(missing_ok=True)


def has_corrections(folder: BuildFolder, language: str) -> bool:
    """Tell whether anything of a language was corrected, in any split."""
    return any((folder.root / "corrections" / language).glob("*.jsonl"))


def corrected(outcome: Outcome, correction: Correction | None) -> Outcome:
    """Return an outcome with a person's texts and spans as its target, and the machine's under ``machine``.

    Projections, scores and verdicts stay those of the machine's version. The outcome is returned as it is where the
    correction does not fit it.
    """
    if correction is None or not correction.fits(outcome):
        return outcome
    machine = unpack(outcome["target"])
    tokens = {
        name: old if correction.fields[name] == machine.fields[name] else _tokens(correction, name)
        for name, old in machine.tokens.items()
    }
    labels = {**machine.labels, **correction.labels}
    target = replace(machine, fields=correction.fields, spans=correction.spans, labels=labels, tokens=tokens)
    return {**outcome, "target": pack(target), "machine": pack(machine)}


def _tokens(correction: Correction, name: str) -> tuple[tuple[int, int], ...]:
    [text] = tokenize([correction.fields[name]], correction.language)
    return tuple((token.start, token.end) for token in text.tokens)


def apply_corrections(outcomes: Iterable[Outcome], corrections: Mapping[str, Correction]) -> Iterator[Outcome]:
    """Yield the outcomes, each with its correction, if it has one that fits."""
    return (corrected(outcome, corrections.get(outcome["id"])) for outcome in outcomes)


def count_corrections(outcomes: Iterable[Outcome], corrections: Mapping[str, Correction]) -> dict[str, int]:
    """Count the corrections that are in the dataset (``post_edited``) and those that no row fits (``unused``)."""
    if not corrections:
        return {}
    used = sum("machine" in outcome for outcome in apply_corrections(outcomes, corrections))
    counts = Counter({POST_EDITED: used, "corrections_unused": len(corrections) - used})
    return dict(+counts)


def checked_by_people(report: Mapping[str, Any]) -> str:
    """Say, for a card, whether people have corrected anything.

    >>> checked_by_people({"languages": {"de": {"total": {"post_edited": 2}}, "es": {"total": {}}}})
    'People corrected some rows (2 of de): in these `post_edited` is true. No person has checked the others.'
    """
    edited = {name: entry["total"].get(POST_EDITED, 0) for name, entry in report["languages"].items()}
    if not any(edited.values()):
        return "No person has checked it."
    rows = ", ".join(f"{number:,} of {name}" for name, number in edited.items() if number)
    return f"People corrected some rows ({rows}): in these `{POST_EDITED}` is true. No person has checked the others."


def with_corrections(writer: RowWriter, task: Task, *, predicted: bool = False) -> RowWriter:
    """Return a writer whose rows say whether a person corrected them, see `spanferry.data.correction_columns`."""

    def features(schema: Schema, tokens: bool) -> Any:
        found = writer.features(schema, tokens)
        found.update(correction_features(task, predicted=predicted))
        return found

    def row(outcome: Outcome) -> dict[str, Any]:
        machine = outcome.get("machine")
        before = None if machine is None else unpack(machine)
        return correction_row(task, writer.row(outcome), before, predicted=predicted)

    return RowWriter(f"{writer.step},corrected/2", features, row)
