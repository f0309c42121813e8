"""Shards that fail: the other languages are whole, what failed is on record and shown, and is done again alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from spanferry.data.errors import BuildError, ConfigError, DataError, IncompleteError
from spanferry.flows import build as build_module
from spanferry.flows import work
from spanferry.flows.build import build
from spanferry.flows.claims import claim
from spanferry.flows.cli import app
from spanferry.flows.config import parse_config
from spanferry.flows.failures import failure_of, note_failure
from spanferry.flows.folder import BuildFolder
from spanferry.flows.helping import help_build
from spanferry.flows.jobs import noted_jobs
from spanferry.flows.report import LanguagesFailed
from spanferry.flows.status import status
from spanferry.translation.fake import FakeTranslator

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]
Break = Callable[..., None]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[Break]:
    """Let shards whose name ends in one of the given ones fail when they are written; none, to mend all."""
    write = work.write_records
    failing: dict[str, Exception] = {}

    def writing(path: Path, records: Any) -> None:
        for name, error in failing.items():
            if path.match(f"{name}.jsonl"):
                raise error
        write(path, records)

    def break_(*names: str, error: Exception | None = None) -> None:
        failing.clear()
        failing.update(dict.fromkeys(names, error or OSError("the cable came out")))

    monkeypatch.setattr(work, "write_records", writing)
    yield break_


@pytest.fixture
def three(build_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A build of three languages of three shards each, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return build_settings | {"targets": ["de", "es", "fr"], "output": "out"}


@pytest.fixture
def whole(three: Settings, tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What the build publishes when nothing fails."""
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    three["run"]["memory"] = False
    build(parse_config(three))
    monkeypatch.chdir(tmp_path)
    return published(tmp_path / "plain" / "out")


def notes(folder: str | Path = "out") -> list[str]:
    shards = Path(folder) / ".spanferry" / "shards"
    return sorted(path.relative_to(shards).as_posix() for path in shards.rglob("*.failed"))


def test_a_language_that_fails_leaves_the_others_whole(
    three: Settings, whole: dict[str, bytes], broken: Break, published: Published
) -> None:
    broken("es/train/00001", "es/train/00002")
    with pytest.raises(LanguagesFailed) as caught:
        build(parse_config(three))
    first, last = str(caught.value).splitlines()
    assert first == "es: 2 shards failed (train 1, 2): the cable came out"
    assert last.startswith("whole, in out: de, fr; when this is mended, the same command goes on")
    result = caught.value.result
    assert result is not None and list(result.report["languages"]) == ["de", "fr"]
    assert result.report["missing"] == ["es"] and result.failed == {"es": first.removeprefix("es: ")}
    assert {name: (each.rows, each.reused) for name, each in result.timings.items()} == {
        "de": (120, 0), "es": (50, 0), "fr": (120, 0),
    }  # fmt: skip
    parquet = {name: content for name, content in published(Path("out")).items() if name.startswith("data/")}
    assert parquet == {name: content for name, content in whole.items() if name.startswith(("data/de", "data/fr"))}
    assert notes() == ["es/train/00001.failed", "es/train/00002.failed"]

    broken()
    mended = build(parse_config(three))
    assert {name: each.rows for name, each in mended.timings.items()} == {"de": 0, "es": 70, "fr": 0}
    assert not notes() and published(Path("out")) == whole


def test_the_note_says_what_failed_and_holds_for_that_job_alone(three: Settings, broken: Break) -> None:
    broken("es/train/00001", error=ZeroDivisionError("division by zero"))
    with pytest.raises(LanguagesFailed):
        build(parse_config(three))
    [path] = Path("out").rglob("*.failed")
    note = json.loads(path.read_text(encoding="utf-8"))
    assert (note["language"], note["split"], note["shard"], note["rows"]) == ("es", "train", 1, 50)
    assert note["reason"] == "ZeroDivisionError: division by zero" and "in writing" in note["traceback"]
    assert note["time"].endswith("+00:00") and note["time"][:2] == "20"
    job = noted_jobs(BuildFolder(Path("out")))["es"][1]
    assert failure_of(job) is not None
    three["projection"] = three["projection"] | {"on_lost": "keep"}  # what failed is no shard of this build
    [*_] = build(parse_config(three), only=["de"]).timings
    assert failure_of(noted_jobs(BuildFolder(Path("out")))["es"][1]) is None
    path.write_text(json.dumps({"key": job.key}), encoding="utf-8")
    assert failure_of(job) is None, "of another version, or damaged"


def test_a_note_that_cannot_be_written_costs_nothing_else(three: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build(parse_config(three), only=["de"])
    job = noted_jobs(BuildFolder(Path("out")))["es"][0]
    Path(job.output).parent.mkdir(parents=True)
    Path(job.output).with_suffix(".failed").mkdir()  # something stands where the note should go
    assert note_failure(job, ValueError("odd")).reason == "ValueError: odd"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), OSError),
        (ConfigError("projection.settings: no such layer"), ConfigError),
        (DataError("this part of the build is gone"), DataError),
        (BuildError("memory.sqlite is full"), BuildError),
    ],
)
def test_what_every_shard_would_meet_stops_the_build_at_once(
    three: Settings, broken: Break, error: Exception, kind: type[Exception]
) -> None:
    broken("de/train/00001", error=error)
    with pytest.raises(kind) as caught:
        build(parse_config(three))
    assert caught.value is error and not isinstance(error, IncompleteError)
    done = sorted(path.name for path in Path("out/.spanferry/shards").rglob("*.jsonl"))
    assert done == ["00000.jsonl"] and not notes()


def test_a_build_of_which_every_language_fails_says_so(three: Settings, broken: Break) -> None:
    broken("train/0000?")
    with pytest.raises(LanguagesFailed) as caught:
        build(parse_config(three))
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        f"{language}: 3 shards failed (train 0, 1, 2): the cable came out" for language in ("de", "es", "fr")
    ]
    assert lines[3].startswith("no language is whole") and caught.value.result is None


def test_only_what_failed_is_done_again(
    three: Settings, whole: dict[str, bytes], broken: Break, published: Published
) -> None:
    broken("de/train/00000", "es/train/00001")
    with pytest.raises(LanguagesFailed):
        build(parse_config(three), only=["de", "es"])
    broken()
    spanish = build(parse_config(three), only=["es"], only_failed=True)
    assert {name: each.rows for name, each in spanish.timings.items()} == {"es": 50}
    assert list(spanish.report["languages"]) == ["es"] and spanish.report["missing"] == ["de", "fr"]
    both = build(parse_config(three), only_failed=True)
    assert {name: each.rows for name, each in both.timings.items()} == {"de": 50, "es": 0, "fr": 0}
    assert list(both.report["languages"]) == ["de", "es"] and both.report["missing"] == ["fr"]
    assert not notes()
    build(parse_config(three))
    assert published(Path("out")) == whole


def test_what_fails_again_is_noted_again(three: Settings, broken: Break) -> None:
    broken("de/train/00000")
    for only_failed in (False, True):
        with pytest.raises(LanguagesFailed, match="de: 1 shard failed"):
            build(parse_config(three), only_failed=only_failed)
        assert notes() == ["de/train/00000.failed"]


def test_where_a_model_fails_on_some_sentence(three: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it translates, in a thread of its own, with other shards behind it."""
    translate = FakeTranslator.translate

    def failing(self: FakeTranslator, texts: Any, *, source: str, target: str) -> Any:
        if target == "spa_Latn" and self.failures:
            self.failures -= 1
            raise RuntimeError("CUDA failed with error an illegal memory access was encountered")
        return translate(self, texts, source=source, target=target)

    monkeypatch.setattr(FakeTranslator, "failures", 1, raising=False)
    monkeypatch.setattr(FakeTranslator, "translate", failing)
    with pytest.raises(
        LanguagesFailed, match=r"es: 1 shard failed \(train [01]\): RuntimeError: CUDA failed"
    ) as caught:
        build(parse_config(three))
    assert caught.value.result is not None and caught.value.result.timings["es"].rows in {70, 120 - 50}


def test_status_shows_what_failed_what_runs_and_which_rows_could_not_be_read(
    three: Settings, broken: Break, tmp_path: Path
) -> None:
    lines = Path(three["source"]["path"]).read_text(encoding="utf-8").splitlines(keepends=True)[:120]
    bad = [lines[0].replace('"start": ', '"start": 99'), '{"text": 7}\n']
    (tmp_path / "train.jsonl").write_text("".join([*bad, *lines]), encoding="utf-8")
    three["source"]["path"], three["on_error"] = "train.jsonl", "skip"
    broken("es/train/00001")
    with pytest.raises(LanguagesFailed):
        build(parse_config(three))
    found = status("out")
    assert found.state == "stopped"
    assert {name: (each.done, each.running, len(each.failures)) for name, each in found.languages.items()} == {
        "de": (3, 0, 0), "es": (2, 0, 1), "fr": (3, 0, 0),
    }  # fmt: skip
    runner = CliRunner()
    printed = runner.invoke(app, ["status", "out"]).output
    assert "es: 1 shard failed (train 1): the cable came out" in printed and "--only-failed" in printed
    assert "de: rows dropped: unaligned" in printed and "see dropped/de" in printed
    assert "train: 2 source rows could not be read, see rejects/train.jsonl; " in printed
    as_json = json.loads(runner.invoke(app, ["status", "out", "--json"]).output)
    assert [failure["shard"] for failure in as_json["languages"]["es"]["failures"]] == [1]
    assert as_json["rejected"]["train"]["rows"] == 2 == sum(as_json["rejected"]["train"]["problems"].values())

    job = noted_jobs(BuildFolder(Path("out")))["es"][1]
    held = claim(job)
    assert held is not None
    again = status("out").languages["es"]
    assert (again.running, again.failures) == (1, ())
    held.release()
    assert len(status("out").languages["es"].failures) == 1


def test_a_helper_says_what_failed_with_it_and_the_build_tries_again(
    three: Settings, whole: dict[str, bytes], broken: Break, published: Published
) -> None:
    build(parse_config(three))
    for path in Path("out/.spanferry/shards/de/train").glob("00001.*"):
        path.unlink()
    broken("de/train/00001")
    with pytest.raises(LanguagesFailed, match=r"de: 1 shard failed \(train 1\): the cable(.|\n)*tries them again"):
        help_build(parse_config(three))
    assert notes() == ["de/train/00001.failed"]
    broken()
    assert build(parse_config(three)).timings["de"].rows == 50
    assert not notes() and published(Path("out")) == whole


# The command line, in processes of its own. The translator fails on Spanish while a file stands there.
PROGRAM = """
import os, sys
from spanferry.flows.cli import main
from spanferry.translation.fake import FakeTranslator
translate = FakeTranslator.translate
def failing(self, texts, *, source, target):
    if target == "spa_Latn" and os.path.exists("broken"):
        raise RuntimeError("CUDA failed with error unspecified launch failure")
    return translate(self, texts, source=source, target=target)
FakeTranslator.translate = failing
sys.argv[0] = "spanferry"
main()
"""


def spanferry(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_line_from_failure_to_the_whole_dataset(
    three: Settings, whole: dict[str, bytes], published: Published
) -> None:
    Path("build.yaml").write_text(yaml.safe_dump(three, sort_keys=False), encoding="utf-8")
    Path("broken").touch()
    first = spanferry("build", "build.yaml")
    assert first.returncode == 1 and "Traceback" not in first.stderr
    assert "not whole yet, and not in the dataset: es\n" in first.stdout
    assert [line.split()[0] for line in first.stdout.splitlines()[1:3]] == ["de", "fr"]
    reason = "RuntimeError: CUDA failed with error unspecified launch failure"
    assert f"es: shard train 0 failed: {reason}\n" in first.stderr
    assert first.stderr.splitlines()[-2] == f"spanferry: es: 3 shards failed (train 0, 1, 2): {reason}"
    assert "es" in spanferry("status", "out").stdout

    elsewhere = spanferry("build", "build.yaml", "--only-failed", "--languages", "de,fr")
    assert elsewhere.returncode == 0 and "out: no shard is noted as failed" in elsewhere.stderr
    Path("broken").unlink()
    mended = spanferry("build", "build.yaml", "--only-failed", "--languages", "es,de", "--quiet")
    assert (mended.returncode, mended.stdout, mended.stderr) == (0, "", "")
    assert published(Path("out")) == whole
    again = spanferry("build", "build.yaml", "--only-failed")
    assert again.returncode == 0 and "out: no shard is noted as failed" in again.stderr
    refused = spanferry("build", "build.yaml", "--only-failed", "--join")
    assert refused.returncode == 2 and "leave out --only-failed" in refused.stderr


def test_a_build_that_is_killed_after_a_failure_still_knows_of_it(three: Settings, published: Published) -> None:
    """By `kill -9`, while it is at the language after the one that failed."""
    three |= {"targets": ["es", "de", "fr"]}
    three["run"]["shard_rows"] = 10
    Path("build.yaml").write_text(yaml.safe_dump(three, sort_keys=False), encoding="utf-8")
    Path("broken").touch()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, "build", "build.yaml", "--quiet"]) as process:
        while process.poll() is None and not list(Path("out").glob(".spanferry/shards/de/train/*.json")):
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
    found = status("out")
    assert found.state == "stopped" and len(found.languages["es"].failures) == 12
    assert found.languages["de"].done >= 1 and found.languages["fr"].done == 0
    Path("broken").unlink()
    assert spanferry("build", "build.yaml", "--only-failed", "--quiet").returncode == 0
    assert list(json.loads(Path("out/report.json").read_text(encoding="utf-8"))["languages"]) == ["es"]
    assert spanferry("build", "build.yaml", "--quiet").returncode == 0
    assert not notes()


def test_what_a_run_tries_is_not_what_failed_elsewhere(three: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without notes, `only_failed` computes nothing, though most is missing."""
    build(parse_config(three), only=["de"])
    written: list[str] = []
    monkeypatch.setattr(build_module, "write_shard", lambda job, outcomes: written.append(job.output))
    result = build(parse_config(three), only_failed=True)
    assert not written and result.report["missing"] == ["es", "fr"]
