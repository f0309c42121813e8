"""What cards have in common: configs, by which `datasets.load_dataset` tells new files from old; words of the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final

HERE: Final = "path/of/this/folder"
"""What a card says where it does not know under which name people load the dataset."""
_CATEGORIES: Final = {
    "ner": ("token-classification", "named-entity-recognition"),
    "slots": ("token-classification", "slot-filling"),
    "text-classification": ("text-classification", None),
    "multiple-choice": ("multiple-choice", "multiple-choice-qa"),
    "pair-classification": ("text-classification", "natural-language-inference"),
    "question-answering": ("question-answering", "extractive-qa"),
}
_SIZES: Final = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


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


def kind_of_data(task: str, languages: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card's YAML says of size and task, in the hub's words; nothing of a task that it has no word for.

    >>> kind_of_data("ner", {"de": {"total": {"kept": 999}}, "es": {"total": {"kept": 1}}})["size_categories"]
    ['1K<n<10K']
    """
    rows = sum(entry["total"]["kept"] for entry in languages.values())
    category, task_id = _CATEGORIES.get(task, (None, None))
    found = {"size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>10M")]}
    if category:
        found["task_categories"] = [category]
    if task_id:
        found["task_ids"] = [task_id]
    return found


def without_places(value: Any) -> Any:
    """Return plain data in which every absolute path is its last part alone: where files lay is nobody's business.

    >>> without_places({"source": {"path": "/home/me/secret/train.jsonl"}, "targets": ["de"]})
    {'source': {'path': 'train.jsonl'}, 'targets': ['de']}
    """
    if isinstance(value, Mapping):
        return {key: without_places(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_places(each) for each in value]
    if isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith("~/")):
        return PurePath(value).name
    return value
