"""The Prefect flow on several workers, by every task runner: one dies, the others finish, nothing is done twice."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml
from prefect.task_runners import ProcessPoolTaskRunner

from spanferry.data.errors import BuildError, ConfigError, DataError
from spanferry.data.example import Example
from spanferry.flows import parts
from spanferry.flows.build import build
from spanferry.flows.config import RunSettings, parse_config
from spanferry.flows.folder import BuildFolder
from spanferry.flows.helping import working_for
from spanferry.flows.jobs import noted_jobs
from spanferry.flows.outcomes import unpack
from spanferry.flows.runners import Workers
from spanferry.flows.shards import read_records
from spanferry.projection.prediction import PredictionsMissing

Settings = dict[str, Any]
Published = Callable[[Path], dict[str, bytes]]

pytestmark = [
    pytest.mark.slow,
    # Prefect's, Dask's and Ray's own: clients, use of pydantic, and sockets of servers that are stopped.
    pytest.mark.filterwarnings("ignore"),
]

# A translator from elsewhere, as a plug-in brings it. It notes what it is asked. As long as the file `halt` is there, a
# process asked for the German of the text in it stands still; one that is told to wait does so at its third shard.
PLUGIN = """
import json, os, time
from pathlib import Path
from spanferry.translation.fake import FakeTranslator

PLACE = Path(os.environ["NOTED_PLACE"])
HALT = PLACE / "halt"

def note(*what):
    line = json.dumps([os.getpid(), *what], ensure_ascii=False) + "\\n"
    with (PLACE / "noted").open("a", encoding="utf-8") as stream:
        stream.write(line)

class Noted(FakeTranslator):
    def __init__(self, dictionary=None):
        super().__init__(dictionary)
        self.asked = 0
        note("loads")

    def translate(self, texts, *, source, target):
        note("translates", target, texts[0])
        self.asked += 1
        if "NOTED_WAITS" in os.environ:
            self.stand_still(self.asked > 2)
        elif HALT.exists() and target == "deu_Latn" and HALT.read_text(encoding="utf-8") in texts:
            note("halts")
            self.stand_still(True)
        return super().translate(texts, source=source, target=target)

    def stand_still(self, here):
        end = time.monotonic() + 480
        while here and HALT.exists() and time.monotonic() < end:
            time.sleep(0.02)
"""


class Noted:
    """What the translators of all processes noted."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def lines(self, kind: str) -> list[list[Any]]:
        path = self.place / "noted"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [line for line in map(json.loads, lines) if line[1] == kind]

    def shards(self) -> Counter[tuple[str, str]]:
        """How often each shard was translated: (language, first text) -> count."""
        return Counter((target, text) for _, _, target, text in self.lines("translates"))


@pytest.fixture
def noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Noted]:
    """Install the plug-in, here and in every process that is started from here."""
    from spanferry.translation.registry import TRANSLATORS

    place = tmp_path / "plugin"
    (place / "noted-1.dist-info").mkdir(parents=True)
    (place / "noted_translator.py").write_text(PLUGIN, encoding="utf-8")
    (place / "noted-1.dist-info" / "METADATA").write_text("Name: noted\nVersion: 1\n", encoding="utf-8")
    (place / "noted-1.dist-info" / "entry_points.txt").write_text(
        "[spanferry.translators]\nnoted = noted_translator:Noted\n", encoding="utf-8"
    )
    monkeypatch.setenv("NOTED_PLACE", str(place))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "noted_translator", raising=False)
    monkeypatch.delitem(TRANSLATORS.__dict__, "_plugins", raising=False)  # read anew
    monkeypatch.setattr(parts, "_loaded", None)  # another test's translator would note in another place
    yield Noted(place)
    TRANSLATORS.__dict__.pop("_plugins", None)


@dataclass(frozen=True)
class Builds:
    """A build of twenty shards in two languages, by paths that are relative; and what it writes when done in one go."""

    settings: Settings
    noted: Noted
    place: Path
    expected: dict[str, bytes]
    published: Published

    def run(self, *overrides: str) -> Any:
        """Do the build as a flow."""
        from spanferry.flows.translate_train import run_as_flow

        return run_as_flow(parse_config(self.settings, overrides))

    def written(self) -> dict[str, bytes]:
        return self.published(self.place / "out")

    def first_text(self, shard: int) -> str:
        """Return the text that a shard of either language begins with."""
        source = self.place / "plain" / "out" / ".spanferry" / "source"
        first = next(iter(read_records(sorted(source.rglob("0*.jsonl"))[shard])))
        return unpack(first).fields["text"]

    def done(self) -> set[Path]:
        """Return the sidecars of the shards that are done."""
        return set((self.place / "out" / ".spanferry" / "shards").rglob("0*.json"))


@pytest.fixture
def builds(
    build_settings: Settings, noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: Published
) -> Builds:
    build_settings["translation"]["model"] = "noted"
    settings = build_settings | {"run": {"memory": False, "shard_rows": 4}, "limit": 40, "output": "out"}
    (tmp_path / "plain").mkdir()
    monkeypatch.chdir(tmp_path / "plain")
    build(parse_config(settings))
    assert set(noted.shards().values()) == {1} and noted.shards().total() == 20, "a shard is translated in one go"
    (noted.place / "noted").unlink()
    monkeypatch.chdir(tmp_path)
    return Builds(settings, noted, tmp_path, published(tmp_path / "plain" / "out"), published)


@pytest.mark.parametrize("runner", ["processes", "dask", "ray"])
def test_a_worker_that_is_killed_costs_the_shard_it_was_at(runner: str, prefect_server: None, builds: Builds) -> None:
    noted, halt = builds.noted, builds.noted.place / "halt"
    text = builds.first_text(2)
    halt.write_text(text, encoding="utf-8")

    def kill() -> None:
        end = time.monotonic() + 480
        while halt.exists() and time.monotonic() < end:
            if (halted := noted.lines("halts")) and len(builds.done()) >= 2:
                os.kill(halted[0][0], signal.SIGKILL)
                halt.unlink()
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    result = builds.run(f"run.task_runner={runner}", "run.task_runner_workers=2")
    killer.join()
    assert len(noted.lines("halts")) == 1
    assert builds.written() == builds.expected
    assert {name: timing.rows for name, timing in result.timings.items()} == {"de": 40, "es": 40}

    counts = noted.shards()
    assert len(counts) == 20 and counts["deu_Latn", text] == 2
    # A pool of processes breaks when one dies: the other's shard is done again too, if it was in the middle of one.
    assert counts.total() - 20 in ({1, 2} if runner == "processes" else {1})
    assert os.getpid() not in {process for process, *_ in noted.lines("translates")}
    assert set(Counter(process for process, _ in noted.lines("loads")).values()) == {1}, "one translator a process"

    again = builds.run(f"run.task_runner={runner}", "run.task_runner_workers=2")
    assert all(timing.rows == 0 for timing in again.timings.values()) and noted.shards() == counts


def test_a_shard_on_its_way_to_a_pool_that_breaks_is_done(
    prefect_server: None, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect hands a task to its pool in a thread, which may come when the pool is closed already."""
    handed_over = ProcessPoolTaskRunner._resolve_futures_and_submit
    late: list[ProcessPoolTaskRunner] = []

    def hand_over(runner: Any, *arguments: Any, **named: Any) -> Any:
        task = named["parameters"]
        if (task["language"], task["number"]) == ("de", 3) and not late:
            late.append(runner)
            os.kill(next(iter(runner._executor._processes)), signal.SIGKILL)
            end = time.monotonic() + 480
            while runner._executor is not None and time.monotonic() < end:
                time.sleep(0.02)
        return handed_over(runner, *arguments, **named)

    monkeypatch.setattr(ProcessPoolTaskRunner, "_resolve_futures_and_submit", hand_over)
    result = builds.run("run.task_runner=processes", "run.task_runner_workers=2")
    assert late and late[0]._executor is None, "it came when the pool was closed"
    assert not result.failed and builds.written() == builds.expected
    assert len(builds.noted.shards()) == 20


class Pool:
    """The deployments of `docs/prefect.yaml`, all of one build, and the processes that work for their pool."""

    def __init__(self, builds: Builds, deployments: str) -> None:
        from prefect.settings import PREFECT_API_URL

        self.place = builds.place
        self.environment = os.environ | {
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
        }
        wanted = yaml.safe_load(deployments)
        for deployment in wanted["deployments"]:
            if "config" in deployment["parameters"] and "predictor" not in deployment["parameters"]["config"]:
                deployment["parameters"]["config"] = builds.settings
        (self.place / "prefect.yaml").write_text(yaml.safe_dump(wanted, sort_keys=False), encoding="utf-8")
        for command in (
            ["work-pool", "create", "spanferry", "--type", "process"],
            ["--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml"],
        ):
            subprocess.run(self.command(*command), cwd=self.place, env=self.environment, check=True)
        self.workers: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "prefect", *arguments]

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker that does one run at a time."""
        command = self.command("worker", "start", "--pool", "spanferry", "--limit", "1")
        self.workers.append(subprocess.Popen(command, cwd=self.place, env=self.environment | environment))
        return self.workers[-1]

    def run(self, deployment: str) -> UUID:
        """Have a worker run one of the deployments."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            found = client.read_deployment_by_name(deployment)
            return client.create_flow_run_from_deployment(found.id).id

    def state(self, run: UUID) -> str:
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
        return "" if state is None else state.type.value

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """Kill a worker and the run that it has started, without a word."""
        family = [worker.pid]
        for parent in family:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    family += map(int, task.read_text(encoding="ascii").split())
        for process in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        worker.wait()

    def until(self, what: Callable[[], Any]) -> None:
        end = time.monotonic() + 400
        while not what():
            assert all(worker.poll() is None for worker in self.workers), "a worker ended"
            assert time.monotonic() < end, "it took too long"
            time.sleep(0.1)


@pytest.fixture
def pool(prefect_server: None, builds: Builds, root: Path) -> Iterator[Pool]:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("finds processes by /proc")
    made = Pool(builds, (root / "docs" / "prefect.yaml").read_text(encoding="utf-8"))
    yield made
    for worker in made.workers:
        made.kill(worker)


def test_of_two_workers_of_a_pool_one_is_killed(pool: Pool, builds: Builds) -> None:
    noted, halt = builds.noted, builds.noted.place / "halt"
    halt.write_text(builds.first_text(6), encoding="utf-8")
    pool.start(NOTED_WAITS="yes")
    build_run = pool.run("translate-train/nightly")
    pool.until(lambda: len(builds.done()) == 2)  # and at the third it waits for the other to die
    victim = pool.start()
    help_run = pool.run("help-build/on-demand")
    pool.until(lambda: noted.lines("halts") and len(builds.done()) == 5)  # 0, 1; 3, 4, 5
    assert (pool.state(build_run), pool.state(help_run)) == ("RUNNING", "RUNNING")
    pool.kill(victim)
    pool.workers.remove(victim)
    done = {path.stem for path in builds.done()}
    halt.unlink()
    pool.until(lambda: pool.state(build_run) in {"COMPLETED", "FAILED", "CRASHED"})
    assert pool.state(build_run) == "COMPLETED"
    assert builds.written() == builds.expected

    counts = noted.shards()
    assert len(counts) == 20 and len({process for process, *_ in noted.lines("translates")}) == 2
    assert {counts["deu_Latn", builds.first_text(int(number))] for number in done} == {1}
    twice = {shard for shard, count in counts.items() if count > 1}
    assert ("deu_Latn", builds.first_text(6)) in twice
    assert len(twice) <= 2 and counts.total() == 20 + len(twice), "it had one in hand, and was at the next"


def test_an_existing_cluster_works_where_the_build_was_started(
    prefect_server: None, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    elsewhere = builds.place / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", memory_limit=0) as cluster:
        monkeypatch.chdir(builds.place)
        builds.run("run.task_runner=dask", f"run.task_runner_address={cluster.scheduler_address}")
    assert builds.written() == builds.expected
    assert set(builds.noted.shards().values()) == {1} and not list(elsewhere.iterdir())
    workers = {process for process, *_ in builds.noted.lines("translates")}
    assert len(workers) == 1 and len(builds.noted.lines("loads")) == 2, "one here, and one for both of its threads"


def test_a_worker_with_other_models_refuses(builds: Builds) -> None:
    settings = builds.settings | {"output": "plain/out"}
    [job, *_] = noted_jobs(BuildFolder(Path("plain/out")))["de"]
    with working_for(job, parse_config(settings), builds.place):
        pass
    other = parse_config(settings, ["translation.settings.dictionary={the: the}"])
    with pytest.raises(BuildError, match="other settings or other models"), working_for(job, other, builds.place):
        pass
    nowhere = builds.place / "not" / "mounted"
    with pytest.raises(BuildError, match=r"not there on .* same"), working_for(job, parse_config(settings), nowhere):
        pass


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_a_package_that_is_missing_is_one_clear_line(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"prefect_{runner}", None)
    with pytest.raises(ConfigError, match=rf"run.task_runner: {runner} needs .*pip install 'spanferry\[{runner}\]'"):
        Workers(RunSettings(task_runner=runner))


def test_a_cluster_that_is_not_there_is_one_clear_line(prefect_server: None, builds: Builds) -> None:
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(BuildError, match=r"task_runner_address: no dask cluster could be reached at tcp://127.0.0.1:9 "),
    ):
        builds.run("run.task_runner=dask", "run.task_runner_address=tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run.task_runner=spark"], "'threads', 'processes', 'dask' or 'ray'"),
        (["run.task_runner_address=tcp://host:8786"], "expected task_runner dask or ray"),
        (["run.task_runner_workers=2"], "threads do one shard at a time"),
    ],
)
def test_settings_that_do_not_fit_are_refused(build_settings: Settings, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(build_settings, overrides)


def test_what_goes_wrong_passes_between_processes() -> None:
    missing = pickle.loads(pickle.dumps(PredictionsMissing([Example("1", {"text": "a"})], "put them there")))
    assert missing.examples == (Example("1", {"text": "a"}),) and "put them there" in str(missing)
    mistake = DataError("found x", path="a.jsonl", line=3, hint="mend it")
    assert str(pickle.loads(pickle.dumps(mistake))) == str(mistake)
