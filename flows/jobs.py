"""What is to be done: the shards of a build, each with the key that says what it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from spanferry.data.signature import fingerprint
from spanferry.flows.config import BuildConfig
from spanferry.flows.folder import BuildFolder
from spanferry.flows.shards import Sidecar, finished
from spanferry.flows.source import Split
from spanferry.translation.languages import Language

STEP = "translate-train/2"
"""Goes up when the same rows, settings and models would come out differently, so that older shards are left alone."""


class Direction(NamedTuple):
    """FLORES-200 codes of the language that is read and of the one that is written."""

    source: str
    target: str


@dataclass(frozen=True)
class Job:
    """One shard to do: plain values, so that it can be a parameter of a task on another machine.

    Attributes:
        languages: FLORES-200 codes of the source and the target.
        source: file of the source rows, see `spanferry.flows.source`.
        output: file to write.
        rows: how many.
        key: fingerprint of everything that the outcome is a function of.
    """

    languages: tuple[str, str]
    source: str
    output: str
    rows: int
    key: str

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
        source: the language of the data.
        splits: the source as it was read.
        parts: what identifies the models and their settings, see `spanferry.flows.parts.Parts.fingerprint`.
    """

    config: BuildConfig
    folder: BuildFolder
    source: Language
    splits: tuple[Split, ...]
    parts: Mapping[str, Any]

    def jobs(self, language: Language) -> dict[str, list[Job]]:
        """Return the shards of one target language, by split."""
        return {
            split.name: [
                Job(
                    languages=(self.source.flores, language.flores),
                    source=str(shard.path),
                    output=str(self.folder.shard(language.bcp47, split.name, index)),
                    rows=shard.rows,
                    key=self._key(shard.checksum, language),
                )
                for index, shard in enumerate(split.shards)
            ]
            for split in self.splits
        }

    def _key(self, rows: str, language: Language) -> str:
        languages = {"source": self.source.flores, "target": language.flores}
        return fingerprint({"step": STEP, "rows": rows, **languages, **self.parts})
