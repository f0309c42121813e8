"""Builds that are stopped: whatever stops them, the next run ends with the bytes of a run that was not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Published = Callable[[Path], dict[str, bytes]]

# Imports everything once, then forks a process for each run, and stops it by a signal as soon as so many shards are
# done. Prints the exit code (negative: the signal that ended it) and standard error of each run.
DRIVER = """
import json, os, signal, sys, time
from pathlib import Path
import datasets, spacy
import spanferry.flows.build
from spanferry.flows.cli import main

def run(place, shards=None, how=None):
    pid = os.fork()
    if pid == 0:
        os.chdir(place)
        # A suite that runs in the background of a shell inherits "ignore" for Ctrl-C; a user's terminal does not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open("stderr", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
        sys.argv = ["spanferry", "build", "build.yaml", *(["--quiet"] if shards is None else [])]
        try:
            main()
        except SystemExit as stop:
            os._exit(stop.code or 0)
        os._exit(0)
    status = 0
    while shards is not None and not (status := os.waitpid(pid, os.WNOHANG))[0]:
        if len(list(Path(place).glob("out/.spanferry/shards/*/*/*.json"))) >= shards:
            os.kill(pid, how)
            status = os.waitpid(pid, 0)
            break
        time.sleep(0.001)
    if shards is None:
        status = os.waitpid(pid, 0)
    marks = {str(p): p.stat().st_mtime_ns for p in Path(place).glob("out/.spanferry/shards/*/*/*.jsonl")}
    return {"code": os.waitstatus_to_exitcode(status[1]), "stderr": Path(place, "stderr").read_text(), "marks": marks}

print(json.dumps({
    "whole": [run("whole")],
    "killed": [run("killed", shards, signal.SIGKILL) for shards in (1, 7, 15, 24)] + [run("killed")],
    "stopped": [run("stopped", 3, signal.SIGINT), run("stopped")],
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
    for name in ("whole", "killed", "stopped"):
        (place / name).mkdir()
        (place / name / "build.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", DRIVER], cwd=place, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(
    runs: Any, place: Path, published: Published
) -> None:
    assert [run["code"] for run in runs["killed"]] == [-9, -9, -9, -9, 0]
    assert published(place / "killed" / "out") == published(place / "whole" / "out")
    assert not list((place / "killed").rglob("*.tmp"))


def test_a_shard_that_is_done_is_not_done_again(runs: Any) -> None:
    for before, after in zip(runs["killed"], runs["killed"][1:], strict=False):
        # The one in flight may have been written without its sidecar.
        changed = [path for path, stamp in before["marks"].items() if after["marks"][path] != stamp]
        assert before["marks"] and len(changed) <= 1


def test_ctrl_c_says_what_is_safe_and_the_next_run_goes_on(runs: Any, place: Path, published: Published) -> None:
    stopped, resumed = runs["stopped"]
    assert stopped["code"] == 130 and resumed["code"] == 0
    last = stopped["stderr"].splitlines()[-1]
    assert last == "spanferry: stopped. Finished shards are safe in out; the same command goes on from there."
    assert "Traceback" not in stopped["stderr"]
    assert published(place / "stopped" / "out") == published(place / "whole" / "out")
