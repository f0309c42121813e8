"""Predictions that were made elsewhere, by any program: read from a file.

A build writes the texts to predict on (``to-predict.jsonl``: an id and the fields) and stops. Whoever predicts adds
spans or labels to these rows, in any format that `spanferry.data.formats` reads, and the next run goes on from there.
A prediction is found by the text that it was made for, so that one that belongs to an older text is never used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spanferry.data.errors import DataError, shortened
from spanferry.data.example import Example
from spanferry.data.formats import read_examples
from spanferry.data.sidecar import features_path
from spanferry.data.signature import fingerprint
from spanferry.data.tasks import Task, content_id
from spanferry.projection.distribution_data import distribution_data
from spanferry.projection.prediction import Prediction, PredictionsMissing


class FilePredictor:
    """Looks predictions up in a file.

    A row may have a column ``scores``, a probability in 0..1 for each of its spans, and ``label_score``, one for its
    label.

    Args:
        task: what is predicted.
        path: the file; it may not be there yet.
        format, scheme: how to read it, see `spanferry.data.formats.read_examples`.

    Raises:
        DataError: the file is not what its format says, or has different predictions for one text.

    >>> import json, tempfile
    >>> from spanferry.data.tasks import get_task
    >>> file = Path(tempfile.mkdtemp()) / "predictions.jsonl"
    >>> row = {"id": "1", "text": "Zoë laughs.", "spans": [{"start": 0, "end": 3, "label": "PER"}], "scores": [0.9]}
    >>> _ = file.write_text(json.dumps(row), encoding="utf-8")
    >>> predictor = FilePredictor(task=get_task("ner"), path=file)
    >>> [prediction] = predictor.predict([Example("a", {"text": "Zoë laughs."})], language="eng_Latn")
    >>> prediction.spans[0].label, prediction.scores
    ('PER', (0.9,))
    """

    def __init__(self, *, task: Task, path: str | Path, format: str | None = None, scheme: str = "IOB2") -> None:
        self._task, self._path, self._format, self._scheme = task, Path(path), format, scheme
        self._known: dict[str, Prediction] = {}
        self._read: list[tuple[int, int] | None] = []
        self._refresh()

    @property
    def fingerprint(self) -> str:
        """Identity of the predictions that are in the file now."""
        self._refresh()
        return f"file:{_digest(self._known)}"

    def _refresh(self) -> None:
        """Read the file, unless it is the one that was read last."""
        stamps = [_stamp(self._path), _stamp(features_path(self._path))]
        if stamps == self._read:
            return
        self._known, self._read = {}, stamps
        if stamps[0] is not None:
            rows = read_examples(
                self._path,
                self._task,
                format=self._format,
                columns={"id": None},  # texts tell predictions apart; ids may repeat, from one language to the next
                scheme=self._scheme,
                repair=True,
            )
            for row in rows:
                self._add(row)

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        """Return the prediction for the text of each example; nothing is predicted on an empty one.

        Raises:
            PredictionsMissing: some have none.
        """
        keys = [text_key(example) for example in examples]
        missing = [
            example
            for example, key in zip(examples, keys, strict=True)
            if key not in self._known and any(text.strip() for text in example.fields.values())
        ]
        if missing:
            raise PredictionsMissing(missing, f"put them into {self._path}; a build writes the texts")
        return [self._known.get(key, Prediction()) for key in keys]

    def _add(self, row: Example) -> None:
        given = row.meta.get("scores")
        scores = [None] * len(row.spans) if given is None else _scores(row, given, len(row.spans), self._path)
        found = sorted(zip(row.spans, scores, strict=True), key=lambda pair: pair[0])
        label_scores: dict[str, float] = {}
        if (chance := row.meta.get("label_score")) is not None:
            label_scores = dict.fromkeys(self._task.labels, _scores(row, [chance], 1, self._path)[0])
        prediction = Prediction(
            tuple(span for span, _ in found),
            tuple(score for _, score in found),
            labels=row.labels,
            label_scores=label_scores,
        )
        key = text_key(row)
        before = self._known.setdefault(key, prediction)
        if (before.spans, before.scores, before.labels) != (prediction.spans, prediction.scores, prediction.labels):
            raise DataError(
                f"found two different predictions for the text {_shown(row)}, expected one a text", path=self._path
            )


def text_key(example: Example) -> str:
    """Return what a prediction is found by: 20 hexadecimal digits over the texts of the example.

    >>> text_key(Example("7", {"text": "Zoë"})) == text_key(Example("8", {"text": "Zoë"}))
    True
    """
    return content_id(example.fields, {})


def prediction_row(task: Task, example: Example, prediction: Prediction) -> dict[str, Any]:
    """Return the row of a file of predictions: what `FilePredictor` reads, and the probabilities for ensembles.

    >>> from spanferry.data.example import Span
    >>> from spanferry.data.tasks import get_task
    >>> example, found = Example("1", {"text": "Zoë"}), Prediction((Span(0, 3, "PER"),), (0.9,))
    >>> prediction_row(get_task("ner"), example, found)
    {'id': '1', 'text': 'Zoë', 'spans': [{'start': 0, 'end': 3, 'label': 'PER'}], 'scores': [0.9]}
    """
    found = Example(example.id, example.fields, prediction.spans, prediction.labels)
    row = task.to_row(found)
    if task.spans_in and None not in prediction.scores:
        row["scores"] = list(prediction.scores)
    for score in prediction.label_scores.values():
        row["label_score"] = score
    if prediction.label_distributions:
        row["label_distributions"] = {column: dict(each) for column, each in prediction.label_distributions.items()}
    if prediction.distribution is not None:
        row["distribution"] = distribution_data(prediction.distribution)
    return row


def _scores(row: Example, given: Any, expected: int, path: Path) -> list[float]:
    good = isinstance(given, Sequence) and len(given) == expected
    if not good or not all(isinstance(each, int | float) and 0 <= each <= 1 for each in given):
        raise DataError(f"{_shown(row)}: scores are {given!r}, expected {expected} numbers in 0..1", path=path)
    return [float(each) for each in given]


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return when a file was written and its length; None where there is none."""
    status = path.stat() if path.exists() else None
    return None if status is None else (status.st_mtime_ns, status.st_size)


def _digest(known: Mapping[str, Prediction]) -> str:
    """Return a digest of what is predicted for which text, whatever the order of the rows."""
    content = {
        key: [
            [[span.start, span.end, span.label, span.field] for span in each.spans],
            [None if score is None or math.isnan(score) else score for score in each.scores],
            dict(each.labels),
            dict(each.label_scores),
        ]
        for key, each in known.items()
    }
    return fingerprint(content)[:16]


def _shown(row: Example) -> str:
    return shortened(" / ".join(row.fields.values()))
