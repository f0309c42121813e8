"""The source of a build, read once and cut into shards, so that every language works on the same rows.

What was read is kept beside the build. A source that has not changed since is not read again; one that changes while
a build is under way cannot be mixed into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from spanferry.data.errors import BuildError, ConfigError, DataError, did_you_mean
from spanferry.data.example import Example
from spanferry.data.formats import ReadReport, read_examples
from spanferry.data.schema import Schema
from spanferry.data.sidecar import features_path
from spanferry.data.signature import fingerprint
from spanferry.flows.config import AnyConfig, BuildConfig, SourceSettings
from spanferry.flows.folder import BuildFolder
from spanferry.flows.outcomes import pack
from spanferry.flows.progress import Progress
from spanferry.flows.shards import cut, file_digest, finish, finished, sidecar_path, write_json, write_records
from spanferry.translation.languages import get_language

STEP = "source/3"
SAMPLE = "sample:"
_MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Origin:
    """One split before it is read.

    Attributes:
        source: how it is read.
        split: its name in the build.
        path: file, folder or hub id.
        part: the split to take of a datasets folder or hub dataset.
        language: BCP-47 name of the language whose own it is; empty where all languages share it.
    """

    source: SourceSettings
    split: str
    path: str
    part: str | None
    language: str = ""

    @property
    def place(self) -> str:
        """Its name in the build's folder."""
        return f"{self.language}/{self.split}" if self.language else self.split


@dataclass(frozen=True)
class SourceShard:
    """Some rows of a split: where they lie, how many, and their checksum."""

    path: Path
    rows: int
    checksum: str


@dataclass(frozen=True)
class Split:
    """One split as it was read.

    Attributes:
        name: ``"train"``, ...
        place: its name in the build's folder: ``"train"``, or ``"de/test"`` where each language has data of its own.
        shards: its rows.
        rows: how many.
        rejected: rows that could not be read (``on_error: skip``).
        schema: the labels it has.
        tokens: whether its examples bring their own tokens.
    """

    name: str
    place: str
    shards: tuple[SourceShard, ...]
    rows: int
    rejected: int
    schema: Schema
    tokens: bool


def split_sources(source: SourceSettings, single: str = "train") -> dict[str, tuple[str, str | None]]:
    """Return, a split of the build, the path or hub id to read and the split to take of it.

    Args:
        source: where the data is.
        single: what a source without splits is called.

    Raises:
        ConfigError: splits stand beside paths by split, or there is no such sample.

    >>> split_sources(SourceSettings(path="a.jsonl", language="en"))
    {'train': ('a.jsonl', None)}
    >>> split_sources(SourceSettings(path="org/x", splits=["test"], language="en"))
    {'test': ('org/x', 'test')}
    """
    if isinstance(source.path, dict):
        if source.splits is not None:
            raise ConfigError("source.splits: path already names the splits; leave splits out")
        return {split: (_located(path), None) for split, path in source.path.items()}
    path = _located(source.path)
    return {split: (path, split) for split in source.splits} if source.splits else {single: (path, None)}


def _located(path: str) -> str:
    """Return the true path of a sample that is shipped (``sample:entities.en.jsonl``), and any other path as it is."""
    if not path.startswith(SAMPLE):
        return path
    folder = files("spanferry.data") / "samples"
    name = path.removeprefix(SAMPLE)
    known = sorted(item.name for item in folder.iterdir() if item.name.endswith((".jsonl", ".conll")))
    if name not in known:
        raise ConfigError(f"source.path: unknown sample {name!r}; {did_you_mean(name, known)}")
    return str(folder / name)


def read_split(config: AnyConfig, origin: Origin, rejects: Path | None, report: ReadReport) -> Iterator[Example]:
    """Stream the examples of one split, as many as `limit` allows."""
    source = origin.source
    examples = read_examples(
        origin.path,
        config.task,
        format=source.format,
        columns=source.columns,
        names=source.names,
        scheme=source.scheme,
        repair=source.repair,
        labelled=_labelled(config),
        split=origin.part,
        config=source.config,
        revision=source.revision,
        encoding=source.encoding,
        separator=source.separator,
        quotes=source.quotes,
        table=True,
        on_error=config.on_error,
        rejects=rejects,
        report=report,
    )
    return islice(examples, config.limit)


def stage(config: AnyConfig, folder: BuildFolder, progress: Progress) -> dict[str, tuple[Split, ...]]:
    """Read every split and cut it into shards, or find that this was done and nothing has changed since.

    Returns:
        BCP-47 name of the language of each dataset -> the splits that it is made of. In translate-train these are the
        same for all; in translate-test each language has its own.
    """
    staged: dict[str, Split] = {}

    def read(origin: Origin) -> Split:
        if origin.place not in staged:
            staged[origin.place] = _stage_split(config, folder, origin, progress)
        return staged[origin.place]

    origins = {get_language(name).bcp47: _origins(config, name) for name in config.datasets}
    return {language: tuple(map(read, each)) for language, each in origins.items()}


def _origins(config: AnyConfig, dataset: str) -> list[Origin]:
    """Return what the dataset of one language is made of."""
    if isinstance(config, BuildConfig):
        return [Origin(config.source, split, *found) for split, found in split_sources(config.source).items()]
    source, language = config.source.of(dataset), get_language(dataset).bcp47
    found = split_sources(source, single="test")
    return [Origin(source, split, path, part, language) for split, (path, part) in found.items()]


def _labelled(config: AnyConfig) -> bool:
    return isinstance(config, BuildConfig) or config.source.labelled


def _stage_split(config: AnyConfig, folder: BuildFolder, origin: Origin, progress: Progress) -> Split:
    source, name = origin.source, origin.place
    manifest = folder.source_split(name)
    content = content_fingerprint(origin.path, source.revision)
    settings = source.model_dump(exclude={"path", "license", "name", "language", "splits"})
    unlabelled = {} if _labelled(config) else {"labelled": False}
    key = fingerprint(
        {
            "step": STEP,
            "content": content,
            "split": origin.part,
            "settings": settings,
            "task": config.task,
            "limit": config.limit,
            "on_error": config.on_error,
            "shard_rows": config.run.shard_rows,
            **unlabelled,
        }
    )
    if content is not None and (staged := _staged(folder, origin, key)) is not None:
        _remove_old_rejects(folder, name, staged.rejected)
        return staged
    stage_name = f"reading {name}"
    progress.start(stage_name, None)
    report = ReadReport()
    tokens = False
    shards = []
    examples = read_split(config, origin, folder.rejects(name), report)
    for index, chunk in enumerate(cut(examples, config.run.shard_rows)):
        tokens = tokens or any(example.tokens for example in chunk)
        shard = folder.source(name, index)
        write_records(shard, map(pack, chunk))
        sidecar = finish(shard, key, {"rows": len(chunk)})
        shards.append(SourceShard(shard, len(chunk), sidecar.checksum))
        progress.advance(stage_name, len(chunk))
    progress.finish(stage_name)
    if content is not None and content_fingerprint(origin.path, source.revision) != content:
        raise BuildError(f"{origin.path}: changed while it was read; run the build again when it is at rest")
    schema = report.schema
    write_json(
        manifest,
        {
            "key": key,
            "shards": [[shard.rows, shard.checksum] for shard in shards],
            "rejected": report.rejected,
            "problems": dict(report.problems.most_common(_MOST_PROBLEMS)),
            "spans": schema.spans,
            "labels": dict(schema.labels),
            "tokens": tokens,
        },
    )
    _remove_from(folder, name, len(shards))
    _remove_old_rejects(folder, name, report.rejected)
    rows = sum(shard.rows for shard in shards)
    return Split(origin.split, name, tuple(shards), rows, report.rejected, schema, tokens)


def _staged(folder: BuildFolder, origin: Origin, key: str) -> Split | None:
    """Return the split as an earlier run read it, if it read just this and every file is whole."""
    facts = folder.read_json(folder.source_split(origin.place))
    return None if facts is None or facts.get("key") != key else _as_read(folder, origin.split, origin.place, facts)


def read_before(folder: BuildFolder, name: str) -> Split | None:
    """Return a split as the last build read it; None if a file of it is gone or damaged.

    Args:
        folder: of the build.
        name: its place: ``"train"``, or ``"de/test"`` where each language has data of its own.
    """
    facts = folder.read_json(folder.source_split(name))
    return None if facts is None else _as_read(folder, name.rpartition("/")[2], name, facts)


def _as_read(folder: BuildFolder, split: str, name: str, facts: Mapping[str, Any]) -> Split | None:
    shards = []
    for index, (rows, checksum) in enumerate(facts["shards"]):
        path = folder.source(name, index)
        sidecar = finished(path, facts["key"])
        if sidecar is None or sidecar.checksum != checksum:
            return None
        shards.append(SourceShard(path, rows, checksum))
    rows = sum(shard.rows for shard in shards)
    return Split(split, name, tuple(shards), rows, facts["rejected"], schema_of(facts), bool(facts["tokens"]))


def _remove_from(folder: BuildFolder, name: str, index: int) -> None:
    """Remove the shards that a longer source left behind."""
    while (path := folder.source(name, index)).exists():
        path.unlink()
        sidecar_path(path).unlink(missing_ok=True)
        index += 1


def _remove_old_rejects(folder: BuildFolder, name: str, rejected: int) -> None:
    """Remove the file of bad rows of an earlier reading that set some aside, where this one has none."""
    if not rejected:
        folder.rejects(name).unlink(missing_ok=True)


def content_fingerprint(path: str, revision: str | None) -> str | None:
    """Return the identity of a source's content; None for what can change unseen (a branch on the hub).

    Raises:
        DataError: a file cannot be read.
    """
    place = Path(path)
    try:
        if place.is_file():
            digest = file_digest(place)
            names = features_path(place)  # what numbers in the file mean
            return fingerprint({"file": digest, "names": file_digest(names)}) if names.exists() else digest
        if place.is_dir():
            inside = sorted(item for item in place.rglob("*") if item.is_file())
            return fingerprint({str(item.relative_to(place)): file_digest(item) for item in inside})
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", path=place) from None
    if revision is not None and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    return None


def merged_schema(splits: Sequence[Split]) -> Schema:
    """Return the labels of all splits together, see `merge_schemas`."""
    return merge_schemas([split.schema for split in splits])


def merge_schemas(schemas: Sequence[Schema]) -> Schema:
    """Return the labels of all splits together, in order of appearance, so that every file numbers them alike.

    A label column that one split leaves open (numbers, free text) is open.
    """
    spans = dict.fromkeys(label for schema in schemas for label in schema.spans or ())
    columns = [set(schema.labels) for schema in schemas]
    shared: Any = set.intersection(*columns) if columns else set()
    labels = {
        column: tuple(dict.fromkeys(label for schema in schemas for label in schema.labels[column]))
        for column in sorted(shared)
    }
    return Schema(tuple(spans) or None, labels)


def schema_of(manifest: Mapping[str, Any]) -> Schema:
    """Return the labels that a split's manifest notes."""
    spans = None if manifest["spans"] is None else tuple(manifest["spans"])
    return Schema(spans, {column: tuple(labels) for column, labels in manifest["labels"].items()})
