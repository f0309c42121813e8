"""Builds side by side, quality beside cost: translate-train, translate-test and both together, on the same test data.

What a translate-test build predicted lies in its folder, and so does the gold that it was given. What a model predicts
that was trained on a translate-train build is made elsewhere and comes in a file. Both together are their ensemble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example
from spanferry.data.tasks import get_task
from spanferry.flows.cost import Cost
from spanferry.flows.members import Build, as_example, predicted_in, predictions_of
from spanferry.projection.combine import combine
from spanferry.projection.ensemble import Ties
from spanferry.projection.prediction import Prediction
from spanferry.projection.quality import AnyEvaluation, evaluate_examples

TRAIN: Final = "translate-train"
TEST: Final = "translate-test"
BOTH: Final = "both"
PLACE: Final = "{language}"

Tested = Sequence[tuple[Example, Prediction]]


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


def compare_builds(builds: Sequence[Build], *, predictions: str | None = None, ties: Ties = "first") -> list[Compared]:
    """Return one line a build and language, and one for both directions together where that can be said.

    Args:
        builds: finished builds; exactly one of each direction where ``predictions`` are given.
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
    lines = []
    for build in builds:
        for language in build.report["languages"]:
            line = Compared(build.folder.root.name, build.direction, language, build.costs.get(language))
            if build.direction == TEST:
                rows = list(predictions_of(build, language))
                line = replace(line, quality=_quality(build, rows))
                if predictions is not None:
                    path = _path_of(predictions, language, list(build.report["languages"]))
                    train = next(build for build in builds if build.direction == TRAIN)
                    lines += _with_predictions((train, build), line, rows, path, ties)
                    continue
            elif predictions is not None:
                continue  # its line comes beside that of the test data
            lines.append(line)
    return lines


def _with_predictions(
    builds: tuple[Build, Build], line: Compared, rows: Tested, path: Path, ties: Ties
) -> list[Compared]:
    """Return the lines of one language: the model trained on the translate-train build, translate-test, and both."""
    train, test = builds
    gold = [example for example, _ in rows]
    task = get_task(str(test.report["task"]))
    trained = predicted_in(path, task, gold)
    if missing := [example.id for example, found in zip(gold, trained, strict=True) if found is None]:
        raise DataError(
            f"{len(missing)} of {len(gold)} test examples have no prediction (for example {missing[0]!r})",
            path=path,
            hint="write a row without spans where the model found none",
        )
    both = [
        combine({TEST: first, TRAIN: second}, ties=ties, field=task.spans_in or "").prediction
        for (_, first), second in zip(rows, trained, strict=True)
    ]
    cost, own = train.costs.get(line.language), line.cost
    sum_of_both = cost.beside(own) if cost is not None and own is not None else None
    name = train.folder.root.name
    quality = [_quality(test, list(zip(gold, found, strict=True))) for found in (trained, both)]
    return [
        Compared(name, TRAIN, line.language, cost, quality[0]),
        line,
        Compared(f"{line.name} + {name}", BOTH, line.language, sum_of_both, quality[1]),
    ]


def _path_of(predictions: str, language: str, languages: Sequence[str]) -> Path:
    if PLACE not in predictions and len(languages) > 1:
        raise ConfigError(
            f"--predictions {predictions}: found one file for the languages {', '.join(languages)}, expected {PLACE} "
            "in its name, one file each"
        )
    return Path(predictions.replace(PLACE, language))


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


def _quality(build: Build, rows: Sequence[tuple[Example, Prediction | None]]) -> dict[str, AnyEvaluation]:
    """Compare predictions with gold, where the build has gold."""
    if not rows or "evaluation" not in build.report:
        return {}
    task = get_task(str(build.report["task"]))
    return evaluate_examples(task, [gold for gold, _ in rows], [as_example(gold, found) for gold, found in rows])
