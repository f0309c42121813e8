"""What goes wrong around a build, to real processes: files rot, clocks jump, models go; the bytes are the same.

The processes run the command line; their translator takes its time, so that something can happen meanwhile, and each
notes the shards that it writes.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import parse_config
from spanferry.flows.status import status

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

PROGRAM = """
import os, random, sys, time
from pathlib import Path
from spanferry.flows import build
from spanferry.flows.cli import main
from spanferry.translation.ct2 import CTranslate2Translator
from spanferry.translation.fake import FakeTranslator
pause, jumps, write = float(os.environ["PAUSE"]), os.environ.get("CLOCK"), build.write_shard
def slowed(translate):
    def slow(self, texts, **languages):
        time.sleep(pause)
        return translate(self, texts, **languages)
    return slow
def noted(job, outcomes):
    with open("written", "a") as stream:
        stream.write("/".join(Path(job.output).parts[-3:]) + "\\n")
    return write(job, outcomes)
for kind in (FakeTranslator, CTranslate2Translator):
    kind.translate = slowed(kind.translate)
build.write_shard = noted
if jumps:
    clock = random.Random(jumps)
    time.time = lambda: clock.uniform(0, 4e9)
main()
"""

SHARDS = ".spanferry/shards"


class Build:
    """A build in a folder of its own, run by processes."""

    def __init__(self, place: Path, settings: Settings) -> None:
        self.place, self.out = place, place / "out"
        place.mkdir(exist_ok=True)
        (place / "build.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    def start(self, *arguments: str, pause: float = 0.1, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "build", "build.yaml", *arguments],
            cwd=self.place, env=os.environ | environment | {"PAUSE": str(pause)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str, **environment: str) -> str:
        """Run it to the end; return what it said."""
        with self.start(*arguments, pause=0, **environment) as process:
            said, complaint = process.communicate()
        assert process.returncode == 0, complaint
        return said + complaint

    def sidecars(self) -> list[Path]:
        return sorted((self.out / SHARDS).rglob("*.json"))

    def until(self, shards: int, process: subprocess.Popen[str]) -> None:
        """Wait until so many shards are done."""
        end = time.monotonic() + 1200
        while len(self.sidecars()) < shards:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.005)

    def killed(self, shards: int, **environment: str) -> None:
        """Start it, and kill it when so many shards are done; forget what it wrote."""
        with self.start("--quiet", **environment) as process:
            self.until(shards, process)
            process.send_signal(signal.SIGKILL)
        (self.place / "written").unlink()

    def written(self) -> list[str]:
        return sorted((self.place / "written").read_text(encoding="utf-8").splitlines())


@pytest.fixture
def settings(build_settings: Settings) -> Settings:
    build_settings |= {"output": "out"}
    build_settings["run"] = {"memory": "memory.sqlite", "shard_rows": 10}
    return build_settings


@pytest.fixture
def plain(
    settings: Settings, tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Settings], dict[str, bytes]]]:
    """Return what a build publishes on a good day."""

    def on_a_good_day(settings: Settings) -> dict[str, bytes]:
        place = tmp_path / "plain"
        shutil.rmtree(place, ignore_errors=True)
        sources = list(tmp_path.glob("*/train.jsonl"))
        place.mkdir()
        for source in sources:
            shutil.copy(source, place)
        with monkeypatch.context() as patch:
            patch.chdir(place)
            patch.setattr(parts, "_loaded", None)  # another folder, another memory
            build(parse_config(settings))
            patch.setattr(parts, "_loaded", None)
        return published(place / "out")

    yield on_a_good_day


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(path.name).randbytes(max(path.stat().st_size, 100)))


DAMAGES: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("00000.jsonl", lambda path: path.write_bytes(path.read_bytes().replace(b"a", b"b", 1))),
    ("00001.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-10])),
    ("00002.json", lambda path: path.write_bytes(b"\\x00" * 300)),
    ("00003.json", lambda path: path.write_text("[1]", encoding="utf-8")),
    ("00004.jsonl", lambda path: path.unlink()),
    ("00005.json", lambda path: shutil.copy(path.with_name("00006.json"), path)),
)


def test_shards_and_sidecars_that_rot_are_done_again_and_no_others(
    settings: Settings, tmp_path: Path, plain: Callable[[Settings], dict[str, bytes]], published: Published
) -> None:
    rotten = Build(tmp_path / "rotten", settings)
    rotten.killed(shards=9)
    done = {"/".join(path.with_suffix(".jsonl").parts[-3:]) for path in rotten.sidecars()}
    for name, damage in DAMAGES:
        damage(rotten.out / SHARDS / "de" / "train" / name)
    rotten.run("--quiet")
    again = {f"de/train/{name.partition('.')[0]}.jsonl" for name, _ in DAMAGES}
    every = {f"{language}/train/{number:05d}.jsonl" for language in ("de", "es") for number in range(12)}
    assert rotten.written() == sorted(every - done | again)
    assert published(rotten.out) == plain(settings)


def test_power_that_fails_takes_the_youngest_files_with_it(
    settings: Settings, tmp_path: Path, plain: Callable[[Settings], dict[str, bytes]], published: Published
) -> None:
    """A file is whole under its name or not there; what was named last may not be there any more."""
    dark = Build(tmp_path / "dark", settings)
    dark.killed(shards=15)
    files = [path for path in (dark.out / ".spanferry").rglob("*") if path.is_file() and path.suffix != ".lock"]
    young = sorted(files, key=lambda path: path.stat().st_mtime_ns)[-20:]
    for path in young[::2] + [path for path in files if path.name in {"plan.json", "train.json", "00003.jsonl"}]:
        path.unlink(missing_ok=True)
    for path in dark.place.glob("memory*.sqlite-*"):
        path.unlink()
    dark.run("--quiet")
    assert published(dark.out) == plain(settings)


@pytest.mark.parametrize("which", ["memory.sqlite", "memory.projections.sqlite"])
def test_a_memory_that_rots_is_moved_aside_and_that_is_said(
    which: str, settings: Settings, tmp_path: Path, plain: Callable[[Settings], dict[str, bytes]], published: Published
) -> None:
    forgetful = Build(tmp_path / "forgetful", settings)
    forgetful.killed(shards=3)
    for path in forgetful.place.glob(f"{which}*"):
        # A file without the header would be somebody else's, and left alone.
        header = path.read_bytes()[: 100 if path.name == which else 0]
        garbage(path)
        path.write_bytes(header + path.read_bytes())
    said = forgetful.run()
    assert f"{which}.corrupt-1" in said and "moved to" in said and "Traceback" not in said
    assert (forgetful.place / f"{which}.corrupt-1").exists()
    with sqlite3.connect(forgetful.place / which) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert published(forgetful.out) == plain(settings)


def test_a_source_that_changes_while_a_process_builds_is_the_next_builds(
    settings: Settings, tmp_path: Path, plain: Callable[[Settings], dict[str, bytes]], published: Published
) -> None:
    lines = Path(settings["source"]["path"]).read_text(encoding="utf-8").splitlines(keepends=True)[:120]
    settings["source"]["path"] = "train.jsonl"
    changing = Build(tmp_path / "changing", settings)
    source = changing.place / "train.jsonl"
    source.write_text("".join(lines), encoding="utf-8")
    before = plain(settings)
    with changing.start("--quiet") as process:
        changing.until(4, process)
        source.write_text("".join(lines[::-1]), encoding="utf-8")
        assert process.wait() == 0
    assert published(changing.out) == before, "the rows that were there when it began"
    changing.run("--quiet")
    after = plain(settings)
    assert published(changing.out) == after != before


def test_a_model_that_is_exchanged_or_taken_away_half_way(  # noqa: PLR0917  (fixtures)
    settings: Settings,
    tiny_checkpoint: Callable[[str], Path],
    tmp_path: Path,
    plain: Callable[[Settings], dict[str, bytes]],
    published: Published,
    model_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import safetensors.torch

    monkeypatch.setenv("SPANFERRY_CACHE", str(model_cache))
    model = tmp_path / "model"
    shutil.copytree(tiny_checkpoint("nllb"), model)
    settings |= {"translation": {"model": str(model), "beam_size": 1}, "limit": 24}
    settings["run"] |= {"shard_rows": 4, "device": "cpu", "workers": 1, "threads": 1}
    exchanged = Build(tmp_path / "exchanged", settings)
    exchanged.killed(shards=7)

    weights = safetensors.torch.load_file(model / "model.safetensors")
    flipped = {name: value.flip(0).contiguous() for name, value in weights.items()}
    safetensors.torch.save_file(flipped, model / "model.safetensors", metadata={"format": "pt"})
    exchanged.run("--quiet")
    assert len(exchanged.written()) == 12, "nothing of the other model's is left"
    assert published(exchanged.out) == plain(settings)

    (exchanged.place / "written").unlink()
    shutil.rmtree(exchanged.out)
    (exchanged.place / "memory.sqlite").unlink()
    with exchanged.start("--quiet") as process:
        exchanged.until(3, process)
        shutil.rmtree(model)
        assert process.wait() == 0, "what is loaded is in memory"
    with exchanged.start("--quiet") as process:
        _, complaint = process.communicate()
    assert process.returncode == 2 and str(model) in complaint and len(complaint.splitlines()) == 1


def test_a_clock_that_jumps_between_runs_and_within_them(
    settings: Settings, tmp_path: Path, plain: Callable[[Settings], dict[str, bytes]], published: Published
) -> None:
    """Times of files and of entries in the memories, and what a process reads, lie decades before and after now."""
    chance = random.Random(11)
    jumping = Build(tmp_path / "jumping", settings)
    for shards in (5, 14):
        jumping.killed(shards, CLOCK=str(shards))
        for path in jumping.place.rglob("*"):
            moment = chance.uniform(0, 4e9)
            os.utime(path, (moment, moment))
        found = status(jumping.out)
        assert found.state == "stopped" and sum(each.done for each in found.languages.values()) >= shards
        assert found.rate is None or found.rate > 0
    done = {"/".join(path.with_suffix(".jsonl").parts[-3:]) for path in jumping.sidecars()}
    jumping.run("--quiet", CLOCK="1")
    assert len(jumping.written()) == 24 - len(done) and not done & set(jumping.written())
    assert published(jumping.out) == plain(settings)
    jumping.run("--quiet", CLOCK="2")
    assert len(jumping.written()) == 24 - len(done)


def test_of_two_builds_into_one_folder_the_second_is_refused(
    settings: Settings, tmp_path: Path, plain: Callable[[Settings], dict[str, bytes]], published: Published
) -> None:
    shared = Build(tmp_path / "shared", settings)
    with shared.start("--quiet") as first:
        shared.until(2, first)
        with shared.start() as second:
            said, complaint = second.communicate()
        assert second.returncode == 2 and not said
        [line] = complaint.splitlines()
        assert line == "spanferry: output out: another build is writing to it; wait for it, or name another `output`"
        assert first.wait() == 0
    assert len(shared.written()) == 24
    assert published(shared.out) == plain(settings)


def test_a_plain_build_does_not_care_whether_prefects_server_is_there(settings: Settings, tmp_path: Path) -> None:
    alone = Build(tmp_path / "alone", settings)
    alone.run("--quiet", PREFECT_API_URL="http://127.0.0.1:9/api", PREFECT_HOME=str(tmp_path / "prefect"))
    assert json.loads((alone.out / "report.json").read_text(encoding="utf-8"))["missing"] == []
    assert not (tmp_path / "prefect").exists()
