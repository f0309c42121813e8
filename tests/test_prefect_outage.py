"""Prefect's server dies while builds run: they wait for it, a schedule outlives it, nothing is computed twice."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from spanferry.flows.build import build
from spanferry.flows.config import parse_config

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes by /proc"),
]

# The command line, with a translator that takes its time.
PROGRAM = """
import time
from spanferry.flows.cli import main
from spanferry.translation.fake import FakeTranslator
translate = FakeTranslator.translate
def slow(self, texts, **languages):
    time.sleep(0.3)
    return translate(self, texts, **languages)
FakeTranslator.translate = slow
main()
"""


PATIENCE = 1200
"""Seconds: on a machine that does ten other things, starting a server takes minutes."""


def family(process: int) -> list[int]:
    """Return a process and all that it started, directly or not."""
    found = [process]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text(encoding="ascii").split())
    return found


def kill(process: subprocess.Popen[str]) -> None:
    for each in family(process.pid) if process.poll() is None else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    process.wait()


class Place:
    """A folder with a build, a Prefect server with its data there, and what is run against it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        (folder / "build.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = str(probe.getsockname()[1])
        self.folder, self.api = folder, f"http://127.0.0.1:{self._port}/api"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self._environment |= {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        self.started: list[subprocess.Popen[str]] = []

    def _start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        with (self.folder / "log").open("a", encoding="utf-8") as log:
            self.started.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    cwd=self.folder,
                    env=self._environment | environment,
                    stdout=log,
                    stderr=log,
                    text=True,
                )
            )
        return self.started[-1]

    def server(self) -> subprocess.Popen[str]:
        """Start the server, and wait until it answers."""
        server = self._start("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", self._port)
        self.until(lambda: self.ask("health"), server)
        return server

    def spanferry(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return self._start("-c", PROGRAM, *arguments, PREFECT_API_URL=self.api, **environment)

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask Prefect's API; None where there is no answer."""
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.request("GET" if body is None else "POST", f"{self.api}/{path}", json=body, timeout=30)
            return answer.json() if answer.is_success else None
        return None

    def until(self, what: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
        end = time.monotonic() + PATIENCE
        while not (found := what()):
            assert process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)
        return found

    def shards(self) -> dict[Path, int]:
        """Return the shards that are done, and when each was written."""
        sidecars = (self.folder / "out" / ".spanferry" / "shards").rglob("*.json")
        return {path: path.stat().st_mtime_ns for path in sidecars}

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")


@pytest.fixture
def place(build_settings: Settings, tmp_path: Path) -> Iterator[Place]:
    build_settings |= {"output": "out", "limit": 60}
    build_settings["run"] = {"memory": "memory.sqlite", "shard_rows": 4}
    made = Place(tmp_path, build_settings)
    yield made
    for process in made.started:
        kill(process)


@pytest.fixture
def plain(build_settings: Settings, tmp_path: Path, published: Published, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the build publishes without Prefect."""
    (tmp_path / "plain").mkdir()
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "plain")
        build(parse_config(build_settings | {"output": "out"}))
    return published(tmp_path / "plain" / "out")


def test_a_flow_waits_for_a_server_that_dies_and_comes_back(place: Place, plain: Any, published: Published) -> None:
    server = place.server()
    flow = place.spanferry("build", "build.yaml", "--prefect", "--quiet")
    place.until(lambda: len(place.shards()) >= 5, flow)
    kill(server)
    before = place.shards()
    time.sleep(3)
    assert flow.poll() is None
    place.server()
    assert flow.wait(PATIENCE) == 0, place.log()
    after = place.shards()
    assert len(after) == 30 and before.items() <= after.items(), "nothing is computed twice"
    assert published(place.folder / "out") == plain
    assert [run["state"]["type"] for run in place.ask("flow_runs/filter", {})] == ["COMPLETED"]


def test_a_server_that_does_not_come_back_is_one_line_and_costs_nothing(
    place: Place, plain: Any, published: Published
) -> None:
    server = place.server()
    flow = place.spanferry("build", "build.yaml", "--prefect", "--quiet", PREFECT_CLIENT_MAX_RETRIES="3")
    place.until(lambda: len(place.shards()) >= 5, flow)
    kill(server)
    assert flow.wait(PATIENCE) == 2, place.log()
    said = [line for line in place.log().splitlines() if line.startswith("spanferry: ")]
    assert len(said) == 1 and said[0].startswith("spanferry: Prefect: its server does not answer any more (")
    before = place.shards()
    assert 5 <= len(before) < 30
    notes = [path.read_text(encoding="utf-8") for path in (place.folder / "out").rglob("*.failed")]
    assert not any("refused" in note for note in notes), "that the server is gone is no shard's failure"
    alone = place.spanferry("build", "build.yaml", "--quiet")  # a plain build does not care
    assert alone.wait(PATIENCE) == 0
    assert before.items() <= place.shards().items() and published(place.folder / "out") == plain


def test_a_served_schedule_outlives_its_server(place: Place, plain: Any, published: Published) -> None:
    server = place.server()
    served = place.spanferry("serve", "build.yaml", "--cron", "0 3 * * *")

    def run() -> str:
        """Start a run of the build now; return its id."""
        deployment = place.until(lambda: place.ask("deployments/name/translate-train/build"), served)
        place.until(
            lambda: (place.ask("deployments/name/translate-train/build") or {}).get("status") == "READY", served
        )
        wish = {"idempotency_key": str(uuid.uuid4())}
        return str(
            place.until(lambda: place.ask(f"deployments/{deployment['id']}/create_flow_run", wish), served)["id"]
        )

    def ended(run: str) -> str | None:
        state = str(((place.ask(f"flow_runs/{run}") or {}).get("state") or {}).get("type"))
        return state if state in {"COMPLETED", "FAILED", "CRASHED"} else None

    first = run()
    place.until(lambda: len(place.shards()) >= 6, served)
    kill(server)
    before = place.shards()
    time.sleep(3)
    assert served.poll() is None and len(before) < 30
    place.server()
    assert place.until(lambda: ended(first), served) == "COMPLETED", place.log()
    again = run()
    assert place.until(lambda: ended(again), served) == "COMPLETED", place.log()
    assert len(place.shards()) == 30 and before.items() <= place.shards().items()
    assert published(place.folder / "out") == plain
