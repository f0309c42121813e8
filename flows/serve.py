"""A build on a schedule, on one machine, by one command: `spanferry serve`.

Prefect's server is the one that PREFECT_API_URL names; without it, one is started on this machine and stopped at the
end. Each run is a process of its own, started at its time; what is finished is not done again, so a schedule may run
often.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from spanferry.data.errors import BuildError, ConfigError
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.folder import BuildFolder
from spanferry.flows.places import locate

if TYPE_CHECKING:
    from prefect import Flow

_START_SECONDS = 600.0  # of a machine that is busy translating; one that died is noticed at once


def serve(config: AnyConfig, cron: str, *, name: str, timezone: str = "UTC", port: int = 4200) -> None:
    """Run a build at the times that a cron line names, until stopped.

    Args:
        config: the settings of the build.
        cron: five fields: minute, hour, day of the month, month, day of the week.
        name: of the deployment, on Prefect's page.
        timezone: that the cron line is meant in, as ``Europe/Berlin``.
        port: of the server that is started where PREFECT_API_URL names none.

    Raises:
        ConfigError: the cron line or the time zone is none.
        BuildError: Prefect's server does not answer.
    """
    check_schedule(cron, timezone)
    folder = locate(config.output, config.run.work_folder)
    folder.check()
    with _server(port) as url:
        flow = flow_of(config)
        _bury_dead_runs(flow.name, name, folder)
        print(f"spanferry: {flow.name}/{name} runs at '{cron}' ({timezone}); its page: {url.removesuffix('/api')}")
        print(f"spanferry: to run it now: PREFECT_API_URL={url} prefect deployment run {flow.name}/{name}", flush=True)
        _serve(flow, config, cron, name, timezone)


def check_schedule(cron: str, timezone: str) -> None:
    """Refuse what is no schedule.

    >>> check_schedule("0 3 * *", "UTC")
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: --cron '0 3 * *': expected five fields, as in "0 3 * * *" (every day ...
    """
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    if len(cron.split()) != 5:
        raise ConfigError(
            f'--cron {cron!r}: expected five fields, as in "0 3 * * *" (every day at 3:00): minute, hour, day of the '
            "month, month, day of the week"
        )
    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        [mistake, *_] = error.errors()
        [field] = mistake["loc"]
        given = f"--{field} {cron if field == 'cron' else timezone!r}"
        raise ConfigError(f"{given}: {mistake['msg'].removeprefix('Value error, ')}") from None


def flow_of(config: AnyConfig) -> Flow[Any, Any]:
    """Return the flow of the build's direction."""
    if isinstance(config, BuildConfig):
        from spanferry.flows.translate_train import translate_train

        return translate_train
    from spanferry.flows.translate_test import translate_test

    return translate_test


def _serve(flow: Flow[Any, Any], config: AnyConfig, cron: str, name: str, timezone: str) -> None:
    """Hand the flow to Prefect's runner, which returns when it is stopped."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    flow.serve(
        name=name,
        schedule=Cron(cron, timezone=timezone),
        parameters={"config": config.model_dump(mode="json", exclude_defaults=True)},
        tags=["spanferry"],
        description=f"{config.direction}: {', '.join(config.datasets)}, in {config.output}",
        # Two runs cannot write one folder; the one that is due while another runs is not needed.
        global_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        entrypoint_type=EntrypointType.MODULE_PATH,
        print_starting_message=False,
    )


def _bury_dead_runs(flow: str, name: str, folder: BuildFolder) -> None:
    """Mark runs that Prefect thinks are running, while nobody holds the build's folder, as crashed.

    Where the process that started a run and the run itself both die, nobody tells Prefect; the run would stand there as
    running for ever, and keep others from starting.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.states import Crashed

    if folder.state.is_dir():
        try:
            with folder.claimed():
                pass
        except BuildError:
            return
    alive = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[name])),
            flow_run_filter=FlowRunFilter(state=alive),
        ):
            client.set_flow_run_state(run.id, Crashed(message="found dead when it was served again"), force=True)


@contextmanager
def _server(port: int) -> Iterator[str]:
    """Give the address of Prefect's API; start a server for the time of the block where none is named."""
    from spanferry.flows import translate_train  # noqa: F401  (sets what Prefect reads when it is imported)

    from prefect.settings import PREFECT_API_URL, temporary_settings  # isort: skip

    if named := PREFECT_API_URL.value():
        if not _answers(named):
            raise BuildError(f"Prefect: nothing answers at {named}; start the server there, or unset PREFECT_API_URL")
        yield named
        return
    url = f"http://127.0.0.1:{port}/api"
    server = None
    try:
        if not _answers(url):
            command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
            # In a group of its own: on Ctrl-C, Prefect's runner still has something to tell it.
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
            _await(url, server)
        os.environ["PREFECT_API_URL"] = url  # for the processes of the runs
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        if server is not None:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while not _answers(url):
        if server.poll() is not None:
            raise BuildError(
                f"Prefect: its server ended with code {server.returncode}; is another at {url}? See --port"
            )
        if time.monotonic() - began > _START_SECONDS:
            raise BuildError(f"Prefect: its server does not answer at {url} after {_START_SECONDS:.0f} s")
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
