"""A build from beginning to end, as plain functions: read the source, do the shards, write the dataset.

The Prefect flow in `spanferry.flows.translate_train` is made of the same functions.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from typing import TypeVar

from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.flows.claims import Claim, claim, claims, remove_claims, settle
from spanferry.flows.config import AnyConfig
from spanferry.flows.cost import peak_memory
from spanferry.flows.dataset import NothingFinished, finish_build
from spanferry.flows.failures import Undone, by_language, failure_of, note_failure, stops_the_build
from spanferry.flows.jobs import BuildPlan, Job, note_plan
from spanferry.flows.parts import Parts, asked_since, asked_so_far, load_parts
from spanferry.flows.places import locate, stored_at
from spanferry.flows.predict_work import ask_for_predictions
from spanferry.flows.progress import Progress, Silent
from spanferry.flows.report import BuildResult, Timing, languages_failed
from spanferry.flows.shards import remove_temporary
from spanferry.flows.source import stage
from spanferry.flows.work import Translated, carry_examples, read_shard, translate_examples, write_shard
from spanferry.projection.prediction import PredictionsMissing
from spanferry.translation.languages import Language, get_language, require_language
from spanferry.translation.remembering import TranslationStats

Item = TypeVar("Item")
Result = TypeVar("Result")

NOTHING_FAILED = "no shard is noted as failed with these settings; without --only-failed, what is missing is done"


def build(
    config: AnyConfig,
    *,
    only: Sequence[str] | None = None,
    only_failed: bool = False,
    progress: Progress | None = None,
) -> BuildResult:
    """Build the dataset, or what is missing of it.

    Args:
        config: the settings.
        only: some of the targets; the others stay as they are.
        only_failed: of these, do only the shards that failed before, see `spanferry.flows.failures`.
        progress: where to report to.

    Raises:
        SpanferryError: a mistake in the settings or the data, or predictions that are made elsewhere and are not there
            yet.
        LanguagesFailed: shards failed; the dataset of the languages that are whole is written.
        KeyboardInterrupt: passed on at once; the finished shards stay, and the next build goes on from them.
    """
    began = time.monotonic()
    progress = progress or Silent()
    with opened(config, only, progress) as (plan, languages, parts):
        undone, timings, tried = Undone(), {}, False
        for language in languages:
            jobs = [job for split in plan.jobs(language).values() for job in split]
            chosen, reused = choose_jobs(jobs, only_failed=only_failed)
            timings[language.bcp47] = Timing(reused=sum(job.rows for job in reused))
            if chosen:
                tried = True
                timings[language.bcp47] = do_shards(
                    language.bcp47, [*reused, *chosen], chosen, parts, progress=progress, undone=undone
                )
        if undone.waiting:
            raise ask_for_predictions(config, plan.folder, undone.waiting)
        if only_failed and not tried:
            progress.note(f"{config.output}: {NOTHING_FAILED}")
        return whole(close(plan, timings, began, progress, undone), config.output)


@contextmanager
def opened(
    config: AnyConfig, only: Sequence[str] | None, progress: Progress
) -> Iterator[tuple[BuildPlan, list[Language], Parts]]:
    """Hold the output folder for a build that is planned and checked: give its plan, the languages to do, the parts.

    Raises:
        SpanferryError: anything that can be known to be wrong before the work begins.
    """
    languages = choose_languages(config, only)
    folder = locate(config.output, config.run.work_folder)
    with folder.claimed(), _rare_collections():
        parts = load_parts(config)
        require_languages(config, languages, parts)
        sources = stage(config, folder, progress)
        plan = BuildPlan(config, folder, sources, parts.fingerprint())
        note_plan(plan)
        if (stored := stored_at(folder.root)) is not None:
            stored.share_plan()
        yield plan, languages, parts


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Look for garbage in cycles less often than Python does on its own.

    A build makes values by the hundred thousand, keeps a shard of them at a time, and leaves no cycles behind; to look
    at all that lives after every 700 of them takes a fifth of the time that is not the model's.
    """
    before = gc.get_threshold()
    gc.set_threshold(20_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def choose_jobs(jobs: Sequence[Job], *, only_failed: bool = False) -> tuple[list[Job], list[Job]]:
    """Return the shards to do, of those that are not done, and the shards that are."""
    chosen, reused = [], []
    settle(jobs)
    for job in jobs:
        if job.done() is not None:
            reused.append(job)
        elif not only_failed or failure_of(job) is not None:
            chosen.append(job)
    return chosen, reused


def close(
    plan: BuildPlan, timings: dict[str, Timing], began: float, progress: Progress, undone: Undone | None = None
) -> BuildResult:
    """Write the dataset from the shards, note what the run cost, and return both.

    Args:
        plan: the build, its folder held.
        timings: language -> what this run spent on it.
        began: when this run began, by `time.monotonic`.
        progress: where to report to.
        undone: what failed in this run.

    Raises:
        LanguagesFailed: shards failed, and no language is whole.
    """
    failed = by_language(undone.failed) if undone else {}
    if (stored := stored_at(plan.folder.root)) is not None:  # what others have done meanwhile
        every = [job for name in plan.config.datasets for job in chain(*plan.jobs(get_language(name)).values())]
        stored.settle(every)
    try:
        report = finish_build(plan, progress)
    except NothingFinished:
        if failed:
            raise languages_failed(failed, plan.config.output) from None
        raise
    if not report["missing"]:
        remove_temporary(plan.folder.shards)  # of helpers that were killed
        remove_claims(plan.folder.shards)
    if stored is not None:
        stored.share_dataset()
    seconds = time.monotonic() - began
    plan.folder.log_run(
        {
            "seconds": seconds,
            "peak_bytes": peak_memory(),
            "languages": {name: asdict(timing) for name, timing in timings.items()},
        }
    )
    if stored is not None:
        stored.end(every, ran=any(timing.rows for timing in timings.values()), whole=not report["missing"])
    return BuildResult(plan.folder.root, report, timings, seconds, failed)


def whole(result: BuildResult, output: str) -> BuildResult:
    """Return a build of which nothing failed.

    Args:
        result: what was built.
        output: where it lies, for the message.

    Raises:
        LanguagesFailed: something did; the error has the result.
    """
    if result.failed:
        raise languages_failed(result.failed, output, result)
    return result


def require_languages(config: AnyConfig, languages: Sequence[Language], parts: Parts) -> None:
    """Refuse languages that the model does not speak, before any work is done.

    Raises:
        LanguageError: it names the nearest language that the model speaks.
    """
    chosen = {language.flores for language in languages}
    sides = [config.sides(name) for name in config.datasets if get_language(name).flores in chosen]
    for name in dict.fromkeys(side for pair in sides for side in pair):
        require_language(get_language(name).flores, parts.translator.languages, model=config.translation.model)


def choose_languages(config: AnyConfig, only: Sequence[str] | None) -> list[Language]:
    """Return the languages to work on, in the order of the configuration: targets, or those of the test data.

    Raises:
        ConfigError: one of ``only`` is none of them, or there is none in it.
    """
    targets = [get_language(name) for name in config.datasets]
    if only is None:
        return targets
    known = [target.bcp47 for target in targets]
    if not only:
        raise ConfigError(f"--languages: found nothing, expected some of {', '.join(known)}; or leave it out for all")
    wanted = {get_language(name).flores for name in only}
    for name in only:
        if get_language(name).flores not in {target.flores for target in targets}:
            raise ConfigError(f"--languages {name}: no language of this build; {did_you_mean(name, known)}")
    return [target for target in targets if target.flores in wanted]


def do_shards(
    name: str,
    jobs: Sequence[Job],
    open_jobs: Sequence[Job],
    parts: Parts,
    *,
    progress: Progress,
    undone: Undone,
    to_the_end: bool = True,
) -> Timing:
    """Do the open ones of a language's shards, those left out that another process has claimed, and return the cost.

    Args:
        name: of the language, for people.
        jobs: its shards.
        open_jobs: those that were not done a moment ago.
        parts: what they are worked with.
        progress: where to report to.
        undone: is added to: what must be predicted on elsewhere first, and shards that failed; these are noted beside
            where they would lie, and the others are done.
        to_the_end: wait for what others have claimed, and do what they leave undone.

    Raises:
        SpanferryError, OSError: what every other shard would meet too, see `stops_the_build`.
    """
    began = time.monotonic()
    total, missing_rows = sum(job.rows for job in jobs), sum(job.rows for job in open_jobs)
    translating, carrying = f"{name}: translating", f"{name}: carrying"
    stats: list[TranslationStats] = []
    asked_before = asked_so_far(parts)
    progress.start(translating, total, total - missing_rows)
    progress.start(carrying, total, total - missing_rows)
    held: list[Claim] = []
    passed_over: list[Job] = []
    rows = failed_rows = 0

    def translate(own: Claim) -> Translated | Exception:
        held.append(own)
        stats.append(cost := TranslationStats())
        try:
            with _rows_of(own.job, translating, progress) as step:
                return translate_examples(read_shard(own.job), parts, own.job.direction, progress=step, stats=cost)
        except Exception as error:  # whatever it is, it is this shard's, until its turn comes
            return error

    def finish(own: Claim, translated: Translated | Exception) -> None:
        nonlocal rows, failed_rows
        try:
            if isinstance(translated, Exception):
                raise translated
            write_shard(own.job, carry_examples(translated, parts, own.job.direction))
            own.share()
        except PredictionsMissing as missing:
            undone.waiting.extend(missing.examples)
        except Exception as error:  # whatever it is, it is said, and the other shards are not held up
            if stops_the_build(error):
                raise
            undone.failed.append(failure := note_failure(own.job, error))
            own.share()
            failed_rows += own.job.rows
            progress.note(f"{failure.language}: shard {failure.split} {failure.shard} failed: {failure.reason}")
        else:
            rows += own.job.rows
            progress.advance(carrying, own.job.rows)
        own.release()

    try:
        for own, translated in working_ahead(claims(open_jobs, passed_over), translate):
            finish(own, translated)
        for job in passed_over if to_the_end else ():
            if (left := claim(job, wait=-1)) is not None:
                finish(left, translate(left))
    finally:
        for own in held:
            own.release()
    progress.finish(translating)
    progress.finish(carrying)
    return Timing(
        seconds=time.monotonic() - began,
        rows=rows,
        reused=total - rows - failed_rows,
        translated=sum(each.translated for each in stats),
        remembered=sum(each.remembered for each in stats),
        model_seconds=sum(each.model_seconds for each in stats),
        characters=sum(each.characters for each in stats),
        **asked_since(parts, asked_before),
    )


@contextmanager
def _rows_of(job: Job, stage_name: str, progress: Progress) -> Iterator[Callable[[int, int], None]]:
    """Turn the translator's count of sentences into rows of the shard."""
    done = 0

    def step(sentences: int, total: int) -> None:
        nonlocal done
        rows = job.rows * sentences // max(total, 1)
        progress.advance(stage_name, rows - done)
        done = rows

    yield step
    progress.advance(stage_name, job.rows - done)


def working_ahead(
    items: Iterable[Item], work: Callable[[Item], Result], at_once: int = 2
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with its result, in order, while the next ones are worked on in threads of their own.

    ``at_once`` are under way at any time: while the last batches of one shard are computed, and its results put
    together, the first batches of the next keep the other workers of the model busy. Memory holds one result more
    than that. The thread that waits can be interrupted at once.

    >>> list(working_ahead([1, 2, 3], lambda number: number * number))
    [(1, 1), (2, 4), (3, 9)]
    """
    threads = ThreadPoolExecutor(at_once, thread_name_prefix="ahead")
    coming = iter(items)
    try:
        under_way = deque((item, threads.submit(work, item)) for item in islice(coming, at_once))
        while under_way:
            item, promise = under_way.popleft()
            result = promise.result()
            under_way.extend((each, threads.submit(work, each)) for each in islice(coming, 1))
            yield item, result
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
