"""What is written is what is read, in every format, whatever characters the texts are made of."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.data.formats import ReadReport, read_examples, write_examples
from spanferry.data.multiple_choice import MultipleChoice, name_choices
from spanferry.data.question_answering import ANSWER, QuestionAnswering
from spanferry.data.schema import Schema
from spanferry.data.spans import SCHEMES
from spanferry.data.tasks import TASKS, Task, get_task

FILES = ["jsonl", "csv", "tsv", "parquet", "conll", "squad"]
LABELS = ("PER", "weather/find", "B-1", "日本")
# Letters of several scripts, combining marks, emoji with joiners, right-to-left text with its marks, what Unicode
# counts as line ends but files do not, and what the formats themselves are made of.
CHARACTERS = [
    *"aZé北京กำ안녕שלוم \t\n\r\"',;|#:=\\{}[]-_.%&", "e\u0301", "👩\u200d🔬", "🇩🇪", "\u202e", "\u2028", "\u2029",
    "\u0085", "\x0b", "\x0c", "\x1c", "\ufeff", "\u00a0", "\u3000", "\x00", "\x7f", "\ud7ff", "\U0010ffff",
]  # fmt: skip
texts = st.lists(st.sampled_from(CHARACTERS), max_size=8).map("".join)
questions = st.builds(
    lambda context, question, choices: {**context, "question": question, **name_choices(choices)},
    st.just({}) | st.fixed_dictionaries({"context": texts.filter(bool)}),
    texts,
    st.lists(texts, min_size=2, max_size=12),
)
quick = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@st.composite
def datasets_of(draw: st.DrawFn, task: Task, kind: str) -> list[Example]:
    """Examples with different ids and the same meta columns, such as one file has."""
    metas: dict[str, Any] = {"page": st.integers(-5, 5), "sources": st.lists(texts, max_size=2), "note": texts}
    if kind in ("csv", "tsv"):
        metas = {"note": texts}
    columns = draw(st.lists(st.sampled_from(sorted(metas)), unique=True))
    tokens = kind == "conll" or (task.tagged and draw(st.booleans()))
    ids = draw(st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True))
    found = []
    for identity in ids:
        fields = draw(questions) if isinstance(task, MultipleChoice) else {name: draw(texts) for name in task.fields}
        labels = {name: draw(st.sampled_from(LABELS)) for name in task.labels}
        meta = {name: draw(metas[name]) for name in columns}
        spans: tuple[Span, ...] = ()
        offsets = {}
        if task.spans_in:
            text = fields[task.spans_in] = draw(texts)
            spans = tuple(draw(st.lists(spans_of(text, span_labels(task), task.spans_in), max_size=3))) if text else ()
            if tokens:
                offsets = {task.spans_in: draw(tokens_of(text, one_line=kind == "conll"))}
        found.append(Example(identity, fields, spans, labels, offsets, meta))
    return found


def span_labels(task: Task) -> tuple[str, ...]:
    return (ANSWER,) if isinstance(task, QuestionAnswering) else LABELS


def spans_of(text: str, labels: tuple[str, ...], field: str) -> st.SearchStrategy[Span]:
    starts = st.integers(0, len(text) - 1)
    return starts.flatmap(
        lambda start: st.builds(
            Span, st.just(start), st.integers(start + 1, len(text)), st.sampled_from(labels), st.just(field)
        )
    )


@st.composite
def tokens_of(draw: st.DrawFn, text: str, *, one_line: bool) -> tuple[tuple[int, int], ...]:
    """Tokens anywhere in the text, as programs make them or not."""
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    tokens = pairwise(cuts) if draw(st.booleans()) else zip(cuts[::2], cuts[1::2], strict=False)
    return tuple((start, end) for start, end in tokens if not (one_line and set("\t\n\r") & set(text[start:end])))


def cases() -> list[Any]:
    return [
        pytest.param(name, kind, id=f"{name}-{kind}")
        for name in TASKS.names()
        for kind in FILES
        if (kind != "conll" or get_task(name).tagged) and (kind != "squad" or "answers" in get_task(name).span_roles)
    ]


@pytest.mark.parametrize(("name", "kind"), cases())
@quick
@given(data=st.data())
def test_what_is_written_is_read(name: str, kind: str, data: st.DataObject, tmp_path: Path) -> None:
    task = get_task(name)
    examples = data.draw(datasets_of(task, kind))
    schema = data.draw(st.sampled_from([None, Schema(span_labels(task), dict.fromkeys(task.labels, LABELS))]))
    path = tmp_path / f"train.{kind}"
    assert write_examples(examples, path, task, format=kind, schema=schema) == len(examples)
    report = ReadReport()
    again = list(read_examples(path, task, format=kind, schema=schema, report=report))
    assert again == examples
    assert report.read == len(examples)
    for example in again:
        for span in example.spans:
            assert example.text_of(span) == example.fields[span.field][span.start : span.end] != ""
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "BIOES", "BILOU"])
@quick
@given(data=st.data())
def test_every_scheme_in_conll_columns(scheme: str, data: st.DataObject, tmp_path: Path) -> None:
    examples = data.draw(datasets_of(get_task("slots"), "conll"))
    path = tmp_path / "train.conll"
    write_examples(examples, path, "slots", scheme=scheme)
    assert list(read_examples(path, "slots", scheme=scheme)) == examples
    assert scheme in SCHEMES


LOOK_ALIKES = st.tuples(
    st.sampled_from(["#", "#x", "# a", "-DOCSTART-", "-DOCSTART-x", "O", "B-PER", "1", "2", "a b"]),
    st.sampled_from(["O", "B-PER"]),
)


@quick
@given(pairs=st.lists(LOOK_ALIKES, min_size=1, max_size=4), separator=st.sampled_from(["\t", " "]))
def test_tokens_that_look_like_something_else_in_conll(
    pairs: list[tuple[str, str]], separator: str, tmp_path: Path
) -> None:
    tokens, spans, text = [], [], ""
    for token, tag in pairs:
        if separator == " " and " " in token:
            continue
        start = len(text)
        text += token + " "
        tokens.append((start, start + len(token)))
        if tag != "O":
            spans.append(Span(start, start + len(token), "PER"))
    example = Example("1", {"text": text.rstrip()}, tuple(spans), tokens={"text": tuple(tokens)})
    path = tmp_path / "a.conll"
    if separator == " " and not tokens:
        return
    if any(token == "-DOCSTART-" for token, _ in pairs):
        with pytest.raises(DataError, match="DOCSTART"):
            write_examples([example], path, "ner", separator=separator)
        return
    write_examples([example], path, "ner", separator=separator)
    assert list(read_examples(path, "ner")) == [example]


def test_meta_of_any_kind_travels_in_jsonl_parquet_and_conll(tmp_path: Path) -> None:
    meta = {"n": 1, "x": 0.5, "yes": True, "none": None, "list": [1, 2], "dict": {"a": {"b": "c"}}, "text": "taken"}
    meta.pop("text")
    example = Example("1", {"text": "Zoë"}, (Span(0, 3, "PER"),), tokens={"text": ((0, 3),)}, meta=meta)
    for kind in ("jsonl", "parquet", "conll"):
        write_examples([example], tmp_path / f"a.{kind}", "ner")
        assert list(read_examples(tmp_path / f"a.{kind}", "ner")) == [example]


def test_numbers_come_back_from_csv_where_a_schema_was_given(tmp_path: Path) -> None:
    example = Example("1", {"text": "a"}, (), {"label": "yes"}, meta={"n": 1, "x": None, "l": ["a"], "t": "7"})
    write_examples([example], tmp_path / "a.csv", "text-classification", schema=Schema(labels={"label": ("no", "yes")}))
    assert list(read_examples(tmp_path / "a.csv", "text-classification")) == [example]


def test_a_parquet_column_may_become_wider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanferry.data.parquet._GROUP_ROWS", 3)
    values = [None, None, None, 1, 2, 3, 4.5, None, 2]
    examples = [
        Example(str(i), {"text": "a"}, (), {"label": "x"}, meta={"v": value, **({"late": "l"} if i > 4 else {})})
        for i, value in enumerate(values)
    ]
    write_examples(examples, tmp_path / "a.parquet", "text-classification")
    again = list(read_examples(tmp_path / "a.parquet", "text-classification"))
    assert [example.meta["v"] for example in again] == values
    assert [example.meta["late"] for example in again] == [None] * 5 + ["l"] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    with pytest.raises(DataError, match="a column changes its type"):
        write_examples(
            [*examples, Example("z", {"text": "a"}, (), {"label": "x"}, meta={"v": "text"})],
            tmp_path / "a.parquet",
            "text-classification",
        )
    assert len(list(read_examples(tmp_path / "a.parquet", "text-classification"))) == 9  # the old file stands


@pytest.mark.parametrize("values", [[2**53 + 1, 0, 0, 1.5], [1.5, 0, 0, 2**53 + 1], [2**53 + 1, 1.5]])
@pytest.mark.parametrize("nested", [False, True])
def test_a_number_that_a_wider_column_cannot_hold_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[float], nested: bool
) -> None:
    monkeypatch.setattr("spanferry.data.parquet._GROUP_ROWS", 2)
    examples = [
        Example(str(i), {"text": "a"}, (), {"label": "x"}, meta={"v": [value] if nested else value})
        for i, value in enumerate(values)
    ]
    with pytest.raises(DataError, match=r"column 'v' .*9007199254740993.*Hint: a column holds values of one type"):
        write_examples(examples, tmp_path / "a.parquet", "text-classification")
    assert not list(tmp_path.iterdir())


def test_objects_with_nulls_become_wider_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanferry.data.parquet._GROUP_ROWS", 1)
    values = [
        [{"a": 1, "b": None}, {"a": 2, "b": None}],
        [{"a": 0.5, "b": None}],
        None,
        [{"a": 3, "b": "x"}, {"a": None, "b": None}],
    ]
    examples = [
        Example(str(i), {"text": "a"}, (), {"label": "x"}, meta={"v": value, "o": {"p": {}, "n": i}, "e": {}})
        for i, value in enumerate(values)
    ]
    for count in range(1, 5):
        write_examples(examples[:count], tmp_path / "a.parquet", "text-classification")
        again = list(read_examples(tmp_path / "a.parquet", "text-classification"))
        assert [example.meta["v"] for example in again] == values[:count]
        assert [example.meta["o"] for example in again] == [{"p": None, "n": i} for i in range(count)]
        assert [example.meta["e"] for example in again] == [None] * count  # Parquet has no object without a key


def test_maps_of_parquet_are_lists_of_keys_and_values(tmp_path: Path) -> None:
    pairs = [[("a", 1), ("b", None)], [], None]
    kind = pa.map_(pa.string(), pa.int64())
    columns = {
        "m": pa.array(pairs, kind),
        "deep": pa.array([{"in": [each]} for each in pairs], pa.struct([("in", pa.list_(kind))])),
    }
    pq.write_table(pa.table({"text": ["a"] * 3, "label": ["x"] * 3, **columns}), tmp_path / "a.parquet")
    examples = list(read_examples(tmp_path / "a.parquet", "text-classification", table=True))
    wanted = [[{"key": "a", "value": 1}, {"key": "b", "value": None}], [], None]
    assert [example.meta["m"] for example in examples] == wanted
    assert [example.meta["deep"] for example in examples] == [{"in": [each]} for each in wanted]
    write_examples(examples, tmp_path / "b.parquet", "text-classification")
    assert list(read_examples(tmp_path / "b.parquet", "text-classification")) == examples


def test_tokens_of_the_target_language_are_made_by_the_caller(tmp_path: Path) -> None:
    def characters(texts: Any) -> list[list[tuple[int, int]]]:
        return [[(i, i + 1) for i in range(len(text))] for text in texts]

    own = Example("1", {"text": "北京"}, (Span(0, 2, "LOC"),), tokens={"text": ((0, 2),)})
    bare = Example("2", {"text": "北京"}, (Span(0, 2, "LOC"),))
    path = tmp_path / "zh.conll"
    write_examples([own, bare], path, "ner", tokenize=characters)
    first, second = read_examples(path, "ner")
    assert first == own
    assert second == Example("2", {"text": "北京"}, (Span(0, 2, "LOC"),), tokens={"text": ((0, 1), (1, 2))})
    with pytest.raises(DataError, match=r"example '2' has no tokens.*tokenize="):
        write_examples([own, bare], path, "ner")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = Example("1", {"text": "a"}, (), {"label": "x"})
    write_examples([good], path, "text-classification")
    before = path.read_bytes()

    def broken() -> Any:
        yield good
        raise OSError("source gone")

    for kind in ("jsonl", "csv", "parquet"):
        with pytest.raises(OSError, match="source gone"):
            write_examples(broken(), path, "text-classification", format=kind)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]


def test_labels_outside_the_schema_are_not_written(tmp_path: Path) -> None:
    example = Example("1", {"text": "Zoë"}, (Span(0, 3, "PRE"),))
    for kind in ("jsonl", "parquet"):
        with pytest.raises(DataError, match=r"'PRE', which the schema does not have: did you mean 'PER'"):
            write_examples([example], tmp_path / f"a.{kind}", "ner", schema=Schema(("PER",)))
    assert not list(tmp_path.iterdir())


def test_labels_are_names_in_text_files_and_their_types_stand_beside(tmp_path: Path) -> None:
    schema = Schema(labels={"label": ("no", "yes")})
    write_examples([Example("1", {"text": "a"}, (), {"label": "yes"})], tmp_path / "a.jsonl", "text-classification",
                   schema=schema)  # fmt: skip
    assert json.loads((tmp_path / "a.jsonl").read_text())["label"] == "yes"
    beside = json.loads((tmp_path / ".a.jsonl.features").read_text())
    assert beside["label"]["names"] == ["no", "yes"]
    report = ReadReport()
    list(read_examples(tmp_path / "a.jsonl", "text-classification", report=report))
    assert report.schema == schema  # "no" does not occur, and is known all the same
    write_examples([Example("1", {"text": "a"}, (), {"label": "x"})], tmp_path / "a.jsonl", "text-classification")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.jsonl"]  # types that may be wrong now are gone


def test_one_report_may_cover_several_sources(tmp_path: Path) -> None:
    report = ReadReport()
    for number, label in enumerate(("no", "yes")):
        path = tmp_path / f"{number}.jsonl"
        write_examples([Example("1", {"text": "a"}, (), {"label": label})], path, "text-classification")
        assert len(list(read_examples(path, "text-classification", report=report))) == 1
    assert (report.read, report.source, report.schema.labels) == (2, str(path), {"label": ("no", "yes")})
    path.write_text("\n")
    with pytest.raises(DataError, match="empty"):
        list(read_examples(path, "text-classification", report=report))


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    example = Example("1", {"text": "a"}, (), {"label": "x"})
    with pytest.raises(ConfigError, match=r"task 'text-classification' has no tags"):
        write_examples([example], tmp_path / "a.conll", "text-classification")
    with pytest.raises(ConfigError, match=r"suffix '.xyz' does not tell the format"):
        write_examples([example], tmp_path / "a.xyz", "text-classification")
    with pytest.raises(ConfigError, match=r"did you mean 'parquet'"):
        write_examples([example], tmp_path / "a.xyz", "text-classification", format="parqet")
    with pytest.raises(ConfigError, match="publishing"):
        write_examples([example], tmp_path / "a", "text-classification", format="hub")
