"""SQuAD documents and rows: what is read, what is refused, and that neither loses an answer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanferry.data import squad
from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.data.formats import read_examples, source_format, write_examples
from spanferry.data.question_answering import ANSWER, QUESTION_ANSWERING

TASK = "question-answering"


def document(*questions: dict[str, Any], context: str = "Zoë lives in Köln.", **more: Any) -> dict[str, Any]:
    """One paragraph with its questions, in the form of SQuAD."""
    return {"data": [{"title": "Zoë", "paragraphs": [{"context": context, "qas": list(questions)}]}], **more}


def question(identity: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    found = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": identity, "question": "Where?", "answers": found, **more}


def write(path: Path, value: Any, **how: Any) -> Path:
    path.write_text(json.dumps(value, **how), encoding="utf-8")
    return path


def read(path: Path, **settings_: Any) -> list[Example]:
    return list(read_examples(path, TASK, **settings_))


@pytest.mark.parametrize("how", [{}, {"ensure_ascii": False}, {"indent": 1}, {"indent": "\t", "sort_keys": True}])
def test_answers_are_spans_however_the_json_is_laid_out(how: dict[str, Any], tmp_path: Path) -> None:
    value = document(question("a", ("Köln", 13), ("in Köln", 10), ("Köln", 13)), question("b"), version="1.1")
    path = write(tmp_path / "a.json", value, **how)
    several, none = read(path)
    assert [(several.text_of(span), span.label, span.field) for span in several.spans] == [
        ("Köln", ANSWER, "context"),
        ("in Köln", ANSWER, "context"),
        ("Köln", ANSWER, "context"),
    ]
    assert (several.id, several.fields["question"], several.meta) == ("a", "Where?", {"title": "Zoë"})
    assert (none.id, none.spans) == ("b", ())


def test_version_2_says_once_that_there_is_no_answer(tmp_path: Path) -> None:
    wrong = [{"text": "Zoë", "answer_start": 0}]
    value = document(
        question("yes", ("Köln", 13), is_impossible=False),
        question("no", is_impossible=True, plausible_answers=wrong),
        question("unlabelled", is_impossible=False),
        version="v2.0",
    )
    yes, no, unlabelled = read(write(tmp_path / "a.json", value))
    assert yes.meta == {"title": "Zoë"}
    assert no.meta == {"title": "Zoë", "source_plausible_answers": wrong}  # they do not stand in a translation
    assert unlabelled.meta == {"title": "Zoë", "is_impossible": False}
    write_examples([yes, no, unlabelled], tmp_path / "b.json", TASK, format="squad")
    written = json.loads((tmp_path / "b.json").read_text())
    [paragraph] = written["data"][0]["paragraphs"]
    assert [each["is_impossible"] for each in paragraph["qas"]] == [False, True, False]
    assert read(tmp_path / "b.json") == [yes, no, unlabelled]


def test_neighbours_share_their_paragraph_and_article(tmp_path: Path) -> None:
    def example(identity: str, context: str, title: str) -> Example:
        return Example(identity, {"context": context, "question": "?"}, (), meta={"title": title})

    examples = [example(*each) for each in (("1", "a", "A"), ("2", "a", "A"), ("3", "b", "A"), ("4", "a", "B"))]
    write_examples(examples, tmp_path / "a.json", TASK, format="squad")
    articles = json.loads((tmp_path / "a.json").read_text())["data"]
    shape = [(a["title"], [(p["context"], [q["id"] for q in p["qas"]]) for p in a["paragraphs"]]) for a in articles]
    assert shape == [("A", [("a", ["1", "2"]), ("b", ["3"])]), ("B", [("a", ["4"])])]
    assert read(tmp_path / "a.json") == examples


def test_what_else_stands_in_a_document_travels(tmp_path: Path) -> None:
    value = document(question("a", ("Köln", 13), level=3))
    value["data"][0]["source"], value["data"][0]["paragraphs"][0]["id"] = "wiki", 7
    [example] = read(write(tmp_path / "a.json", value))
    assert example.meta == {"title": "Zoë", "article_source": "wiki", "paragraph_id": 7, "level": 3}
    write_examples([example], tmp_path / "b.json", TASK, format="squad")
    assert read(tmp_path / "b.json") == [example]


PIECES = [*'aë京 \t\n"\\{}[],:', "👩\u200d🔬", "e\u0301", "\u2028", "\u0000"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from(["", "A", "京"]), TEXT, TEXT, st.integers(0, 3)), min_size=1, max_size=6),
    block=st.integers(1, 40),
    data=st.data(),
)
def test_documents_are_read_as_written_whatever_the_blocks(
    rows: list[tuple[str, str, str, int]],
    block: int,
    data: st.DataObject,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = []
    for number, (title, context, asked, answers) in enumerate(rows):
        spans = []
        for _ in range(answers if context else 0):
            start = data.draw(st.integers(0, len(context) - 1))
            spans.append(Span(start, data.draw(st.integers(start + 1, len(context))), ANSWER, "context"))
        meta = {"title": title} if title else {}
        examples.append(Example(str(number), {"context": context, "question": asked}, tuple(spans), meta=meta))
    monkeypatch.setattr(squad, "_BLOCK", block)
    path = tmp_path / "a.json"
    write_examples(examples, path, TASK, format="squad")
    assert source_format(path) == "squad"
    assert read(path) == examples
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")), indent=3) + "\n \n", encoding="utf-8-sig")
    assert read(path) == examples


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_rows_have_the_columns_of_the_hub(kind: str, tmp_path: Path) -> None:
    example = Example("7", {"context": "Köln.", "question": "?"}, (Span(0, 4, ANSWER, "context"),))
    none = Example("8", {"context": "Köln.", "question": "!"})
    write_examples([example, none], tmp_path / f"a.{kind}", TASK)
    assert read(tmp_path / f"a.{kind}") == [example, none]
    answers = {"text": ["Köln"], "answer_start": [0]}
    row = {"id": "7", "context": "Köln.", "question": "?", "answers": answers}
    assert QUESTION_ANSWERING.to_row(example) == row


def test_a_dataset_of_the_library_has_the_features_of_squad(tmp_path: Path) -> None:
    from datasets import List, Value, load_from_disk

    example = Example("7", {"context": "Köln.", "question": "?"}, (Span(0, 4, ANSWER, "context"),))
    write_examples([example], tmp_path / "a", TASK, format="datasets")
    features = load_from_disk(str(tmp_path / "a")).features
    assert features["answers"] == {"text": List(Value("string")), "answer_start": List(Value("int32"))}
    assert read(tmp_path / "a") == [example]


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([{"text": "Köln", "answer_start": 14}], r"'Köln' at 14, where the text has 'öln.'.*its first occurrence.*13"),
        ([{"text": "Bonn", "answer_start": 13}], r"'Bonn' at 13, where the text has 'Köln'.*does not hold it"),
        ([{"text": "Köln", "answer_start": 99}], r"at 99, where the text has nothing"),
        ([{"text": "Köln", "answer_start": -1}], r"at -1, where the text has nothing"),
        ([{"text": "", "answer_start": 3}], r"answer 0 is .*: expected \{\"text\": text, \"answer_start\": number\}"),
        ([{"text": "Köln", "answer_start": True}], r"expected \{\"text\": text, \"answer_start\": number\}"),
        (["Köln"], r"answer 0 is 'Köln': expected"),
        ("Köln", r"'answers' is 'Köln': expected answers"),
        (None, r"'answers' is None: expected answers"),
        ({"text": ["Köln"]}, r"expected a list of answers"),
        ({"text": ["Köln"], "answer_start": []}, r"expected a list of answers"),
    ],
)
def test_an_answer_that_is_not_where_it_says_is_refused(answers: Any, problem: str, tmp_path: Path) -> None:
    value = document({"id": "a", "question": "?", "answers": answers})
    with pytest.raises(DataError, match=problem) as error:
        read(write(tmp_path / "a.json", value))
    assert error.value.row == 0


def test_bad_questions_are_set_aside(tmp_path: Path) -> None:
    value = document(
        question("a", ("Köln", 13)),
        question("b", ("Köln", 12)),
        question("c", ("Köln", 13), is_impossible=True),
        question("d", context="here too"),
        "?",  # type: ignore[arg-type]
        question("e", note="\ud83d"),
        question("f"),
    )
    rejects = tmp_path / "rejects.jsonl"
    kept = read(write(tmp_path / "a.json", value), on_error="skip", rejects=rejects)
    assert [example.id for example in kept] == ["a", "f"]
    lines = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 2, 3, 4, 5]
    problems = [line["problem"] for line in lines[1:]]
    for part, problem in zip(("either", "has 'context' too", "is a str", "surrogate"), problems, strict=True):
        assert part in problem


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ('{"data": [\n{"paragraphs": [}\n]}', "broken JSON: Expecting value", 2),
        ('{"data": [\n{"paragraphs": []}\n', "the file ends, expected ',' or ']'", 3),
        ('{"data": [],\n "version": "1.1"', "the file ends, expected ',' or '}'", 2),
        ('{"data": []}\n{"data": []}', "more after the end", 2),
        ('{"version": "1.1"}', "no 'data'", None),
        ('{"data": 3}', "found '3', expected '['", 1),
        ('{"data": [3]}', "article 0 has no list 'paragraphs'", None),
        ('{"data": [{"paragraphs": [{"context": "a"}]}]}', "article 0, paragraph 0 has no list 'qas'", None),
        ("[]", "found '[', expected '{'", 1),
    ],
)
def test_a_broken_document_says_where(text: str, problem: str, line: int | None, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(problem)) as error:
        read(path, format="squad")
    assert error.value.line == line


def test_another_encoding_is_named_or_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document(question("a", ("Köln", 13))), ensure_ascii=False), encoding="cp1252")
    with pytest.raises(DataError, match=r"not utf-8.*encoding"):
        read(path)
    [example] = read(path, encoding="cp1252")
    assert example.text_of(example.spans[0]) == "Köln"


def test_json_lines_are_told_from_documents(tmp_path: Path) -> None:
    row = {"id": "1", "data": [1], "context": "a", "question": "?", "answers": {"text": [], "answer_start": []}}
    assert source_format(write(tmp_path / "rows.json", row)) == "jsonl"
    assert source_format(write(tmp_path / "doc.json", document(version="1.1"), sort_keys=True)) == "squad"
    with pytest.raises(DataError, match="empty"):
        read(tmp_path / "doc.json")


def test_what_does_not_go_together(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", document(question("a", ("Köln", 13))))
    with pytest.raises(ConfigError, match="set task question-answering, not ner"):
        read_examples(path, "ner")
    example = Example("1", {"context": "Köln", "question": "?"}, (Span(0, 4, "LOC", "context"),))
    with pytest.raises(ConfigError, match=r"task 'question-answering' has no tags"):
        write_examples([example], tmp_path / "a.conll", TASK)
    with pytest.raises(DataError, match="'LOC': expected 'ANSWER'"):
        write_examples([example], tmp_path / "b.json", TASK, format="squad")


def test_xquad_is_read_and_written_as_it_is(eval_dir: Path, tmp_path: Path) -> None:
    english, german = (read(eval_dir / "xquad" / f"xquad.{name}.json") for name in ("en", "de"))
    # 240 paragraphs, 1,190 answers: Artetxe et al. 2020, section 4.
    assert len(english) == len({example.id for example in english}) == 1190
    assert len({example.fields["context"] for example in english}) == 240
    assert [example.id for example in english] == [example.id for example in german]
    write_examples(german, tmp_path / "de.json", TASK, format="squad")
    assert read(tmp_path / "de.json") == german
