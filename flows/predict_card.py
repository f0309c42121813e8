"""The card of a folder of predictions: what was predicted on what, by which model, and what every column means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from spanferry.data.correction_columns import POST_EDITED
from spanferry.data.tasks import Task, get_task
from spanferry.flows.card_config import HERE, card_configs, kind_of_data, without_places
from spanferry.flows.card_sections import citation, license_lines, model_line
from spanferry.flows.corrections import checked_by_people
from spanferry.flows.predict_config import TranslateTestConfig
from spanferry.flows.predict_report import worth_lines
from spanferry.translation.languages import get_language


def predict_card(config: TranslateTestConfig, report: Mapping[str, Any]) -> str:
    """Return the text of the card."""
    head = yaml.safe_dump(_metadata(config, report), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n" + "\n\n".join(_body(config, report)) + "\n"


def _metadata(config: TranslateTestConfig, report: Mapping[str, Any]) -> dict[str, Any]:
    languages = report["languages"]
    return {
        "pretty_name": _title(config),
        "language": sorted({get_language(name).bcp47.split("-")[0] for name in languages}),
        "license": config.source.license or "unknown",
        "annotations_creators": ["machine-generated"],
        "multilinguality": ["multilingual" if len(languages) > 1 else "monolingual"],
        "source_datasets": ["original"],
        **kind_of_data(config.task, languages),
        "tags": ["predictions", "translate-test", "spanferry"],
        "configs": card_configs(languages),
    }


def _title(config: TranslateTestConfig) -> str:
    return f"{config.source.name or config.task}, predictions by translate-test"


def _body(config: TranslateTestConfig, report: Mapping[str, Any]) -> list[str]:
    languages, pivot = report["languages"], get_language(config.pivot)
    names = ", ".join(get_language(name).name for name in languages)
    task = get_task(config.task)
    carried = ", and its predictions were carried back to the original text" if task.spans_in else ""
    return [
        f"# {_title(config)}",
        f"> **Predictions of a model.** Text in {names} was translated into {pivot.name} by a machine, a model "
        f"predicted on the translation{carried}. The original text is unchanged. {checked_by_people(report)}",
        "```python\nfrom datasets import load_dataset\n\n"
        f'dataset = load_dataset("{HERE}", "{next(iter(languages))}")\n```',
        "## What it holds",
        _table(report, task),
        "Every predicted span that found no place in the original is in `dropped/`, with its reason; all counts are in "
        "`report.json`.",
        "## Columns beside the data's own",
        _columns(task, report),
        "## How good it is",
        "\n".join(f"- {line}" for line in worth_lines(report)) or "The data has no labels of its own to compare with.",
        "## Known limits",
        "- The model did not read the text but a machine's translation of it; what that lost, it could not find.\n"
        "- A prediction is a guess: scores say how sure the model was, not how often it is right.",
        "## How it was made",
        f"- task: `{config.task}`; predictor: {_predictor(config)}; translation model: {model_line(config)}\n"
        f"- signature: `{report['signature']}`\n"
        "- again, from the same data: `spanferry build config.yaml`, with the `config.yaml` of this folder",
        "## License",
        license_lines(config),
        "## Citation",
        citation(config, report),
    ]


def _predictor(config: TranslateTestConfig) -> str:
    chosen = config.predictor
    model, revision = chosen.settings.get("model"), chosen.settings.get("revision")
    named = f"`{chosen.name}`" + (f" with `{without_places(str(model))}`" if model else "")
    return named + (f", revision `{revision}`" if revision else "")


def _table(report: Mapping[str, Any], task: Task) -> str:
    """Return the counts as a Markdown table, one line a language and split."""
    spans = " predicted spans | carried back | lost |" if task.spans_in else ""
    lines = [f"| language | split | rows |{spans}", "|---|---|--:|" + ("--:|--:|--:|" if spans else "")]
    names = ("rows", "spans", "carried", "lost") if spans else ("rows",)
    for name, entry in report["languages"].items():
        for split, counts in entry["splits"].items():
            lines.append(f"| {name} | {split} | " + " | ".join(f"{counts[key]:,}" for key in names) + " |")
    return "\n".join(lines)


def _columns(task: Task, report: Mapping[str, Any]) -> str:
    lines = []
    if task.spans_in:
        columns = ", ".join(f"`predicted_{name}`" for name in task.span_roles if name not in ("tokens", "token_starts"))
        lines.append(f"- {columns}: the predictions, on the original text")
    lines += [f"- `predicted_{name}`, `predicted_{name}_score`: the label, and its probability" for name in task.labels]
    lines += [f"- `pivot_{field}`: the translation that the model saw" for field in task.fields]
    lines.append("- `translation_score...`: mean natural-log probability of a target token under the translation model")
    lines.append("- `flags`: failed checks, `empty_translation`, `protected_lost`, `unfinished`; empty for most")
    if task.spans_in:
        lines.append(
            "- `projections`: where each predicted span went: offsets in the translation and in the original, the "
            "predictor's score, the projection's score and method, or the reason of its loss"
        )
    if any(POST_EDITED in entry["total"] for entry in report["languages"].values()):
        lines.append(f"- `{POST_EDITED}`: whether a person corrected the prediction (only in languages where some was)")
        lines.append("- `machine_...`: spans and labels as they were predicted; null where nobody corrected the row")
    return "\n".join(lines)
