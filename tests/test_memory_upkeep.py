"""Looking after the translation memory, by functions and by the command."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spanferry.data.errors import ConfigError, SpanferryError
from spanferry.flows.cli import app
from spanferry.projection.remembering import ProjectionMemory, beside
from spanferry.translation import memory_upkeep
from spanferry.translation.base import Hypothesis
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.memory_upkeep import Choice


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two models, two directions; the first model's sentences are from 1970."""
    path = tmp_path / "memory.sqlite"
    with TranslationMemory(path) as memory:
        memory.put("old@1", "eng_Latn", "deu_Latn", {f"Yes {n}.": Hypothesis(f"Ja {n}.", -0.25) for n in range(50)})
        memory.put("new@2", "eng_Latn", "deu_Latn", {"Yes 1.": Hypothesis("Jawohl 1.", -0.5, finished=False)})
        memory.put("new@2", "eng_Latn", "spa_Latn", {"Yes 1.": Hypothesis("Sí 1.", None)})
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entries SET created = id WHERE scope = 1")
    connection.close()
    return path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["memory", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_info_counts_by_model_and_languages(file: Path) -> None:
    found = json.loads(run("info", file, "--json"))
    assert [(scope["model"], scope["target"], scope["entries"]) for scope in found["scopes"]] == [
        ("old@1", "deu_Latn", 50),
        ("new@2", "deu_Latn", 1),
        ("new@2", "spa_Latn", 1),
    ]
    assert found["bytes"] == file.stat().st_size
    assert found["scopes"][0]["oldest"] == "1970-01-01T00:00:01+00:00"
    assert "52 sentences" in run("info", file)


def test_export_gives_back_what_was_put(file: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    assert "wrote 2 sentences" in run("export", file, "--output", output, "--model", "new@")
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [(row["target_language"], row["source"], row["target"]) for row in rows] == [
        ("deu_Latn", "Yes 1.", "Jawohl 1."),
        ("spa_Latn", "Yes 1.", "Sí 1."),
    ]
    assert [(row["score"], row["finished"]) for row in rows] == [(-0.5, False), (None, True)]


def test_prune_removes_what_is_chosen_and_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_upkeep, "_BATCH", 7)  # so that several transactions are needed
    assert run("prune", file, "--older-than", "1y", "--dry-run") == "would remove 50 of 52 sentences\n"
    assert run("prune", file, "--older-than", "1y").startswith("removed 50 sentences")
    with TranslationMemory(file) as memory:
        assert memory.counts() == {("new@2", "eng_Latn", "deu_Latn"): 1, ("new@2", "eng_Latn", "spa_Latn"): 1}
        assert memory_upkeep.prune(memory, Choice(target="spa_Latn")) == 1
        assert memory.get("new@2", "eng_Latn", "deu_Latn", ["Yes 1."])


def test_projections_lie_beside_it_and_grow_old_too(file: Path) -> None:
    with ProjectionMemory(beside(file)) as projections:
        projections.put({b"one of 16 bytes.": "[]", b"two of 16 bytes.": "[]"})
        with projections.connection() as connection:
            connection.execute("UPDATE entries SET created = 0 WHERE id = 1")
    assert "memory.projections.sqlite: what became of the spans of 2 texts" in run("info", file)
    assert json.loads(run("info", file, "--json"))["projections"]["entries"] == 2
    run("prune", file, "--target", "es")
    assert json.loads(run("info", file, "--json"))["projections"]["entries"] == 2
    assert "removed 1 projections" in run("prune", file, "--older-than", "1y")
    assert json.loads(run("info", file, "--json"))["projections"]["entries"] == 1


def test_prune_gives_room_back(tmp_path: Path) -> None:
    with TranslationMemory(tmp_path / "memory.sqlite") as memory:
        memory.put("a", "eng_Latn", "deu_Latn", {f"{n}" * 200: Hypothesis("x" * 500) for n in range(3000)})
        memory_upkeep.prune(memory, Choice(source="deu_Latn"))
        before = memory.path.stat().st_size
        memory_upkeep.prune(memory, Choice(model="a"))
        assert memory.path.stat().st_size < before / 10


def test_prune_beside_a_reader(file: Path) -> None:
    """Who is reading meanwhile sees what it saw, and keeps the file from shrinking, not the prune from ending."""
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    query = "SELECT count(*) FROM entries"
    assert reader.execute(query).fetchone() == (52,)
    with TranslationMemory(file) as memory:
        with memory.connection() as connection:
            connection.execute("PRAGMA busy_timeout = 50")
        assert memory_upkeep.prune(memory, Choice(model="old@1")) == 50
        assert reader.execute(query).fetchone() == (52,)
        assert len(memory) == 2
    reader.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prune"], "nothing says what to remove"),
        (["prune", "--older-than", "soon"], "--older-than soon: expected a number of days"),
        (["prune", "--target", "Germann"], "German"),
    ],
)
def test_mistakes(file: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SpanferryError, match=message):
        run(arguments[0], file, *arguments[1:])


def test_looking_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpanferryError, match="there is no translation memory"):
        run("info", tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "my notes\n"])
@pytest.mark.parametrize("command", [["info"], ["prune", "--older-than", "1d"], ["export", "--output", "out.jsonl"]])
def test_a_file_that_is_no_memory_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    notes = tmp_path / "notes.txt"
    notes.write_text(content, encoding="utf-8")
    result = CliRunner().invoke(app, ["memory", command[0], "notes.txt", *command[1:]])
    assert isinstance(result.exception, ConfigError)
    assert "notes.txt" in str(result.exception) and "translation memory" in str(result.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert notes.read_text(encoding="utf-8") == content


def test_an_empty_file_beside_a_memory_is_no_memory(file: Path) -> None:
    beside(file).touch()
    assert "what became of" not in run("info", file)
    assert not beside(file).stat().st_size


def test_the_memory_is_not_written_over_by_its_own_export(file: Path) -> None:
    before = file.read_bytes()
    for output in (file, file.parent, file / "there.jsonl"):
        result = CliRunner().invoke(app, ["memory", "export", str(file), "--output", str(output)])
        assert isinstance(result.exception, ConfigError) and "name another" in str(result.exception)
    assert file.read_bytes() == before
