"""What of a build is published: a folder with exactly the files of the repository, made beside the build.

The folder is what the hub would hold, so that it can be looked at and loaded before anything is sent. Parquet files
are links to those of the build, and take no room. Two more configs can be asked for: the source rows, and translation
pairs. Paths of the machine that built it are taken out of `config.yaml` and `report.json`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spanferry.data.errors import BuildError, ConfigError
from spanferry.data.parquet import read_parquet, with_known_labels, write_parquet
from spanferry.data.signature import fingerprint
from spanferry.data.tasks import get_task
from spanferry.flows.card import card
from spanferry.flows.card_config import HERE, card_config, without_places
from spanferry.flows.card_sections import model_license_of
from spanferry.flows.config import load_config
from spanferry.flows.folder import BuildFolder
from spanferry.flows.outcomes import unpack
from spanferry.flows.shards import file_digest, read_records, write_json, writing_text
from spanferry.flows.source import merge_schemas, schema_of


@dataclass(frozen=True)
class Edition:
    """A build as it would be published.

    Attributes:
        root: its folder.
        configs: config -> split -> rows.
        license: of the data, as the card says it.
        model_license: of the translation model; None if it is not known.
    """

    root: Path
    configs: Mapping[str, Mapping[str, int]]
    license: str
    model_license: str | None

    @property
    def files(self) -> dict[str, Path]:
        """Path in the repository -> local file, sorted."""
        found = sorted(path for path in self.root.rglob("*") if path.is_file())
        return {path.relative_to(self.root).as_posix(): path for path in found}


def make_edition(
    build: str | Path,
    *,
    source: bool = False,
    pairs: bool = False,
    license_: str | None = None,
    repo: str | None = None,
) -> Edition:
    """Make the folder that would be published from a finished build.

    Args:
        build: the build's folder.
        source: add the rows that were translated, as a config of their own.
        pairs: add translation pairs, a config for each language: ``{"id", "field", "translation": {"en", "de"}}``.
        license_: of the data, where the build's configuration does not say it.
        repo: what the dataset will be called, for the card; None if that is not known.

    Raises:
        BuildError: there is no finished build, or its files are not those that it wrote.
        ConfigError: what was asked for is not in the build.
    """
    folder = BuildFolder(Path(build))
    report = _finished(folder)
    staged = folder.state / "publish"
    shutil.rmtree(staged, ignore_errors=True)
    configs: dict[str, dict[str, int]] = {}
    for name, entry in report["languages"].items():
        configs[name] = {split: counts["kept"] for split, counts in entry["splits"].items()}
        for split in entry["splits"]:
            for path in _checked(folder, name, split):
                _link(path, staged / path.relative_to(folder.root))
    if source:
        name, rows = _write_source(folder, report, staged)
        configs[name] = rows
    if pairs:
        configs |= dict(_write_pairs(report, staged))
    config = load_config(folder.root / "config.yaml")
    if license_ is not None:
        config = config.model_copy(update={"source": config.source.model_copy(update={"license": license_})})
    head, body = split_card(card(config, report))
    if repo is not None:
        body = body.replace(f'load_dataset("{HERE}"', f'load_dataset("{repo}"')
    for name in [name for name in configs if name not in report["languages"]]:
        content = fingerprint({path.name: file_digest(path) for path in (staged / "data" / name).iterdir()})
        head["configs"].append(card_config(name, configs[name], content))
    with writing_text(staged / "README.md") as stream:
        stream.write(f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n{body}")
    write_json(staged / "report.json", without_places(report))
    with writing_text(staged / "config.yaml") as stream:
        settings = yaml.safe_load((folder.root / "config.yaml").read_text(encoding="utf-8"))
        yaml.safe_dump(without_places(settings), stream, sort_keys=False, allow_unicode=True)
    return Edition(staged, configs, str(head["license"]), model_license_of(config))


def split_card(text: str) -> tuple[dict[str, Any], str]:
    """Return a card's YAML, and what follows it.

    >>> split_card("---\\nlicense: mit\\n---\\n\\n# Title\\n")
    ({'license': 'mit'}, '\\n# Title\\n')
    """
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def _finished(folder: BuildFolder) -> dict[str, Any]:
    report = folder.read_json(folder.report)
    if report is None or "missing" not in report or not folder.card.is_file():
        raise BuildError(f"{folder.root}: no finished build is there; run `spanferry build` first")
    if report["missing"]:
        raise BuildError(
            f"{folder.root}: {', '.join(report['missing'])} not finished; run the build again, or take them out of its "
            "targets"
        )
    return report


def _checked(folder: BuildFolder, language: str, split: str) -> Iterator[Path]:
    """Yield the files of one language and split, if they are what the build wrote."""
    written = folder.written(language, split)
    if written is None:
        raise BuildError(f"{folder.root}: the checksums of {language}/{split} are gone; run the build again")
    for name, checksum in written.items():
        path = folder.root / name
        if not path.is_file() or file_digest(path) != checksum:
            raise BuildError(f"{path}: is not what the build wrote; run the build again, it writes the file anew")
        yield path


def _link(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):  # no links between file systems, or none at all
        os.link(path, place)
        return
    shutil.copyfile(path, place)


def _write_source(folder: BuildFolder, report: Mapping[str, Any], staged: Path) -> tuple[str, dict[str, int]]:
    """Write the source rows of a translate-train build; return the config's name and its rows."""
    if report["direction"] != "translate-train":
        raise ConfigError(f"--source: only a translate-train build has them, this one is {report['direction']}")
    name, task = report["source"]["language"], get_task(report["task"])
    splits = report["source"]["splits"]
    marks = {split: folder.read_json(folder.source_split(split)) for split in splits}
    if any(mark is None for mark in marks.values()):
        raise BuildError(f"{folder.root}: the source as it was read is gone; run the build again")
    schema = merge_schemas([schema_of(mark) for mark in marks.values() if mark is not None])
    tokens = any(mark["tokens"] for mark in marks.values() if mark is not None)
    features = with_known_labels(task.features(schema, tokens=tokens), task.labels)
    for split, mark in marks.items():
        assert mark is not None  # seen above
        shards = [folder.source(split, index) for index in range(len(mark["shards"]))]
        rows = (task.to_row(unpack(record)) for shard in shards for record in read_records(shard))
        place = staged / "data" / name / f"{split}-00000-of-00001.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(rows, place, features)
    return name, {split: facts["rows"] for split, facts in splits.items()}


def _write_pairs(report: Mapping[str, Any], staged: Path) -> Iterator[tuple[str, dict[str, int]]]:
    """Write the translation pairs of every language; yield each config's name and its rows."""
    from spanferry.data.hf import pair_features

    if report["direction"] != "translate-train":
        raise ConfigError(f"--pairs: only a translate-train build has them, this one is {report['direction']}")
    source, fields = report["source"]["language"], get_task(report["task"]).fields
    for target, entry in report["languages"].items():
        name, rows = f"{source}-{target}", {}
        for split in entry["splits"]:
            files = sorted((staged / "data" / target).glob(f"{split}-*.parquet"))
            place = staged / "data" / name / f"{split}-00000-of-00001.parquet"
            place.parent.mkdir(parents=True, exist_ok=True)
            write_parquet(_pairs(files, fields, source, target), place, pair_features(source, target))
            rows[split] = sum(1 for _ in _pairs(files, fields, source, target))
        yield name, rows


def _pairs(files: Sequence[Path], fields: Sequence[str], source: str, target: str) -> Iterator[dict[str, Any]]:
    for file in files:
        for record in read_parquet(file):
            row = record.row or {}
            for field in fields:
                there, here = row[f"source_{field}"], row[field]
                if isinstance(there, list):
                    texts = [(f"{field}/{number}", *each) for number, each in enumerate(zip(there, here, strict=True))]
                else:
                    texts = [] if there is None else [(field, there, here)]
                for name, original, translated in texts:
                    yield {"id": row["id"], "field": name, "translation": {source: original, target: translated}}


def describe(edition: Edition) -> list[str]:
    """Return what is in an edition as lines: each file and its size, each config and its rows."""
    files = edition.files
    width = max(map(len, files))
    lines = [f"{path:{width}}  {file.stat().st_size:>14,} bytes" for path, file in files.items()]
    for name, splits in edition.configs.items():
        lines.append(f"config {name}: " + ", ".join(f"{split} {rows:,} rows" for split, rows in splits.items()))
    return lines
