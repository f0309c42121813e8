"""A predictor that remembers: what a model once said of a text, it is not asked again.

The counterpart of `spanferry.projection.remembering` for translate-test: rows that are put in front of test data shift
all that follow them, so that every shard is another; but only texts that are new are predicted on. What the model's
labels are called in the data is no part of what is remembered: it is applied anew.

Predictions that are read from a file are not remembered; they are on file already.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from spanferry.alignment.base import CORPUS_WISE
from spanferry.alignment.tokens import tokenizer_name
from spanferry.data.answer_memory import ENTRIES, AnswerMemory, split_key
from spanferry.data.errors import ModelError
from spanferry.data.example import Example, Span
from spanferry.projection.distributions import TagDistribution
from spanferry.projection.prediction import Prediction, Predictor

_TABLES: Final = (
    ENTRIES.format(more=",\n    scope INTEGER NOT NULL")
    + "CREATE TABLE scopes (id INTEGER PRIMARY KEY, predictor TEXT NOT NULL, language TEXT NOT NULL, "
    "UNIQUE (predictor, language));"
)
_SCOPE: Final = "INSERT INTO scopes (predictor, language) VALUES (?, ?) ON CONFLICT DO NOTHING"
_KEEP: Final = """
INSERT INTO entries (hash, rest, created, answer, scope)
VALUES (?, ?, ?, ?, (SELECT id FROM scopes WHERE predictor = ? AND language = ?))
ON CONFLICT (hash) DO UPDATE
SET rest = excluded.rest, created = excluded.created, answer = excluded.answer, scope = excluded.scope
"""
_JOINED: Final = "FROM entries JOIN scopes ON scope = scopes.id"
_SCOPES: Final = f"SELECT predictor, language, count(*), min(created), max(created) {_JOINED} GROUP BY scope"


@dataclass(frozen=True, slots=True)
class PredictionScope:
    """What is remembered of one predictor and one language.

    Attributes:
        predictor: its fingerprint.
        language: FLORES-200 code of the texts that it read: the pivot.
        entries: how many texts.
        oldest, newest: when the first and the last of them were written, in seconds since 1970.
    """

    predictor: str
    language: str
    entries: int
    oldest: int
    newest: int


class PredictionMemory(AnswerMemory):
    """A file of remembered predictions: key of a text -> what a predictor said of it, as JSON.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, PredictionMemory(f"{folder}/memory.sqlite") as memory:
    ...     memory.put("tagger/1", "eng_Latn", {b"0123456789abcdef": "{}"})
    ...     memory.get([b"0123456789abcdef", b"fedcba9876543210"])
    ...     [(scope.predictor, scope.language, scope.entries) for scope in memory.scopes()]
    ...     memory.prune(predictor="tagger"), len(memory)
    {b'0123456789abcdef': '{}'}
    [('tagger/1', 'eng_Latn', 1)]
    (1, 0)
    """

    what, again = "memory of predictions", "predicted"
    application_id, version, tables = 0x73707231, 1, _TABLES  # "spr1"

    def put(self, predictor: str, language: str, answers: Mapping[bytes, str]) -> None:
        """Remember what a predictor said, all or none; the last writer wins.

        Args:
            predictor: its fingerprint.
            language: FLORES-200 code.
            answers: key, of 16 bytes -> prediction.

        Raises:
            BuildError: the disk is full, or another process has held the file for two minutes.
        """
        now = int(time.time())
        if answers:
            self._keep(_SCOPE, [(predictor, language)])
        self._keep(
            _KEEP,
            sorted((*split_key(key), now, answer, predictor, language) for key, answer in answers.items()),
        )

    def scopes(self) -> list[PredictionScope]:
        """Return what the memory holds, in the order in which the predictors were first used."""
        with self.connection() as connection:
            return [PredictionScope(*row) for row in connection.execute(_SCOPES)]
        return []  # the file was damaged, and is empty now

    def count(self, *, predictor: str | None = None, before: int | None = None) -> int:
        """Return how many entries `prune` would remove."""
        condition, parameters = _condition(predictor, before)
        with self.connection() as connection:
            return int(connection.execute(f"SELECT count(*) {_JOINED} WHERE {condition}", parameters).fetchone()[0])
        return 0

    def prune(self, *, predictor: str | None = None, before: int | None = None) -> int:
        """Remove entries, give their room back to the disk, return how many they were.

        Args:
            predictor: only those of predictors with this in their fingerprint.
            before: only those written before this moment, in seconds since 1970.
        """
        condition, parameters = _condition(predictor, before)
        return self._remove(f"SELECT entries.id {_JOINED} WHERE {condition}", parameters)


def _condition(predictor: str | None, before: int | None) -> tuple[str, list[str | int]]:
    conditions = {"instr(predictor, ?) > 0": predictor, "created < ?": before}
    chosen = {text: value for text, value in conditions.items() if value is not None}
    return " AND ".join(chosen) or "1", list(chosen.values())


@dataclass(slots=True)
class PredictionStats:
    """What a `RememberingPredictor` did, since it was made.

    Attributes:
        predicted: texts that the model was asked about; one that stands in several examples of a shard counts once.
        remembered: examples whose prediction was known.
    """

    predicted: int = 0
    remembered: int = 0


@dataclass(frozen=True, slots=True)
class RememberingPredictor:
    """A `Predictor` that asks another one only what nobody has asked it before.

    Attributes:
        predictor: the model.
        task: name of the task; part of what an answer depends on.
        memory: what was asked before; None to ask everything, and only count.
        stats: is added to.

    >>> from spanferry.data.tasks import get_task
    >>> class Names:
    ...     fingerprint = "names/1"
    ...     def predict(self, examples, *, language):
    ...         return [Prediction((Span(0, 3, "PER"),), (0.9,)) for _ in examples]
    >>> predictor = RememberingPredictor(Names(), "ner", memory=None)
    >>> [found] = predictor.predict([Example("1", {"text": "Zoë laughs."})], language="eng_Latn")
    >>> found.scores, predictor.stats
    ((0.9,), PredictionStats(predicted=1, remembered=0))
    """

    predictor: Predictor
    task: str
    memory: PredictionMemory | None
    stats: PredictionStats = field(default_factory=PredictionStats)

    @property
    def fingerprint(self) -> str:
        """That of the model: remembering changes no answer."""
        return self.predictor.fingerprint

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        """Return what the model says of each example, asking it only what is not known.

        Raises:
            PredictionsMissing, ModelError: as the predictor; or it did not make one prediction a text.
        """
        if self.memory is None or CORPUS_WISE in self.fingerprint:
            answers = self.predictor.predict(examples, language=language)
            self.stats.predicted += len(examples)
            return answers
        keys = self._keys(examples, language)
        known = self.memory.get(keys)
        new = {key: example for key, example in zip(keys, examples, strict=True) if key not in known}
        fresh = self.predictor.predict(list(new.values()), language=language) if new else []
        if len(fresh) != len(new):
            raise ModelError(f"the predictor {self.fingerprint} made {len(fresh)} predictions of {len(new)} texts")
        made = dict(zip(new, fresh, strict=True))
        self.memory.put(self.fingerprint, language, {key: _dump(prediction) for key, prediction in made.items()})
        self.stats.predicted += len(new)
        self.stats.remembered += sum(1 for key in keys if key in known)
        return [made[key] if key in made else _load(known[key]) for key in keys]

    def known(self, examples: Sequence[Example], *, language: str) -> dict[bytes, bool]:
        """Return the key of every different text among the examples, and whether its prediction is known."""
        keys = self._keys(examples, language)
        asked_anew = self.memory is None or CORPUS_WISE in self.fingerprint
        found = {} if self.memory is None or asked_anew else self.memory.get(keys)
        return {key: key in found for key in keys}

    def _keys(self, examples: Sequence[Example], language: str) -> list[bytes]:
        """Return what each example is found by: a digest of all that its prediction depends on."""
        method = [self.fingerprint, self.task, language, tokenizer_name(language)]
        first = blake2b(json.dumps(method).encode(), digest_size=16)
        keys = []
        for example in examples:
            digest = first.copy()
            digest.update(json.dumps(list(example.fields.items())).encode())
            keys.append(digest.digest())
        return keys


def _dump(prediction: Prediction) -> str:
    """Write a prediction as JSON, numbers as they are: what comes back is equal to it, to the last digit."""
    distribution = prediction.distribution
    content: dict[str, Any] = {
        "spans": [list(asdict(span).values()) for span in prediction.spans],
        "scores": prediction.scores,
        "labels": dict(prediction.labels),
        "label_scores": dict(prediction.label_scores),
        "label_distributions": {column: dict(each) for column, each in prediction.label_distributions.items()},
    }
    if distribution is not None:
        numbers = zlib.compress(distribution.probabilities.astype("<f8").tobytes(), level=6)
        tokens = [list(token) for token in distribution.tokens]
        content["distribution"] = [tokens, distribution.tags, base64.b85encode(numbers).decode()]
    return json.dumps({name: value for name, value in content.items() if value}, separators=(",", ":"))


def _load(answer: str) -> Prediction:
    """Read what `_dump` wrote."""
    content = json.loads(answer)
    distribution = None
    if "distribution" in content:
        tokens, tags, packed = content["distribution"]
        numbers = np.frombuffer(zlib.decompress(base64.b85decode(packed)), dtype="<f8")
        distribution = TagDistribution(
            tuple((start, end) for start, end in tokens), tuple(tags), numbers.reshape(len(tokens), len(tags))
        )
    return Prediction(
        tuple(Span(*span) for span in content.get("spans", ())),
        tuple(content.get("scores", ())),
        content.get("labels", {}),
        content.get("label_scores", {}),
        content.get("label_distributions", {}),
        distribution,
    )
