"""The figures of a report page, a section each: what it is in one sentence, then tables and charts, in plain HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from spanferry.flows.charts import histogram, stacked_bars
from spanferry.flows.figures import CARRIED, Histogram, LanguageFigures
from spanferry.flows.members import Build
from spanferry.translation.languages import get_language

_MOST_LABELS: Final = 40
"""Rows of a language's table of labels."""
_MOST_LABEL_ROWS: Final = 2000
"""Of all languages: a page of a hundred of them stays small."""
_MOST_CHARTS: Final = 24


def sections(build: Build, figures: Mapping[str, LanguageFigures], tokenizer: str | None) -> list[str]:
    """Return the sections that have something to say, as HTML; every text of the data is escaped.

    Args:
        build: a finished build.
        figures: language, BCP-47 -> what `spanferry.flows.figures.collect` found.
        tokenizer: name of what the tokens were counted with; None where they were not.
    """
    found = [
        _kept(build, figures),
        _labels(figures),
        _lengths(figures),
        _scores(figures),
        _identified(figures),
        _tokens(figures, tokenizer),
        _duplicates(figures),
        _methods(build, figures),
        _cost(build),
    ]
    return [section for section in found if section]


def share(part: float, whole: float) -> str:
    """Return a share in per cent; a dash of nothing."""
    return f"{part / whole:.1%}" if whole else "–"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """Return a table whose first column heads its rows; numbers stand right."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table><caption>'
        f"{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _section(title: str, explained: str, *content: str) -> str:
    name = title.lower().replace(" ", "-")
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>'
        f"<p>{escape(explained)}</p>{''.join(content)}</section>"
    )


def _kept(build: Build, figures: Mapping[str, LanguageFigures]) -> str:
    totals = {name: build.report["languages"][name]["total"] for name in figures}
    heads = ["language", "rows", "kept", "dropped", "kept, %", "spans", "carried", "lost", "carried, %"]
    rows = [
        [
            name,
            *(f"{total[key]:,}" for key in ("rows", "kept", "dropped")),
            share(total["kept"], total["rows"]),
            *(f"{total[key]:,}" for key in ("spans", "carried", "lost")),
            share(total["carried"], total["spans"]),
        ]
        for name, total in totals.items()
    ]
    dropped = _table(
        ["reason", *totals],
        [
            [reason, *(f"{total['dropped_by_reason'].get(reason, 0):,}" for total in totals.values())]
            for reason in sorted({reason for total in totals.values() for reason in total["dropped_by_reason"]})
        ],
        "Rows dropped, by reason (a row may have several)",
    )
    fates = {name: _by_fate(found) for name, found in figures.items()}
    reasons = sorted({fate for numbers in fates.values() for fate in numbers} - {CARRIED})
    styles = {CARRIED: "c0"} | {reason: f"c{1 + index % 7}" for index, reason in enumerate(reasons)}
    charts = []
    if any(map(sum, (numbers.values() for numbers in fates.values()))):
        legend = "".join(f'<li><span class="key {style}"></span>{escape(fate)}</li>' for fate, style in styles.items())
        charts = [
            f'<ul class="legend">{legend}</ul>',
            stacked_bars(
                "What became of the spans of each language", fates, styles, axis="share of the spans", unit="spans"
            ),
        ]
    return _section(
        "Kept and lost",
        "A row that lost a span is dropped, unless the build was told to keep it; the other spans of a dropped row are "
        "lost with it (example_dropped).",
        _table(heads, rows, "Rows and spans by language"),
        *charts,
        dropped if any(total["dropped_by_reason"] for total in totals.values()) else "",
    )


def _by_fate(found: LanguageFigures) -> dict[str, int]:
    total: dict[str, int] = {}
    for (_, fate), number in found.fates.items():
        total[fate] = total.get(fate, 0) + number
    return total


def _labels(figures: Mapping[str, LanguageFigures]) -> str:
    tables = []
    most = min(_MOST_LABELS, _MOST_LABEL_ROWS // len(figures))
    for name, found in figures.items():
        by_label: dict[str, dict[str, int]] = {}
        for (label, fate), number in found.fates.items():
            by_label.setdefault(label, {})[fate] = number
        if not by_label:
            continue
        reasons = sorted({fate for fates in by_label.values() for fate in fates} - {CARRIED})
        worst = sorted(by_label.items(), key=lambda item: (-_lost(item[1]), item[0]))[:most]
        rows = [
            [
                label,
                f"{sum(fates.values()):,}",
                f"{fates.get(CARRIED, 0):,}",
                share(fates.get(CARRIED, 0), sum(fates.values())),
                *(f"{fates.get(reason, 0):,}" for reason in reasons),
            ]
            for label, fates in worst
        ]
        left = len(by_label) - len(worst)
        caption = f"Spans by label, {name}" + (f"; {left} more labels are in report.json" if left else "")
        table = _table(["label", "spans", "carried", "carried, %", *reasons], rows, caption)
        opened = " open" if len(figures) <= 4 else ""
        tables.append(f"<details{opened}><summary>{escape(get_language(name).name)}</summary>{table}</details>")
    explained = "Spans of each label, and why those that are not in the dataset were lost; the greatest losses first."
    return _section("Labels", explained, *tables) if tables else ""


def _lost(fates: Mapping[str, int]) -> int:
    return sum(number for fate, number in fates.items() if fate != CARRIED)


def _charts(drawn: Iterable[str], figures: Mapping[str, LanguageFigures]) -> str:
    left = len(figures) - _MOST_CHARTS
    more = f"<p>Drawn for {_MOST_CHARTS} languages of {len(figures)}, those with most rows.</p>" if left > 0 else ""
    return f'<div class="charts">{"".join(drawn)}</div>{more}'


def _largest(figures: Mapping[str, LanguageFigures]) -> dict[str, LanguageFigures]:
    """Return the languages that charts are drawn for, in their own order."""
    chosen = sorted(figures, key=lambda name: -figures[name].rows)[:_MOST_CHARTS]
    return {name: found for name, found in figures.items() if name in chosen}


def _lengths(figures: Mapping[str, LanguageFigures]) -> str:
    ticks = {0.25: "¼", 0.5: "½", 1.0: "1", 2.0: "2", 4.0: "4"}
    drawn = [
        histogram(
            f"{name}: {found.lengths.mean:.2f} times as long, on average",
            found.lengths.edges,
            found.lengths.counts,
            axis=f"length in {found.target_name} / length in {found.source_name}, as factor",
            unit="rows",
            ticks=ticks,
        )
        for name, found in _largest(figures).items()
        if found.lengths.total
    ]
    explained = (
        "How long a text is beside the one it was translated from, in characters, a Chinese, Japanese or Korean one "
        "counted twice. Rows far to the left lost matter, rows far to the right gained some; the outermost bins hold "
        "all that is beyond them."
    )
    return _section("Length ratios", explained, _charts(drawn, figures)) if drawn else ""


def _scores(figures: Mapping[str, LanguageFigures]) -> str:
    unit_ticks, log_ticks = {0.0: "0", 0.5: "0.5", 1.0: "1"}, {-4.0: "−4", -2.0: "−2", 0.0: "0"}
    kinds: list[tuple[str, str, str, str, Mapping[float, str]]] = [
        ("scores", "span scores", "score of a span, 0 to 1", "spans", unit_ticks),
        ("confidence", "confidence", "probability that a span is right, 0 to 1", "spans", unit_ticks),
        ("translations", "translation scores", "mean natural-log probability of a token", "texts", log_ticks),
    ]
    charts = []
    for attribute, what, axis, unit, ticks in kinds:
        drawn = []
        for name, found in _largest(figures).items():
            each: Histogram = getattr(found, attribute)
            if each.total:
                title = f"{name}: {what}, mean {each.mean:.2f}".replace(" -", " −")
                drawn.append(histogram(title, each.edges, each.counts, axis=axis, unit=unit, ticks=ticks))
        charts += [_charts(drawn, figures)] if drawn else []
    explained = (
        "How sure the methods are, each by its own scale: scores of spans by the projection method, of texts by the "
        "translation model. Only a confidence, of a build with a calibration, is a probability of being right. The "
        "leftmost bin of translation scores holds all below."
    )
    return _section("Scores", explained, *charts) if charts else ""


def _identified(figures: Mapping[str, LanguageFigures]) -> str:
    from spanferry.projection.text_checks import identified_as

    rows = []
    for name, found in figures.items():
        total = found.identified.total()
        own = identified_as(found.target_name)
        if not total:
            continue
        right = sum(number for language, number in found.identified.items() if language in own)
        others = ((language, number) for language, number in found.identified.most_common() if language not in own)
        taken = ", ".join(f"{language} {share(number, total)}" for language, number in list(others)[:5])
        rows.append([name, f"{total:,}", share(right, total) if own else "not known to it", taken or "–"])
    explained = (
        "What py3langid takes a random sample of the texts for, those of 20 characters and more. A few errors are its "
        "own, above all between near relatives; many of one kind are texts that were not translated."
    )
    heads = ["language", "texts", "taken for itself", "taken for others"]
    table = _table(heads, rows, "Language identification")
    return _section("Language identification", explained, table) if rows else ""


def _tokens(figures: Mapping[str, LanguageFigures], tokenizer: str | None) -> str:
    if tokenizer is None:
        explained = (
            "Not counted: no tokenizer is at hand. Name one: spanferry report BUILD --tokenizer FOLDER or hub id."
        )
        return _section("Tokens per sentence", explained)
    rows = [
        [
            name,
            f"{found.tokens.source / found.tokens.sentences:.1f}",
            f"{found.tokens.target / found.tokens.sentences:.1f}",
            f"{found.tokens.target / found.tokens.source:.2f}",
            share(found.tokens.unknown, found.tokens.target),
        ]
        for name, found in figures.items()
        if found.tokens is not None and found.tokens.source
    ]
    explained = (
        f"Subword tokens of a random sample, by the tokenizer of {tokenizer}. The premium is how many times as many "
        "tokens the same text takes as in the language it came from (Petrov et al. 2023). An unknown token may stand "
        "for a whole word: where there are many, the tokenizer does not have the script, and the premium says nothing."
    )
    heads = ["language", "source, tokens a sentence", "target, tokens a sentence", "premium", "unknown in target"]
    return _section(
        "Tokens per sentence", explained, _table(heads, rows, "Tokens for each sentence of the source text")
    )


def _duplicates(figures: Mapping[str, LanguageFigures]) -> str:
    rows = [
        [
            name,
            f"{found.rows:,}",
            share(found.duplicate_sources, found.rows),
            share(found.duplicate_targets, found.rows),
        ]
        for name, found in figures.items()
    ]
    explained = (
        "Rows whose text another row before has too, word for word. More in the translations than in the source means "
        "that different texts became the same."
    )
    heads = ["language", "rows", "repeated source", "repeated target"]
    return _section("Duplicates", explained, _table(heads, rows, "Repeated rows"))


def _methods(build: Build, figures: Mapping[str, LanguageFigures]) -> str:
    totals = {name: build.report["languages"][name]["total"].get("methods", {}) for name in figures}
    methods = sorted({method for counts in totals.values() for method in counts})
    if not methods:
        return ""
    decided = _table(
        ["method", *totals],
        [[method, *(f"{counts.get(method, 0):,}" for counts in totals.values())] for method in methods],
        "Spans with a place, by the method that decided",
    )
    pairs = sorted({pair for found in figures.values() for pair in found.votes})
    agreed = ""
    if pairs:
        rows = [
            [f"{one} and {other}", *(_agreement(found.votes.get((one, other))) for found in figures.values())]
            for one, other in pairs
        ]
        rows.append(["all that voted", *(share(each.voted - each.disagreed, each.voted) for each in figures.values())])
        agreed = _table(["methods", *figures], rows, "Spans for which methods named the same place")
    explained = "Which method found the place of a span, and how often methods that were both asked agreed."
    return _section("Methods", explained, decided, agreed)


def _agreement(counts: Sequence[int] | None) -> str:
    return "–" if counts is None else f"{share(counts[1], counts[0])} of {counts[0]:,}"


def _cost(build: Build) -> str:
    """Return what the runs of a build left behind: nothing where their notes are gone."""
    rows = []
    for name, cost in build.costs.items():
        rate, peak = cost.per_thousand(), cost.peak_bytes
        numbers = (rate.seconds, rate.model_seconds, rate.characters, rate.model_calls, rate.remembered)
        rows.append(
            [
                name,
                f"{cost.examples:,}",
                *(f"{number:,.1f}" for number in numbers[:2]),
                *(f"{number:,.0f}" for number in numbers[2:]),
                "–" if peak is None else f"{peak / 2**20:,.0f}",
            ]
        )
    heads = [
        "language",
        "examples",
        "time, s",
        "in the model, s",
        "characters",
        "model calls",
        "remembered",
        "peak, MiB",
    ]
    if not rows:
        return ""
    return _section(
        "Cost",
        f"What 1,000 examples took in this {build.direction} build: time from the first to the last of them, what the "
        "translation model had of it, characters and texts that a model was given, and texts that were remembered from "
        "earlier runs, which paid for them. The peak is the most memory that the process held.",
        _table(heads, rows, "Cost of 1,000 examples, by language"),
    )
