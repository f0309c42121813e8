"""Open what `make demo` built, as any user of the datasets would, and print some rows before and after.

Usage: python docs/show_demo.py [FOLDER ...]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from datasets import disable_progress_bars, get_dataset_config_names, load_dataset


def inline(text: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """Write labelled text in one line; what stands inside a span is closed before it.

    >>> inline("Zoë lives in Köln.", [(0, 3, "PER"), (13, 17, "LOC")])
    '[Zoë|PER] lives in [Köln|LOC].'
    """
    # At one place, inner spans close before outer ones, and outer ones open before inner ones.
    marks = [(end, 0, -start, f"|{label}]") for start, end, label in spans]
    marks += [(start, 1, -end, "[") for start, end, label in spans]
    pieces, position = [], 0
    for at, _, _, mark in sorted(marks):
        pieces += [text[position:at], mark]
        position = at
    return "".join([*pieces, text[position:]])


def show(row: Mapping[str, Any], names: list[str], language: str) -> None:
    """Print one row: the source with its spans, the target with its spans; or a prediction on both sides."""
    if "predicted_spans" in row:
        pivot = [(each["pivot_start"], each["pivot_end"], each["label"]) for each in row["projections"]]
        predicted = [(each["start"], each["end"], each["label"]) for each in row["predicted_spans"]]
        print(f"  en  {inline(row['pivot_text'], pivot)}")
        print(f"  {language}  {inline(row['text'], predicted)}")
        return
    source = [(each["source_start"], each["source_end"], each["label"]) for each in row["projections"]]
    target = [(each["start"], each["end"], names[each["label"]]) for each in row["spans"]]
    print(f"  en  {inline(row['source_text'], source)}")
    print(f"  {language}  {inline(row['text'], target)}")


def main(folders: list[str]) -> None:
    """Print the first rows of every language that have spans."""
    disable_progress_bars()
    for folder in folders:
        for language in get_dataset_config_names(folder):
            [dataset] = load_dataset(folder, language).values()
            print(f'\nload_dataset("{folder}", "{language}"): {dataset.num_rows} rows')
            names = dataset.features["spans"].feature["label"].names
            column = "predicted_spans" if "predicted_spans" in dataset.features else "spans"
            with_spans = (row for row in dataset if row[column])
            for _, row in zip(range(3), with_spans, strict=False):
                show(row, names, language)


if __name__ == "__main__":
    main(sys.argv[1:] or ["out/demo-entities", "out/demo-slots"])
