"""The configs of a dataset card: how `datasets.load_dataset` finds files, and how it tells them from older ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card_configs(languages: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the configs of the languages of a report, see `card_config`; those without a row are left out.

    >>> entry = {"splits": {"train": {"kept": 7}, "test": {"kept": 0}}, "content": "00000010ffff"}
    >>> [config["data_files"] for config in card_configs({"de": entry})]
    [[{'split': 'train', 'path': 'data/de/train-*.parquet'}]]
    """
    rows = {
        name: {split: counts["kept"] for split, counts in entry["splits"].items()} for name, entry in languages.items()
    }
    return [card_config(name, rows[name], languages[name]["content"]) for name in languages if any(rows[name].values())]


def card_config(name: str, splits: Mapping[str, int], content: str) -> dict[str, Any]:
    """Return the entry of a config in the card's YAML.

    ``datasets`` (5.2) keeps what it once loaded from a local folder under the folder's own name, the config and the
    card's entry for it, and asks neither where the folder lies nor whether its files are the same: a dataset that was
    built again, or another of the same name, would come back as it was the first time. So the entry has a version made
    from the content. A split without a row is left out, since one such split keeps all others from being loaded.

    Args:
        name: the config, a language (``"de"``) for most.
        splits: split -> its rows.
        content: fingerprint of its files, at least eight hexadecimal digits.

    >>> card_config("de", {"train": 7}, "00000010ffff")
    {'config_name': 'de', 'version': '0.0.16', 'data_files': [{'split': 'train', 'path': 'data/de/train-*.parquet'}]}
    """
    files = [{"split": split, "path": f"data/{name}/{split}-*.parquet"} for split, rows in splits.items() if rows]
    return {"config_name": name, "version": f"0.0.{int(content[:8], 16)}", "data_files": files}
