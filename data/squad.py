"""SQuAD documents: articles of paragraphs, each with the questions that are asked about it, in one JSON object.

    {"version": "v2.0", "data": [{"title": "Zoë", "paragraphs": [{"context": "Zoë lives in Köln.", "qas": [
        {"id": "7", "question": "Where?", "answers": [{"text": "Köln", "answer_start": 13}], "is_impossible": false}
    ]}]}]}

A question is a row; its context and title are those of what it stands in. ``is_impossible`` (SQuAD 2.0) says what
empty answers say already, so that it is no column unless the two differ. ``plausible_answers``, wrong ones that stand
in the text, point into the source text only, and travel as ``source_plausible_answers``.

Only one article is in memory at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final, TextIO

from spanferry.data.errors import DataError
from spanferry.data.records import Record, has_surrogate
from spanferry.data.rows import json_default

_BLOCK: Final = 1 << 20
_HEAD: Final = re.compile(r'\ufeff?\s*\{\s*("version"\s*:\s*"[^"]*"\s*,\s*)?"data"\s*:\s*\[')
_BLANKS: Final = re.compile(r"[ \t\n\r]*")
_OWN: Final = ("id", "title", "context", "question", "answers", "is_impossible")


def looks_like_squad(path: Path) -> bool:
    """Tell whether a ``.json`` file begins as a SQuAD document does, and not as JSON lines."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return _HEAD.match(file.read(4096)) is not None


def read_squad(path: Path, *, encoding: str = "utf-8") -> Iterator[Record]:
    """Yield one record a question, with the columns ``id``, ``title``, ``context``, ``question``, ``answers``.

    Whatever else a question has is a column too; what an article or a paragraph has besides is one with ``article_`` or
    ``paragraph_`` before its name.

    Raises:
        DataError: the file is no such document, or breaks off.
    """
    number = 0
    for index, article in enumerate(_articles(path, encoding)):
        where = f"article {index}"
        title = {"title": article["title"]} if isinstance(article, dict) and "title" in article else {}
        about_article = _others(article, ("title", "paragraphs"), "article_")
        for place, paragraph in enumerate(_members(article, "paragraphs", where, path)):
            inside = f"{where}, paragraph {place}"
            questions = _members(paragraph, "qas", inside, path)
            shared = {**title, "context": paragraph.get("context")}
            shared |= about_article | _others(paragraph, ("context", "qas"), "paragraph_")
            for question in questions:
                yield _record(question, shared, inside, number)
                number += 1


def _others(value: Any, known: tuple[str, ...], prefix: str) -> dict[str, Any]:
    return (
        {f"{prefix}{key}": item for key, item in value.items() if key not in known} if isinstance(value, dict) else {}
    )


def _members(value: Any, key: str, where: str, path: Path) -> list[Any]:
    members = value.get(key) if isinstance(value, dict) else None
    if not isinstance(members, list):
        raise DataError(f"{where} has no list {key!r}: expected a SQuAD document", path=path)
    return members


def _record(question: Any, shared: Mapping[str, Any], where: str, number: int) -> Record:
    if not isinstance(question, dict):
        problem = f"{where}: a question is a {type(question).__name__}: expected a JSON object"
        return Record(raw=question, error=DataError(problem), number=number)
    row = {**shared, **question}
    if has_surrogate(json.dumps(row, ensure_ascii=False)):
        problem = f"{where}: a \\u escape is half of a surrogate pair, which is no character"
        return Record(raw=row, error=DataError(problem), number=number)
    if clash := sorted(shared.keys() & question.keys()):
        problem = f"{where}: a question has {clash[0]!r} too, which belongs to its paragraph or article"
        return Record(raw=row, error=DataError(problem), number=number)
    impossible, answers = row.pop("is_impossible", None), row.get("answers")
    if impossible is True and answers:
        problem = f"{where}: question {row.get('id')!r} has answers and is_impossible: true: expected either"
        return Record(raw=row, error=DataError(problem), number=number)
    if impossible is not None and bool(impossible) != (answers == []):
        row["is_impossible"] = impossible
    if "plausible_answers" in row:
        row["source_plausible_answers"] = row.pop("plausible_answers")
    return Record(raw=row, row=row, number=number)


def _articles(path: Path, encoding: str) -> Iterator[Any]:
    """Yield the members of ``data`` as they are decoded."""
    with path.open(encoding=encoding, newline="") as file:
        stream = _JsonStream(file, path)
        if stream.peek() == "\ufeff":
            stream.skip()
        stream.expect("{")
        found = False
        while True:
            key = stream.value()
            stream.expect(":")
            if key == "data":
                found = True
                stream.expect("[")
                if stream.peek() == "]":
                    stream.skip()
                else:
                    yield stream.value()
                    while stream.expect(",]") == ",":
                        yield stream.value()
            else:
                stream.value()
            if stream.expect(",}") == "}":
                break
        if not found:
            raise DataError("the object has no 'data': expected a SQuAD document", path=path)
        if stream.peek():
            raise DataError(f"more after the end of the document, on line {stream.line}", path=path, line=stream.line)


class _JsonStream:
    """A JSON text that is decoded value by value, as far as it has been read."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._text, self._at, self._ended = "", 0, False
        self.line = 1
        self._decoder = json.JSONDecoder()

    def _more(self) -> bool:
        """Read on, twice as much as is there already, so that a long value is not decoded over and over."""
        self._text = self._text[self._at :]
        self._at = 0
        try:
            block = self._file.read(max(_BLOCK, len(self._text)))
        except UnicodeError as error:
            problem = f"not {self._file.encoding}: {error}"
            raise DataError(problem, path=self._path, hint="set encoding: to the file's own") from None
        self._ended = not block
        self._text += block
        return not self._ended

    def _forward(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def peek(self) -> str:
        """Return the next character that is not white space; nothing at the end."""
        while True:
            self._forward(self._at + len(_BLANKS.match(self._text, self._at)[0]))  # type: ignore[index]  # it always matches
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self) -> None:
        """Pass over the character that `peek` returned."""
        self._forward(self._at + 1)

    def expect(self, characters: str) -> str:
        """Pass over one of the characters, and return it."""
        found = self.peek()
        if not found or found not in characters:
            what = "the file ends" if not found else f"found {found!r}"
            wanted = " or ".join(map(repr, characters))
            problem = f"broken JSON: {what}, expected {wanted}"
            raise DataError(problem, path=self._path, line=self.line, hint="expected one whole SQuAD document")
        self.skip()
        return found

    def value(self) -> Any:
        """Decode a whole value."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # a number could go on
                    self._forward(end)
                    return value
            except (ValueError, RecursionError) as error:
                if self._ended:
                    self._refuse(error)
            if not self._ended:
                self._more()

    def _refuse(self, error: Exception) -> None:
        """Say where the JSON breaks; what comes after it in the file has been read for nothing."""
        problem, line = str(error), self.line
        if isinstance(error, json.JSONDecodeError):
            problem, line = error.msg, self.line + self._text.count("\n", self._at, error.pos)
        hint = "expected one whole SQuAD document; JSON lines are read with format: jsonl"
        raise DataError(f"broken JSON: {problem}", path=self._path, line=line, hint=hint) from None


def write_squad(rows: Iterable[Mapping[str, Any]], file: TextIO) -> None:
    """Write rows as one document: neighbours with one title are an article, neighbours with one context a paragraph.

    Every other column is written beside its question. A question without answers is marked ``is_impossible``, unless
    the row has a column that says otherwise.

    Raises:
        DataError: a row has a value that JSON has no form for.
    """
    encode = json.JSONEncoder(ensure_ascii=False, default=json_default).encode
    file.write('{"version": "v2.0", "data": [')
    articles = groupby(rows, key=lambda row: ("title" in row, row.get("title")))
    for index, ((titled, title), members) in enumerate(articles):
        head = f'"title": {encode(title)}, ' if titled else ""
        file.write(_next(index, "") + f'{{{head}"paragraphs": [')
        for place, (context, questions) in enumerate(groupby(members, key=lambda row: row["context"])):
            file.write(_next(place, " ") + f'{{"context": {encode(context)}, "qas": [')
            for order, row in enumerate(questions):
                file.write(_next(order, "  ") + encode(_question(row)))
            file.write("\n ]}")
        file.write("\n]}")
    file.write("\n]}\n")


def _next(number: int, indent: str) -> str:
    return f"{',' if number else ''}\n{indent}"


def _question(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands for a row among its paragraph's questions."""
    given = row["answers"]
    pairs = zip(given["text"], given["answer_start"], strict=True)
    answers = [{"text": text, "answer_start": start} for text, start in pairs]
    others = {key: value for key, value in row.items() if key not in _OWN}
    own = {"id": row["id"], "question": row["question"], "answers": answers}
    return own | {"is_impossible": row.get("is_impossible", not answers)} | others
