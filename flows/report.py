"""What a build kept and lost, counted: as `report.json` for programs, as a table for the terminal.

Counts are plain nested mappings of numbers, made a shard, added up a split, a language and a build. Two sums always
hold, and `check_balance` holds them: rows = kept + dropped, and spans = carried + lost.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from spanferry.data.errors import BuildError, IncompleteError
from spanferry.flows.progress import duration

Counts = dict[str, Any]


def add_counts(parts: Iterable[Mapping[str, Any]]) -> Counts:
    """Add nested counts, key by key; keys come out sorted, so that the order of shards leaves no trace.

    >>> add_counts([{"rows": 2, "lost_by_reason": {"overlap": 1}}, {"rows": 3, "lost_by_reason": {"unaligned": 4}}])
    {'lost_by_reason': {'overlap': 1, 'unaligned': 4}, 'rows': 5}
    """
    total: Counts = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, Mapping):
                total[key] = add_counts([total.get(key, {}), value])
            else:
                total[key] = total.get(key, 0) + value
    return dict(sorted(total.items()))


def check_balance(counts: Mapping[str, Any], where: str) -> None:
    """Hold the promise that nothing is lost silently.

    Raises:
        BuildError: a sum does not hold; a defect of ours, never of the user's.
    """
    if counts["rows"] != counts["kept"] + counts["dropped"] or counts["spans"] != counts["carried"] + counts["lost"]:
        raise BuildError(
            f"{where}: rows {counts['rows']} = kept {counts['kept']} + dropped {counts['dropped']}, spans "
            f"{counts['spans']} = carried {counts['carried']} + lost {counts['lost']}: a sum does not hold"
        )


@dataclass(frozen=True)
class Timing:
    """What one language cost in one run.

    Attributes:
        seconds: from its first shard to its last.
        rows: rows that were computed in this run.
        reused: rows whose shards were there before.
        translated: sentences that the model translated.
        remembered: sentences that came from the translation memory.
        model_seconds: time in the translation model, added up over shards that were translated at the same time.
        characters: length of what the models were given.
        predicted: texts that a predictor was run on (translate-test).
        predictions_remembered: texts whose prediction was remembered.
        projected: texts with spans that the projection method was asked about, where they are counted.
        projections_remembered: texts with spans whose projection was remembered.

    >>> both = Timing(seconds=1.5, rows=2) + Timing(seconds=0.5, rows=1, characters=80)
    >>> both.seconds, both.rows, both.characters
    (2.0, 3, 80)
    """

    seconds: float = 0.0
    rows: int = 0
    reused: int = 0
    translated: int = 0
    remembered: int = 0
    model_seconds: float = 0.0
    characters: int = 0
    predicted: int = 0
    predictions_remembered: int = 0
    projected: int = 0
    projections_remembered: int = 0

    def __add__(self, other: Timing) -> Timing:
        """Add the cost of other work, done after it."""
        return Timing(*map(operator.add, astuple(self), astuple(other)))


@dataclass(frozen=True)
class BuildResult:
    """A finished build.

    Attributes:
        folder: where it lies.
        report: what `report.json` holds: the counts and settings, the same for the same inputs.
        timings: language -> what this run spent on it.
        seconds: wall time of this run.
        failed: language -> which of its shards failed in this run, and why.
    """

    folder: Path
    report: dict[str, Any]
    timings: dict[str, Timing] = field(default_factory=dict)
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)


class LanguagesFailed(IncompleteError):
    """Shards of some languages failed; ``result`` is what is whole, None where nothing is."""

    def __init__(self, message: str, result: BuildResult | None = None) -> None:
        self.result = result
        super().__init__(message)


def languages_failed(failed: Mapping[str, str], output: str, result: BuildResult | None = None) -> LanguagesFailed:
    """Return the error that says, in one line a language, what failed, and then what is whole and what to do.

    >>> print(languages_failed({"de": "1 shard failed (train 3): out of memory"}, "out/demo"))
    de: 1 shard failed (train 3): out of memory
    no language is whole; when this is mended, the same command goes on. `spanferry status out/demo` shows what failed
    """
    lines = [f"{language}: {reason}" for language, reason in failed.items()]
    whole = [] if result is None else list(result.report["languages"])
    state = f"whole, in {output}: {', '.join(whole)}" if whole else "no language is whole"
    lines.append(
        f"{state}; when this is mended, the same command goes on. `spanferry status {output}` shows what failed"
    )
    return LanguagesFailed("\n".join(lines), result)


def print_summary(result: BuildResult) -> None:
    """Print the build's counts as a table on standard output, and what a reader does next."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from spanferry.flows.places import stored_at
    from spanferry.flows.predict_report import worth_lines

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    with_spans = any(total["spans"] for total in _totals(result.report).values())
    headers = ["language", "rows", "kept", "dropped", *(["spans", "carried", "lost"] if with_spans else [])]
    for header in [*headers, "time", "rows/s"]:
        table.add_column(header, justify="left" if header == "language" else "right")
    for language, total in _totals(result.report).items():
        cells = [language, *(f"{total[name]:,}" for name in headers[1:])]
        table.add_row(*cells, *_time_cells(result.timings.get(language)))
    console.print(table)
    for line in [*_losses(result.report), *_marks(result.report), *_sureness(result.report), *_edited(result.report)]:
        console.print(Text(f"  {line}"), soft_wrap=True)
    for line in worth_lines(result.report):
        console.print(Text(f"  {line}"), soft_wrap=True)
    rejected = sum(split["rejected"] for split in result.report["source"]["splits"].values())
    if rejected:
        console.print(Text(f"  {rejected:,} source rows could not be read: {result.folder / 'rejects'}"))
    if result.report["missing"]:
        console.print(Text(f"  not whole yet, and not in the dataset: {', '.join(result.report['missing'])}"))
    # The dataset has no config without a row, see `spanferry.flows.card_config.card_configs`.
    loadable = [language for language, total in _totals(result.report).items() if total["kept"]]
    if without := [language for language in _totals(result.report) if language not in loadable]:
        console.print(Text(f"  no row was kept, so not in the dataset: {', '.join(without)}"), soft_wrap=True)
    stored = stored_at(result.folder)
    place = result.folder if stored is None else f"{stored.storage.url}, and here {result.folder}"
    console.print(Text(f"\n{place}  in {duration(result.seconds)}"), soft_wrap=True)
    if loadable:
        console.print(Text(f'load it:   datasets.load_dataset("{result.folder}", "{loadable[0]}")'), soft_wrap=True)
    console.print(Text(f"signature: {result.report['signature']}"), soft_wrap=True)


def _totals(report: Mapping[str, Any]) -> dict[str, Counts]:
    return {language: entry["total"] for language, entry in report["languages"].items()}


def _time_cells(timing: Timing | None) -> tuple[str, str]:
    if timing is None:
        return "", ""
    if not timing.rows:
        return "reused", ""
    rate = f"{timing.rows / timing.seconds:,.1f}" if timing.seconds else ""
    return duration(timing.seconds), rate


def _losses(report: Mapping[str, Any]) -> list[str]:
    """Say in one line a language why spans were lost and rows dropped, most frequent first."""
    lines = []
    for language, total in _totals(report).items():
        parts = [
            f"{what} by reason: " + ", ".join(f"{reason} {number:,}" for reason, number in _by_frequency(total[key]))
            for what, key in (("dropped", "dropped_by_reason"), ("lost", "lost_by_reason"))
            if total.get(key)
        ]
        if parts:
            lines.append(f"{language}: " + "; ".join(parts))
    return lines


def _marks(report: Mapping[str, Any]) -> list[str]:
    """Say in one line a language what became of marks in the text, where labels were carried by them."""
    lines = []
    for language, total in _totals(report).items():
        if marks := total.get("marks"):
            line = f"{language}: {marks['sentences']:,} sentences were marked"
            line += f", marks came back broken in {marks['broken']:,}{_share(marks['broken'], marks['sentences'])}"
            if marks["compared"]:
                line += f"; of {marks['compared']:,} others translated both ways, {marks['different']:,}"
                line += f"{_share(marks['different'], marks['compared'])} are not as without marks"
            lines.append(line)
    return lines


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.1%})" if whole else ""


def _sureness(report: Mapping[str, Any]) -> list[str]:
    """Say which methods decided, where there were several, and how sure they were, with what that is worth."""
    lines = []
    for language, total in _totals(report).items():
        if len(total.get("methods", {})) > 1:
            decided = (f"{method} {number:,}" for method, number in _by_frequency(total["methods"]))
            lines.append(f"{language}: decided by " + ", ".join(decided))
        if total.get("confidence"):
            ranges = (f"{span} {number:,}" for span, number in reversed(total["confidence"].items()))
            lines.append(f"{language}: confidence " + ", ".join(ranges))
    if "calibration" in report:
        from spanferry.projection.reliability import Reliability

        used = report["calibration"]
        lines.append(f"the confidence was fitted to {used['spans']:,} spans of gold; on gold that was held out:")
        lines += [f"  {line}" for line in Reliability.from_json(used["held_out"]).lines()]
    return lines


def _edited(report: Mapping[str, Any]) -> list[str]:
    """Say how many rows are as people corrected them, and how many corrections no row fits any more."""
    lines = []
    for language, total in _totals(report).items():
        if total.get("post_edited"):
            lines.append(f"{language}: {total['post_edited']:,} rows are as people corrected them")
        if total.get("corrections_unused"):
            lines.append(
                f"{language}: {total['corrections_unused']:,} corrections are not used: their rows are gone, were "
                "dropped, or have another source text now"
            )
    return lines


def _by_frequency(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
