"""Predictions of several builds and files for the same test data, made one, with every vote, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.example import Example
from spanferry.data.formats import read_examples
from spanferry.data.tasks import Task, get_task
from spanferry.flows.members import Build, as_example, open_build, predicted_in, predictions_of
from spanferry.projection.combine import Combined, combine
from spanferry.projection.ensemble import Agree, Ties
from spanferry.projection.predict_file import prediction_row
from spanferry.projection.prediction import Prediction
from spanferry.projection.quality import AnyEvaluation, evaluate_examples

ENSEMBLE = "ensemble"
"""What the members together are called among the members."""


@dataclass(frozen=True)
class Ensemble:
    """Members and what they say together, example by example.

    Attributes:
        task: shape of the data.
        examples: the test data, with its own labels if it has any.
        members: name -> a prediction an example, None where it has none.
        combined: the decisions, one an example.
        quality: name of a member, or ``"ensemble"`` -> metric -> evaluation; empty without gold.
    """

    task: Task
    examples: Sequence[Example]
    members: Mapping[str, Sequence[Prediction | None]]
    combined: Sequence[Combined]
    quality: Mapping[str, Mapping[str, AnyEvaluation]] = field(default_factory=dict)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row an example: the text, the decisions and their scores, and every member's vote on each."""
        for example, combined in zip(self.examples, self.combined, strict=True):
            row = prediction_row(self.task, example, combined.prediction)
            if self.task.spans_in:
                row["votes"] = [
                    [
                        {
                            "member": vote.method,
                            "start": None if vote.target is None else vote.target.start,
                            "end": None if vote.target is None else vote.target.end,
                            "label": None if vote.target is None else vote.target.label,
                            "score": vote.score,
                        }
                        for vote in decision.votes
                    ]
                    for decision in combined.spans
                ]
            for column, decision in combined.labels.items():
                row[f"{column}_votes"] = [
                    {"member": vote.method, "label": vote.label, "score": vote.score} for vote in decision.votes
                ]
            yield row


def make_ensemble(
    members: Sequence[str],
    *,
    language: str | None = None,
    gold: str | None = None,
    task: str | None = None,
    weights: Sequence[float] | None = None,
    ties: Ties = "first",
    agree: Agree = "exact",
) -> Ensemble:
    """Put the predictions of several members together.

    Args:
        members: ``NAME=PATH`` or a path, whose last part is then the name: the folder of a translate-test build, or a
            file of predictions with the ids of the test data. In the order of trust.
        language: of the builds' test data; may be left out where a build has one only.
        gold: a file with the test data and its labels, where no build brings it.
        task: shape of the data, where no build says it.
        weights: of the members' votes.
        ties, agree: see `spanferry.projection.ensemble.vote_spans`.

    Raises:
        ConfigError: members or settings do not go together.
        DataError: a file cannot be read, or is on other test data.
        BuildError: a folder is no finished build.
    """
    paths = named_members(members)
    builds = {name: open_build(path) for name, path in paths.items() if path.is_dir()}
    shape = _task(builds, task)
    said: dict[str, list[Prediction | None]] = {}
    examples: list[Example] | None = None if gold is None else list(read_examples(gold, shape))
    labelled = gold is not None
    for name, build in builds.items():
        own = list(predictions_of(build, _language(name, build, language)))
        if examples is None:
            examples, labelled = [example for example, _ in own], "evaluation" in build.report
        by_id = {example.id: (example, prediction) for example, prediction in own}
        said[name] = [_of_build(name, example, by_id) for example in examples]
    if examples is None:
        raise ConfigError("the test data is not known: give the folder of a translate-test build, or --gold FILE")
    for name, path in paths.items():
        if name not in builds:
            said[name] = predicted_in(path, shape, examples)
    ordered = {name: said[name] for name in paths}
    combined = [
        combine(dict(zip(ordered, each, strict=True)), weights=weights, ties=ties, agree=agree, field=_field(shape))
        for each in zip(*ordered.values(), strict=True)
    ]
    quality = _quality(shape, examples, ordered, combined) if labelled and examples else {}
    return Ensemble(shape, examples, ordered, combined, quality)


def _quality(
    task: Task,
    examples: Sequence[Example],
    members: Mapping[str, Sequence[Prediction | None]],
    combined: Sequence[Combined],
) -> dict[str, dict[str, AnyEvaluation]]:
    everyone = {**members, ENSEMBLE: [each.prediction for each in combined]}
    return {
        name: evaluate_examples(task, examples, [as_example(*pair) for pair in zip(examples, predictions, strict=True)])
        for name, predictions in everyone.items()
    }


def named_members(members: Sequence[str]) -> dict[str, Path]:
    """Return the members' paths by their names, in order.

    Raises:
        ConfigError: a name is missing or stands twice, nothing lies there, or there are fewer than two.
    """
    found: dict[str, Path] = {}
    for member in members:
        name, equals, path = member.partition("=")
        place = Path(path if equals else member)
        name = name if equals else place.name.removesuffix("".join(place.suffixes))
        if not name or name in found or name == ENSEMBLE:
            raise ConfigError(f"member {member!r}: expected a name that no other has; write NAME={place}")
        if not place.exists():
            raise ConfigError(f"member {name!r}: found nothing at {place}, expected a build's folder or a file")
        found[name] = place
    if len(found) < 2:
        raise ConfigError(f"found {len(found)} member of an ensemble, expected two or more")
    return found


def _task(builds: Mapping[str, Build], task: str | None) -> Task:
    names = {str(build.report["task"]): name for name, build in builds.items()} | ({task: "--task"} if task else {})
    if len(names) != 1:
        listing = ", ".join(f"{name} ({where})" for name, where in names.items()) or "none"
        raise ConfigError(f"found tasks: {listing}; expected one; give --task where no member is a build")
    return get_task(next(iter(names)))


def _language(name: str, build: Build, language: str | None) -> str:
    if build.direction != "translate-test":
        raise ConfigError(
            f"member {name!r} is a build of {build.direction}, which predicts nothing: give a file of what a model "
            "predicts that was trained on it"
        )
    known = list(build.report["languages"])
    if language is None and len(known) == 1:
        return str(known[0])
    if language is None or language not in known:
        raise ConfigError(f"member {name!r}: --language is {language}; {did_you_mean(str(language), known)}")
    return language


def _of_build(name: str, example: Example, by_id: Mapping[str, tuple[Example, Prediction]]) -> Prediction | None:
    if example.id not in by_id:
        return None
    other, prediction = by_id[example.id]
    if dict(other.fields) != dict(example.fields):
        raise DataError(
            f"member {name!r}: example {example.id!r} has another text than in the other test data: expected "
            "predictions on the same text"
        )
    return prediction


def _field(task: Task) -> str:
    return task.spans_in or ""
