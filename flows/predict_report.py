"""What the predictions of a build are worth, where there is gold: scores, causes of what is missing, overlap of pairs.

All of it is made from the outcomes in the shards, like every other count of a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spanferry.data.example import Example, Span
from spanferry.data.tasks import get_task
from spanferry.flows.outcomes import Outcome, unpack
from spanferry.flows.predict_config import TranslateTestConfig
from spanferry.projection.causes import CAUSES, Causes, RoundTrip, split_causes
from spanferry.projection.overlap import Overlap, overlap_table, overlaps_of
from spanferry.projection.quality import evaluate_examples
from spanferry.translation.languages import get_language


def worth(config: TranslateTestConfig, outcomes: Mapping[str, Iterable[Outcome]]) -> dict[str, Any]:
    """Return the parts of a build's report that compare predictions with gold; nothing where there is no gold.

    Args:
        config: the settings of the build.
        outcomes: BCP-47 name of a language -> its outcomes, for the languages that are done.
    """
    if not config.source.labelled:
        return {}
    task = get_task(config.task)
    gold: list[Example] = []
    predicted: list[Example] = []
    languages: list[str] = []
    causes: dict[str, Causes] = {}
    overlaps: dict[str, list[Overlap]] = {}
    for language, rows in outcomes.items():
        trips, pivots = [], []
        first = len(gold)
        for row in rows:
            gold.append(unpack(row["original"]))
            predicted.append(unpack(row["target"]))
            languages.append(language)
            if row.get("round_trip") is not None:
                trips.append(_round_trip(row, gold[-1], predicted[-1]))
            if "premise" in gold[-1].fields:
                pivots.append(Example(row["id"], row["source"]))
        if trips:
            causes[language] = split_causes(trips)
        if pivots:
            overlaps[language] = _overlaps(gold[first:], pivots, language, config.pivot)
    settings = {"pivot": get_language(config.pivot).flores}
    scores = evaluate_examples(task, gold, predicted, languages=languages, settings=settings)
    found: dict[str, Any] = {"evaluation": {name: each.to_json() for name, each in scores.items()}}
    if causes:
        found["causes"] = {name: each.to_json() for name, each in causes.items()}
    if overlaps:
        found["overlap"] = {name: overlap_table(each).to_json() for name, each in overlaps.items()}
    return found


def worth_lines(report: Mapping[str, Any]) -> list[str]:
    """Return what `worth` found as lines to read on a terminal."""
    lines = []
    for name, each in report.get("evaluation", {}).items():
        lines += [
            f"{language}: {name} {_interval(scores)}"
            for language, scores in {**each.get("languages", {}), "all": each}.items()
        ]
    for language, causes in report.get("causes", {}).items():
        missed = ", ".join(f"{cause} {causes['missed'][cause]}" for cause in CAUSES)
        errors = ", ".join(f"{error} {count}" for error, count in causes["predictor"].items())
        lines.append(
            f"{language}: {causes['found']} of {causes['gold']} gold spans found; missed by {missed} "
            f"(predictor: {errors}); recall can reach {causes['ceiling']:.1f}"
        )
    for language, table in report.get("overlap", {}).items():
        total = table["total"]
        lines.append(
            f"{language}: words of the hypothesis that the premise has too: {total['before']:.1f} % in the original, "
            f"{total['after']:.1f} % in the translation"
        )
    return lines


def _interval(scores: Mapping[str, Any]) -> str:
    return f"{scores['metric']} {scores['value']:.2f} [{scores['low']:.2f}, {scores['high']:.2f}]"


def _round_trip(row: Outcome, gold: Example, predicted: Example) -> RoundTrip:
    forth, back = ([None if span is None else Span(*span) for span in side] for side in row["round_trip"])
    model = [
        Span(each["source_start"], each["source_end"], each["label"], each["field"]) for each in row["projections"]
    ]
    return RoundTrip(gold.spans, forth, back, model, predicted.spans)


def _overlaps(originals: Sequence[Example], pivots: Sequence[Example], language: str, pivot: str) -> list[Overlap]:
    before = overlaps_of(originals, get_language(language).flores)
    after = overlaps_of(pivots, get_language(pivot).flores)
    labels = [str(next(iter(each.labels.values()), None)) for each in originals]
    return [Overlap(*each) for each in zip(labels, before, after, strict=True)]
