"""The folder of a build: what lies where, whose it is, and that only one build writes to it at a time.

out/demo/
  README.md  report.json  config.yaml      the card, the counts, the settings: what a reader needs
  data/de/train-00000-of-00001.parquet     the dataset, one config a language
  dropped/de/train.jsonl                   every lost example and span, with its reason
  corrections/de/train.jsonl               what people corrected (`spanferry review import`): later builds keep it
  rejects/train.jsonl                      source rows that could not be read (on_error: skip)
  to-predict.jsonl                         texts that wait for predictions made elsewhere (translate-test)
  .spanferry/                              what lets a build go on where it stopped; may be deleted when done
    source/train/00000.jsonl               the source as it was read, cut into shards
    shards/de/train/00000.jsonl            one shard: every example of it, carried or dropped
    plan.json                              which shards it is made of
    runs.jsonl                             when it was run, and how fast that was
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from spanferry.data.errors import BuildError
from spanferry.flows.shards import remove_temporary, write_json

FORMAT = 1
_GLANCE_SECONDS = 0.2
"""`spanferry status` holds the lock for a moment, to see whether anyone else does."""


def check_contents(place: str, mark: Mapping[str, Any] | None, others: Sequence[str]) -> None:
    """Refuse a place that is something else's.

    Args:
        place: a folder or a URL.
        mark: what its ``build.json`` holds; None if it has none.
        others: names of what lies there beside the state.

    Raises:
        BuildError: it holds things but no build, or a build of a later version.
    """
    if mark is None and others:
        listing = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise BuildError(
            f"output {place}: found {listing} and no build of spanferry, expected an empty folder or a build to go on "
            "with; name another `output`"
        )
    if mark is not None and (found := mark.get("format")) != FORMAT:
        raise BuildError(
            f"output {place}: found a build of format {found}, expected {FORMAT}; name another `output`, or go on with "
            "the version of spanferry that began it"
        )


@dataclass(frozen=True)
class BuildFolder:
    """Paths inside one build's folder.

    >>> folder = BuildFolder(Path("out/demo"))
    >>> folder.shard("de", "train", 3).as_posix()
    'out/demo/.spanferry/shards/de/train/00003.jsonl'
    >>> folder.data("de", "train", 0, 1).as_posix()
    'out/demo/data/de/train-00000-of-00001.parquet'
    """

    root: Path

    @property
    def state(self) -> Path:
        """What is needed to go on, and nothing that a reader of the dataset needs."""
        return self.root / ".spanferry"

    @property
    def lock(self) -> Path:
        """Held by the one build that writes here."""
        return self.state / "lock"

    @property
    def plan(self) -> Path:
        """Which shards the build is made of: language -> [file, rows, key] of each."""
        return self.state / "plan.json"

    @property
    def report(self) -> Path:
        """All counts and the signature, JSON."""
        return self.root / "report.json"

    @property
    def card(self) -> Path:
        """The dataset card."""
        return self.root / "README.md"

    @property
    def own(self) -> tuple[Path, ...]:
        """All that a build writes, files and folders, whether it is there or not."""
        names = ("config.yaml", "data", "dropped", "corrections", "rejects")
        return (self.card, self.report, self.to_predict, self.state, *(self.root / name for name in names))

    def source(self, split: str, index: int) -> Path:
        """Rows of the source as they were read, those of one shard."""
        return self.state / "source" / split / f"{index:05d}.jsonl"

    def source_split(self, split: str) -> Path:
        """What a split of the source is made of: its shards, rows and labels."""
        return self.state / "source" / f"{split}.json"

    @property
    def shards(self) -> Path:
        """Holds what was carried and lost, a folder a language and split."""
        return self.state / "shards"

    def shard(self, language: str, split: str, index: int) -> Path:
        """Every example of one shard, carried or dropped; its sidecar lies beside it."""
        return self.shards / language / split / f"{index:05d}.jsonl"

    def data(self, language: str, split: str, index: int, total: int) -> Path:
        """A file of the dataset, number `index` of `total` of its split."""
        return self.root / "data" / language / f"{split}-{index:05d}-of-{total:05d}.parquet"

    def dropped(self, language: str, split: str) -> Path:
        """Lost examples and spans, with their reasons."""
        return self.root / "dropped" / language / f"{split}.jsonl"

    def written_mark(self, language: str, split: str) -> Path:
        """Says that the files of a language and split were written, and from which shards."""
        return self.state / "dataset" / language / f"{split}.json"

    def written(self, language: str, split: str) -> dict[str, str] | None:
        """Return the files of one language and split with their SHA-256, as they were written; None if unknown."""
        facts = self.read_json(self.written_mark(language, split))
        return None if facts is None else facts["files"]

    def rejects(self, split: str) -> Path:
        """Rows of the source that could not be read (``on_error: skip``)."""
        return self.root / "rejects" / f"{split}.jsonl"

    @property
    def to_predict(self) -> Path:
        """Texts to predict on elsewhere, while a build waits for that."""
        return self.root / "to-predict.jsonl"

    def check(self) -> None:
        """Refuse a folder that is something else's.

        Raises:
            BuildError: it is a file, or holds things but no build, or a build of a later version.
        """
        if not self.root.exists():
            return
        if not self.root.is_dir():
            raise BuildError(f"output {self.root}: found a file, expected a folder; name another `output`")
        others = sorted(path.name for path in self.root.iterdir() if path != self.state)
        check_contents(str(self.root), self.read_json(self.state / "build.json"), others)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the folder for one build; make it if it is not there.

        Raises:
            BuildError: it is something else's (see `check`), cannot be written, or another build holds it.
        """
        self.check()
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.lock, timeout=_GLANCE_SECONDS)
            lock.acquire()
        except Timeout:
            raise BuildError(
                f"output {self.root}: another build is writing to it; wait for it, or name another `output`"
            ) from None
        except OSError as error:
            raise BuildError(f"output {self.root}: cannot be written ({error.strerror or error})") from None
        try:
            remove_temporary(self.root)
            write_json(self.state / "build.json", {"format": FORMAT})
            with self._claimed_in_storage():
                yield
        finally:
            lock.release()

    def _claimed_in_storage(self) -> AbstractContextManager[None]:
        from spanferry.flows.places import stored_at

        stored = stored_at(self.root)
        return nullcontext() if stored is None else stored.claimed()

    @staticmethod
    def read_json(path: Path) -> dict[str, Any] | None:
        """Return what a JSON file holds; None if it is not there or not whole."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def log_run(self, facts: Mapping[str, Any]) -> None:
        """Add one line to the list of runs: times and rates, which no other file of the build holds."""
        with (self.state / "runs.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"ended": time.time(), **facts}, ensure_ascii=False) + "\n")

    def runs(self) -> list[dict[str, Any]]:
        """Return the list of runs, oldest first; a line that a crash cut off is left out."""
        try:
            lines = (self.state / "runs.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        runs = []
        for line in lines:
            try:
                runs.append(json.loads(line))
            except ValueError:
                continue
        return runs
