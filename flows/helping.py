"""A second pair of hands for a build: another process, on this machine or another, that does shards nobody has claimed.

It needs the same configuration, the same models and storage that it shares with the build, and writes nothing but
shards; the build that it helps reads the source before, and writes the dataset after.
"""

from __future__ import annotations

import contextlib
import platform
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from spanferry.data.errors import BuildError
from spanferry.flows.build import choose_languages, do_shards, require_languages
from spanferry.flows.claims import unfinished
from spanferry.flows.config import AnyConfig
from spanferry.flows.failures import Undone, by_language
from spanferry.flows.jobs import BuildPlan, Job, noted_jobs
from spanferry.flows.parts import load_parts
from spanferry.flows.places import locate, stored_at
from spanferry.flows.progress import Progress, Silent
from spanferry.flows.report import LanguagesFailed, Timing
from spanferry.flows.storage import is_url


def help_build(
    config: AnyConfig, *, only: Sequence[str] | None = None, progress: Progress | None = None
) -> dict[str, Timing]:
    """Do shards of a build that was begun elsewhere, until none is left that nobody works on.

    Args:
        config: the settings of the build; what is under `run:` may differ.
        only: some of the languages.
        progress: where to report to.

    Returns:
        language -> what was done here.

    Raises:
        BuildError: no build was begun there; or the settings or models here would compute something else.
        LanguagesFailed: shards failed here; the build itself tries them once more.
    """
    languages = choose_languages(config, only)
    folder = locate(config.output, config.run.work_folder)
    folder.check()
    noted = noted_jobs(folder)
    parts = load_parts(config)
    require_languages(config, languages, parts)
    plan = BuildPlan(config, folder, {}, parts.fingerprint())
    undone = Undone()
    timings = {}
    try:
        for language in languages:
            jobs = noted.get(language.bcp47, [])
            _require_same(plan, jobs)
            open_jobs = unfinished(jobs)
            if open_jobs:
                timings[language.bcp47] = do_shards(
                    language.bcp47, jobs, open_jobs, parts,
                    progress=progress or Silent(), undone=undone, to_the_end=False,
                )  # fmt: skip
    finally:
        if (stored := stored_at(folder.root)) is not None:
            stored.rest()
    if undone.failed:
        lines = [f"{language}: {reason}" for language, reason in by_language(undone.failed).items()]
        raise LanguagesFailed("\n".join([*lines, "they failed here; the build that this one helps tries them again"]))
    return timings


_one_shard = threading.Lock()


@contextlib.contextmanager
def working_for(job: Job, config: AnyConfig, folder: Path) -> Iterator[None]:
    """Do one shard, in the block, for a build whose process stands in another folder, perhaps on another machine.

    One at a time in a process, whatever threads it is given: the model uses all that it may for one shard.

    Args:
        job: the shard.
        config: the settings of the build.
        folder: that the build's paths are relative to.

    Raises:
        BuildError: the folder is not there; or the settings or models here would compute something else.
    """
    shared = folder.is_dir()
    if not shared and not is_url(config.output):
        raise BuildError(
            f"{folder}: not there on {platform.node()}, expected the folder that the build was started in; all workers "
            "must see the same storage by the same name, or `output` must be a URL"
        )
    with _one_shard, contextlib.chdir(folder) if shared else contextlib.nullcontext():
        plan = BuildPlan(config, locate(config.output, config.run.work_folder), {}, load_parts(config).fingerprint())
        _require_same(plan, [job])
        yield


def _require_same(plan: BuildPlan, jobs: Sequence[Job]) -> None:
    """Refuse to help with something else than what would be computed here."""
    for job in jobs[:1]:
        if plan.key(job.checksum, job.direction) != job.key:
            raise BuildError(
                f"{plan.config.output}: the build there has other settings or other models than this one would have, "
                "here; take the same configuration, models and version of spanferry, or begin the build again"
            )
