"""The build as a Prefect flow, one task a shard: the same functions as `spanferry.flows.build`, watched by Prefect.

Only this module and `spanferry.flows.translate_test` import Prefect, and only `spanferry build --prefect` and served
flows import them: starting Prefect's own server takes seconds, which a one-shot build does not pay.

Shards run one after the other, as in a plain build: the model uses the whole machine for one shard, and the same order
gives the same bytes. The sidecar of a shard says whether it is done; Prefect's cache is not asked, since it does not
know whether the file is still there.
"""
# No `from __future__ import annotations`: Prefect reads the parameters' types when a flow is served.

import os
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Read when Prefect is imported. Its server would write telemetry, and lock its database to do so; and on a machine that
# is busy translating, the temporary server may take longer to start than the 20 s it is given.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from spanferry.data.errors import BuildError, SpanferryError
from spanferry.flows.build import close, opened
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.jobs import Job
from spanferry.flows.predict_config import TranslateTestConfig
from spanferry.flows.progress import Silent
from spanferry.flows.report import BuildResult, Timing
from spanferry.flows.work import run_shard


def _worth_another_try(task: Any, run: Any, state: Any) -> bool:
    """A mistake in settings or data stays one; anything else (a full disk, a lost device) may pass."""
    return not isinstance(state.result(raise_on_failure=False), SpanferryError)


@task(
    name="shard",
    task_run_name="{language}/{number}",
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_worth_another_try,
    cache_policy=NO_CACHE,
)
def shard(language: str, number: int, job: dict[str, Any], config: BuildConfig | TranslateTestConfig) -> dict[str, Any]:
    """Do one shard: its source and output are paths in ``job``; return its counts and what it cost.

    Args:
        language: for people; what counts stands in ``job``.
        number: of the shard within its language, for people.
        job: a `spanferry.flows.jobs.Job`, as a mapping.
        config: the settings of the build.
    """
    began = time.monotonic()
    sidecar = run_shard(Job(**job), config)
    return {"counts": dict(sidecar.counts), "seconds": time.monotonic() - began}


@flow(name="translate-train", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def translate_train(config: BuildConfig, only: list[str] | None = None) -> dict[str, Any]:
    """Build a dataset, or what is missing of it; return its report and what each language cost.

    Args:
        config: the settings of the build, the same as in a configuration file.
        only: some of the targets; the others stay as they are.
    """
    return run_shards(config, only)


def run_shards(config: AnyConfig, only: list[str] | None) -> dict[str, Any]:
    """Do what is missing of a build within a flow; return its report and what each language cost."""
    began = time.monotonic()
    log = get_run_logger()
    with opened(config, only, Silent()) as (plan, languages, _):
        running = defaultdict(list)
        reused: dict[str, int] = {}
        for language in languages:
            jobs = [job for split in plan.jobs(language).values() for job in split]
            open_jobs = [job for job in jobs if job.done() is None]
            reused[language.bcp47] = sum(job.rows for job in jobs) - sum(job.rows for job in open_jobs)
            for number, job in enumerate(open_jobs):
                running[language.bcp47].append(shard.submit(language.bcp47, number, asdict(job), config))
        timings = {}
        for name, rows in reused.items():
            finished = [future.result() for future in running[name]]
            timings[name] = Timing(
                seconds=sum(each["seconds"] for each in finished),
                rows=sum(each["counts"]["rows"] for each in finished),
                reused=rows,
            )
            log.info("%s: %d rows done, %d done before", name, timings[name].rows, rows)
        result = close(plan, timings, began, Silent())
    return {"report": result.report, "timings": {name: asdict(timing) for name, timing in timings.items()}}


def run_as_flow(config: AnyConfig, only: list[str] | None = None) -> BuildResult:
    """Run the flow of the build's direction here and now, and return what a plain build returns.

    Raises:
        BuildError: Prefect's server does not answer.
        SpanferryError: as `spanferry.flows.build.build`.
    """
    began = time.monotonic()
    try:
        if isinstance(config, BuildConfig):
            returned = translate_train(config, only)
        else:
            from spanferry.flows.translate_test import translate_test

            returned = translate_test(config, only)
    except RuntimeError as error:
        if "API" not in str(error):
            raise
        raise BuildError(
            f"Prefect: {str(error).rstrip('.')}. Start the server that PREFECT_API_URL names, unset it for a temporary "
            "one, or build without --prefect"
        ) from error
    timings = {name: Timing(**timing) for name, timing in returned["timings"].items()}
    return BuildResult(Path(config.output), returned["report"], timings, time.monotonic() - began)
