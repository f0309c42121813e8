"""Builds that are stopped: whatever stops them, the next run ends with the bytes of a run that was not."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Published = Callable[[Path], dict[str, bytes]]

# Imports everything once, then forks a process for each run, and stops it by a signal: so many seconds after so many
# files are there that a pattern names. Prints the exit code (negative: the signal that ended it) and standard error of
# each run.
DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path
import datasets, spacy
import spanferry.flows.build
from spanferry.flows.cli import main

SHARDS = "out/.spanferry/shards/*/*/*.json"

def run(place, stop=None, signals=()):
    pid = os.fork()
    if pid == 0:
        os.chdir(place)
        # A suite that runs in the background of a shell inherits "ignore" for Ctrl-C; a user's terminal does not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open("stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
        sys.argv = ["spanferry", "build", "build.yaml", *(["--quiet"] if stop is None else [])]
        try:
            main()
        except SystemExit as stopped:
            os._exit(stopped.code or 0)
        os._exit(0)
    status = 0, 0
    if stop is not None:
        pattern, files, delay = stop
        while not (status := os.waitpid(pid, os.WNOHANG))[0]:
            if len(list(Path(place).glob(pattern))) >= files:
                time.sleep(delay)
                for each in signals:
                    os.kill(pid, each)
                break
            time.sleep(0.001)
    if not status[0]:
        status = os.waitpid(pid, 0)
    marks = {str(p): p.stat().st_mtime_ns for p in Path(place).glob("out/.spanferry/shards/*/*/*.jsonl")}
    return {"code": os.waitstatus_to_exitcode(status[1]), "stderr": Path(place, "stderr").read_text(), "marks": marks}

chance = random.Random(MOMENTS)
moments = [("out/.spanferry/lock", 1, 0.0), ("out/.spanferry/source/train/*.json", chance.randint(1, 20), 0.0)]
moments += [(SHARDS, shards, chance.random() / 50) for shards in sorted(chance.sample(range(1, 36), 10))]
moments += [("out/data/de/.*.tmp", 1, 0.0), ("out/data/es/*", 1, 0.0)]
print(json.dumps({
    "whole": [run("whole")],
    "killed": [run("killed", moment, [signal.SIGKILL]) for moment in moments] + [run("killed")],
    "stopped": [run("stopped", (SHARDS, 3, 0.0), [signal.SIGINT]), run("stopped")],
    "stopped twice": [run("stopped twice", (SHARDS, 3, 0.0), [signal.SIGINT] * 2), run("stopped twice")],
}))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interrupted")


@pytest.fixture(scope="module")
def runs(place: Path, root: Path) -> Any:
    """Run the driver on three folders with the same settings; return what it printed."""
    settings = {
        "task": "ner",
        "source": {"path": str(root / "data" / "samples" / "entities.en.jsonl"), "language": "en"},
        "targets": ["de", "es"],
        "translation": {"model": "fake", "settings": {"dictionary": {"the": "le", "Porto": "Oporto"}}},
        "projection": {"aligner": "fake"},
        "run": {"shard_rows": 6, "memory": "memory.sqlite"},
        "limit": 120,
        "output": "out",
    }
    for name in ("whole", "killed", "stopped", "stopped twice"):
        (place / name).mkdir()
        (place / name / "build.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    moments = f"MOMENTS = {random.randrange(10**6)}"  # shown by a test that fails
    done = subprocess.run(
        [sys.executable, "-c", moments + DRIVER], cwd=place, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(
    runs: Any, place: Path, published: Published
) -> None:
    codes = [run["code"] for run in runs["killed"]]
    assert set(codes[:-1]) <= {-9, 0} and codes[-1] == 0
    assert codes.count(-9) >= 10, "a run that ended before its moment came was not killed"
    assert published(place / "killed" / "out") == published(place / "whole" / "out")
    assert not list((place / "killed").rglob("*.tmp"))


def test_a_shard_that_is_done_is_not_done_again(runs: Any) -> None:
    for before, after in zip(runs["killed"], runs["killed"][1:], strict=False):
        # The one in flight may have been written without its sidecar.
        changed = [path for path, stamp in before["marks"].items() if after["marks"][path] != stamp]
        assert len(changed) <= 1
    assert len(runs["killed"][-1]["marks"]) == 40


@pytest.mark.parametrize("how", ["stopped", "stopped twice"])
def test_ctrl_c_says_what_is_safe_and_the_next_run_goes_on(
    how: str, runs: Any, place: Path, published: Published
) -> None:
    stopped, resumed = runs[how]
    assert stopped["code"] == 130 and resumed["code"] == 0
    last = stopped["stderr"].splitlines()[-1]
    assert last == "spanferry: stopped. Finished shards are safe in out; the same command goes on from there."
    assert "Traceback" not in stopped["stderr"]
    assert published(place / how / "out") == published(place / "whole" / "out")
