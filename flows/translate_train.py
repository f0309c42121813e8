"""The build as a Prefect flow, one task a shard: the same functions as `spanferry.flows.build`, watched by Prefect.

Only this module, `spanferry.flows.translate_test`, `publish_flow`, `artifacts` and `serve` import Prefect, and only
`spanferry build --prefect` and `spanferry serve` import them: starting Prefect's own server takes seconds, which a
one-shot build does not pay.

Shards run one after the other, as in a plain build, since the model uses the whole machine for one; or on several
workers, see `spanferry.flows.runners`. The sidecar of a shard says whether it is done; Prefect's cache is not asked,
since it does not know whether the file is still there.
"""
# No `from __future__ import annotations`: Prefect reads the parameters' types when a flow is served.

import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

# Read when Prefect is imported. Its server would write telemetry, and lock its database to do so; and on a machine that
# is busy translating, the temporary server may take longer to start than the 20 s it is given. A server that goes while
# a build runs is waited for, twice as long each time: eight times are eight minutes.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "8")

import httpx
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from spanferry.data.errors import BuildError, SpanferryError
from spanferry.flows.artifacts import ProgressBar, show_result
from spanferry.flows.build import NOTHING_FAILED, choose_jobs, close, opened, whole
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.failures import Undone, note_failure, stops_the_build
from spanferry.flows.helping import help_build, working_for
from spanferry.flows.jobs import BuildPlan, Job
from spanferry.flows.parts import asked_since, asked_so_far, load_parts
from spanferry.flows.places import locate, stored_of
from spanferry.flows.predict_config import TranslateTestConfig
from spanferry.flows.predict_work import ask_for_predictions
from spanferry.flows.progress import Silent
from spanferry.flows.report import BuildResult, Timing
from spanferry.flows.runners import Workers, share_of_machine
from spanferry.flows.work import run_shard
from spanferry.projection.prediction import PredictionsMissing
from spanferry.translation.convert import resolve_device
from spanferry.translation.languages import Language
from spanferry.translation.remembering import TranslationStats

_TAGS = ["spanferry"]


def _worth_another_try(task: Any, run: Any, state: Any) -> bool:
    """A mistake in settings or data stays one; anything else (a full disk, a lost device) may pass."""
    return not isinstance(state.result(raise_on_failure=False), SpanferryError)


@task(
    name="shard",
    task_run_name="{language}/{number}",
    tags=_TAGS,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=_worth_another_try,
    cache_policy=NO_CACHE,
)
def shard(
    language: str,
    number: int,
    job: dict[str, Any],
    config: BuildConfig | TranslateTestConfig,
    folder: str | None = None,
) -> dict[str, Any]:
    """Do one shard: its source and output are paths in ``job``; return its counts and what it cost.

    Args:
        language: for people; what counts stands in ``job``.
        number: of the shard within its language, for people.
        job: a `spanferry.flows.jobs.Job`, as a mapping.
        config: the settings of the build.
        folder: that the paths are relative to, where another process than the flow's does the shard; None: this one.
    """
    if folder is not None:
        with working_for(Job(**job), config, Path(folder)):
            return shard.fn(language, number, job, config)
    parts = load_parts(config)
    began, stats, asked_before = time.monotonic(), TranslationStats(), asked_so_far(parts)
    sidecar = run_shard(Job(**job), config, stats=stats)
    rows = sidecar.counts["rows"]
    cost = Timing(
        seconds=time.monotonic() - began,
        rows=rows,
        translated=stats.translated,
        remembered=stats.remembered,
        model_seconds=stats.model_seconds,
        characters=stats.characters,
        **asked_since(parts, asked_before),
    )
    return {"counts": dict(sidecar.counts), "cost": asdict(cost)}


@flow(name="translate-train")
def translate_train(config: BuildConfig, only: list[str] | None = None, only_failed: bool = False) -> dict[str, Any]:
    """Build a dataset, or what is missing of it; return its report and what each language cost.

    Args:
        config: the settings of the build, the same as in a configuration file.
        only: some of the targets; the others stay as they are.
        only_failed: of these, do only the shards that failed before.
    """
    return run_shards(config, only, only_failed)


@flow(name="help-build")
def help_with_build(config: BuildConfig | TranslateTestConfig, only: list[str] | None = None) -> dict[str, int]:
    """Do shards of a build that runs elsewhere, until none is left that nobody works on: one run a worker, or a GPU.

    Args:
        config: the settings of the build; `run.device` names the GPU.
        only: some of the languages.

    Returns:
        language -> rows that were done here.
    """
    return {name: timing.rows for name, timing in help_build(config, only=only).items()}


def run_shards(config: AnyConfig, only: list[str] | None, only_failed: bool = False) -> dict[str, Any]:
    """Do what is missing of a build within a flow; return its report and what each language cost.

    Raises:
        LanguagesFailed: some languages failed; the others are whole, and their dataset is written.
    """
    began = time.monotonic()
    log = get_run_logger()
    with Workers(config.run) as workers, opened(config, only, Silent()) as (plan, languages, _):
        timings, undone = {}, Undone()
        for language in languages:
            name = language.bcp47
            timings[name] = _run_language(plan, language, workers, undone, only_failed)
            log.info("%s: %d rows done, %d done before", name, timings[name].rows, timings[name].reused)
        if undone.waiting:
            raise ask_for_predictions(config, plan.folder, undone.waiting)
        if only_failed and not undone.failed and not any(timing.rows for timing in timings.values()):
            log.info("%s: %s", config.output, NOTHING_FAILED)
        result = close(plan, timings, began, Silent(), undone)
    show_result(result, result.failed)
    whole(result, config.output)
    return {"report": result.report, "timings": {name: asdict(timing) for name, timing in timings.items()}}


def _run_language(plan: BuildPlan, language: Language, workers: Workers, undone: Undone, only_failed: bool) -> Timing:
    """Do the open shards of a language; return what they cost.

    What must be predicted on elsewhere first, and what fails, is added to ``undone``.
    """
    name = language.bcp47
    jobs = [job for split in plan.jobs(language).values() for job in split]
    open_jobs, done_before = choose_jobs(jobs, only_failed=only_failed)
    reused = sum(job.rows for job in done_before)
    if not open_jobs:
        return Timing(reused=reused)
    placed = shard if workers.elsewhere else shard.with_options(tags=[*_TAGS, *gpu_tag(plan.config)])
    common = {"config": share_of_machine(plan.config), "folder": str(Path.cwd()) if workers.elsewhere else None}
    tasks = (
        (job, {"language": name, "number": number, "job": asdict(job), **common})
        for number, job in enumerate(open_jobs)
    )
    bar = ProgressBar(name, sum(job.rows for job in jobs), reused)
    spent = Timing(reused=reused)
    for job, promise in workers.each(placed, tasks):
        try:
            done = promise.result()
        except PredictionsMissing as missing:
            undone.waiting += missing.examples
        except httpx.HTTPError:
            raise  # Prefect's server is gone; the shard is done, or it is not
        except Exception as error:  # whatever it is, it is said, and the other shards are not held up
            if stops_the_build(error):
                raise
            undone.failed.append(failure := note_failure(job, error))
            if (stored := stored_of(job)) is not None:
                stored.share(job)
            get_run_logger().error("%s: shard %s %d: %s", name, failure.split, failure.shard, failure.reason)
            bar.advance(job.rows, failed=True)
        else:
            spent += Timing(**done["cost"])
            bar.advance(job.rows)
    return spent


def gpu_tag(config: AnyConfig) -> list[str]:
    """Return a tag that names the GPU a build works on, so that a limit on it keeps shards from sharing that GPU.

    ``prefect concurrency-limit create gpu-HOST-0 1`` makes the limit; without one, the tag limits nothing.

    >>> from spanferry.flows.config import parse_config
    >>> config = {"task": "ner", "source": {"path": "a.jsonl", "language": "en"}, "targets": ["de"], "output": "out"}
    >>> gpu_tag(parse_config(config, ["run.device=cpu"]))
    []
    """
    device, _, index = config.run.device.partition(":")
    if resolve_device(device) != "cuda":
        return []
    return [f"gpu-{platform.node()}-{index or 0}"]


def run_as_flow(config: AnyConfig, only: list[str] | None = None, only_failed: bool = False) -> BuildResult:
    """Run the flow of the build's direction here and now, and return what a plain build returns.

    Raises:
        BuildError: Prefect's server does not answer.
        SpanferryError: as `spanferry.flows.build.build`.
    """
    began = time.monotonic()
    try:
        if isinstance(config, BuildConfig):
            returned = translate_train(config, only, only_failed)
        else:
            from spanferry.flows.translate_test import translate_test

            returned = translate_test(config, only, only_failed)
    except httpx.HTTPError as error:
        raise BuildError(
            f"Prefect: its server does not answer any more ({error}). What is finished is safe; start the server "
            "again, and the same command goes on, or build without --prefect"
        ) from error
    except RuntimeError as error:
        if "API" not in str(error):
            raise
        raise BuildError(
            f"Prefect: {str(error).rstrip('.')}. Start the server that PREFECT_API_URL names, unset it for a temporary "
            "one, or build without --prefect"
        ) from error
    timings = {name: Timing(**timing) for name, timing in returned["timings"].items()}
    folder = locate(config.output, config.run.work_folder).root
    return BuildResult(folder, returned["report"], timings, time.monotonic() - began)
