"""``report.html``: the figures of a build as one page for people, which needs nothing but itself.

Figures are tables and charts in plain HTML; the browser of examples is a small script that reads them as JSON. All of
the data's text is escaped: in the HTML by `html.escape`, in the JSON so that no ``<`` is left, and the script writes it
as text and never as HTML. A policy in the page's head forbids it to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import chain, zip_longest
from string import Template
from typing import Any, Final

from spanferry.flows.build_outcomes import (
    Row,
    disagrees,
    lowest_score,
    reasons_of,
    target_fields,
    target_spans,
    votes_of,
)
from spanferry.flows.figures import LanguageFigures
from spanferry.flows.members import Build
from spanferry.flows.page_links import Chosen, PageLinks
from spanferry.flows.page_sections import sections, share
from spanferry.projection.by_alignment import TokenLink
from spanferry.translation.languages import get_language

PAGE_BYTES: Final = 1_950_000
"""Size of the largest page: under 2 MB, however large the build."""
EXAMPLES_BYTES: Final = 1_200_000
"""Room for examples; less where the figures of many languages take more than the rest."""
_LARGEST: Final = 40_000


def render(
    build: Build, figures: Mapping[str, LanguageFigures], chosen: Chosen, links: PageLinks, *, tokenizer: str | None
) -> str:
    """Return the page.

    Args:
        build: a finished build.
        figures: language, BCP-47 -> what `collect` found.
        chosen: the examples that it shows, see `pick_examples`.
        links: the links between their words.
        tokenizer: what the tokens were counted with; None where they were not.
    """
    parts = {name: files("spanferry.flows").joinpath("page", name).read_text(encoding="utf-8") for name in _FILES}
    name = build.folder.root.resolve().name
    values = {
        "title": escape(f"{name}: what was kept and what was lost"),
        "name": escape(name),
        "lead": _lead(build),
        "style": parts["page.css"],
        "script": parts["page.js"],
        "sections": "\n".join(sections(build, figures, tokenizer)),
        "links": escape(links.said),
        "signature": escape(build.report["signature"]),
        "version": escape(build.report["spanferry"]),
    }
    taken = sum(map(_bytes, [parts["page.html"], *values.values()]))
    records = example_records(chosen, links, figures, room=min(EXAMPLES_BYTES, PAGE_BYTES - taken))
    return Template(parts["page.html"]).substitute(values, examples=as_script_data({"examples": records}))


_FILES: Final = ("page.html", "page.css", "page.js")


def as_script_data(value: Any) -> str:
    r"""Return plain data as JSON that can stand in a script element, whatever texts it holds.

    >>> as_script_data({"text": "</script><!-- & é"})
    '{"text":"\\u003c/script>\\u003c!-- & é"}'
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _lead(build: Build) -> str:
    report = build.report
    totals = [entry["total"] for entry in report["languages"].values()]
    rows, kept, spans, carried = (sum(total[key] for total in totals) for key in ("rows", "kept", "spans", "carried"))
    names = [get_language(name).name for name in report["languages"]]
    named, last = (names[:6], f"{len(names) - 6} more") if len(names) > 6 else (names[:-1], names[-1])
    listing = " and ".join([", ".join(named), last] if named else [last])
    if build.direction == "translate-test":
        way = f"{listing} by way of {get_language(report['source']['pivot']).name}"
    else:
        way = f"{get_language(report['source']['language']).name} to {listing}"
        way += " and back" if build.direction == "back-translate" else ""
    spans_said = f" Of {spans:,} spans {carried:,} were carried ({share(carried, spans)})." if spans else ""
    missing = f" Not finished: {', '.join(report['missing'])}." if report["missing"] else ""
    return escape(
        f"{report['direction']}, task {report['task']}, {way}. "
        f"Of {rows:,} rows {kept:,} were kept ({share(kept, rows)}).{spans_said}{missing}"
    )


def pick_examples(figures: Mapping[str, LanguageFigures]) -> list[tuple[str, Row]]:
    """Return examples for the page, with their languages: in turn one of each group of each language.

    So that every language, reason and label is there, however large the build and long its texts: there may be more
    than the page has room for, and the last ones are the least missed.
    """
    queues = [
        [(language, row) for row in rows] for language, found in figures.items() for rows in found.examples.values()
    ]
    chosen: dict[tuple[str, str, str], tuple[str, Row]] = {}
    room = EXAMPLES_BYTES
    for item in chain.from_iterable(zip_longest(*queues)):
        if item is None:
            continue
        language, row = item
        key = (language, row.split, row.outcome["id"])
        if key in chosen:
            continue
        size = _size(example_record(language, row, figures[language]))
        if size <= min(room, _LARGEST):
            chosen[key] = item
            room -= size
    return list(chosen.values())


def example_records(
    chosen: Chosen, links: PageLinks, figures: Mapping[str, LanguageFigures], *, room: int = EXAMPLES_BYTES
) -> list[dict[str, Any]]:
    """Return what the page's script needs of the examples that there is room for, in the order of the page.

    Args:
        chosen: the most wanted first.
        links: the links between their words.
        figures: language, BCP-47 -> what `collect` found.
        room: bytes that they may take.
    """
    records = []
    for language, row in chosen:
        found = links.found.get((language, row.split, row.outcome["id"]), {})
        record = example_record(language, row, figures[language], found)
        room -= _size(record)
        if room < 0:
            break
        records.append(record)
    order = {language: index for index, language in enumerate(figures)}
    return sorted(records, key=lambda each: (order[each["language"]], not each["reasons"], each["split"], each["id"]))


def _size(record: Mapping[str, Any]) -> int:
    return _bytes(as_script_data(record)) + 1  # and a comma


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def example_record(
    language: str, row: Row, found: LanguageFigures, links: Mapping[str, Sequence[TokenLink]] | None = None
) -> dict[str, Any]:
    """Return what the page's script needs of one example; ``links`` are those between its words, by field."""
    outcome = row.outcome
    target = target_fields(outcome)
    names = list(outcome["source"])
    score = lowest_score(outcome)
    return {
        "id": outcome["id"],
        "language": language,
        "split": row.split,
        "kept": not outcome["reasons"],
        "reasons": reasons_of(outcome),
        "flags": [*outcome["flags"], *(["post-edited"] if "machine" in outcome else [])],
        "verdicts": [f"{each['filter']}: {each['detail']}" for each in outcome["verdicts"]],
        "score": score,
        "tags": [found.source_name, found.target_name],
        "fields": [[name, outcome["source"][name], target[name]] for name in names],
        "labels": {} if outcome["target"] is None else outcome["target"]["labels"],
        "spans": list(_spans(outcome, names)),
        "links": [] if not links else [[*chain(*chain(*links.get(name, ())))] for name in names],
    }


def _spans(outcome: Mapping[str, Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the spans of either side, matched where the machine matched them."""
    edited = "machine" in outcome
    for each in outcome["projections"]:
        placed = each["start"] is not None and not edited
        yield {
            "label": each["label"],
            "field": names.index(each["field"]),
            "source": [each["source_start"], each["source_end"]],
            "target": [each["start"], each["end"]] if placed else None,
            "score": each["score"],
            "confidence": each.get("confidence"),
            "method": each["method"],
            "reason": each["reason"],
            "detail": each["detail"],
            "votes": votes_of(outcome, each) if disagrees(each) else [],
        }
    if edited:
        for span in target_spans(outcome):
            place = {"source": None, "target": [span.start, span.end]}
            yield {"label": span.label, "field": names.index(span.field), **place, "method": "person", "votes": []}
