"""Builds side by side, quality beside cost: translate-train, translate-test and both together, on the same test data.

What a translate-test build predicted lies in its folder, and so does the gold that it was given. What a model predicts
that was trained on a translate-train build is made elsewhere and comes in a file. Both together are their ensemble.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from spanferry.data.errors import BuildError, ConfigError, DataError
from spanferry.data.example import Example
from spanferry.data.formats import read_examples
from spanferry.data.tasks import Task, get_task
from spanferry.flows.cost import Cost, costs
from spanferry.flows.folder import BuildFolder
from spanferry.flows.outcomes import unpack
from spanferry.flows.shards import read_records
from spanferry.projection.combine import combine
from spanferry.projection.ensemble import Ties
from spanferry.projection.prediction import Prediction
from spanferry.projection.quality import AnyEvaluation, evaluate_examples

TRAIN: Final = "translate-train"
TEST: Final = "translate-test"
BOTH: Final = "both"
PLACE: Final = "{language}"


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


@dataclass(frozen=True)
class Compared:
    """One line of a comparison.

    Attributes:
        name: the folder of the build; the folders of both, with a plus.
        direction: ``"translate-train"``, ``"translate-test"`` or ``"both"``.
        language: of the test data.
        cost: of its examples; None where no run of the build is on record.
        quality: metric -> evaluation on the test data; empty where there are no predictions, or no gold.
    """

    name: str
    direction: str
    language: str
    cost: Cost | None
    quality: Mapping[str, AnyEvaluation] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "name": self.name,
            "direction": self.direction,
            "language": self.language,
            "cost": None if self.cost is None else self.cost.to_json(),
            "quality": {name: each.to_json() for name, each in self.quality.items()},
        }


def open_build(root: Path) -> Build:
    """Read the report and the runs of a finished build.

    Raises:
        BuildError: there is none, or it was not finished.
    """
    folder = BuildFolder(root)
    report = folder.read_json(folder.report)
    if report is None or "direction" not in report:
        raise BuildError(
            f"{root}: found no report.json of a finished build; give a build's folder or its configuration"
        )
    return Build(folder, report, costs(folder.runs()))


def compare_builds(builds: Sequence[Build], *, predictions: str | None = None, ties: Ties = "first") -> list[Compared]:
    """Return one line a build and language, and one for both directions together where that can be said.

    Args:
        builds: finished builds; at most one of them of each direction where ``predictions`` are given.
        predictions: what a model trained on the translate-train build predicts on the test data of the translate-test
            build: a file of any format with the ids of the test data, with ``{language}`` in its name for several.
        ties: of the vote over spans of both, see `spanferry.projection.ensemble.vote_spans`; translate-test is first.

    Raises:
        ConfigError: the builds do not go together.
        DataError: the predictions are not on the test data.
        BuildError: the shards of a build are gone.
    """
    if not builds:
        raise ConfigError("no build was given: give the folders or configurations of finished builds")
    if predictions is not None:
        _check_pair(builds)
    tested = {build.folder.root: _tested(build) for build in builds if build.direction == TEST}
    lines = []
    for build in builds:
        own = tested.get(build.folder.root, {})
        lines += [
            Compared(
                build.folder.root.name,
                build.direction,
                language,
                build.costs.get(language),
                _quality(build, own.get(language, [])),
            )
            for language in build.report["languages"]
        ]
    if predictions is None:
        return lines
    [test_data] = tested.values()
    return _with_predictions(builds, lines, test_data, predictions, ties)


def _with_predictions(
    builds: Sequence[Build],
    lines: Sequence[Compared],
    tested: Mapping[str, Sequence[tuple[Example, Example]]],
    predictions: str,
    ties: Ties,
) -> list[Compared]:
    """Add what the model trained on the translate-train build is worth, and both together."""
    train = next(build for build in builds if build.direction == TRAIN)
    test = next(build for build in builds if build.direction == TEST)
    task = get_task(str(test.report["task"]))
    if PLACE not in predictions and len(tested) > 1:
        raise ConfigError(
            f"--predictions {predictions}: found one file for the languages {', '.join(tested)}, expected {PLACE} in "
            "its name, one file each"
        )
    quality, both = {}, []
    for language, pairs in tested.items():
        gold = [here for here, _ in pairs]
        found = _read_predictions(Path(predictions.replace(PLACE, language)), task, gold)
        quality[language] = _quality(test, list(zip(gold, found, strict=True)))
        joined = [
            _together(here, predicted, trained, ties) for (here, predicted), trained in zip(pairs, found, strict=True)
        ]
        apart = train.costs.get(language), test.costs.get(language)
        cost = apart[0].beside(apart[1]) if apart[0] is not None and apart[1] is not None else None
        name = f"{test.folder.root.name} + {train.folder.root.name}"
        both.append(Compared(name, BOTH, language, cost, _quality(test, list(zip(gold, joined, strict=True)))))
    done = [
        replace(line, quality=quality.get(line.language, {})) if line.direction == TRAIN else line for line in lines
    ]
    return done + both


def _check_pair(builds: Sequence[Build]) -> None:
    directions = sorted(build.direction for build in builds)
    if directions != [TEST, TRAIN]:
        raise ConfigError(
            f"--predictions: found builds of {', '.join(directions)}; expected one of {TRAIN}, on which the model that "
            f"predicted was trained, and one of {TEST}, whose test data it predicted on"
        )
    tasks = [str(build.report["task"]) for build in builds]
    if len(set(tasks)) > 1:
        raise ConfigError(f"--predictions: found builds of the tasks {' and '.join(tasks)}, expected one and the same")


def _tested(build: Build) -> dict[str, list[tuple[Example, Example]]]:
    """Return, by language, the test data of a build with its own labels, and with those predicted."""
    return {language: list(_outcomes(build, language)) for language in build.report["languages"]}


def _outcomes(build: Build, language: str) -> Iterator[tuple[Example, Example]]:
    shards = sorted((build.folder.state / "shards" / language).glob("*/*.jsonl"))
    if not shards:
        raise BuildError(
            f"{build.folder.root}: the shards of {language} in {build.folder.state} are gone; run the build again"
        )
    for shard in shards:
        for outcome in read_records(shard):
            gold = unpack(outcome["original"])
            yield gold, Example(gold.id, gold.fields) if outcome["target"] is None else unpack(outcome["target"])


def _quality(build: Build, pairs: Sequence[tuple[Example, Example]]) -> dict[str, AnyEvaluation]:
    """Compare predictions with gold, where the build has gold."""
    if not pairs or "evaluation" not in build.report:
        return {}
    task = get_task(str(build.report["task"]))
    return evaluate_examples(task, [gold for gold, _ in pairs], [found for _, found in pairs])


def _read_predictions(path: Path, task: Task, gold: Sequence[Example]) -> list[Example]:
    """Return the prediction for each gold example, by id."""
    by_id = {example.id: example for example in read_examples(path, task)}
    missing = [example.id for example in gold if example.id not in by_id]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(gold)} test examples have no prediction (for example {missing[0]!r})",
            path=path,
            hint="predictions go by the ids of the test data; write a row without spans where the model found none",
        )
    found = [by_id[example.id] for example in gold]
    for here, there in zip(gold, found, strict=True):
        if dict(here.fields) != dict(there.fields):
            raise DataError(
                f"example {here.id!r} has another text than in the test data: expected predictions on the same text",
                path=path,
            )
    return found


def _together(gold: Example, tested: Example, trained: Example, ties: Ties) -> Example:
    """Return the ensemble of what the two predict for one example."""
    members = {TEST: _as_prediction(tested), TRAIN: _as_prediction(trained)}
    combined = combine(members, ties=ties)
    labels = {column: decision.label for column, decision in combined.labels.items()}
    return Example(gold.id, gold.fields, tuple(decision.span for decision in combined.spans), labels)


def _as_prediction(example: Example) -> Prediction:
    return Prediction(example.spans, (None,) * len(example.spans), example.labels)
