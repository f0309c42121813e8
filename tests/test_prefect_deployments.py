"""Builds that Prefect runs: served in a real process, deployed from a file, seen on its page, stopped by force."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from filelock import FileLock

from spanferry.data.errors import ConfigError, IncompleteError
from spanferry.flows import work
from spanferry.flows.build import build
from spanferry.flows.claims import claim_path
from spanferry.flows.config import parse_config
from spanferry.flows.serve import check_schedule
from spanferry.flows.status import status

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

pytestmark = [
    pytest.mark.slow,
    # Prefect's own: its client, its use of pydantic, and sockets of the server that it stops.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def flows(prefect_server: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The flow's module, with a Prefect server behind it; a shard that fails is not tried again."""
    from spanferry.flows import translate_train

    monkeypatch.setattr(translate_train, "shard", translate_train.shard.with_options(retries=0))
    return translate_train


def artifacts(run: UUID) -> dict[str, Any]:
    """Return the artifacts of a flow run: key -> data."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run])))
    return {artifact.key: artifact.data for artifact in found}


def test_a_language_that_fails_leaves_the_others_whole(
    flows: Any, build_settings: Settings, monkeypatch: pytest.MonkeyPatch, published: Published, tmp_path: Path
) -> None:
    build_settings["output"] = "out"
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    build(parse_config(build_settings))
    monkeypatch.chdir(tmp_path)
    write = work.write_records

    def broken(path: Path, records: Any) -> None:
        if path.match("de/train/00001.jsonl"):
            raise OSError("the cable came out")
        write(path, records)

    monkeypatch.setattr(work, "write_records", broken)
    config = parse_config(build_settings)
    state = flows.translate_train(config, return_state=True)
    assert state.is_failed()
    with pytest.raises(IncompleteError, match=r"de: 1 shard failed \(train 1\): the cable came out\nwhole, in out: es"):
        state.result()
    assert len(status("out").languages["de"].failures) == 1
    report = json.loads(Path("out/report.json").read_text(encoding="utf-8"))
    assert list(report["languages"]) == ["es"] and report["missing"] == ["de"]
    shown = artifacts(state.state_details.flow_run_id)
    assert shown["progress-es"] == 100 and shown["progress-de"] == pytest.approx(100 * 70 / 120)
    assert [row["language"] for row in json.loads(shown["languages-out"])] == ["es"]
    assert "**de failed**" in shown["summary-out"] and (tmp_path / "out" / "README.md").as_uri() in shown["summary-out"]

    monkeypatch.setattr(work, "write_records", write)
    assert flows.run_as_flow(config, None, True).timings["de"].rows == 50
    assert not status("out").languages["de"].failures
    assert published(tmp_path / "out") == published(tmp_path / "plain" / "out")


def test_a_build_of_which_every_language_fails_says_so(
    flows: Any, build_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, records: Any) -> None:
        raise OSError("the cable came out")

    monkeypatch.setattr(work, "write_records", broken)
    with pytest.raises(IncompleteError) as caught:
        flows.run_as_flow(parse_config(build_settings))
    german, spanish, last = str(caught.value).splitlines()
    assert german == "de: 3 shards failed (train 0, 1, 2): the cable came out" and spanish.startswith("es: 3 shards")
    assert last.startswith("no language is whole")


def test_the_shards_of_one_gpu_share_a_tag(flows: Any, build_settings: Settings) -> None:
    assert flows.gpu_tag(parse_config(build_settings, ["run.device=cpu"])) == []
    flows.run_as_flow(parse_config(build_settings))
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        [*_, run] = client.read_task_runs()
    assert "spanferry" in run.tags


def test_a_worker_helps_a_build(flows: Any, build_settings: Settings, published: Published) -> None:
    config = parse_config(build_settings)
    folder = flows.run_as_flow(config).folder
    before = published(folder)
    (folder / ".spanferry" / "shards" / "de" / "train" / "00001.json").unlink()
    assert flows.help_with_build(config) == {"de": 50}
    assert flows.help_with_build(config) == {}
    assert all(timing.rows == 0 for timing in flows.run_as_flow(config).timings.values())
    assert published(folder) == before


def test_the_file_of_deployments_deploys(prefect_server: None, root: Path, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    shutil.copy(root / "docs" / "prefect.yaml", tmp_path)
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    for command in (
        ["work-pool", "create", "spanferry", "--type", "process"],
        ["--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *command], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    with get_client(sync_client=True) as client:
        found = {name: client.read_deployment_by_name(name) for name in (
            "translate-train/nightly", "translate-test/nightly", "publish/on-demand", "help-build/on-demand"
        )}  # fmt: skip
        nightly = found["translate-train/nightly"]
        assert [each.schedule.cron for each in nightly.schedules] == ["0 3 * * *"]
        text = json.dumps(nightly.parameter_openapi_schema)
        assert "beam_size" in text and "folder to write" in text and '"minimum": 1' in text
        assert "form that" not in text and "repo" in json.dumps(found["publish/on-demand"].parameter_openapi_schema)
        assert found["help-build/on-demand"].parameters == nightly.parameters
        wrong = nightly.parameters["config"] | {"translation": {"beam_size": 0}}
        with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
            client.create_flow_run_from_deployment(nightly.id, parameters={"config": wrong})


@pytest.mark.parametrize(
    ("cron", "timezone", "message"),
    [
        ("0 3 * *", "UTC", "expected five fields"),
        ("0 25 * * *", "UTC", "--cron"),
        ("0 3 * * *", "Mars/Olympus", "--timezone 'Mars/Olympus'"),
    ],
)
def test_what_is_no_schedule_is_refused(cron: str, timezone: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_schedule(cron, timezone)


@pytest.mark.parametrize(
    "arguments", [["build", "build.yaml", "--prefect"], ["serve", "build.yaml", "--cron", "0 3 * * *"]]
)
def test_a_server_that_is_not_there_is_one_clear_line(
    arguments: list[str], build_settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(build_settings, sort_keys=False), encoding="utf-8")
    environment = os.environ | {
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api", "PREFECT_HOME": str(tmp_path / "prefect"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "spanferry.flows.cli", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("spanferry: Prefect: ") and "PREFECT_API_URL" in last


NIGHTLY = "0 3 * * *"


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 600) -> Any:
    """Wait until something holds, while a process runs, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
    return found


def alive(process: int) -> bool:
    """Say whether a process runs; one that ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# A suite that runs in the background of a shell inherits "ignore" for Ctrl-C; a user's terminal does not.
PROGRAM = """
import signal
from spanferry.flows.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


class Served:
    """`spanferry serve` in a process of its own, with a server of its own."""

    def __init__(self, place: Path, port: int, cron: str) -> None:
        self.place, self.api = place, f"http://127.0.0.1:{port}/api"
        command = ["serve", "build.yaml", "--cron", cron, "--port", str(port)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment |= {"PREFECT_HOME": str(place / "prefect"), "PYTHONUNBUFFERED": "1"}
        with (place / "log").open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *command],
                cwd=place, env=environment, stdout=log, stderr=log, text=True,
            )  # fmt: skip

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask Prefect's API; None where there is no answer yet."""
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.request("GET" if body is None else "POST", f"{self.api}/{path}", json=body, timeout=30)
            return answer.json() if answer.is_success else None
        return None

    def run(self) -> str:
        """Start a run of the build now; return its id."""
        deployment = until(lambda: self.ask("deployments/name/translate-train/build"), self.process)
        until(lambda: (self.ask("deployments/name/translate-train/build") or {}).get("status") == "READY", self.process)
        # The server may answer that its database is locked; asked again with the same key, it still makes one run.
        wish = {"idempotency_key": str(uuid.uuid4())}
        made = until(lambda: self.ask(f"deployments/{deployment['id']}/create_flow_run", wish), self.process)
        return str(made["id"])

    def state(self, run: str) -> str:
        return str(((self.ask(f"flow_runs/{run}") or {}).get("state") or {}).get("type"))

    def family(self) -> list[int]:
        """Return this process and all that it started, directly or not."""
        found = [self.process.pid]
        for parent in found:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += map(int, task.read_text(encoding="ascii").split())
        return found


@pytest.fixture
def served(build_settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start `spanferry serve`, as often as asked for, on the same settings, server data and port."""
    build_settings |= {"output": "out"}
    build_settings["run"] = {"memory": "memory.sqlite", "shard_rows": 4}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(build_settings, sort_keys=False), encoding="utf-8")
    port, started = free_port(), list[Served]()

    def start(cron: str = NIGHTLY) -> Served:
        started.append(Served(tmp_path, port, cron))
        return started[-1]

    yield start
    for each in started:
        for process in each.family() if each.process.poll() is None else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        each.process.wait()


def test_a_served_build_runs_at_its_time(
    served: Callable[..., Served], build_settings: Settings, tmp_path: Path, published: Published
) -> None:
    every_minute = served("* * * * *")

    def ended() -> list[dict[str, Any]]:
        runs = every_minute.ask("flow_runs/filter", {}) or []
        return [run for run in runs if run["state"]["type"] in {"COMPLETED", "FAILED", "CRASHED"}]

    [run, *_] = until(ended, every_minute.process)
    assert run["state"]["type"] == "COMPLETED", (tmp_path / "log").read_text(encoding="utf-8")
    assert run["auto_scheduled"] and run["expected_start_time"].endswith((":00Z", ":00.000000Z"))
    assert set(published(tmp_path / "out")) >= {"report.json", "README.md"}
    [deployment] = every_minute.ask("deployments/filter", {})
    assert [each["schedule"]["cron"] for each in deployment["schedules"]] == ["* * * * *"]


def test_a_served_build_survives_the_death_of_all_processes(
    served: Callable[..., Served],
    build_settings: Settings,
    tmp_path: Path,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("finds processes by /proc")
    shards = tmp_path / "out" / ".spanferry" / "shards"
    (shards / "de" / "train").mkdir(parents=True)
    # However fast the run is, it gets no further than the shard that somebody else holds.
    with FileLock(claim_path(shards / "de" / "train" / "00012.jsonl")):
        first = served()
        run = first.run()
        until(lambda: len(list(shards.rglob("*.json"))) >= 12, first.process)
        for process in first.family():  # the schedule, its server, the run
            os.kill(process, signal.SIGKILL)
        first.process.wait()
    assert len(list(shards.rglob("*.json"))) == 12 and not (tmp_path / "out" / "report.json").exists()

    second = served()
    until(lambda: second.state(run) == "CRASHED", second.process)
    again = second.run()
    until(lambda: second.state(again) in {"COMPLETED", "FAILED", "CRASHED"}, second.process)
    assert second.state(again) == "COMPLETED", (tmp_path / "log").read_text(encoding="utf-8")
    family = second.family()
    second.process.send_signal(signal.SIGINT)
    assert second.process.wait(600) == 0
    end = time.monotonic() + 120
    while (left := [process for process in family if alive(process)]) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left, "processes that it started are still there"

    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    build(parse_config(build_settings))
    assert published(tmp_path / "out") == published(tmp_path / "plain" / "out")
