"""Questions about a text, answered by spans of it: the rows of SQuAD, as the hub has them.

    {"id": "7", "context": "Zoë lives in Köln.", "question": "Where does Zoë live?",
     "answers": {"text": ["Köln"], "answer_start": [13]}}

A question may have several answers (those of several annotators, equal ones too), or none, which says that the text
does not answer it (SQuAD 2.0). Documents with paragraphs are read and written by `spanferry.data.squad`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from spanferry.data.columns import as_answers
from spanferry.data.errors import DataError
from spanferry.data.example import Example, Span
from spanferry.data.schema import Schema
from spanferry.data.span_columns import Tokens
from spanferry.data.spans import Scheme, Snap
from spanferry.data.tasks import ID_NAMES, Reading, Row, Task

ANSWER: Final = "ANSWER"
"""The label of every span."""


@dataclass(frozen=True, eq=False)
class QuestionAnswering(Task):
    """The shape: spans labelled `ANSWER` in one field, in the column ``answers``.

    >>> row = {"id": "7", "context": "Zoë lives in Köln.", "question": "Where?",
    ...        "answers": {"text": ["Köln"], "answer_start": [13]}}
    >>> example = QUESTION_ANSWERING.to_example(row)
    >>> example.spans
    (Span(start=13, end=17, label='ANSWER', field='context'),)
    >>> QUESTION_ANSWERING.to_row(example) == row
    True
    """

    @property
    def span_roles(self) -> tuple[str, ...]:
        """The one column that spans stand in."""
        return ("answers",)

    def read_spans(
        self, row: Row, roles: Mapping[str, str], text: str | None, reading: Reading
    ) -> tuple[str, Tokens | None, tuple[Span, ...]]:
        """Return the context and its answers; see `Task.read_spans`.

        Raises:
            DataError: ``answers`` has another form, or an answer does not stand where it says.
        """
        context, column = text or "", roles.get("answers")
        ranges = as_answers(row[column], column, context) if column is not None else []
        return context, None, tuple(Span(start, end, ANSWER, self.spans_in or "") for start, end in ranges)

    def span_columns(self, example: Example, *, tags: bool, scheme: Scheme, policy: Snap) -> dict[str, Any]:
        """Return the column of answers, in the order of the spans.

        Raises:
            DataError: a span is no answer.
        """
        for span in example.spans:
            if span.label != ANSWER:
                raise DataError(
                    f"example {example.id!r} has a span labelled {span.label!r}: expected {ANSWER!r}, "
                    f"the only label of task {self.name!r}"
                )
        texts, starts = [example.text_of(span) for span in example.spans], [span.start for span in example.spans]
        return {"answers": {"text": texts, "answer_start": starts}}

    def span_features(self, schema: Schema, *, tokens: bool, scheme: Scheme) -> dict[str, Any]:
        """Return the features of the column of answers: those of SQuAD on the hub."""
        from datasets import List, Value

        return {"answers": {"text": List(Value("string")), "answer_start": List(Value("int32"))}}


QUESTION_ANSWERING = QuestionAnswering(
    "question-answering",
    ("context", "question"),
    spans_in="context",
    aliases={"id": ("qid", *ID_NAMES), "context": ("passage", "paragraph"), "question": ("query",)},
)
