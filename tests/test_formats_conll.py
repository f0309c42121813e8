"""CoNLL-style columns as others write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.data.formats import ReadReport, read_examples, write_examples
from spanferry.data.schema import Schema


def read(tmp_path: Path, text: str, task: str = "ner", **settings: Any) -> list[Example]:
    path = tmp_path / "a.conll"
    path.write_bytes(text.encode())
    return list(read_examples(path, task, **settings))


def labelled(examples: list[Example]) -> list[list[tuple[str, str]]]:
    return [[(example.text_of(span), span.label) for span in example.spans] for example in examples]


# The four columns of CoNLL-2003 (word, part of speech, chunk, entity), in IOB1 as the task's own files are.
CONLL2003 = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
British JJ I-NP B-MISC
lamb NN I-NP O
. . O O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- -X- O

BRUSSELS NNP I-NP I-LOC
"""


def test_conll2003_with_documents_and_iob1(tmp_path: Path) -> None:
    examples = read(tmp_path, CONLL2003, scheme="iob1")
    assert labelled(examples) == [
        [("EU", "ORG"), ("German", "MISC"), ("British", "MISC")],
        [("Peter Blackburn", "PER")],
        [("BRUSSELS", "LOC")],
    ]
    assert [example.meta["document"] for example in examples] == [0, 0, 1]
    assert examples[1].meta["column_1"] == ["NNP", "NNP"]
    assert examples[0].fields["text"] == "EU rejects German British lamb."
    with pytest.raises(DataError, match=r"a.conll:3: tag 'I-ORG' of token 0 follows the start"):
        read(tmp_path, CONLL2003)
    assert labelled(read(tmp_path, CONLL2003, repair=True))[1] == [("Peter Blackburn", "PER")]


XSID = """# id = 7
# text-en = Set alarm for 6:30am
# text = Stell den Wecker auf 6:30Uhr
# intent = alarm/set_alarm
# slots: 21:28:datetime
1\tStell\talarm/set_alarm\tO
2\tden\talarm/set_alarm\tO
3\tWecker\talarm/set_alarm\tO
4\tauf\talarm/set_alarm\tO
5\t6:30\talarm/set_alarm\tB-datetime
6\tUhr\talarm/set_alarm\tI-datetime

# text = hi
# intent: greet
1\thi\tgreet\tO
"""


def test_xsid_comments_and_columns(tmp_path: Path) -> None:
    first, second = read(tmp_path, XSID, "slots")
    assert first == Example(
        "7",
        {"text": "Stell den Wecker auf 6:30Uhr"},
        (Span(21, 28, "datetime"),),
        {"intent": "alarm/set_alarm"},
        {"text": ((0, 5), (6, 9), (10, 16), (17, 20), (21, 25), (25, 28))},
        {"text-en": "Set alarm for 6:30am", "slots": "21:28:datetime"},
    )
    assert second.labels == {"intent": "greet"}
    with pytest.raises(DataError, match="intent has several values in one sentence"):
        read(tmp_path, XSID.replace("hi\tgreet", "hi\tgreed") + "\n" + XSID, "slots", columns={"intent": 2})


def test_columns_in_any_order(tmp_path: Path) -> None:
    text = "O\tx\tZo\u00eb's\nB-LOC\ty\tK\u00f6ln\n"
    first = read(tmp_path, text, columns={"tokens": 2, "tags": 0})
    assert first == read(tmp_path, text, columns={"tokens": -1, "tags": -3})
    assert labelled(first) == [[("Köln", "LOC")]]
    assert first[0].meta == {"column_1": ["x", "y"]}
    with pytest.raises(DataError, match=r"a.conll:1: columns: tags is column 3, but the line has 3 columns"):
        read(tmp_path, text, columns={"tags": 3})
    with pytest.raises(DataError, match=r"a.conll:1: no column holds tags .* in 'a b'.*columns: \{tokens: 0"):
        read(tmp_path, "a b\nc d\n")
    with pytest.raises(ConfigError, match=r"columns: id cannot be a numbered column.*tokens, tags"):
        read(tmp_path, text, columns={"id": 1})
    assert read(tmp_path, "a\nb\n", labelled=False)[0].fields == {"text": "a b"}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_marks_and_odd_characters(end: str, mark: str, tmp_path: Path) -> None:
    # A no-break space and U+2028 are part of a token; only tabs and blanks separate columns.
    text = mark + end.join(["10\u00a0000 B-N", "a\u2028b  \t O", "", "# O", "#tag B-N", "  ", "z O", "", ""])
    examples = read(tmp_path, text)
    assert labelled(examples) == [[("10\u00a0000", "N")], [("#tag", "N")], []]
    assert [example.fields["text"] for example in examples] == ["10\u00a0000 a\u2028b", "# #tag", "z"]


def test_separator_can_be_set(tmp_path: Path) -> None:
    (example,) = read(tmp_path, "New York|B-LOC\nis|O\n", separator="|")
    assert labelled([example]) == [[("New York", "LOC")]]


def test_comments_without_a_key_are_kept(tmp_path: Path) -> None:
    (example,) = read(tmp_path, "# checked by hand\n#2nd pass\n# source : wire\na\tO\n")
    assert example.meta == {"comments": ["checked by hand", "2nd pass"], "source": "wire"}


def test_ids_are_made_stable_where_there_are_none(tmp_path: Path) -> None:
    sentences = ["a\tO\n\n", "b\tB-X\n\n", "a\tO\n\n", "c\tO\n\n"]
    before = [example.id for example in read(tmp_path, "".join(sentences))]
    assert len(set(before)) == 4
    assert before[2] == f"{before[0]}-2"
    sentences.insert(1, "new\tO\n\n")
    after = [example.id for example in read(tmp_path, "".join(sentences))]
    assert [after[0], *after[2:]] == before
    assert read(tmp_path, "# sent_id = s1\na\tO\n")[0].id == "s1"


def test_what_columns_cannot_say_stands_in_a_comment(tmp_path: Path) -> None:
    text = "Bank of England\nsays"
    example = Example(
        "1", {"text": text}, (Span(0, 15, "ORG"), Span(8, 15, "LOC"), Span(9, 11, "MID")), {"intent": "x"},
        {"text": ((0, 4), (5, 7), (8, 15), (16, 20))}, {"page": 3},
    )  # fmt: skip
    path = tmp_path / "a.conll"
    write_examples([example], path, "slots")
    assert path.read_text() == (
        "# id = 1\n"
        "# intent = x\n"
        '# spanferry = {"text": "Bank of England\\nsays", "page": 3, '
        '"spans": [{"start": 0, "end": 15, "label": "ORG"}, '
        '{"start": 8, "end": 15, "label": "LOC"}, {"start": 9, "end": 11, "label": "MID"}]}\n'
        "Bank\tB-ORG\nof\tI-ORG\nEngland\tI-ORG\nsays\tO\n\n"
    )
    assert list(read_examples(path, "slots")) == [example]


# Counts of sentences and spans: europarl from its README, the others from counting blocks and B- tags with awk.
GOLD = [
    ("europarl-ner/en.conll02", "ner", None, 799, 702),
    ("europarl-ner/de.conll02", "ner", None, 799, 693),
    ("europarl-ner/es.conll02", "ner", None, 799, 697),
    ("europarl-ner/it.conll02", "ner", None, 799, 693),
    ("absa/en.train.tsv", "ner", "conll", 2000, 1743),
    ("absa/en.test.tsv", "ner", "conll", 676, 612),
    ("absa/es.gold.train.tsv", "ner", "conll", 2000, 1724),
    ("absa/fr.gold.train.tsv", "ner", "conll", 2000, 1720),
    ("absa/fr.gold.test.tsv", "ner", "conll", 676, 605),
    ("xsid/en.test.conll", "slots", None, 500, 962),
    ("xsid/de.test.conll", "slots", None, 500, 968),
    ("xsid/it.valid.conll", "slots", None, 300, 604),
]


@pytest.mark.parametrize("gold", GOLD, ids=lambda gold: gold[0])
def test_gold_data_reads_whole(gold: tuple[str, str, str | None, int, int], eval_dir: Path, tmp_path: Path) -> None:
    name, task, kind, sentences, spans = gold
    report = ReadReport()
    examples = list(read_examples(eval_dir / name, task, format=kind, report=report))
    assert (len(examples), sum(len(example.spans) for example in examples)) == (sentences, spans)
    assert (report.read, report.rejected) == (sentences, 0)
    assert isinstance(report.schema, Schema)
    assert len({example.id for example in examples}) == sentences
    write_examples(examples, tmp_path / "again.conll", task)
    assert list(read_examples(tmp_path / "again.conll", task)) == examples
