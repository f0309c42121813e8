"""What there is to put together or to compare: predictions on test data, from finished builds and from files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanferry.data.errors import BuildError, DataError
from spanferry.data.example import Example
from spanferry.data.formats import read_examples
from spanferry.data.tasks import Task
from spanferry.flows.cost import Cost, costs
from spanferry.flows.folder import BuildFolder
from spanferry.flows.outcomes import Outcome, unpack
from spanferry.flows.places import fetched
from spanferry.flows.shards import read_records
from spanferry.projection.distribution_data import read_distribution
from spanferry.projection.prediction import Prediction


@dataclass(frozen=True)
class Build:
    """A finished build: its folder, its report, and what each language cost in all its runs."""

    folder: BuildFolder
    report: Mapping[str, Any]
    costs: Mapping[str, Cost]

    @property
    def direction(self) -> str:
        """``"translate-train"`` or ``"translate-test"``."""
        return str(self.report["direction"])


def open_build(place: str | Path) -> Build:
    """Read the report and the runs of a finished build; fetch one that lies in shared storage first.

    Raises:
        BuildError: there is none, or it was not finished; or its storage cannot be reached.
    """
    folder = fetched(place)
    report = folder.read_json(folder.report)
    if report is None or "direction" not in report:
        raise BuildError(
            f"{place}: found no report.json of a finished build; give a build's folder or its configuration"
        )
    return Build(folder, report, costs(folder.runs()))


def shards_of(build: Build, language: str, split: str) -> list[Path]:
    """Return the files of one language and split, and none that an earlier build of more rows left behind.

    Raises:
        BuildError: they are gone.
    """
    place = f"{language}/{split}" if build.direction == "translate-test" else split
    facts = build.folder.read_json(build.folder.source_split(place))
    shards = [build.folder.shard(language, split, index) for index in range(len(facts["shards"]))] if facts else []
    if facts is None or not all(shard.is_file() for shard in shards):
        raise BuildError(
            f"{build.folder.root}: the shards of {language}/{split} in {build.folder.state} are gone; run the build "
            "again"
        )
    return shards


def predictions_of(build: Build, language: str) -> Iterator[tuple[Example, Prediction]]:
    """Yield the test data of a translate-test build, with its own labels, and what was predicted on the original.

    Raises:
        BuildError: the shards of the build are gone.
    """
    for split in build.report["languages"][language]["splits"]:
        for shard in shards_of(build, language, split):
            for outcome in read_records(shard):
                yield unpack(outcome["original"]), _prediction(outcome)


def _prediction(outcome: Outcome) -> Prediction:
    """Return what was predicted, as it came out on the original; scores are the predictor's."""
    if outcome["target"] is None:
        return Prediction()
    found, said = unpack(outcome["target"]), outcome["prediction"]
    scores = {
        (each["field"], each["start"], each["end"], each["label"]): score
        for each, score in zip(outcome["projections"], said["scores"], strict=True)
    }
    own = said.get("distribution")
    return Prediction(
        found.spans,
        tuple(scores.get((span.field, span.start, span.end, span.label)) for span in found.spans),
        labels=found.labels,
        label_scores={column: score for column, score in said["label_scores"].items() if score is not None},
        label_distributions=said.get("label_distributions", {}),
        distribution=None if own is None else read_distribution(own),
    )


def predicted_in(path: Path, task: Task, examples: Sequence[Example]) -> list[Prediction | None]:
    """Return the prediction that a file has for each example, found by its id; None where it has none.

    A row may have ``scores``, a probability for each span, ``label_score``, and ``distribution``, as
    `spanferry.projection.distribution_data` writes it.

    Raises:
        DataError: the file cannot be read, it has predictions for none of the examples, or a row is on another text.
    """
    rows = {row.id: row for row in read_examples(path, task)}
    found = [rows.get(example.id) for example in examples]
    if examples and not any(found):
        raise DataError(
            f"the ids are {', '.join(map(repr, list(rows)[:3]))}, and none is one of the test data "
            f"({examples[0].id!r}, ...)",
            path=path,
            hint="predictions go by the ids of the test data",
        )
    return [None if row is None else _read(row, example, path) for row, example in zip(found, examples, strict=True)]


def _read(row: Example, example: Example, path: Path) -> Prediction:
    if dict(row.fields) != dict(example.fields):
        raise DataError(
            f"row {row.id!r} has another text than the test data: expected predictions on the same text", path=path
        )
    scores = row.meta.get("scores")
    if scores is None or len(scores) != len(row.spans):
        scores = [None] * len(row.spans)
    own, score = row.meta.get("distribution"), row.meta.get("label_score")
    try:
        distribution = None if own is None else read_distribution(own)
    except DataError as error:
        raise DataError(f"row {row.id!r}: {error.problem}", path=path, hint=error.hint) from None
    return Prediction(
        row.spans,
        tuple(scores),
        labels=row.labels,
        label_scores={} if score is None else dict.fromkeys(row.labels, score),
        label_distributions=row.meta.get("label_distributions") or {},
        distribution=distribution,
    )


def as_example(example: Example, prediction: Prediction | None) -> Example:
    """Return an example with a prediction in place of its own labels; none at all without a prediction."""
    if prediction is None:
        return Example(example.id, example.fields)
    return Example(example.id, example.fields, prediction.spans, prediction.labels)
