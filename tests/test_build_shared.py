"""One build, several processes: no shard done twice, none by two at once; one that dies leaves its work to others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanferry.data.errors import BuildError
from spanferry.flows import build as build_module
from spanferry.flows.build import build
from spanferry.flows.claims import claim
from spanferry.flows.config import parse_config
from spanferry.flows.folder import BuildFolder
from spanferry.flows.helping import help_build
from spanferry.flows.jobs import Job, noted_jobs

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

# A build whose translator takes its time, and that notes which shards it writes; what follows are its arguments.
PROGRAM = """
import os, sys, time
from pathlib import Path
from spanferry.flows import build
from spanferry.flows.cli import main
from spanferry.translation.fake import FakeTranslator
translate, write = FakeTranslator.translate, build.write_shard
def slow(self, texts, **languages):
    time.sleep(0.02 * len(texts))
    return translate(self, texts, **languages)
def noted(job, outcomes):
    with open("written", "a") as stream:
        stream.write(f"{os.getpid()} {'/'.join(Path(job.output).parts[-3:])}\\n")
    return write(job, outcomes)
FakeTranslator.translate, build.write_shard = slow, noted
main()
"""


@pytest.fixture
def start(build_settings: Settings, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    build_settings |= {"output": "out"}
    build_settings["run"] = {"memory": False, "shard_rows": 5}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(build_settings, sort_keys=False), encoding="utf-8")

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, "build", "build.yaml", *arguments]
        return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)

    return begin


def until(what: Callable[[], Any], *processes: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 240
    while not what():
        for process in processes:
            assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def test_workers_share_a_build_and_one_that_is_killed_costs_its_own_shards(
    start: Callable[..., subprocess.Popen[str]],
    build_settings: Settings,
    tmp_path: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = tmp_path / "written"

    def lines() -> list[list[str]]:
        return [line.split() for line in written.read_text(encoding="utf-8").splitlines()] if written.exists() else []

    def by(process: subprocess.Popen[str]) -> list[str]:
        return [shard for number, shard in lines() if number == str(process.pid)]

    first = start("--quiet")
    until((tmp_path / "out" / ".spanferry" / "plan.json").exists, first)
    victim, helper = start("--join", "--quiet"), start("--join", "--quiet")
    until(lambda: by(victim) and by(helper), first)
    os.kill(victim.pid, signal.SIGKILL)
    done_by_victim = by(victim)
    _, complaint = first.communicate()
    assert first.returncode == 0, complaint
    _, complaint = helper.communicate()
    assert helper.returncode == 0, complaint
    victim.communicate()
    assert by(first) and by(helper)
    shards = [shard for _, shard in lines()]
    assert len(set(shards)) == 48
    twice = {shard for shard in shards if shards.count(shard) > 1}
    assert twice <= set(done_by_victim[-1:]), "the one that was being written when its process was killed"
    assert not list((tmp_path / "out").rglob("*.tmp")) and not list((tmp_path / "out").rglob("*[0-9].lock"))

    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    build(parse_config(build_settings))
    assert published(tmp_path / "out") == published(tmp_path / "plain" / "out")


def test_a_shard_that_another_holds_is_left_to_it_until_it_lets_go(
    build_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_config(build_settings)
    build(config)
    jobs = noted_jobs(BuildFolder(Path(config.output)))["de"]
    for job in jobs:
        Path(job.output).unlink()
    theirs = claim(jobs[0])
    assert theirs is not None and claim(jobs[0]) is None
    order: list[str] = []
    write = build_module.write_shard

    def noted(job: Job, outcomes: Any) -> Any:
        order.append(Path(job.output).stem)
        if len(order) == 2:  # the others are done: they did not wait for this one
            theirs.release()
        return write(job, outcomes)

    monkeypatch.setattr(build_module, "write_shard", noted)
    assert {name: timing.rows for name, timing in build(config).timings.items()} == {"de": 120, "es": 0}
    assert order == ["00001", "00002", "00000"]
    assert claim(jobs[0]) is None, "done"


def test_whoever_helps_must_compute_the_same(build_settings: Settings) -> None:
    with pytest.raises(BuildError, match="found no build that has read its source"):
        help_build(parse_config(build_settings))
    build(parse_config(build_settings))
    assert help_build(parse_config(build_settings)) == {}
    with pytest.raises(BuildError, match="other settings or other models"):
        help_build(parse_config(build_settings, ["projection.on_lost=keep"]))
    assert help_build(parse_config(build_settings, ["run.memory=false"])) == {}
