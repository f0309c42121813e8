"""The command line as a person meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanferry.flows import cli, work

Settings = dict[str, Any]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; return exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spanferry", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            cli.main()
            code: Any = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def config(build_settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "build.yaml"
    path.write_text(yaml.safe_dump(build_settings), encoding="utf-8")
    return path


def test_a_build_prints_what_was_kept_and_how_to_go_on(run: Run, config: Path, tmp_path: Path) -> None:
    code, out, err = run("build", str(config), "--limit", "30")
    assert code == 0
    header, german = out.splitlines()[:2]
    assert header.split()[:7] == ["language", "rows", "kept", "dropped", "spans", "carried", "lost"]
    language, rows, kept, dropped, spans, carried, lost = german.split()[:7]
    assert (language, rows) == ("de", "30")
    assert int(kept) + int(dropped) == 30 and int(carried) + int(lost) == int(spans)
    assert f'datasets.load_dataset("{tmp_path / "out"}", "de")' in out and "signature: task:ner|" in out
    assert "de: translating: 30 rows" in err
    again = run("build", str(config), "--limit", "30")
    assert again[0] == 0 and "reused" in again[1] and "translating" not in again[2]


def test_quiet_is_quiet(run: Run, config: Path) -> None:
    assert run("build", str(config), "--limit", "10", "--quiet") == (0, "", "")


def test_options_are_settings(run: Run, config: Path, tmp_path: Path) -> None:
    output = tmp_path / "elsewhere"
    code, _, _ = run("build", str(config), "--limit", "10", "--languages", "Spanish", "--set", f"output={output}")
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert code == 0 and list(report["languages"]) == ["es"] and report["settings"]["limit"] == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "translation.beem_size=1"], "--set translation.beem_size: unknown key; did you mean 'beam_size'?"),
        (["--languages", "fr"], "--languages fr: no language of this build; known: de, es"),
        (["--languages", "klingon"], "unknown language 'klingon'"),
        (["--set", "source.path=nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--set", "source.columns={text: txt}"], "no column 'txt' for text: did you mean 'text'?"),
        (["--set", "translation.settings={dictionry: {}}"], "dictionry"),
        (["--set", "projection.settings={gap: 1}"], "projection method 'alignment' has no setting 'gap'"),
        (["--set", "output=."], "no build of spanferry"),
        (["--on-error", "ignore"], "found 'ignore', expected 'raise' or 'skip'"),
        (["--set", "source.path=sample:entites.en.jsonl"], "unknown sample 'entites.en.jsonl'; did you mean"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(run: Run, config: Path, arguments: list[str], message: str) -> None:
    code, out, err = run("build", str(config), *arguments)
    [line] = [line for line in err.splitlines() if not line.startswith("reading ")]
    assert (code, out) == (2, "") and line.startswith("spanferry: ") and message in line


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = work.write_records

    def full(path: Path, records: Any) -> None:
        if path.name == "00001.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, records)

    monkeypatch.setattr(work, "write_records", full)
    code, _, err = run("build", str(config))
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("spanferry: ") and "No space left on device. What is finished is safe" in last
    monkeypatch.setattr(work, "write_records", real)
    code, _, err = run("build", str(config))
    assert code == 0 and "de: carrying: 120 rows, 50 of them done before" in err


def test_a_plan_counts_what_a_build_would_do_and_writes_nothing(run: Run, config: Path, tmp_path: Path) -> None:
    code, out, _ = run("plan", str(config), "--json", "--quiet")
    planned = json.loads(out)
    assert code == 0 and planned["splits"] == {"train": 120} and not (tmp_path / "out").exists()
    german, spanish = planned["languages"]
    assert german["rows"] == 120 and german["reused"] == german["remembered"] == 0
    assert german["translate"] >= 120 and german["characters"] > 5000 and german["seconds"] > 0
    assert run("build", str(config), "--languages", "de", "--quiet")[0] == 0
    german, spanish = json.loads(run("plan", str(config), "--json", "--quiet")[1])["languages"]
    assert (german["reused"], german["translate"]) == (120, 0)
    assert spanish["translate"] >= 120
    run("build", str(config), "--quiet")
    changed = ["--set", "filters={length_ratio: {}}"]
    for each in json.loads(run("plan", str(config), "--json", "--quiet", *changed)[1])["languages"]:
        assert (each["reused"], each["translate"]) == (0, 0) and each["remembered"] >= 120
    out = run("plan", str(config), *changed)[1]
    assert [line.split()[-2:] for line in out.splitlines()[2:4]] == [["no", "model"]] * 2
    assert "nothing for a model to do: all is remembered, and the build would only put 240 rows together" in out
    out = run("plan", str(config))[1]
    assert "source: train 120 rows" in out and "expected time" not in out
    assert [line.split()[-1] for line in out.splitlines()[2:4]] == ["done", "done"]
    assert "nothing to do: every row is done" in out
    part = run("plan", str(config), "--limit", "130")[1]
    assert "expected time: " in part and "nothing" not in part


def test_a_plan_knows_exactly_how_many_sentences_the_build_translates(run: Run, config: Path, tmp_path: Path) -> None:
    planned = json.loads(run("plan", str(config), "--json", "--quiet")[1])["languages"]
    run("build", str(config), "--quiet")
    [line] = (tmp_path / "out" / ".spanferry" / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    done = json.loads(line)["languages"]
    assert [each["translate"] for each in planned] == [done[name]["translated"] for name in ("de", "es")]


def test_init_writes_a_config_that_builds(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("init", "slots")
    assert code == 0 and out.startswith("wrote slots.yaml")
    assert run("init", "slots")[0] == 2
    assert run("init", "slots", "-")[1] == (tmp_path / "slots.yaml").read_text(encoding="utf-8")
    fake = ["--set", "translation.model=fake", "--set", "projection.aligner=fake", "--set", "run.memory=false"]
    assert run("build", "slots.yaml", "--limit", "5", "--quiet", *fake) == (0, "", "")
    assert (tmp_path / "out" / "slots" / "data" / "de").is_dir()
    code, _, err = run("init", "nre")
    assert code == 2 and "did you mean 'ner'" in err and not (tmp_path / "nre.yaml").exists()
    assert run("init", "ner", "back.yaml", "--direction", "back-translate")[0] == 0
    assert run("build", "back.yaml", "--limit", "5", "--quiet", *fake) == (0, "", "")
    assert (tmp_path / "out" / "ner-and-back" / "data" / "de").is_dir()
    code, _, err = run("init", "ner", "no.yaml", "--direction", "back-translation")
    assert code == 2 and err.count("\n") == 1 and "did you mean 'back-translate'" in err


def test_the_schema_is_json(run: Run) -> None:
    code, out, _ = run("schema")
    assert code == 0 and "beam_size" in json.loads(out)["$defs"]["TranslationSettings"]["properties"]


def test_the_version_is_the_packages(run: Run) -> None:
    assert run("version") == (0, version("spanferry") + "\n", "")


@pytest.mark.parametrize(
    "command",
    [
        *("build", "plan", "schema", "init", "version", "score", "predict", "models"),
        *("report", "inspect", "diff", "review", "export"),
    ],
)
def test_every_command_has_help(run: Run, command: str) -> None:
    assert f" {command} " in run("--help")[1]
    code, out, _ = run(command, "--help")
    assert code == 0 and "Usage: spanferry" in out


def test_bars_appear_on_a_terminal_and_go_when_done(config: Path) -> None:
    """Run a build on a pseudo-terminal, as a person would."""
    import pty

    master, slave = pty.openpty()
    program = "import sys; sys.argv[0] = 'spanferry'; from spanferry.flows.cli import main; main()"
    command = [sys.executable, "-c", program, "build", str(config), "--limit", "30"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=slave, env=environment) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # the terminal is closed when the process has ended
                break
            if not chunk:
                break
            seen += chunk
    os.close(master)
    text = seen.decode()
    assert process.returncode == 0
    assert "de: translating" in text and "30/30" in text and "rows in" in text


def test_a_language_without_a_row_is_not_told_to_be_loaded(run: Run, config: Path) -> None:
    far_off = "filters={length_ratio: {lowest: 50, highest: 99, shortest: 1, on_fail: drop_example}}"
    code, out, _ = run("build", str(config), "--limit", "9", "--set", far_off)
    assert code == 0
    assert "no row was kept, so not in the dataset: de, es" in out and "load_dataset" not in out
    code, out, _ = run("build", str(config), "--limit", "9", "--set", "targets=[de]")
    assert code == 0 and "no row was kept" not in out and "load_dataset" in out


@pytest.mark.parametrize("command", ["build", "plan"])
@pytest.mark.parametrize("languages", ["", " , "])
def test_no_language_at_all_is_a_mistake(run: Run, config: Path, command: str, languages: str) -> None:
    code, _, err = run(command, str(config), "--languages", languages)
    assert code == 2
    assert err == "spanferry: --languages: found nothing, expected some of de, es; or leave it out for all\n"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("memory", "prune", "memory.sqlite", "--model", ""), "--model"),
        (("memory", "export", "memory.sqlite", "--output", "out.jsonl", "--model", " "), "--model"),
        (("publish", "out", "--repo", ""), "--repo"),
        (("publish", "out", "--dry-run", "--license", ""), "--license"),
        (("publish", "out", "--repo", "a/b", "--tag", ""), "--tag"),
        (("predict", "a.jsonl", "p.jsonl", "--language", "en", "--predictor", "spacy", "--model", ""), "--model"),
        (
            (
                "models", "priors", "--data", "a.tsv", "--output", "p", "--source-language", "en", "--target-language",
                "de", "--corpora", "",
            ),
            "--corpora",
        ),
    ],
)  # fmt: skip
def test_an_option_without_a_value_is_no_condition(run: Run, arguments: tuple[str, ...], option: str) -> None:
    code, _, err = run(*arguments)
    assert code == 2
    assert err == f"spanferry: {option}: found nothing, expected a value; give one, or leave the option out\n"
