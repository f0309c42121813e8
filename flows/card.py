"""The dataset card: README.md with the YAML that the hub and `datasets.load_dataset` read, and a body for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from spanferry.data.correction_columns import POST_EDITED
from spanferry.data.provenance import provenance_columns
from spanferry.data.tasks import get_task
from spanferry.flows.card_config import HERE, card_configs, kind_of_data
from spanferry.flows.card_sections import citation, license_lines, limits, model_line, quality
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.corrections import checked_by_people
from spanferry.flows.predict_card import predict_card
from spanferry.translation.languages import get_language

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
    found: dict[str, Any] = {
        "pretty_name": f"{_title(config)}, machine-translated",
        # The hub's language tags have no script.
        "language": sorted({get_language(name).bcp47.split("-")[0] for name in _written(config, languages)}),
        "license": config.source.license or "unknown",
        "annotations_creators": ["machine-generated"],
        "language_creators": ["machine-generated"],
        "multilinguality": ["translation"],
        "source_datasets": [_source_dataset(config)],
        **kind_of_data(config.task, languages),
    }
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
        f'dataset = load_dataset("{HERE}", "{next(iter(languages))}")\n```',
        "## What it holds",
        _table(report),
        *(_reasons(report)),
        "Every lost example and span is in `dropped/`, with its reason; all counts are in `report.json`.",
        "## Columns beside the task's own",
        _columns(config, report),
        "## How good it is",
        quality(config, report),
        "## Known limits",
        limits(config),
        "## How it was made",
        f"- task: `{config.task}`; translation model: {model_line(config)}\n"
        f"{_projection(config)}"
        f"- signature: `{report['signature']}`\n"
        "- again, from the same source: `spanferry build config.yaml`, with the `config.yaml` of this folder",
        "## License",
        license_lines(config),
        "## Citation",
        citation(config, report),
    ]


def _projection(config: BuildConfig) -> str:
    if not get_task(config.task).spans_in:
        return ""
    chosen = config.projection
    aligner = f", aligner `{chosen.aligner}`" if chosen.method == "alignment" else ""
    return f"- labels carried by: `{chosen.method}`{aligner}; an example that lost a label: `{chosen.on_lost}`\n"


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
