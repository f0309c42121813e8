"""Sections that the card of a dataset and the card of predictions share: quality, limits, licenses, citation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spanferry.data.tasks import get_task
from spanferry.flows.card_config import without_places
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.translation.licenses import model_license, not_commercial


def quality(config: BuildConfig, report: Mapping[str, Any]) -> str:
    """Say what was measured of a dataset, and what was not."""
    lines = []
    for name, entry in report["languages"].items():
        total = entry["total"]
        if total["spans"]:
            share = 100 * total["carried"] / total["spans"]
            lines.append(f"- {name}: {total['carried']:,} of {total['spans']:,} source spans are in it ({share:.1f} %)")
        if total.get("confidence"):
            spread = ", ".join(f"{tenth}: {number:,}" for tenth, number in reversed(total["confidence"].items()))
            lines.append(f"- {name}, spans by confidence: {spread}")
        if total["flags"]:
            flags = ", ".join(f"`{flag}` {number:,}" for flag, number in total["flags"].items())
            lines.append(f"- {name}, rows with a flag: {flags}")
    if (used := report.get("calibration")) is not None:
        lines.append(
            f"- the confidence was fitted to {used['spans']:,} spans of gold data and measured on others: see "
            "`calibration` in `report.json`"
        )
    unmeasured = "No translation was compared with one by people: `translation_score` is the model's own opinion."
    if get_task(config.task).spans_in:
        unmeasured += " Nor was it counted how many spans stand right: a `score` says how sure the method was."
    return "\n".join([*lines, *([""] if lines else []), unmeasured])


def limits(config: BuildConfig) -> str:
    """Say what a user of a dataset should not expect of it."""
    lines = [
        "- Machine translation makes mistakes, and reads unlike what people write: train on it, do not evaluate on it.",
        "- Names, customs and places are those of the source language.",
    ]
    if config.translation.split == "sentences":
        lines.append("- Each sentence was translated by itself; pronouns and terms may change from one to the next.")
    if get_task(config.task).spans_in and config.projection.on_lost == "drop_example":
        lines.append(
            "- Examples that lost a label were left out; the longer and denser ones are rarer here than in the source."
        )
    if config.translation.model == "bundled":
        lines.append("- The translation model is spanferry's small stand-in, made for trying things out.")
    return "\n".join(lines)


def model_line(config: AnyConfig) -> str:
    """Return the translation model, its revision and its license, for a list."""
    chosen = config.translation
    revision = f", revision `{chosen.revision}`" if chosen.revision else ""
    model = model_license_of(config)
    return f"`{without_places(chosen.model)}`{revision}, license " + (f"`{model}`" if model else "not known")


def license_lines(config: AnyConfig) -> str:
    """Say what is known of the licenses that bind a dataset: the source's, and the model's."""
    source = f"`{config.source.license}`" if config.source.license else "not stated: ask its owner first"
    model, name = model_license_of(config), without_places(config.translation.model)
    lines = [f"The source data's license is {source}; a translation inherits it."]
    if model is None:
        lines.append(f"The license of the model `{name}` is not known here: ask for it.")
    else:
        lines.append(f"The translation model `{name}` is under `{model}`.")
    if model is not None and not_commercial(model):
        lines.append("**That license does not allow commercial use; ask before you use this dataset commercially.**")
    return " ".join(lines)


def model_license_of(config: AnyConfig) -> str | None:
    """Return the license of the translation model: what the settings say, else what its card says, else None."""
    chosen = config.translation
    return chosen.license or model_license(chosen.model, chosen.revision)


def citation(config: AnyConfig, report: Mapping[str, Any]) -> str:
    """Say what to cite: the source, the model, and how this was made of them."""
    name, model = config.source.name or "the source data", without_places(config.translation.model)
    version = report["spanferry"]
    return (
        f"Cite {name} and the model `{model}` as their authors ask; how this was made of them:\n\n"
        f"```bibtex\n@software{{spanferry,\n  title = {{spanferry: labelled data carried across languages}},\n"
        f"  version = {{{version}}},\n  note = {{{report['signature']}}}\n}}\n```"
    )
