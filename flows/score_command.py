"""``spanferry score``: what a projection method is worth on gold data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spanferry.alignment.registry import DEFAULT_ALIGNER

if TYPE_CHECKING:
    from spanferry.projection.score import ScoreResult

Files = list[Path]


def score_command(
    *,
    source: Annotated[Files, typer.Option(help="Gold data whose spans are projected; may be given several times.")],
    target: Annotated[Files, typer.Option(help="Its translation with gold spans, one file for each source.")],
    alignments: Annotated[
        Files | None, typer.Option(help="Word links, a line an example (i-j, zero-based), instead of an aligner.")
    ] = None,
    method: Annotated[str, typer.Option(help="Projection method.")] = "alignment",
    aligner: Annotated[str, typer.Option(help="Aligner to take links from.")] = DEFAULT_ALIGNER,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting: projection.gap_cost=0.2, aligner.model=PATH."),
    ] = None,
    task: Annotated[str, typer.Option(help="Shape of the data.")] = "ner",
    format: Annotated[str | None, typer.Option(help="Format of the files, where the suffix does not tell.")] = None,
    lang_source: Annotated[str, typer.Option(help="Language of the source.")] = "en",
    lang_target: Annotated[str | None, typer.Option(help="Language of the target; not needed with links.")] = None,
    pair_by: Annotated[str, typer.Option(metavar="auto|order|id", help="How examples are paired.")] = "auto",
    fit_calibration: Annotated[
        Path | None, typer.Option(help="Write a calibration here, fitted to these data: score -> confidence.")
    ] = None,
    calibration: Annotated[Path | None, typer.Option(help="Give every span a confidence by this calibration.")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Leave out spans that are less sure, 0 to 1; needs --calibration.")
    ] = None,
    curve: Annotated[bool, typer.Option("--curve", help="What each threshold on the confidence keeps.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> None:
    """Project gold spans onto a translation and compare with its gold: precision, recall, F1 in percent."""
    from spanferry.data.formats import check_output
    from spanferry.flows.score_confidence import check_options, report_confidence
    from spanferry.projection.score import score_files

    check_options(fit_calibration, calibration, min_confidence)
    if fit_calibration is not None:
        check_output(fit_calibration, [*source, *target, *(alignments or ())])
    settings = _settings(set_ or [])
    dial = {"calibration": calibration and str(calibration), "min_confidence": min_confidence}
    settings["projection"] |= {name: value for name, value in dial.items() if value is not None}
    result = score_files(
        source,
        target,
        alignments=alignments or (),
        method=method,
        settings=settings["projection"],
        aligner=aligner,
        aligner_settings=settings["aligner"],
        task=task,
        format=format,
        lang_source=lang_source,
        lang_target=lang_target,
        pair_by=pair_by,  # type: ignore[arg-type]  # checked there
    )
    confidence = report_confidence(result, fit=fit_calibration, calibration=calibration, curve=curve)
    if as_json:
        found = result.to_json() | ({} if confidence is None else {"confidence": confidence.to_json()})
        print(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        print(table(result))
        if confidence is not None:
            print("", *confidence.lines(), sep="\n")


def table(result: ScoreResult) -> str:
    """Return a result as lines to read on a terminal."""
    scores = result.scores
    width = max(10, *map(len, scores.per_label)) if scores.per_label else 10
    lines = [f"{'':{width}}  {'P':>6} {'R':>6} {'F1':>6} {'right':>7} {'wrong':>7} {'missed':>7}"]
    for name, counts in {**scores.per_label, "all": scores.exact}.items():
        rates = f"{counts.precision:6.2f} {counts.recall:6.2f} {counts.f1:6.2f}"
        lines.append(f"{name:{width}}  {rates} {counts.tp:7} {counts.fp:7} {counts.fn:7}")
    partial = f"{scores.partial_precision:6.2f} {scores.partial_recall:6.2f} {scores.partial_f1:6.2f}"
    lines.append(f"{'partial':{width}}  {partial} (half credit for {scores.overlapping} that overlap)")
    lost = ", ".join(f"{reason} {count}" for reason, count in result.reasons.items())
    lines.append(f"{result.projected} of {result.spans} spans projected in {result.examples} examples")
    if lost:
        lines.append(f"lost: {lost}")
    lines.append(result.signature)
    return "\n".join(lines)


def _settings(items: list[str]) -> dict[str, dict[str, Any]]:
    from spanferry.data.errors import ConfigError

    found: dict[str, dict[str, Any]] = {"projection": {}, "aligner": {}}
    for item in items:
        path, equals, value = item.partition("=")
        group, dot, name = path.partition(".")
        if not (equals and dot and name) or group not in found:
            raise ConfigError(f"--set {item}: expected projection.NAME=VALUE or aligner.NAME=VALUE")
        try:
            found[group][name] = json.loads(value)
        except ValueError:
            found[group][name] = value
    return found
