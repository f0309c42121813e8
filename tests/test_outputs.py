"""Where commands write: what cannot be written, or is read too, is refused in one line, and before the work."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from spanferry.data.errors import ConfigError
from spanferry.data.formats import check_output, replacing
from spanferry.flows import cli

ROW = '{"id": "1", "text": "Anna ran.", "spans": [[0, 4, "PER"]]}\n'
RECIPE = """\
name: x
output: FILE/run
data: [{path: gold.jsonl, source_language: en, target_language: de, quotas: {c: [{pairs: 1}]}}]
model: {languages: [en, de]}
optimizer: {learning_rate: 0.1, max_steps: 1}
"""
Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Run a command in a folder with gold.jsonl, a FILE and a FOLDER, and return the one line that it ends with."""
    monkeypatch.chdir(tmp_path)
    for name in ("gold.jsonl", "FILE", "p.jsonl"):
        Path(name).write_text(ROW, encoding="utf-8")
    Path("FOLDER").mkdir()
    Path("recipe.yaml").write_text(RECIPE, encoding="utf-8")

    def refused(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["spanferry", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    return refused


PREDICT = ("--language", "en", "--predictor", "file", "--set", "path=p.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "gold.jsonl", "gold.jsonl", *PREDICT), "gold.jsonl: is read, and would be written over; name"),
        (("predict", "gold.jsonl", "FOLDER/../gold.jsonl", *PREDICT), "gold.jsonl: is read, and would be written over"),
        (("predict", "gold.jsonl", "p.jsonl", *PREDICT), "p.jsonl: is read, and would be written over"),
        (("predict", "gold.jsonl", "FOLDER", *PREDICT), "FOLDER: is a folder, expected a file to write; name another"),
        (("predict", "gold.jsonl", ".", *PREDICT), ".: is a folder, expected a file"),
        (("predict", "gold.jsonl", "FILE/x.jsonl", *PREDICT), "FILE/x.jsonl: cannot be written (Not a directory)"),
        (("ensemble", "p.jsonl", "FILE", "-o", "p.jsonl"), "p.jsonl: is read"),
        (("ensemble", "a=p.jsonl", "b=FILE", "-o", "gold.jsonl", "--gold", "gold.jsonl"), "gold.jsonl: is read"),
        (("ensemble", "p.jsonl", "FILE", "-o", "."), ".: is a folder"),
        (("models", "train-tagger", "gold.jsonl", "FILE", "--language", "en"), "FILE: is a file, expected a folder to"),
        (("models", "train-tagger", "gold.jsonl", "FILE/x", "--language", "en"), "FILE/x: cannot be written"),
        (("models", "train-tagger", "gold.jsonl", "", "--language", "en"), "found nothing, expected a folder to write"),
        (("models", "train", "recipe.yaml"), "FILE/run: cannot be written (Not a directory)"),
        (("models", "export", "recipe.yaml", "FILE"), "FILE: is a file, expected a folder to write"),
        (
            (
                "models", "priors", "--data", "FILE", "--output", "FILE", "--source-language", "en",
                "--target-language", "de",
            ),
            "FILE: is read, and would be written over",
        ),
        (
            ("score", "--source", "gold.jsonl", "--target", "FILE", "--fit-calibration", "FILE"),
            "FILE: is read, and would be written over",
        ),
    ],
)  # fmt: skip
def test_an_output_that_is_an_input_or_cannot_be_written(
    refused: Refused, arguments: tuple[str, ...], message: str
) -> None:
    assert message in refused(*arguments)
    assert [Path(name).read_text(encoding="utf-8") for name in ("gold.jsonl", "FILE", "p.jsonl")] == [ROW] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "-o", "FOLDER"), "FOLDER: is a folder"),
        (("report", "-o", "FILE/page.html"), "FILE/page.html: cannot be written"),
        (("report", "-o", "three/report.json"), "three/report.json: is read, and would be written over"),
        (("report", "-o", "three/.spanferry/plan.json"), "plan.json: belongs to three/.spanferry, which is read"),
        (("review", "export", "-o", "folder.csv"), "folder.csv: is a folder"),
        (("review", "export", "-o", "FILE/sheet.xlsx"), "FILE/sheet.xlsx: cannot be written"),
        (("export", "-o", "FILE/x"), "FILE/x: cannot be written (Not a directory); name another"),
    ],
)
def test_a_build_is_not_written_where_it_cannot_be(
    refused: Refused, looked_at: ModuleType, arguments: tuple[str, ...], message: str
) -> None:
    looked_at.write(Path("three"))
    Path("folder.csv").mkdir()
    Path("three/.spanferry/plan.json").touch()
    at = arguments.index("-o")
    assert message in refused(*arguments[:at], "three", *arguments[at:])


def test_a_page_may_be_written_again(looked_at: ModuleType, tmp_path: Path) -> None:
    root = looked_at.write(tmp_path / "three")
    (root / "report.html").touch()
    check_output(root / "report.html", [root / "report.json", root / "data"])


def test_nothing_is_made_where_something_could_be_written(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "folder" / "p.jsonl", ["org/dataset", None, tmp_path])
    check_output(tmp_path / "new", folder=True)
    assert not list(tmp_path.iterdir())


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(ConfigError, match=r"/dev/null: is no plain file"):
        check_output(os.devnull)


def test_replacing_takes_the_place_of_nothing_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "folder") as temporary:
        temporary.touch()
    with pytest.raises(NotADirectoryError), replacing(tmp_path / "file") as temporary:
        temporary.mkdir()
    with pytest.raises(IsADirectoryError), replacing(Path()):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("number", [errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG])
def test_a_place_that_is_none_is_one_line(refused: Refused, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fails(**_: object) -> None:
        raise OSError(number, os.strerror(number), "out/x")

    monkeypatch.setattr(cli, "app", fails)
    assert f"out/x: {os.strerror(number)}" in refused()
