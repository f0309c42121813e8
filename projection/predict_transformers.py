"""Predictions of transformers models: tags for words, classes for texts and pairs, answers to questions.

The model's architecture says what it predicts: ``...ForTokenClassification``, ``...ForSequenceClassification``,
``...ForMultipleChoice`` or ``...ForQuestionAnswering``. Weights are read from safetensors, and code that comes with a
checkpoint is never run. Texts over the model's limit are read in overlapping windows, never cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spanferry.alignment.embeddings import WordSplitter
from spanferry.alignment.encoder import windows
from spanferry.alignment.tokens import tokenize, tokenizer_name
from spanferry.data.errors import ConfigError
from spanferry.data.example import Example, Span
from spanferry.data.multiple_choice import MultipleChoice
from spanferry.data.question_answering import ANSWER
from spanferry.data.spans import get_scheme
from spanferry.data.tasks import Task
from spanferry.projection.distributions import TagDistribution, decode_spans, softmax
from spanferry.projection.model_tags import ModelTags
from spanferry.projection.predict_choices import ChoiceNames, choose
from spanferry.projection.prediction import Label, Prediction
from spanferry.projection.transformers_model import CHOICES, CLASSES, LoadedModel, Logits


class TransformersPredictor:
    """Runs a model of transformers over examples.

    - A task with spans takes a token classifier. It reads the words of `spanferry.alignment.tokens.tokenize`; a word's
      distribution is that of its first subword, and the spans are those of the most probable valid tag sequence
      (`spanferry.projection.distributions.decode`), each with the mean probability of its tags.
    - A task with labels alone takes a sequence classifier, which reads the fields as text and pair. In several windows
      a text's distribution is the mean of theirs. A model with one output is a regression: its label is a number.
    - ``multiple-choice`` takes a model of that kind, which reads the context, and the question with a choice after it;
      without a context, the question and the choice. The probabilities are the softmax over the choices of a question;
      in several windows a choice's score is the mean of theirs.
    - ``question-answering`` takes a model of that kind. The answer is the best pair of a start and an end; its score
      is the product of both probabilities over all windows.

    Args:
        task: what to predict.
        model: folder or hub id.
        label_model: a sequence classifier for the labels of a task that has spans as well (the intent of ``slots``);
            without it they are not predicted.
        revision: commit or tag of a hub model.
        scheme: chunk scheme of the model's tags, by default guessed from their names; ``IOB1`` must be said.
        no_answer: let the question's model say that there is no answer (SQuAD 2.0).
        longest_answer: in tokens.
        first_choice: what the data calls the first of several choices: 0 or 1, as a number or as text, or a letter
            ("A"); the others go on from there.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        batch_tokens: at most so many tokens, padding included, in one forward pass. Neither this nor the device is
            part of the fingerprint.

    Raises:
        ConfigError: a setting is out of range, or does not go with the task.
        ModelError: there is no such model, its weights are a pickle, or it is of another kind.
    """

    def __init__(
        self,
        *,
        task: Task,
        model: str | Path,
        label_model: str | Path | None = None,
        revision: str | None = None,
        scheme: str | None = None,
        no_answer: bool = False,
        longest_answer: int = 30,
        first_choice: int | str = 0,
        device: str = "auto",
        batch_tokens: int = 8192,
    ) -> None:
        if label_model is not None and not (task.spans_in and task.labels):
            raise ConfigError(f"label_model: task {task.name!r} has not both spans and labels; leave it out")
        if longest_answer < 1:
            raise ConfigError(f"longest_answer is {longest_answer}: expected 1 or more")
        self._task, self._no_answer, self._longest_answer = task, no_answer, longest_answer
        self._answers = task.name == "question-answering"
        self._choices = ChoiceNames(first_choice) if isinstance(task, MultipleChoice) else None
        kind = "QuestionAnswering" if self._answers else "TokenClassification" if task.spans_in else CLASSES
        kind = kind if self._choices is None else CHOICES
        self._model = LoadedModel(model, kind, revision=revision, device=device, batch_tokens=batch_tokens)
        self._labels = self._model if kind == CLASSES else None
        if label_model is not None:
            self._labels = LoadedModel(label_model, CLASSES, revision=None, device=device, batch_tokens=batch_tokens)
        if self._labels is not None and len(task.labels) > 1:
            raise ConfigError(f"predictor 'transformers' predicts one label, task {task.name!r} has several")
        self._tags = None
        if kind == "TokenClassification":
            self._tags = ModelTags(self._model.classes, None if scheme is None else get_scheme(scheme))

    @property
    def fingerprint(self) -> str:
        """Identity of weights, tokenizer and what is made of the model's output."""
        parts = [self._model.checksum[:16]]
        if self._labels not in (None, self._model):
            parts.append(f"labels={self._labels.checksum[:16]}")
        if self._tags is not None:
            parts.append(f"scheme={self._tags.scheme},words={tokenizer_name('eng_Latn').split(':', maxsplit=1)[0]}")
        if self._answers:
            parts.append(f"no_answer={self._no_answer},longest_answer={self._longest_answer}")
        if self._choices is not None:
            parts.append(f"first_choice={self._choices.first!r}")
        return f"transformers/1({','.join(parts)})"

    def predict(self, examples: Sequence[Example], *, language: str) -> list[Prediction]:
        """Return one `Prediction` an example; ``language`` chooses how texts are cut into words."""
        if self._answers:
            return self._answer(examples)
        if self._choices is not None:
            return choose(self._model, examples, self._choices, self._task.labels[0])
        labels = self._classify(examples)
        if self._tags is None:
            return [Prediction(**each) for each in labels]
        field = self._task.spans_in or ""
        distributions = self._tag([example.fields[field] for example in examples], self._tags, language)
        found = []
        for distribution, label in zip(distributions, labels, strict=True):
            spans = decode_spans(distribution, field=field)
            scored = tuple(span for span, _ in spans), tuple(score for _, score in spans)
            found.append(Prediction(*scored, **label, distribution=distribution))
        return found

    def _tag(self, texts: Sequence[str], tags: ModelTags, language: str) -> list[TagDistribution]:
        """Return the distribution of each word's first subword."""
        words = tokenize(texts, language)
        split = WordSplitter(self._model.tokenizer)(words, language)
        room = self._model.longest - len(split.before) - len(split.after)
        rows, pieces = [], []
        for index, text in enumerate(split.texts):
            for start, end, first, last in windows(len(text.ids), room):
                rows.append({"input_ids": [*split.before, *text.ids[start:end], *split.after]})
                pieces.append((index, first, last, len(split.before) - start))
        logits = [np.full((len(text.ids), len(tags.names)), np.nan) for text in split.texts]
        for number, [output] in self._model.run(rows):
            index, first, last, shift = pieces[number]
            logits[index][first:last] = output[first + shift : last + shift]
        found = []
        for words_of, cut, of_subwords in zip(words, split.texts, logits, strict=True):
            opening: dict[int, int] = {}
            for subword, word in zip(cut.subwords, cut.words, strict=True):
                opening.setdefault(word, subword)
            rows_of_words = np.full((len(words_of.tokens), len(tags.names)), np.nan)
            if opening:  # a word of characters that the tokenizer drops has no subword, and no distribution
                rows_of_words[list(opening)] = softmax(of_subwords[list(opening.values())])
            found.append(tags.distribution(words_of.tokens, rows_of_words))
        return found

    def _classify(self, examples: Sequence[Example]) -> list[dict[str, Any]]:
        """Return the labels of each example, as arguments of `Prediction`."""
        model = self._labels
        if model is None:
            return [{} for _ in examples]
        [column] = self._task.labels
        fields = [self._task.spans_in] if self._task.spans_in else self._task.fields
        if not 1 <= len(fields) <= 2:
            raise ConfigError(
                f"a sequence classifier reads one text or two, task {self._task.name!r} has {len(fields)}"
            )
        texts = [[example.fields[field or ""] for field in fields] for example in examples]
        rows, owners = model.encode_all(texts)
        outputs: list[list[Logits]] = [[] for _ in examples]
        for number, [output] in model.run(rows):
            outputs[owners[number]].append(output)
        return [_label(column, model, np.stack(each)) for each in outputs]

    def _answer(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the best answer to each question."""
        field = self._task.spans_in or ""
        model = self._model
        pairs = [[example.fields["question"], example.fields[field]] for example in examples]
        rows, owners = model.encode_all(pairs, cut=1)
        found: list[list[_Window]] = [[] for _ in examples]
        for number, [starts, ends] in model.run(rows):
            row = rows[number]
            inside = np.array([part == 1 for part in row["sequence_ids"]])
            found[owners[number]].append(_Window(starts, ends, inside, row["offsets"]))
        return [
            _best_answer(each, example.fields[field], field, self._longest_answer, self._no_answer)
            for example, each in zip(examples, found, strict=True)
        ]


def _label(column: str, model: LoadedModel, logits: Logits) -> dict[str, Any]:
    """Return the label of one text from the logits of its windows, as arguments of `Prediction`."""
    if model.regression:
        value: Label = float(logits.mean())
        return {"labels": {column: value}}
    chances = softmax(logits).mean(axis=0)
    best = int(chances.argmax())
    return {
        "labels": {column: model.classes[best]},
        "label_scores": {column: float(chances[best])},
        "label_distributions": {column: dict(zip(model.classes, map(float, chances), strict=True))},
    }


@dataclass(frozen=True, slots=True)
class _Window:
    """What a model said of one window of a context: [tokens] each, and where its tokens lie in the context."""

    starts: Logits
    ends: Logits
    inside: NDArray[np.bool_]
    offsets: Sequence[tuple[int, int]]


def _best_answer(windows_: Sequence[_Window], text: str, field: str, longest: int, no_answer: bool) -> Prediction:
    """Return the best answer that any window gives; none where the model may say so, and its no scores higher."""
    best: tuple[float, _Window, int, int] | None = None
    for window in windows_:
        pairs = window.starts[:, None] + window.ends[None, :]
        allowed = np.triu(np.tril(np.ones_like(pairs, dtype=bool), longest - 1))
        pairs = np.where(allowed & window.inside[:, None] & window.inside[None, :], pairs, -np.inf)
        first, second = divmod(int(pairs.argmax()), len(pairs))
        score = float(pairs[first, second])
        if np.isfinite(score) and (best is None or score > best[0]):
            best = score, window, first, second
    if best is None:
        return Prediction()
    score, window, start, end = best
    if no_answer and min(float(each.starts[0] + each.ends[0]) for each in windows_) > score:
        return Prediction()
    # The first token stands for "no answer"; it shares in the probabilities where the model may give it.
    kept = [each.inside | (np.arange(len(each.inside)) == 0) if no_answer else each.inside for each in windows_]
    chance = 1.0
    for logits, own in (
        ([each.starts for each in windows_], window.starts[start]),
        ([each.ends for each in windows_], window.ends[end]),
    ):
        everything = np.concatenate([each[keep] for each, keep in zip(logits, kept, strict=True)])
        chance *= float(np.exp(own - everything.max()) / np.exp(everything - everything.max()).sum())
    first, last = window.offsets[start][0], window.offsets[end][1]
    words = text[first:last]
    first, last = first + len(words) - len(words.lstrip()), last - (len(words) - len(words.rstrip()))
    return Prediction((Span(first, last, ANSWER, field),), (chance,)) if first < last else Prediction()
