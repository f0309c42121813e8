"""The dataset card: README.md with the YAML that the hub and `datasets.load_dataset` read, and a body for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from spanferry.data.correction_columns import POST_EDITED
from spanferry.data.provenance import provenance_columns
from spanferry.data.tasks import get_task
from spanferry.flows.card_config import card_configs
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.corrections import checked_by_people
from spanferry.flows.predict_card import predict_card
from spanferry.translation.languages import get_language
from spanferry.translation.licenses import model_license, not_commercial

_CATEGORIES = {
    "ner": ("token-classification", "named-entity-recognition"),
    "slots": ("token-classification", "slot-filling"),
    "text-classification": ("text-classification", None),
    "multiple-choice": ("multiple-choice", "multiple-choice-qa"),
    "pair-classification": ("text-classification", "natural-language-inference"),
    "question-answering": ("question-answering", "extractive-qa"),
}
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_COLUMNS = {
    "flags": "what to know about the row: failed checks, `protected_lost`, `unfinished`; empty for most",
    "projections": "where each source span went: offsets on both sides, score and method, or the reason of its loss",
}


def card(config: AnyConfig, report: Mapping[str, Any]) -> str:
    """Return the text of the dataset card."""
    if not isinstance(config, BuildConfig):
        return predict_card(config, report)
    head = yaml.safe_dump(_metadata(config, report), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(_body(config, report)) + "\n"


def _metadata(config: BuildConfig, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the card's YAML, with the names and values that the hub knows."""
    languages = report["languages"]
    rows = sum(entry["total"]["kept"] for entry in languages.values())
    category, task_id = _CATEGORIES.get(config.task, (None, None))
    found: dict[str, Any] = {
        "pretty_name": f"{_title(config)}, machine-translated",
        # The hub's language tags have no script.
        "language": sorted({get_language(name).bcp47.split("-")[0] for name in _written(config, languages)}),
        "license": config.source.license or "unknown",
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "multilinguality": ["translation"],
        "source_datasets": [_source_dataset(config)],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), "n>10M")],
    }
    if category:
        found["task_categories"] = [category]
    if task_id:
        found["task_ids"] = [task_id]
    found["tags"] = ["machine-translated", "spanferry"]
    found["configs"] = card_configs(languages)
    return found


def _written(config: BuildConfig, languages: Iterable[str]) -> Iterable[str]:
    """Return the languages of the text: what went there and back is in that of the source."""
    return [config.source.language] if config.direction == "back-translate" else languages


def _source_dataset(config: BuildConfig) -> str:
    path = config.source.path
    is_hub_id = isinstance(path, str) and config.source.splits is not None and path.count("/") <= 1
    return f"extended|{path}" if is_hub_id else "original"


def _title(config: BuildConfig) -> str:
    return config.source.name or f"{config.task} data"


def _body(config: BuildConfig, report: Mapping[str, Any]) -> list[str]:
    source, languages = get_language(config.source.language), report["languages"]
    names = ", ".join(get_language(name).name for name in languages)
    way = f"from {source.name} into {names}"
    if config.direction == "back-translate":
        way = f"from {source.name} into {names} and back into {source.name}"
    carried = " and carried the labels of its spans over" if get_task(config.task).spans_in else ""
    return [
        f"# {_title(config)}, machine-translated",
        f"> **Machine-translated.** A machine translated the text {way}{carried}. {checked_by_people(report)}",
        "```python\nfrom datasets import load_dataset\n\n"
        f'dataset = load_dataset("path/of/this/folder", "{next(iter(languages))}")\n```',
        "## What it holds",
        _table(report),
        *(_reasons(report)),
        "Every lost example and span is in `dropped/`, with its reason; all counts are in `report.json`.",
        "## Columns beside the task's own",
        _columns(config, report),
        "## How it was made",
        f"- task: `{config.task}`; model: `{config.translation.model}`\n"
        f"- signature: `{report['signature']}`\n"
        "- again, from the same source: `spanferry build config.yaml`, with the `config.yaml` of this folder",
        "## License",
        _license(config),
    ]


def _table(report: Mapping[str, Any]) -> str:
    """Return the counts as a Markdown table, one line a language and split."""
    lines = [
        "| language | split | source rows | kept | dropped | source spans | carried | lost |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, entry in report["languages"].items():
        for split, counts in entry["splits"].items():
            numbers = (counts[key] for key in ("rows", "kept", "dropped", "spans", "carried", "lost"))
            lines.append(f"| {name} | {split} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return "\n".join(lines)


def _reasons(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"- {name}, {what}: " + ", ".join(f"{reason} {number:,}" for reason, number in entry["total"][key].items())
        for name, entry in report["languages"].items()
        for what, key in (("examples dropped", "dropped_by_reason"), ("spans lost", "lost_by_reason"))
        if entry["total"].get(key)
    ]
    return ["\n".join(["Reasons (an example may have several):", "", *lines])] if lines else []


def _columns(config: BuildConfig, report: Mapping[str, Any]) -> str:
    lines = []
    task = get_task(config.task)
    for name in provenance_columns(task):
        if name.startswith("source_"):
            meaning = "the text that was translated"
        elif name.startswith("translation_score"):
            meaning = "mean natural-log probability of a target token under the model"
        else:
            meaning = _COLUMNS[name]
        lines.append(f"- `{name}`: {meaning}")
    if any(POST_EDITED in entry["total"] for entry in report["languages"].values()):
        lines.append(f"- `{POST_EDITED}`: whether a person corrected the row (only in languages where some row was)")
        lines.append("- `machine_...`: text and spans as the machine had them; null where nobody corrected the row")
    return "\n".join(lines)


def _license(config: BuildConfig) -> str:
    """Return what is known of the licenses that bind the dataset: the source's, and the model's."""
    source = f"`{config.source.license}`" if config.source.license else "not stated: ask its owner first"
    model = config.translation.license or model_license(config.translation.model, config.translation.revision)
    lines = [f"The source data's license is {source}; a translation inherits it."]
    if model is None:
        lines.append(f"The license of the model `{config.translation.model}` is not known here: ask for it.")
    else:
        lines.append(f"The translation model `{config.translation.model}` is under `{model}`.")
    if model is not None and not_commercial(model):
        lines.append("**That license does not allow commercial use; ask before you use this dataset commercially.**")
    return " ".join(lines)
