"""What a prediction is, and what a predictor must do: labels of a model on text, before they are carried anywhere.

In translate-test a text is translated into the language of a strong model, the model predicts on the translation, and
what it predicted is carried back. A predictor is any such model: examples in, one `Prediction` an example out. Spans
are offsets into the text that the model saw; how they come home is the projectors' work.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from spanferry.data.errors import SpanferryError
from spanferry.data.example import Example, Span
from spanferry.data.registry import LazyTable
from spanferry.data.settings import check_settings, parameters_of
from spanferry.data.tasks import Task
from spanferry.projection.distributions import TagDistribution

Label = str | int | float | None

_NO_LABELS: Mapping[str, Label] = MappingProxyType({})
_NO_SCORES: Mapping[str, float] = MappingProxyType({})
_NO_DISTRIBUTIONS: Mapping[str, Mapping[str, float]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a model says of one example.

    Attributes:
        spans: predicted spans, left to right; offsets into the fields that the model saw.
        scores: one a span: probability in 0..1 by the model's own scale, None where it has none.
        labels: example-level labels (``{"label": "entailment"}``); numbers for a regression.
        label_scores: probability of each of ``labels``, where the model has one.
        label_distributions: label column -> class -> probability, where the model has them.
        distribution: how probable each tag is for each word; None where the model does not label words.

    Raises:
        ValueError: there are not as many scores as spans.

    >>> prediction = Prediction((Span(0, 3, "PER"),), (0.98,), labels={"intent": "greet"})
    >>> prediction.scores, prediction.labels["intent"]
    ((0.98,), 'greet')
    """

    spans: tuple[Span, ...] = ()
    scores: tuple[float | None, ...] = ()
    labels: Mapping[str, Label] = field(default_factory=lambda: _NO_LABELS)
    label_scores: Mapping[str, float] = field(default_factory=lambda: _NO_SCORES)
    label_distributions: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: _NO_DISTRIBUTIONS)
    distribution: TagDistribution | None = None

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.spans):
            raise ValueError(f"{len(self.spans)} spans have {len(self.scores)} scores, expected one a span")


@runtime_checkable
class Predictor(Protocol):
    """A model that labels examples."""

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the predictions (weights, settings), and of nothing else."""
        ...

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        """Return one `Prediction` an example, in the same order.

        Only the fields of the examples are looked at, never their spans or labels. ``language`` is the FLORES-200 code
        of their text.

        Raises:
            PredictionsMissing: the predictions are made elsewhere, and some are not there yet.
            ModelError: the model failed.
        """
        ...


class PredictionsMissing(SpanferryError):
    """Predictions that are made elsewhere are not there yet; ``examples`` are those that have none."""

    def __init__(self, examples: Sequence[Example], hint: str) -> None:
        self.examples, self.hint = tuple(examples), hint
        super().__init__(f"{len(self.examples)} texts have no prediction yet: {hint}")

    def __reduce__(self) -> tuple[type[PredictionsMissing], tuple[tuple[Example, ...], str]]:
        """Let it pass between processes."""
        return type(self), (self.examples, self.hint)


PREDICTORS = LazyTable(
    kind="predictor",
    group="spanferry.predictors",
    builtin={
        "file": "spanferry.projection.predict_file:FilePredictor",
        "spacy": "spanferry.projection.predict_spacy:SpacyPredictor",
        "transformers": "spanferry.projection.predict_transformers:TransformersPredictor",
    },
)


def load_predictor(name: str, *, task: Task, **settings: Any) -> Predictor:
    """Make the predictor called ``name`` with its own settings.

    A third party's is an entry point of the group ``spanferry.predictors``: a callable that takes ``task`` and any
    settings of its own, and returns a `Predictor`.

    Args:
        name: one of `PREDICTORS`.
        task: what is to be predicted.
        settings: what the predictor takes (``model``, ``path``, ...).

    Raises:
        ConfigError: the name or a setting is unknown, a required setting is missing, or a value is of the wrong kind
            or out of range.
        ModelError: its model cannot be loaded, or is not for this task.

    >>> from spanferry.data.tasks import get_task
    >>> load_predictor("spacy", task=get_task("ner"), modle="en")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: predictor 'spacy' has no setting 'modle': did you mean 'model'? Known: ...
    """
    factory = PREDICTORS.load(name)
    check_settings(f"predictor {name!r}", settings, factory, given=("task",))
    return cast(Predictor, factory(task=task, **settings))


def predictor_settings(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the settings that the predictor called ``name`` takes, ``task`` left out.

    >>> list(predictor_settings("file"))
    ['path', 'format', 'scheme']
    """
    return parameters_of(PREDICTORS.load(name), given=("task",))


def renamed(prediction: Prediction, names: Mapping[str, str | None]) -> Prediction:
    """Return a prediction with a model's labels under the names that the data has for them.

    Args:
        prediction: what the model said.
        names: the model's label -> the data's; None leaves the label out (a span of it is none, and its probability is
            that of ``O``). Labels that are not in it stay as they are; several may become one.

    >>> prediction = Prediction((Span(0, 3, "PERSON"), Span(4, 8, "DATE")), (0.9, 0.8), labels={"label": "LABEL_0"})
    >>> found = renamed(prediction, {"PERSON": "PER", "DATE": None, "LABEL_0": "positive"})
    >>> found.spans, found.scores, found.labels
    ((Span(start=0, end=3, label='PER', field='text'),), (0.9,), {'label': 'positive'})
    """
    if not names:
        return prediction
    kept = [
        (replace(span, label=name), score)
        for span, score in zip(prediction.spans, prediction.scores, strict=True)
        if (name := names.get(span.label, span.label)) is not None
    ]
    labels = {
        column: names.get(label, label) if isinstance(label, str) else label
        for column, label in prediction.labels.items()
    }
    distributions = {
        column: _merged((names.get(name, name), chance) for name, chance in chances.items())
        for column, chances in prediction.label_distributions.items()
    }
    return replace(
        prediction,
        spans=tuple(span for span, _ in kept),
        scores=tuple(score for _, score in kept),
        labels=labels,
        label_distributions=distributions,
        distribution=None if prediction.distribution is None else _renamed_tags(prediction.distribution, names),
    )


def _merged(chances: Iterable[tuple[str | None, float]]) -> dict[str, float]:
    """Add up the probabilities of one name; those of no name are shared out in proportion."""
    total: dict[str, float] = {}
    for name, chance in chances:
        if name is not None:
            total[name] = total.get(name, 0.0) + chance
    whole = sum(total.values()) or 1.0
    return {name: chance / whole for name, chance in total.items()}


def _renamed_tags(distribution: TagDistribution, names: Mapping[str, str | None]) -> TagDistribution:
    targets = []
    for tag in distribution.tags:
        prefix, dash, label = tag.partition("-")
        name = names.get(label, label) if dash else None
        targets.append("O" if name is None else f"{prefix}-{name}")
    tags = ("O", *(tag for tag in dict.fromkeys(targets) if tag != "O"))
    mixed = np.zeros((len(distribution.tags), len(tags)))
    for row, tag in enumerate(targets):
        mixed[row, tags.index(tag)] = 1.0
    return TagDistribution(distribution.tokens, tags, distribution.probabilities @ mixed)
