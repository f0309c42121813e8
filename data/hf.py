"""Datasets of the Hugging Face library: a folder saved to disk, a folder laid out like a hub repository, a hub id.

The one reader that imports ``datasets``, on first use (about a second).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.parquet import Names, names_in
from spanferry.data.records import Record

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def is_hub_id(source: str) -> bool:
    """Tell whether ``source`` has the form of a dataset's name on the hub.

    >>> is_hub_id("eriktks/conll2003"), is_hub_id("./data/train.jsonl")
    (True, False)
    """
    return _HUB_ID.fullmatch(source) is not None


def read_datasets(
    source: str, *, split: str | None = None, config: str | None = None, revision: str | None = None
) -> tuple[Iterator[Record], Names]:
    """Return the rows of one split, streamed, and the label names by column (see `names_in`).

    Args:
        source: a folder, or a hub id.
        split: which split; may be left out where there is one.
        config: which configuration (subset); may be left out where there is one or a default.
        revision: branch, tag or commit on the hub.

    Raises:
        ConfigError: the source has several splits or configurations and none was chosen, or not the one that was.
        DataError: it cannot be found or opened.
    """
    folder = Path(source)
    dataset = _load_saved(folder, config) if _is_saved(folder) else _load(source, config, revision)
    dataset = _one_split(dataset, split, source)
    features = dataset.features
    return _records(dataset, source), names_in(features.to_dict()) if features is not None else {}


def _is_saved(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _load_saved(folder: Path, config: str | None) -> Any:
    from datasets import load_from_disk

    if config is not None:
        raise ConfigError(f"{folder} was saved with save_to_disk, which knows no config: leave config {config!r} out")
    try:
        return load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot be loaded as a saved dataset: {_first_line(error)}", path=folder) from error


def _load(source: str, config: str | None, revision: str | None) -> Any:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        return load_dataset(source, config, revision=revision, streaming=True)
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        hint = "name a file, a folder of data files, or a dataset on the hub (org/name); HF_TOKEN opens private ones"
        if isinstance(error, ValueError) and "onfig" in str(error):
            raise ConfigError(f"{source}: {' '.join(str(error).split())}. Set config") from error
        raise DataError(f"cannot be loaded as a dataset: {_first_line(error)}", path=source, hint=hint) from error


def _one_split(dataset: Any, split: str | None, source: str) -> Any:
    if not isinstance(dataset, Mapping):
        if split is not None:
            raise ConfigError(f"{source} holds one dataset without splits: leave split {split!r} out")
        return dataset
    if split is None and len(dataset) > 1:
        raise ConfigError(f"{source} has the splits {', '.join(dataset)}: set split to one of them")
    name = next(iter(dataset)) if split is None else split
    if name not in dataset:
        raise ConfigError(f"{source} has no split {name!r}: {did_you_mean(name, dataset)}")
    chosen = dataset[name]
    # A streamed dataset of text files learns its columns from its first rows.
    resolve = getattr(chosen, "_resolve_features", None)
    return resolve() if chosen.features is None and resolve is not None else chosen


def _records(dataset: Iterable[Mapping[str, Any]], source: str) -> Iterator[Record]:
    rows = iter(dataset)
    number = 0
    while True:
        try:
            row = next(rows, None)
        except Exception as error:  # whatever a reader of any file type raises in the middle of a stream
            raise DataError(f"cannot be read on: {_first_line(error)}", path=source, row=number) from error
        if row is None:
            return
        yield Record(raw=row, row=row, number=number)
        number += 1


def save_datasets(parquet: Path, folder: Path) -> None:
    """Turn a Parquet file into a folder as ``Dataset.save_to_disk`` writes it, without loading it into memory."""
    from datasets import Dataset

    # from_parquet makes an Arrow file in its cache, which save_to_disk copies.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as cache:
        Dataset.from_parquet(str(parquet), cache_dir=cache).save_to_disk(str(folder))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def pair_features(source: str, target: str) -> Any:
    """Return the ``datasets.Features`` of translation pairs: ``{"id", "field", "translation": {source, target}}``.

    Args:
        source, target: language tags, as in ``{"en": "Hello", "de": "Hallo"}``.
    """
    from datasets import Features, Translation, Value

    return Features(
        {"id": Value("string"), "field": Value("string"), "translation": Translation(languages=[source, target])}
    )


def first_row(folder: Path, config: str, split: str, cache: str) -> dict[str, Any] | None:
    """Return the first row of one config and split of a folder laid out like a hub repository; None if it has no row.

    Args:
        folder: with a README.md that names its configs.
        config, split: which.
        cache: folder for what ``datasets`` keeps.
    """
    from datasets import load_dataset

    rows = load_dataset(str(folder), config, split=split, streaming=True, cache_dir=cache)
    return next(iter(rows), None)
