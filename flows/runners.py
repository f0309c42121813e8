"""Who does the shards of a Prefect flow: this process, processes beside it, or the workers of a Dask or Ray cluster.

`run.task_runner` chooses. Whoever it is loads the model once a process, is told where the shard's files are and takes
the shard's claim; so a worker that dies costs the shard that it was at, and nobody does one that is done, even where
Dask or Ray repeat what they take for lost. What is started here is gone when the flow ends.
"""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from prefect import Task
from prefect.client.orchestration import get_client
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from spanferry.data.errors import BuildError, ConfigError
from spanferry.flows.config import AnyConfig, RunSettings
from spanferry.translation.decoding import usable_cores

Item = TypeVar("Item")

_TRIES = 3
"""How often a shard is begun that was under way when a process of the pool died; Dask's number, and nearly Ray's."""

_RAY_STORE = 100 * 2**20
"""Bytes of Ray's store of objects on this machine; what travels are paths and counts. By default, a third of memory."""


class Workers:
    """Does tasks, as many at once as there are workers; started when the first one is asked for.

    Args:
        run: `task_runner` and what belongs to it.

    Raises:
        ConfigError: the package that this needs is not installed.

    >>> from spanferry.flows.config import RunSettings
    >>> Workers(RunSettings(task_runner="processes", task_runner_workers=3)).at_once()
    3
    """

    def __init__(self, run: RunSettings) -> None:
        self._run = run
        self._made = _task_runner(run)
        self._started: TaskRunner[Any] | None = None
        self._stack = ExitStack()
        self._settings = ExitStack()

    def __enter__(self) -> Workers:
        if self.elsewhere:
            # Else every worker would start a server of its own, where the flow has a temporary one.
            with get_client(sync_client=True) as client:
                url = str(client.api_url)
            self._settings.enter_context(temporary_settings({PREFECT_API_URL: url}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        self._settings.close()
        self._started = None

    @property
    def elsewhere(self) -> bool:
        """Whether tasks are done in other processes than this one."""
        return self._run.task_runner != "threads"

    def at_once(self) -> int:
        """Return how many tasks are worked on at once; a cluster may grow while the flow runs."""
        if self._run.task_runner_address is None or self._run.task_runner_workers or self._started is None:
            return local_workers(self._run)
        if self._run.task_runner == "dask":
            return len(self._started.client.nthreads()) or 1  # type: ignore[attr-defined]
        return _gpus_of_ray(self._run) or _nodes_of_ray()

    def each(self, task: Task[..., Any], items: Iterable[tuple[Item, dict[str, Any]]]) -> Iterator[
        tuple[Item, PrefectFuture[Any]]
    ]:  # fmt: skip
        """Do a task for each item, with its parameters; yield items in order, each with its result as it is there.

        For every worker one task runs and one is ready: a build of many thousand shards does not hold as many promises.
        """
        coming = iter(items)
        under_way: deque[tuple[Item, dict[str, Any], int, TaskRunner[Any], PrefectFuture[Any]]] = deque()

        def begin(item: Item, parameters: dict[str, Any], tries: int = 1) -> None:
            runner = self._runner()
            under_way.append((item, parameters, tries, runner, self._submit(runner, task, parameters)))

        self._runner()  # only once it is there is it known how many can be at once
        while True:
            for item, parameters in islice(coming, max(0, 2 * self.at_once() - len(under_way))):
                begin(item, parameters)
            if not under_way:
                return
            item, parameters, tries, runner, promise = under_way.popleft()
            if tries < _TRIES and _lost(promise, closed=runner is not self._started):
                if runner is self._started:  # the first to notice
                    self._restart()
                begin(item, parameters, tries + 1)
            else:
                yield item, promise

    def _runner(self) -> TaskRunner[Any]:
        if self._started is None:
            self._started = self._start()
        return self._started

    def _restart(self) -> None:
        self._stack.close()
        self._made = self._made.duplicate()
        self._started = None

    def _start(self) -> TaskRunner[Any]:
        where = self._run.task_runner_address
        try:
            if self._run.task_runner == "ray":
                _quiet_ray(self._made, self._stack, local=where is None)
            runner = self._stack.enter_context(self._made)
            if self._run.task_runner == "dask":
                runner.client  # type: ignore[attr-defined]  # noqa: B018  (connects)
        except (OSError, RuntimeError, ValueError) as error:
            if where is None:
                raise
            raise BuildError(
                f"run.task_runner_address: no {self._run.task_runner} cluster could be reached at {where} "
                f"({' '.join(str(error).split())}); start it, or remove this setting for one on this machine"
            ) from error
        return runner

    def _submit(self, runner: TaskRunner[Any], task: Task[..., Any], parameters: dict[str, Any]) -> PrefectFuture[Any]:
        with _placed_by_ray(self._run) if self._run.task_runner == "ray" else nullcontext():
            promise: PrefectFuture[Any] = runner.submit(task, parameters)
        return promise


def local_workers(run: RunSettings) -> int:
    """Return how many tasks are worked on at once where the workers are of this machine.

    >>> from spanferry.flows.config import RunSettings
    >>> local_workers(RunSettings())  # threads would share one model, which uses the whole machine for one shard
    1
    """
    if run.task_runner == "threads":
        return 1
    return run.task_runner_workers or max(2, usable_cores() // 8)


def share_of_machine(config: AnyConfig) -> AnyConfig:
    """Return the settings for one of several workers on this machine: without a say, each would use all its cores.

    >>> from spanferry.flows.config import parse_config
    >>> settings = {"task": "ner", "source": {"path": "a.jsonl", "language": "en"}, "targets": ["de"], "output": "out"}
    >>> several = ["run.task_runner=processes", "run.task_runner_workers=1000"]
    >>> share_of_machine(parse_config(settings, several)).run.workers
    1
    """
    run = config.run
    if run.task_runner == "threads" or run.task_runner_address or run.workers or run.threads:
        return config
    mine = max(1, usable_cores() // local_workers(run))
    return config.model_copy(update={"run": run.model_copy(update={"workers": mine})})


def _task_runner(run: RunSettings) -> TaskRunner[Any]:
    if run.task_runner == "threads":
        return ThreadPoolTaskRunner(max_workers=local_workers(run))
    if run.task_runner == "processes":
        return ProcessPoolTaskRunner(max_workers=local_workers(run))
    try:
        made: TaskRunner[Any] = _dask(run) if run.task_runner == "dask" else _ray(run)
    except ImportError as error:
        name = run.task_runner
        raise ConfigError(
            f"run.task_runner: {name} needs prefect-{name}, which cannot be imported ({error}); "
            f"pip install 'spanferry[{name}]'"
        ) from error
    return made


def _dask(run: RunSettings) -> Any:
    from prefect_dask import DaskTaskRunner

    if run.task_runner_address is not None:
        return DaskTaskRunner(address=run.task_runner_address)
    logging.getLogger("distributed").setLevel(logging.WARNING)  # every connection is news to it
    own = {
        "n_workers": local_workers(run),
        "threads_per_worker": 1,
        "memory_limit": 0,  # Dask would stop a worker that holds much memory, as a model does
        "dashboard_address": "127.0.0.1:0",
        "security": True,  # certificates of its own: no other user of the machine can have code run by it
    }
    return DaskTaskRunner(cluster_kwargs=own)


def _ray(run: RunSettings) -> Any:
    from prefect_ray import RayTaskRunner

    if run.task_runner_address is not None:
        return RayTaskRunner(address=run.task_runner_address)
    own = {"num_cpus": local_workers(run), "include_dashboard": False, "object_store_memory": _RAY_STORE}
    return RayTaskRunner(address="local", init_kwargs=own)


def _lost(promise: PrefectFuture[Any], *, closed: bool) -> bool:
    """Wait for a task; tell whether it was lost with its pool, which broke since a process of it died.

    Args:
        promise: of the task.
        closed: whether the pool is closed by now. A task that was on its way to it then meets a pool that is broken,
            shut down or gone, by the moment, and each is another error. A task's own error never ends the wait: it is
            a state that comes back.
    """
    try:
        promise.wait()
    except BrokenExecutor:
        return True
    except Exception:  # if it is not the pool's, whoever asks for the result meets it again
        return closed
    return False


def _quiet_ray(runner: TaskRunner[Any], stack: ExitStack, *, local: bool) -> None:
    """Let Ray report nothing home; one on this machine leaves no files behind, and nobody else can use it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if local:
        # Without a token Ray writes one into ~/.ray; without authentication any user of the machine could run code.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        folder = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        runner.init_kwargs["_temp_dir"] = stack.enter_context(folder)  # type: ignore[attr-defined]


def _placed_by_ray(run: RunSettings) -> AbstractContextManager[Any]:
    """Let Ray spread tasks over its nodes, and give each a GPU, the only one that its process sees."""
    from prefect_ray.context import remote_options

    options: AbstractContextManager[Any] = remote_options(
        scheduling_strategy="SPREAD", num_gpus=1 if _gpus_of_ray(run) else 0
    )
    return options


def _gpus_of_ray(run: RunSettings) -> int:
    import ray

    return 0 if run.device == "cpu" else int(ray.cluster_resources().get("GPU", 0))


def _nodes_of_ray() -> int:
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes()) or 1
