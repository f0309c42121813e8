"""The review loop: out as a spreadsheet, back with corrections, and into this and every later dataset."""

from __future__ import annotations

import csv
import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example, Span
from spanferry.data.inline import from_inline, to_inline
from spanferry.data.spreadsheet import read_sheet, write_sheet
from spanferry.flows.build import build
from spanferry.flows.build_outcomes import lowest_score, rows_of
from spanferry.flows.config import parse_config
from spanferry.flows.corrections import Correction
from spanferry.flows.members import Build, open_build
from spanferry.flows.review import export_review
from spanferry.flows.review_import import Edited, compare, import_review

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def finished(build_settings: Settings) -> Build:
    return open_build(build(parse_config(build_settings)).folder)


def edit(path: Path, changes: dict[str, str], column: str = "target") -> None:
    """Replace the text of some rows, by id."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, column: changes.get(row["id"], row[column])} for row in rows)


def parquet(folder: Path, language: str) -> dict[str, dict[str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "data" / language / "train-00000-of-00001.parquet")
    return {row["id"]: row for row in table.to_pylist()}


@pytest.mark.parametrize("kind", [".csv", ".xlsx"])
def test_what_nobody_edits_changes_nothing(finished: Build, tmp_path: Path, published: Published, kind: str) -> None:
    before = published(finished.folder.root)
    sheet = tmp_path / f"review{kind}"
    assert export_review(finished, sheet, n=20) == 40
    found = import_review(finished, sheet)
    assert {name: (each.rows, each.changed, each.chrf, each.ter) for name, each in found.items()} == {
        "de": (20, 0, 100.0, 0.0),
        "es": (20, 0, 100.0, 0.0),
    }
    assert found["de"].spans.exact.fp == found["de"].spans.exact.fn == 0 < found["de"].spans.exact.tp
    assert published(finished.folder.root) == before


def test_corrections_are_in_the_dataset_and_stay_there(
    finished: Build, build_settings: Settings, tmp_path: Path, published: Published
) -> None:
    sheet, folder = tmp_path / "review.csv", finished.folder.root
    before = parquet(folder, "de")
    export_review(finished, sheet, by="random", n=1000, language="de")
    edit(sheet, {"ent-0003": "[Marta](PER) traf zweimal in den letzten zehn Minuten.", "ent-0055": "Um [8](MISC)."})
    found = import_review(finished, sheet)
    assert (found["de"].rows, found["de"].changed) == (len(before), 2)
    assert 0 < found["de"].chrf < 100 and found["de"].ter > 0 and found["de"].spans.exact.fn == 2

    rows = parquet(folder, "de")
    row, old = rows["ent-0003"], before["ent-0003"]
    assert row["post_edited"] and row["text"] == "Marta traf zweimal in den letzten zehn Minuten."
    assert [(each["start"], each["end"]) for each in row["spans"]] == [(0, 5)]
    assert row["machine_text"] == old["text"] and row["machine_spans"][0]["label"] == "PER"
    assert row["projections"] == old["projections"]
    untouched = {key: value for key, value in rows["ent-0004"].items() if key in before["ent-0004"]}
    assert untouched == before["ent-0004"] and rows["ent-0004"]["machine_text"] is None
    assert sum(each["post_edited"] for each in rows.values()) == 2
    assert "post_edited" not in parquet(folder, "es")["ent-0004"]
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["languages"]["de"]["total"]["post_edited"] == 2
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "People corrected some rows (2 of de)" in card and "`post_edited`" in card

    # A rebuild keeps them, to the byte; export leaves out what was corrected.
    files = published(folder)
    build(parse_config(build_settings))
    assert published(folder) == files
    export_review(open_build(folder), sheet, n=1000, language="de")
    assert "ent-0003" not in {row.cells["id"] for row in read_sheet(sheet)}


def test_a_correction_is_taken_back_where_the_row_is_the_machines_again(
    finished: Build, tmp_path: Path, published: Published
) -> None:
    before = published(finished.folder.root)
    sheet = tmp_path / "review.csv"
    export_review(finished, sheet, n=10, by="random")
    shutil.copyfile(sheet, tmp_path / "machine.csv")
    some = next(iter(read_sheet(sheet))).cells["id"]
    edit(sheet, {some: "Anders."})
    import_review(finished, sheet)
    assert published(finished.folder.root) != before
    import_review(finished, tmp_path / "machine.csv")
    assert published(finished.folder.root) == before


def test_a_correction_of_another_source_is_kept_and_not_used(
    build_settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "rows.jsonl"
    lines = Path(build_settings["source"]["path"]).read_text(encoding="utf-8").splitlines()[:10]
    source.write_text("\n".join(lines), encoding="utf-8")
    build_settings["source"]["path"] = str(source)
    folder = build(parse_config(build_settings)).folder
    sheet = tmp_path / "review.csv"
    export_review(open_build(folder), sheet, n=10, language="de")
    edit(sheet, {"ent-0003": "Eins.", "ent-0004": "Zwei."})
    import_review(open_build(folder), sheet)
    source.write_text("\n".join(lines).replace("scored twice", "scored once"), encoding="utf-8")
    result = build(parse_config(build_settings))
    total = result.report["languages"]["de"]["total"]
    assert (total["post_edited"], total["corrections_unused"]) == (1, 1)
    rows = parquet(folder, "de")
    assert "once" in rows["ent-0003"]["text"] and rows["ent-0004"]["text"] == "Zwei."
    from spanferry.flows.report import print_summary

    print_summary(result)
    assert "1 corrections are not used" in capsys.readouterr().out


def test_every_bad_row_is_one_line_and_nothing_is_stored(finished: Build, tmp_path: Path, published: Published) -> None:
    sheet = tmp_path / "review.csv"
    export_review(finished, sheet, n=1000, by="random", language="de")
    ids = [row.cells["id"] for row in read_sheet(sheet)]
    edit(sheet, dict(zip(ids, ["[Anna](PRE) lacht.", "[Anna lacht.", "  ", "Anna](PER) lacht."], strict=False)))
    edit(sheet, {ids[4]: "Another text."}, column="source")
    edit(sheet, {ids[8]: "fr"}, column="language")
    edit(sheet, {ids[5]: "nobody", ids[6]: ids[7], ids[9]: "ent-0001"}, column="id")  # ent-0001 was dropped
    before = published(finished.folder.root)
    with pytest.raises(DataError) as caught:
        import_review(finished, sheet)
    *found, last = str(caught.value).splitlines()
    expected = [
        "row 2: target: found label 'PRE'; did you mean 'PER'? Known: LOC, MISC, ORG, PER",
        "row 3: target: '[' before 'Anna lacht.' is not closed: expected ](LABEL) behind it. Hint: a span is [text]",
        "row 4: target: found nothing, expected a text",
        "row 5: target: '](PER)' at character 5 closes a bracket that is not open",
        "row 6: source: found 'Another text.', expected '",
        "row 7: found id 'nobody', which de/train of ",
        f"row 9: found id {ids[7]!r} again, expected each once: row 8 has it too",
        "row 10: found language 'fr'; known: de, es",
        "row 11: example 'ent-0001' was dropped (unaligned): remove the row",
    ]
    # Row 8 has the id of row 9, and so another text than its own.
    wrong_id = next(line for line in found if "row 8: source: found " in line)
    found.remove(wrong_id)
    assert len(found) == len(expected)
    for line, words in zip(found, expected, strict=True):
        assert f"review.csv: {words}" in line
    assert last == "nothing was stored" and published(finished.folder.root) == before


def test_scores_and_disagreement_choose_what_needs_a_person(tmp_path: Path, looked_at: Any) -> None:
    opened = open_build(looked_at.write(tmp_path / "build"))
    sheet = tmp_path / "review.csv"
    assert export_review(opened, sheet, n=2, language="ar") == 2
    rows = list(read_sheet(sheet))
    kept = {row.outcome["id"]: lowest_score(row.outcome) for row in rows_of(opened, "ar") if not row.outcome["reasons"]}
    assert [row.cells["id"] for row in rows] == sorted((i for i in kept if kept[i]), key=lambda i: kept[i] or 0)[:2]
    assert rows[0].cells["source"].startswith("The [University of [Cologne](LOC)](ORG) and the")
    assert "[ليلى حسن](PER)" in rows[0].cells["target"]
    export_review(opened, sheet, n=5, by="disagreement", language="de")
    assert [(row.cells["id"], row.cells["why"]) for row in read_sheet(sheet)] == [
        ("script", "methods disagree on LOC"),
        ("curie", "methods disagree on LOC"),
    ]
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        export_review(opened, sheet, by="rondom")


def test_spans_of_an_edited_text_are_compared_by_their_words() -> None:
    machine = Example("1", {"text": "Anna in Ulm"}, (Span(0, 4, "PER"), Span(8, 11, "LOC")))
    person = Correction(
        "1", {"text": "x"}, {"text": "Die Anna in Ulm"}, (Span(4, 8, "PER"), Span(0, 3, "LOC")), "deu_Latn"
    )
    scores = compare([Edited(machine, person)]).spans.exact
    assert (scores.tp, scores.fp, scores.fn) == (1, 1, 1)


@settings(max_examples=25)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\r\n=",;')), max_size=4))
@example(["_x000D_", "=1+1", " left and right ", "007", "3-4", "TRUE", "1.5"])
@pytest.mark.parametrize("kind", [".csv", ".xlsx"])
def test_any_text_comes_back_from_a_sheet(
    tmp_path_factory: pytest.TempPathFactory, kind: str, texts: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"sheet{kind}"
    write_sheet(path, ["text", "more"], [(to_inline(text, ()), "x") for text in texts])
    assert [from_inline(row.cells["text"])[0] for row in read_sheet(path)] == texts


def test_a_sheet_saved_with_semicolons_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("a;b;;\r\n1;x, y;;\r\n;;;\r\n2;;;\r\n", encoding="utf-8")
    assert [(row.number, dict(row.cells)) for row in read_sheet(path)] == [
        (2, {"a": "1", "b": "x, y"}),
        (4, {"a": "2", "b": ""}),
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_corrections_come_back_as_excel_writes_them(finished: Build, tmp_path: Path, separator: str) -> None:
    """With its byte-order mark, its line ends, the separator of its language, and quotes only where they are needed."""
    sheet, saved = tmp_path / "review.csv", tmp_path / "saved.csv"
    export_review(finished, sheet, n=3, by="random", language="de")
    rows = [dict(row.cells) for row in read_sheet(sheet)]
    rows[1]["target"] = 'Sie rief: "Komm;\nsofort,\t[Anna](PER)!"'
    with saved.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), dialect="excel", delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    assert import_review(finished, saved)["de"].changed == 1
    row = parquet(finished.folder.root, "de")[rows[1]["id"]]
    assert row["text"] == 'Sie rief: "Komm;\nsofort,\tAnna!"'
    assert [row["text"][each["start"] : each["end"]] for each in row["spans"]] == ["Anna"]


def test_corrections_come_back_as_programs_write_xlsx(finished: Build, tmp_path: Path) -> None:
    """As LibreOffice and Excel do on saving: texts in one shared table, rows beside the data, cells typed anew."""
    from openpyxl import load_workbook

    sheet, saved = tmp_path / "review.xlsx", tmp_path / "saved.xlsx"
    export_review(finished, sheet, n=3, by="random", language="de")
    ids = [row.cells["id"] for row in read_sheet(sheet)]
    book = load_workbook(sheet)
    page = book.active
    target = next(cell.column for cell in page[1] if cell.value == "target")
    page.cell(2, target).value = 1867  # a number that was typed
    page.cell(3, target).value = "\\=SUM(A1)"
    page.cell(200, 1).value = None  # an empty row that was formatted
    book.create_sheet("notes")["A1"] = "Please look at row 2."
    book.save(saved)
    assert import_review(finished, saved)["de"].changed == 2
    rows = parquet(finished.folder.root, "de")
    assert [rows[each]["text"] for each in ids[:2]] == ["1867", "=SUM(A1)"]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (datetime.date(1867, 11, 7), r"a date, '1867-11-07 00:00:00'"),
        (datetime.time(8, 30), "a date, '08:30:00'"),
        ("=SUM(A1)", r"a formula, '=SUM\(A1\)'"),
        ("#NAME?", r"the error of a formula, '#NAME\?'"),
        (True, "a truth value, 'True'"),
    ],
)
def test_what_a_program_took_for_something_else_is_named(
    finished: Build, tmp_path: Path, published: Published, value: Any, found: str
) -> None:
    from openpyxl import load_workbook

    sheet = tmp_path / "review.xlsx"
    export_review(finished, sheet, n=3, by="random", language="de")
    edit_xlsx = load_workbook(sheet)
    edit_xlsx.active["G3"] = value
    edit_xlsx.save(sheet)
    before = published(finished.folder.root)
    with pytest.raises(DataError, match=rf"review\.xlsx: row 3, column G: found {found}, expected text") as caught:
        import_review(finished, sheet)
    assert "\n" not in str(caught.value) and published(finished.folder.root) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("target", "Ziel", 1),
            "the header has no column 'target': found language, split",
        ),
        (lambda text: text.replace("why", "target", 1), "row 1: found the column 'target' twice, expected it once"),
        (lambda text: text + "de,train,x,,,a,b,c\r\n", "row 5: found 8 cells, expected 7, as the header"),
        (lambda text: "", "found an empty table, expected a header"),
        (lambda text: text + '"de', "broken CSV: unexpected end of data"),
        (
            lambda text: text.replace("ent-", "7", 1),
            "found id '7[0-9]+', which de/train of .* Hint: a program may",
        ),
    ],
)
def test_a_broken_sheet_is_one_line(
    finished: Build, tmp_path: Path, published: Published, change: Callable[[str], str], message: str
) -> None:
    sheet = tmp_path / "review.csv"
    export_review(finished, sheet, n=3, by="random", language="de")
    before = published(finished.folder.root)
    sheet.write_text(change(sheet.read_text(encoding="utf-8-sig")), encoding="utf-8-sig", newline="")
    with pytest.raises(DataError, match=rf"review\.csv: .*{message}") as caught:
        import_review(finished, sheet)
    assert len(str(caught.value).removesuffix("\nnothing was stored").splitlines()) == 1
    assert published(finished.folder.root) == before


def test_a_sheet_in_another_encoding_is_named(finished: Build, tmp_path: Path) -> None:
    sheet = tmp_path / "review.csv"
    sheet.write_bytes("language,split,id\nde,train,Köln\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"review\.csv: not UTF-8: .* Hint: save it as CSV UTF-8"):
        import_review(finished, sheet)
    with pytest.raises(DataError, match=r"gone\.csv: no such file"):
        import_review(finished, tmp_path / "gone.csv")


def test_corrections_stay_when_rows_are_put_in_front(build_settings: Settings, tmp_path: Path) -> None:
    """Also where the data has no ids: then they are made from what a row says, never from where it stands."""
    source = tmp_path / "rows.conll"
    rows = ["Anna\tB-PER\nlaughs\tO\n", "Klara\tB-PER\nsings\tO\n", "Nobody\tO\nsleeps\tO\n"]
    source.write_text("\n".join(rows), encoding="utf-8")
    build_settings |= {"targets": ["de"], "limit": None, "projection": {"aligner": "fake"}}
    build_settings["source"]["path"] = str(source)
    build_settings["run"]["shard_rows"] = 2
    folder = build(parse_config(build_settings)).folder
    sheet = tmp_path / "review.csv"
    export_review(open_build(folder), sheet, by="random")
    [id_] = [row.cells["id"] for row in read_sheet(sheet) if "Klara" in row.cells["source"]]
    edit(sheet, {id_: "[Clara](PER) singt"})
    import_review(open_build(folder), sheet)
    source.write_text("\n".join(["New\tO\n", *rows[:2], "Newer\tO\n", rows[2]]), encoding="utf-8")
    total = build(parse_config(build_settings)).report["languages"]["de"]["total"]
    assert total["post_edited"] == 1 and "corrections_unused" not in total
    assert [row["text"] for row in parquet(folder, "de").values()] == [
        "New", "Anna laughs", "Clara singt", "Newer", "Nobody sleeps"
    ]  # fmt: skip
