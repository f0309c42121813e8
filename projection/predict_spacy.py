"""Predictions of a spaCy pipeline: entities (or a span group) and text categories."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spanferry.data.errors import ConfigError, ModelError
from spanferry.data.example import Example, Span
from spanferry.data.tasks import Task
from spanferry.projection.prediction import Prediction


class SpacyPredictor:
    """Runs a spaCy pipeline over the text of each example.

    Spans are those of the pipeline's entity recogniser, which gives no scores, or of a span categoriser, which does.
    The label column of a task (``label``, ``intent``) is the category with the highest score of its text categoriser.

    Args:
        task: what to predict; its spans and labels must lie in, or belong to, a single text.
        model: name of an installed pipeline (``en_core_web_sm``), or a folder.
        spans_key: take the span group of this name (``sc`` is spaCy's default) instead of the entities.
        batch_size: texts at once; not part of the fingerprint.

    Raises:
        ConfigError: the task has several texts, or the pipeline has no part that predicts what the task asks for.
        ModelError: there is no such pipeline, or it cannot be loaded.
    """

    def __init__(self, *, task: Task, model: str | Path, spans_key: str | None = None, batch_size: int = 256) -> None:
        if len(task.fields) != 1:
            fields = ", ".join(task.fields)
            raise ConfigError(f"predictor 'spacy' reads one text an example, task {task.name!r} has {fields}")
        self._task, self._spans_key, self._batch_size = task, spans_key, batch_size
        self._nlp = _load(model)
        self._check(str(model))
        meta = json.dumps([self._nlp.meta, self._nlp.config], sort_keys=True, default=str)
        content = hashlib.sha256(meta.encode() + _weights(self._nlp)).hexdigest()
        self._fingerprint = f"spacy/1({content[:16]},spans_key={spans_key})"

    @property
    def fingerprint(self) -> str:
        """Identity of the pipeline, its weights included."""
        return self._fingerprint

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        """Return one `Prediction` an example; the pipeline's language is its own, ``language`` is not looked at."""
        [field] = self._task.fields
        texts = (example.fields[field] for example in examples)
        return [self._prediction(doc, field) for doc in self._nlp.pipe(texts, batch_size=self._batch_size)]

    def _prediction(self, doc: Any, field: str) -> Prediction:
        found: list[tuple[Span, float | None]] = []
        if self._task.spans_in:
            group = doc.ents if self._spans_key is None else doc.spans.get(self._spans_key, ())
            scores = getattr(group, "attrs", {}).get("scores")
            for number, each in enumerate(group):
                words = _trimmed(doc.text, each.start_char, each.end_char)
                if words is not None:
                    score = None if scores is None else float(scores[number])
                    found.append((Span(*words, each.label_, field), score))
        found.sort(key=lambda each: each[0])
        labels, chances = {}, {}
        for column in self._task.labels:
            best = max(doc.cats, key=doc.cats.get)
            labels[column], chances[column] = best, float(doc.cats[best])
        return Prediction(
            tuple(span for span, _ in found), tuple(score for _, score in found), labels=labels, label_scores=chances
        )

    def _check(self, model: str) -> None:
        """Refuse a pipeline that predicts nothing of what the task asks for."""
        parts = set(self._nlp.pipe_names)
        if self._task.spans_in and self._spans_key is None and not parts & {"ner", "entity_ruler", "beam_ner"}:
            raise ConfigError(
                f"predictor.model {model}: found a pipeline of {', '.join(self._nlp.pipe_names) or 'no parts'}, "
                "expected one with `ner` (or set spans_key for one with `spancat`)"
            )
        if self._task.labels and not parts & {"textcat", "textcat_multilabel"}:
            columns = ", ".join(self._task.labels)
            raise ConfigError(f"predictor.model {model}: no text categoriser (`textcat`) that could predict {columns}")


def _load(model: str | Path) -> Any:
    import spacy

    try:
        return spacy.load(model)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"predictor.model {model}: cannot be loaded as a spaCy pipeline: {error}. Expected a folder, or the name "
            "of an installed one"
        ) from None


def _weights(nlp: Any) -> bytes:
    """Return a digest over the weights, rules and names of all parts; spaCy's own bytes differ from load to load."""
    total = hashlib.sha256()
    for name, part in nlp.pipeline:
        total.update(name.encode())
        model = getattr(part, "model", None)
        for node in () if model is None or not hasattr(model, "walk") else model.walk():
            for parameter in sorted(node.param_names):
                if node.has_param(parameter):
                    total.update(parameter.encode() + node.get_param(parameter).tobytes())
        if hasattr(part, "patterns"):
            total.update(json.dumps(part.patterns, sort_keys=True, default=str).encode())
    return total.digest()


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the range without white space at its ends; None if nothing is left."""
    words = text[start:end]
    start, end = start + len(words) - len(words.lstrip()), end - (len(words) - len(words.rstrip()))
    return (start, end) if start < end else None
