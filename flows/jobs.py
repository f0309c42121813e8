"""What is to be done: the shards of a build, each with the key that says what it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from spanferry.alignment.tokens import tokenizer_name
from spanferry.data.errors import BuildError
from spanferry.data.signature import fingerprint
from spanferry.data.tasks import get_task
from spanferry.flows.config import AnyConfig
from spanferry.flows.folder import BuildFolder
from spanferry.flows.places import stored_at
from spanferry.flows.shards import Sidecar, finished, write_json
from spanferry.flows.source import Split
from spanferry.translation.languages import Language, get_language

STEPS = {
    "translate-train": "translate-train/4",
    "translate-test": "translate-test/2",
    "back-translate": "back-translate/3",
}
"""Go up when the same rows, settings and models would come out differently, so that older shards are left alone."""


class Direction(NamedTuple):
    """FLORES-200 codes of the language that is translated from and of the one that is translated into."""

    source: str
    target: str


@dataclass(frozen=True)
class Job:
    """One shard to do: plain values, so that it can be a parameter of a task on another machine.

    Attributes:
        languages: FLORES-200 codes of the language that is translated from and the one that is translated into.
        source: file of the source rows, see `spanferry.flows.source`.
        output: file to write.
        rows: how many.
        key: fingerprint of everything that the outcome is a function of.
        checksum: SHA-256 of the file of the source rows.
    """

    languages: tuple[str, str]
    source: str
    output: str
    rows: int
    key: str
    checksum: str = ""

    @property
    def direction(self) -> Direction:
        return Direction(*self.languages)

    def done(self) -> Sidecar | None:
        """Return the sidecar of the output if this very job was done before and its file is whole."""
        return finished(Path(self.output), self.key)


@dataclass(frozen=True)
class BuildPlan:
    """A build that is about to run.

    Attributes:
        config: its settings.
        folder: where it is written.
        sources: language of a dataset -> the splits that it is made of, as they were read: for all languages the same
            in translate-train, its own for each in translate-test.
        parts: what identifies the models and their settings, see `spanferry.flows.parts.Parts.fingerprint`.
    """

    config: AnyConfig
    folder: BuildFolder
    sources: Mapping[str, tuple[Split, ...]]
    parts: Mapping[str, Any]

    @property
    def splits(self) -> tuple[Split, ...]:
        """Every split that was read, once."""
        return tuple({split.place: split for splits in self.sources.values() for split in splits}.values())

    def direction(self, language: Language) -> Direction:
        """Return the languages that the text of a dataset is translated from and into."""
        [name] = [name for name in self.config.datasets if get_language(name).flores == language.flores]
        return Direction(*(get_language(side).flores for side in self.config.sides(name)))

    def jobs(self, language: Language) -> dict[str, list[Job]]:
        """Return the shards of one dataset, by split."""
        direction = self.direction(language)
        return {
            split.name: [
                Job(
                    languages=(direction.source, direction.target),
                    source=str(shard.path),
                    output=str(self.folder.shard(language.bcp47, split.name, index)),
                    rows=shard.rows,
                    key=self.key(shard.checksum, direction),
                    checksum=shard.checksum,
                )
                for index, shard in enumerate(split.shards)
            ]
            for split in self.sources[language.bcp47]
        }

    def key(self, rows: str, direction: Direction) -> str:
        """Return the key of a shard, given the checksum of its rows."""
        step = STEPS[self.config.direction]
        found = {"step": step, "rows": rows, **direction._asdict(), **self.parts}
        if get_task(self.config.task).spans_in:  # where spans may begin and end, on this machine
            found["tokens"] = [tokenizer_name(side) for side in direction]
        return fingerprint(found)


def note_plan(plan: BuildPlan) -> None:
    """Write which shards a build is made of, for whoever looks at it or helps with it."""
    root = plan.folder.root
    noted = {}
    for language in map(get_language, plan.config.datasets):
        jobs = chain.from_iterable(plan.jobs(language).values())
        noted[language.bcp47] = [
            asdict(job) | {name: Path(getattr(job, name)).relative_to(root).as_posix() for name in ("source", "output")}
            for job in jobs
        ]
    write_json(plan.folder.plan, noted)


def noted_jobs(folder: BuildFolder) -> dict[str, list[Job]]:
    """Return the shards that a build noted at its beginning: language -> its shards.

    Raises:
        BuildError: there is no build, or none that has read its source yet.
    """
    stored = stored_at(folder.root)
    noted = folder.read_json(folder.plan) if stored is None else stored.read_json(folder.plan)
    if noted is None:
        raise not_begun(str(folder.root if stored is None else stored.storage.url))
    return {language: [_job(folder.root, values) for values in rows] for language, rows in noted.items()}


def not_begun(place: str) -> BuildError:
    """Return the error that there is no build in a folder or at a URL, or none that has noted its shards."""
    return BuildError(
        f"{place}: found no build that has read its source, expected the `output` of one; begin it with "
        "`spanferry build`"
    )


def _job(root: Path, values: Mapping[str, Any]) -> Job:
    source, target = values["languages"]
    return Job(
        languages=(source, target),
        source=str(root / values["source"]),
        output=str(root / values["output"]),
        rows=values["rows"],
        key=values["key"],
        checksum=values.get("checksum", ""),
    )
