"""The review loop where there is more than one text and its translation: predictions, and questions with choices."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from spanferry.data.errors import DataError
from spanferry.data.spreadsheet import read_sheet, write_sheet
from spanferry.flows.build import build
from spanferry.flows.cli import app
from spanferry.flows.config import parse_config
from spanferry.flows.export import export_build
from spanferry.flows.members import Build, open_build
from spanferry.flows.review import export_review
from spanferry.flows.review_import import import_review

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rows_of(folder: Path, language: str = "de") -> dict[str, dict[str, Any]]:
    [file] = sorted((folder / "data" / language).glob("*.parquet"))
    return {row["id"]: row for row in pq.read_table(file).to_pylist()}


def edit(sheet: Path, changes: dict[str, dict[str, str]]) -> None:
    """Change cells of a sheet: id -> column -> text."""
    rows = [dict(row.cells) for row in read_sheet(sheet)]
    for row in rows:
        row.update(changes.get(row["id"], {}))
    write_sheet(sheet, list(rows[0]), [list(row.values()) for row in rows])


# ---------------------------------------------------------------------------------------------------------------------
# Predictions: the user's text, and spans on it


WORDS = {"Anna": "Anne", "Köln": "Cologne", "wohnt": "lives"}
TEXTS = {"a": "Anna wohnt in Köln.", "b": "Köln und Ulm.", "c": "Nichts."}
SAID = {
    "Anne lives in Cologne.": [(0, 4, "PER", 0.9), (14, 21, "ORG", 0.4)],
    "Cologne und Ulm.": [(0, 7, "LOC", 0.8)],
    "Nichts.": [],
}


@pytest.fixture
def predicted(tmp_path: Path) -> Settings:
    write(tmp_path / "de.jsonl", [{"id": id_, "text": text} for id_, text in TEXTS.items()])
    write(
        tmp_path / "predictions.jsonl",
        [
            {
                "text": text,
                "spans": [{"start": start, "end": end, "label": label} for start, end, label, _ in spans],
                "scores": [score for *_, score in spans],
            }
            for text, spans in SAID.items()
        ],
    )
    return {
        "task": "ner",
        "direction": "translate-test",
        "source": {"path": str(tmp_path / "{language}.jsonl"), "languages": ["de"], "labelled": False},
        "pivot": "en",
        "predictor": {"name": "file", "path": str(tmp_path / "predictions.jsonl")},
        "translation": {"model": "fake", "settings": {"dictionary": WORDS}},
        "projection": {"aligner": "fake", "aligner_settings": {"dictionary": {"Anne": "Anna", "Cologne": "Köln"}}},
        "run": {"memory": False, "shard_rows": 2},
        "output": str(tmp_path / "out"),
    }


def finish(settings: Settings) -> Build:
    return open_build(build(parse_config(settings)).folder)


def places(row: dict[str, Any], column: str = "predicted_spans") -> list[tuple[int, int, str]]:
    return [(each["start"], each["end"], each["label"]) for each in row[column]]


@pytest.mark.parametrize("kind", [".csv", ".xlsx"])
def test_predictions_go_out_and_come_back_as_they_were(
    predicted: Settings, tmp_path: Path, published: Published, kind: str
) -> None:
    done, sheet = finish(predicted), tmp_path / f"review{kind}"
    before = published(done.folder.root)
    assert export_review(done, sheet) == 3
    first, second, third = list(read_sheet(sheet))
    # The least sure first, by the predictor's own scores.
    assert (first.cells["id"], first.cells["score"], second.cells["score"]) == ("a", "0.4000", "0.8000")
    assert first.cells["source"] == "[Anne](PER) lives in [Cologne](ORG)."
    assert first.cells["target"] == "[Anna](PER) wohnt in [Köln](ORG)."
    assert third.cells["target"] == "Nichts."
    found = import_review(done, sheet)["de"]
    assert (found.rows, found.changed, found.spans.exact.tp, found.labels) == (3, 0, 3, None)
    assert published(done.folder.root) == before


def test_corrected_predictions_stand_on_the_users_text(predicted: Settings, tmp_path: Path) -> None:
    done, sheet = finish(predicted), tmp_path / "review.csv"
    before = rows_of(done.folder.root)
    export_review(done, sheet)
    edit(sheet, {"a": {"target": "[Anna](PER) wohnt in [Köln](LOC)."}, "b": {"target": "[Köln](LOC) und [Ulm](LOC)."}})
    found = import_review(done, sheet)["de"]
    assert (found.changed, found.chrf, found.ter) == (2, 100.0, 0.0)
    assert (found.spans.exact.tp, found.spans.exact.fp, found.spans.exact.fn) == (2, 1, 2)
    rows = rows_of(done.folder.root)
    assert [row["text"] for row in rows.values()] == list(TEXTS.values())
    assert places(rows["a"]) == [(0, 4, "PER"), (14, 18, "LOC")]
    assert places(rows["b"]) == [(0, 4, "LOC"), (9, 12, "LOC")]
    assert places(rows["a"], "machine_spans") == [(0, 4, "PER"), (14, 18, "ORG")]
    assert [row["post_edited"] for row in rows.values()] == [True, True, False]
    assert rows["c"]["machine_spans"] is None and "machine_text" not in rows["a"]
    for name in ("pivot_text", "projections", "translation_score"):
        assert rows["a"][name] == before["a"][name], f"{name} is the machine's"
    card = (done.folder.root / "README.md").read_text(encoding="utf-8")
    assert "People corrected some rows (2 of de)" in card and "`post_edited`" in card
    export_build(done, tmp_path / "exported", form="jsonl")
    [file] = (tmp_path / "exported" / "de").glob("*.jsonl")
    exported = {row["id"]: row for row in map(json.loads, file.read_text(encoding="utf-8").splitlines())}
    assert places(exported["a"]) == places(rows["a"]) and exported["a"]["post_edited"]


def test_corrections_outlive_rows_in_front_and_another_translation(predicted: Settings, tmp_path: Path) -> None:
    done, sheet = finish(predicted), tmp_path / "review.csv"
    export_review(done, sheet)
    edit(sheet, {"a": {"target": "Anna wohnt in [Köln](LOC)."}})
    import_review(done, sheet)
    in_front = [{"id": "new", "text": "Ulm."}, {"id": "newer", "text": "Bonn."}]
    write(tmp_path / "de.jsonl", [*in_front, *({"id": id_, "text": text} for id_, text in TEXTS.items())])
    predicted["translation"]["settings"] = {"dictionary": {**WORDS, "wohnt": "dwells"}}
    said = {"Anne dwells in Cologne.": [{"start": 0, "end": 4, "label": "PER"}]}
    texts = [*said, *list(SAID)[1:], *(each["text"] for each in in_front)]
    write(tmp_path / "predictions.jsonl", [{"text": text, "spans": said.get(text, [])} for text in texts])
    again = rows_of(finish(predicted).folder.root)
    assert list(again) == ["new", "newer", "a", "b", "c"]
    assert "dwells" in again["a"]["pivot_text"]
    assert (again["a"]["post_edited"], places(again["a"])) == (True, [(14, 18, "LOC")])
    assert not again["new"]["post_edited"]


def test_bad_rows_of_predictions_are_one_line_each(predicted: Settings, tmp_path: Path, published: Published) -> None:
    done, sheet = finish(predicted), tmp_path / "review.csv"
    export_review(done, sheet)
    before = published(done.folder.root)
    edit(
        sheet,
        {
            "a": {"target": "Anna lebt in [Köln](LOC)."},
            "b": {"target": "[Köln](CITY) und Ulm."},
            "c": {"target": "[Nichts](LOC"},
        },
    )
    with pytest.raises(DataError) as caught:
        import_review(done, sheet)
    first, second, third, last = str(caught.value).splitlines()
    assert "review.csv: row 2: target: found 'Anna lebt in Köln.', expected 'Anna wohnt in Köln.', as in the" in first
    assert first.endswith("only its spans are to be edited")
    assert "review.csv: row 3: target: found label 'CITY'; known: LOC, ORG, PER" in second
    assert "review.csv: row 4: target: '](LOC' at character 8: expected a label" in third
    assert last == "nothing was stored" and published(done.folder.root) == before


@pytest.mark.parametrize("numbers", [False, True])
def test_predicted_labels_are_corrected(predicted: Settings, tmp_path: Path, numbers: bool) -> None:
    labels: list[Any] = [0.5, 1.0, 2.5] if numbers else ["good", "bad", "-"]
    write(tmp_path / "de.jsonl", [{"id": id_, "text": text} for id_, text in TEXTS.items()])
    said = [{"text": text, "label": label} for text, label in zip(SAID, labels, strict=True)]
    write(tmp_path / "predictions.jsonl", said)
    predicted |= {"task": "text-classification", "projection": {}}
    done, sheet = finish(predicted), tmp_path / "review.xlsx"
    assert export_review(done, sheet, by="random") == 3
    shown = {row.cells["id"]: row.cells["label"] for row in read_sheet(sheet)}
    assert shown == ({"a": "0.5", "b": "1.0", "c": "2.5"} if numbers else {"a": "good", "b": "bad", "c": "\\-"})
    edit(sheet, {"b": {"label": "0.75" if numbers else "good"}})
    found = import_review(done, sheet)["de"]
    assert (found.changed, round(found.labels or 0.0, 2)) == (1, 66.67)
    rows = rows_of(done.folder.root)
    assert [row["predicted_label"] for row in rows.values()] == (
        ["0.5", "0.75", "2.5"] if numbers else ["good", "good", "-"]
    )
    assert [row["machine_label"] for row in rows.values()] == [None, str(labels[1]), None]
    edit(sheet, {"a": {"label": "god"}})
    expected = "expected a number" if numbers else "found label 'god'; did you mean 'good'"
    with pytest.raises(DataError, match=rf"review\.xlsx: row 2: label: .*{expected}"):
        import_review(done, sheet)
    done_by_command = CliRunner().invoke(app, ["review", "import", str(done.folder.root), str(sheet)])
    assert done_by_command.exit_code != 0
    edit(sheet, {"a": {"label": shown["a"]}})
    shown_to_people = CliRunner().invoke(app, ["review", "import", str(done.folder.root), str(sheet)])
    assert "labels %" in shown_to_people.stdout and "66.67" in shown_to_people.stdout


# ---------------------------------------------------------------------------------------------------------------------
# Questions with choices


QUESTIONS = [
    {"id": "1", "question": "Where?", "choices": ["In Ulm", "In Bonn"], "label": 0},
    {"id": "2", "context": "She sings.", "question": "What?", "choices": ["7", "a song", "=SUM(1)", ""], "label": 1},
]


@pytest.fixture
def questions(tmp_path: Path) -> Settings:
    return {
        "task": "multiple-choice",
        "source": {"path": str(write(tmp_path / "questions.jsonl", QUESTIONS)), "language": "en"},
        "targets": ["de"],
        "translation": {"model": "fake", "settings": {"dictionary": {"Where": "Wo", "song": "Lied", "sings": "singt"}}},
        "run": {"memory": False},
        "output": str(tmp_path / "out"),
    }


@pytest.mark.parametrize("kind", [".csv", ".xlsx"])
def test_choices_stand_side_by_side(questions: Settings, tmp_path: Path, published: Published, kind: str) -> None:
    done, sheet = finish(questions), tmp_path / f"review{kind}"
    before = published(done.folder.root)
    assert export_review(done, sheet, by="random") == 2
    first, second = list(read_sheet(sheet))
    fields = ["context", "question", "choice1", "choice2", "choice3", "choice4"]
    assert list(first.cells)[5:] == [f"{side}_{name}" for name in fields for side in ("source", "target")]
    assert (first.cells["target_question"], first.cells["target_choice3"]) == ("Wo?", "")
    assert (second.cells["target_context"], second.cells["target_choice3"]) == ("She singt.", "\\=SUM(1)")
    assert import_review(done, sheet)["de"].changed == 0
    assert published(done.folder.root) == before
    edit(sheet, {"2": {"target_choice2": "ein Lied"}})
    assert import_review(done, sheet)["de"].changed == 1
    rows = rows_of(done.folder.root)
    assert (rows["2"]["choices"], rows["2"]["label"]) == (["7", "ein Lied", "=SUM(1)", ""], 1)
    assert rows["2"]["machine_choices"] == ["7", "a Lied", "=SUM(1)", ""]
    assert (rows["1"]["post_edited"], rows["1"]["machine_choices"]) == (False, None)
    write(Path(questions["source"]["path"]), [{**QUESTIONS[0], "id": "0"}, *QUESTIONS])
    assert rows_of(finish(questions).folder.root)["2"]["choices"][1] == "ein Lied"


def test_choices_that_are_not_there_are_refused(questions: Settings, tmp_path: Path, published: Published) -> None:
    done, sheet = finish(questions), tmp_path / "review.csv"
    export_review(done, sheet, by="random")
    before = published(done.folder.root)
    edit(sheet, {"1": {"target_choice3": "In Rom"}, "2": {"target_choice1": " "}})
    with pytest.raises(DataError) as caught:
        import_review(done, sheet)
    first, second, _ = str(caught.value).splitlines()
    assert "row 2: target_choice3: found 'In Rom', expected nothing: the example has no such text" in first
    assert "row 3: target_choice1: found nothing, expected a text" in second
    edit(sheet, {"1": {"target_choice3": ""}, "2": {"target_choice1": "7"}})
    rows = [{name: text for name, text in row.cells.items() if "choice4" not in name} for row in read_sheet(sheet)]
    write_sheet(sheet, list(rows[0]), [list(row.values()) for row in rows])
    with pytest.raises(DataError, match="row 3: found no column 'source_choice4', and the example has a 'choice4'"):
        import_review(done, sheet)
    assert published(done.folder.root) == before


def test_a_sheet_may_have_more_columns_than_there_are_letters(questions: Settings, tmp_path: Path) -> None:
    many = {"id": "1", "question": "Where?", "choices": [f"choice {number}" for number in range(12)], "label": 0}
    write(Path(questions["source"]["path"]), [many])
    done, sheet = finish(questions), tmp_path / "review.xlsx"
    export_review(done, sheet, by="random")
    [row] = read_sheet(sheet)
    assert len(row.cells) == 31 and row.cells["target_choice12"] == "choice 11"
    assert import_review(done, sheet)["de"].changed == 0
