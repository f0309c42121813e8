"""The shapes of labelled data: which columns a row has, how it becomes an `Example`, and back.

A `Task` is one value. A new shape that has text fields, spans in one of them and example-level labels is one more
value and one line in `TASKS`. A shape whose spans stand in columns of another kind overrides `Task.span_roles`,
`Task.read_spans`, `Task.span_columns` and `Task.span_features` (`spanferry.data.question_answering` does); one whose
texts do, `Task.read_texts`, `Task.text_columns`, `Task.text_features` and `Task.has_field`
(`spanferry.data.multiple_choice`).

A row is a dict, whatever file it came from. Its columns play roles (``text``, ``spans``, ``label`` ...); a role is
found under its own name, under a usual name of public datasets (``sentence1`` for the premise), or where the user's
``columns`` say. Columns without a role travel in `Example.meta`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Final

from spanferry.data.column_names import set_aside
from spanferry.data.columns import SCORE_COLUMNS, as_id, as_label, as_text
from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.example import Example, Span
from spanferry.data.registry import LazyTable
from spanferry.data.schema import Schema
from spanferry.data.span_columns import Tokens, read_spans, read_tokens
from spanferry.data.spans import Scheme, Snap, spans_to_tags, tag_names

Row = Mapping[str, Any]
MakeId = Callable[[Mapping[str, str], Mapping[str, Any]], str]

ID_NAMES: Final = ("sent_id", "idx", "guid", "uid", "example_id", "pairID")
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, eq=False, slots=True)
class Reading:
    """How the rows of one source are to be understood.

    Attributes:
        columns: role -> column, where the usual names do not fit; None says that no column plays the role.
        names: column -> label names, for columns that hold their numbers (``{"ner_tags": ("O", "B-PER", ...)}``);
            the labels of spans are ``"spans.label"``.
        scheme: chunk scheme of the tags, see `spanferry.data.spans.tags_to_ranges`.
        repair: read tags that break the scheme as conlleval does, instead of refusing them.
        labelled: False reads rows that have no labels (text to be predicted on); a missing label column is then no
            error.
        typed: False for rows whose cells are all text (CSV, CoNLL), see `spanferry.data.columns.as_label`.
    """

    columns: Mapping[str, str | None] = field(default_factory=lambda: _NOTHING)
    names: Mapping[str, Sequence[str]] = field(default_factory=lambda: _NOTHING)
    scheme: Scheme = "IOB2"
    repair: bool = False
    labelled: bool = True
    typed: bool = True


READING: Final = Reading()


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column plays which role in rows of one set of columns; ``meta`` is (column, key in `Example.meta`)."""

    roles: Mapping[str, str]
    meta: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Task:
    """One shape of labelled data.

    Attributes:
        name: what it is called in `TASKS` and in a configuration.
        fields: columns of text, in reading order; each is a field, where the shape does not say otherwise.
        labels: example-level label columns, carried over unchanged.
        spans_in: the field that spans and tokens lie in; None for shapes without spans.
        aliases: role -> usual column names, tried in order after the role's own name.
        optional: columns of text that a row may be without; they take only a column that nothing else needs.

    >>> row = {"tokens": ["Zoë", "lives", "in", "Köln", "."], "ner_tags": ["B-PER", "O", "O", "B-LOC", "O"]}
    >>> example = get_task("ner").to_example(row, make_id=lambda fields, labels: "1")
    >>> example.fields["text"], [(example.text_of(span), span.label) for span in example.spans]
    ('Zoë lives in Köln.', [('Zoë', 'PER'), ('Köln', 'LOC')])
    >>> get_task("ner").to_row(example)["tags"]
    ['B-PER', 'O', 'O', 'B-LOC', 'O']
    """

    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...] = ()
    spans_in: str | None = None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    optional: tuple[str, ...] = ()

    @property
    def required_fields(self) -> tuple[str, ...]:
        """Text fields that every example has."""
        return tuple(name for name in self.fields if name not in self.optional)

    @property
    def span_roles(self) -> tuple[str, ...]:
        """Roles of the columns that spans and tokens stand in."""
        return ("spans", "tokens", "token_starts", "tags") if self.spans_in else ()

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """Every role a column can play, in the order in which they are written."""
        return ("id", *self.fields, *self.labels, *self.span_roles)

    @property
    def tagged(self) -> bool:
        """Whether rows may have tokens with tags: what CoNLL columns hold."""
        return "tags" in self.span_roles

    def to_example(self, row: Row, reading: Reading = READING, *, make_id: MakeId | None = None) -> Example:
        """Return the example that ``row`` describes.

        Spans come from a column of spans (offsets into the text), or from tags over tokens. Where both are, spans
        count and tags are a view of them. Where there are tokens and no text, the text is made from the tokens.

        Args:
            row: column -> value.
            reading: how to understand it.
            make_id: fields, labels -> id, for a row that brings none; by default `content_id`.

        Raises:
            DataError: a column is missing or holds something else than its role asks for, or a label has no place.
        """
        layout = _layout(self, reading, tuple(row))
        roles, names = layout.roles, reading.names
        fields = self.read_texts(row, roles)
        labels = {
            role: as_label(row[column], column, names.get(column), typed=reading.typed)
            for role in self.labels
            if (column := roles.get(role)) is not None
        }
        spans: tuple[Span, ...] = ()
        tokens: Mapping[str, Tokens] = _NOTHING
        if self.spans_in:
            text, offsets, spans = self.read_spans(row, roles, fields.get(self.spans_in), reading)
            fields = {role: text if role == self.spans_in else fields[role] for role in self.fields}
            if offsets is not None:
                tokens = {self.spans_in: offsets}
        identity = as_id(row[roles["id"]], roles["id"]) if "id" in roles else (make_id or content_id)(fields, labels)
        meta = {key: row[column] for column, key in layout.meta}
        return Example(identity, fields, spans, labels, tokens, meta)

    def to_row(
        self, example: Example, *, tags: bool = True, scheme: Scheme = "IOB2", policy: Snap = "expand"
    ) -> dict[str, Any]:
        """Return the row that describes ``example``, under the roles' own names; the inverse of `to_example`.

        Spans are written as they are. For an example with tokens, and where ``tags`` is set, the row also has the
        tags that a tagger trains on: a view, in which overlapping spans are flattened and their ends snapped.

        Raises:
            DataError: the example has spans, tokens or labels that this shape has no column for: none is dropped.
        """
        self._check_shape(example)
        row: dict[str, Any] = {"id": example.id, **self.text_columns(example.fields), **example.labels}
        if self.spans_in:
            row |= self.span_columns(example, tags=tags, scheme=scheme, policy=policy)
        for key, value in example.meta.items():
            if key in self.roles:
                raise DataError(
                    f"example {example.id!r}: meta has a column {key!r}, which task {self.name!r} writes itself",
                    hint=f"rename it, for example to 'source_{key}'",
                )
            row[key] = value
        return row

    def features(self, schema: Schema | None = None, *, tokens: bool = False, scheme: Scheme = "IOB2") -> Any:
        """Return the ``datasets.Features`` of the rows that `to_row` writes, meta columns excluded.

        Columns whose labels ``schema`` names are ``ClassLabel``; the others are strings.
        """
        from datasets import Features, Value

        schema = schema or Schema()
        found: dict[str, Any] = {"id": Value("string")}
        found |= self.text_features(Value("string"))
        found |= {name: _feature(schema.labels.get(name)) for name in self.labels}
        if self.spans_in:
            found |= self.span_features(schema, tokens=tokens, scheme=scheme)
        return Features(found)

    def available(self, columns: tuple[str, ...], reading: Reading) -> tuple[str, ...]:
        """Return the columns that a row with ``columns`` is read by."""
        return columns

    def read_texts(self, row: Row, roles: Mapping[str, str]) -> dict[str, str]:
        """Return the text fields of a row; ``roles`` are those that the row has."""
        return {role: as_text(row[roles[role]], roles[role]) for role in self.fields if role in roles}

    def text_columns(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ``values`` has for each text field (its text, its score ...) by column, in the order of `fields`.

        >>> get_task("pair-classification").text_columns({"hypothesis": "B", "premise": "A"})
        {'premise': 'A', 'hypothesis': 'B'}
        """
        return {name: values[name] for name in self.fields}

    def text_features(self, feature: Any) -> dict[str, Any]:
        """Return the features of `text_columns`, where a field's value has the feature ``feature``."""
        return dict.fromkeys(self.fields, feature)

    def has_field(self, name: str) -> bool:
        """Tell whether an example may have a text field called ``name``."""
        return name in self.fields

    def read_spans(
        self, row: Row, roles: Mapping[str, str], text: str | None, reading: Reading
    ) -> tuple[str, Tokens | None, tuple[Span, ...]]:
        """Return the text that spans lie in, where its tokens are, if the row has any, and the spans.

        ``roles`` are those that the row has; ``text`` is None where it has no column for the text.
        """
        text, offsets = read_tokens(row, roles, text)
        return text, offsets, read_spans(row, roles, text, offsets, field=self.spans_in or "", reading=reading)

    def span_columns(self, example: Example, *, tags: bool, scheme: Scheme, policy: Snap) -> dict[str, Any]:
        """Return the columns of `span_roles`; the inverse of `read_spans`. The arguments are those of `to_row`."""
        spans = [{"start": span.start, "end": span.end, "label": span.label} for span in example.spans]
        columns: dict[str, Any] = {"spans": spans}
        offsets = example.tokens.get(self.spans_in or "")
        if offsets is not None:
            text = example.fields[self.spans_in or ""]
            columns["tokens"] = [text[start:end] for start, end in offsets]
            columns["token_starts"] = [start for start, _ in offsets]
            if tags:
                columns["tags"] = spans_to_tags(example.spans, offsets, scheme, policy=policy)[0]
        return columns

    def span_features(self, schema: Schema, *, tokens: bool, scheme: Scheme) -> dict[str, Any]:
        """Return the features of `span_columns`. The arguments are those of `features`."""
        from datasets import List, Value

        span = {"start": Value("int32"), "end": Value("int32"), "label": _feature(schema.spans)}
        found: dict[str, Any] = {"spans": List(span)}
        if tokens:
            found["tokens"] = List(Value("string"))
            found["token_starts"] = List(Value("int32"))
            found["tags"] = List(_feature(tag_names(schema.spans, scheme) if schema.spans else None))
        return found

    def _check_shape(self, example: Example) -> None:
        fields = {self.spans_in} if self.spans_in else set()
        extra = {
            "text field": [name for name in example.fields if not self.has_field(name)],
            "label": [name for name in example.labels if name not in self.labels],
            "spans in field": sorted({span.field for span in example.spans} - fields),
            "tokens of field": [name for name in example.tokens if not self.tagged or name not in fields],
        }
        for what, found in extra.items():
            if found:
                raise DataError(
                    f"example {example.id!r} has {what} {found[0]!r}, for which task {self.name!r} has no column",
                    hint=f"known tasks: {', '.join(TASKS.names())}",
                )
        if missing := [name for name in self.required_fields if name not in example.fields]:
            raise DataError(f"example {example.id!r} has no text field {missing[0]!r}, which task {self.name!r} needs")


def content_id(fields: Mapping[str, str], labels: Mapping[str, Any]) -> str:
    """Return an id made of what an example says: 20 hexadecimal digits of the SHA-256 of its texts and labels.

    >>> content_id({"text": "Zoë lives in Köln."}, {})
    '2dd9715530a9a21f5749'
    """
    content = json.dumps([dict(fields), dict(labels)], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def declared_schema(task: Task, reading: Reading, available: tuple[str, ...]) -> Schema:
    """Return the labels that a source with the columns ``available`` declares by ``reading.names``.

    >>> declared_schema(NER, Reading(names={"ner_tags": ("O", "B-PER", "I-PER")}), ("tokens", "ner_tags"))
    Schema(spans=('PER',), labels={})
    """
    roles = _layout(task, reading, task.available(available, reading)).roles
    spans: tuple[str, ...] | None = None
    if (column := roles.get("spans")) is not None and f"{column}.label" in reading.names:
        spans = tuple(reading.names[f"{column}.label"]) or None
    elif (column := roles.get("tags")) is not None and column in reading.names:
        spans = tuple(dict.fromkeys(tag.partition("-")[2] for tag in reading.names[column] if tag != "O")) or None
    labels = {role: tuple(reading.names[roles[role]]) for role in task.labels if reading.names.get(roles.get(role, ""))}
    return Schema(spans, labels)


@lru_cache(maxsize=1024)  # rows of one file share their columns, and `Reading` and `Task` hash by identity
def _layout(task: Task, reading: Reading, available: tuple[str, ...]) -> Layout:
    given = reading.columns
    for role, column in given.items():
        if role not in task.roles:
            raise ConfigError(f"columns: task {task.name!r} has no {role!r}: {did_you_mean(role, task.roles)}")
        if column is not None and column not in available:
            raise DataError(f"no column {column!r} for {role}: {did_you_mean(column, available)}")

    def find(role: str, *, usual: bool = True) -> str | None:
        if role in given:
            return given[role]
        names = (role, *(task.aliases.get(role, ()) if usual else ()))
        return next((name for name in names if name in available and name not in given.values()), None)

    needed = [role for role in task.fields if role not in task.optional]
    roles = {role: find(role) for role in ("id", *needed, *task.labels)}
    roles |= {role: column for role in task.optional if (column := find(role)) not in roles.values()}
    needed += task.labels if reading.labelled else ()
    if not task.tagged:
        roles |= {role: find(role) for role in task.span_roles}
        needed += task.span_roles if reading.labelled else ()
    else:
        roles |= {role: find(role) for role in ("tokens", "token_starts")}
        # The own name of either goes before a usual name of the other: tags written beside `entities` are tags.
        roles["spans"] = find("spans", usual=False)
        roles["tags"] = find("tags", usual=roles["spans"] is None) if roles["tokens"] else None
        if roles["spans"] is None and roles["tags"] is None:
            roles["spans"] = find("spans")
        if roles["tokens"]:
            needed.remove(task.spans_in or "")  # the text can be made from them
        if reading.labelled and not (roles["spans"] or roles["tags"]):
            needed.append("tags" if roles["tokens"] else "spans")
    found = {role: column for role, column in roles.items() if column is not None}
    for role in needed:
        if role not in found:
            names = ", ".join((role, *task.aliases.get(role, ())))
            raise DataError(
                f"no column for {role} (looked for {names}): found {', '.join(available) or 'none'}",
                hint=f"say which column it is: columns: {{{role}: ...}}"
                + (" (or give tokens with tags)" if role == "spans" else ""),
            )
    used = set(found.values())
    # Names that are a role's without playing it: only what `columns` gives to another, and tags of rows without tokens.
    # Not all roles: `source_text` of a dataset that spanferry wrote keeps its name.
    idle = {role for role in task.roles if role in given or role == "tags"}
    meta = tuple((name, set_aside(name, idle, "source_")) for name in available if name not in used)
    return Layout(found, meta)


def _feature(names: Sequence[str] | None) -> Any:
    from datasets import ClassLabel, Value

    return ClassLabel(names=list(names)) if names else Value("string")


_ID: Final = {"id": ID_NAMES}
_TOKENS: Final = {
    "text": ("sentence", "utt", "utterance", "query"),
    "tokens": ("words",),
    "spans": ("entities",),
    "tags": ("ner_tags", "slot_tags", "ner", "labels", "slots"),
}

NER = Task("ner", ("text",), spans_in="text", aliases=_ID | _TOKENS)
SLOTS = Task("slots", ("text",), ("intent",), spans_in="text", aliases=_ID | _TOKENS | {"intent": ("intents",)})
TEXT_CLASSIFICATION = Task(
    "text-classification",
    ("text",),
    ("label",),
    aliases=_ID | {"text": ("sentence", "content", "review", "tweet"), "label": ("labels", "class", "category")},
)
PAIR_CLASSIFICATION = Task(
    "pair-classification",
    ("premise", "hypothesis"),
    ("label",),
    aliases=_ID
    | {
        "premise": ("sentence1", "question1", "text1", "text_a", "question"),
        "hypothesis": ("sentence2", "question2", "text2", "text_b", "sentence"),
        "label": ("gold_label", "labels", *SCORE_COLUMNS),
    },
)

TASKS = LazyTable(
    "task",
    "spanferry.tasks",
    {
        "ner": "spanferry.data.tasks:NER",
        "slots": "spanferry.data.tasks:SLOTS",
        "text-classification": "spanferry.data.tasks:TEXT_CLASSIFICATION",
        "multiple-choice": "spanferry.data.multiple_choice:MULTIPLE_CHOICE",
        "pair-classification": "spanferry.data.tasks:PAIR_CLASSIFICATION",
        "question-answering": "spanferry.data.question_answering:QUESTION_ANSWERING",
    },
)


def get_task(name: str) -> Task:
    """Return the task called ``name``.

    Raises:
        ConfigError: there is none.

    >>> get_task("slots").labels
    ('intent',)
    """
    task: Task = TASKS.load(name)
    return task
