"""What a shard holds: one outcome an example, carried or dropped, as plain data that JSON keeps as it is.

An outcome is everything that is known of an example after its journey; rows of the dataset, lines of `dropped/` and
all counts are made from outcomes and from nothing else, so that they cannot disagree::

    {"id": "7", "source": {"text": "Zoë lives in Köln."}, "reasons": [],
     "target": {...an example, see `pack`...},
     "translations": {"text": {"text": "Zoë lebt in Köln.", "score": -0.31}},  # and "segments", see `pack_segments`
     "projections": [{"field": "text", "label": "LOC", "source_start": 13, "source_end": 17, "start": 12, "end": 16,
                      "score": 0.97, "confidence": null, "method": "alignment", "reason": null, "detail": "",
                      "votes": []}, ...],
     "verdicts": [], "flags": []}
"""

from __future__ import annotations

import base64
import datetime
import decimal
import zoneinfo
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from spanferry.data.errors import DataError
from spanferry.data.example import Example, Span
from spanferry.flows.report import Counts
from spanferry.flows.shards import cut
from spanferry.projection.base import Vote
from spanferry.projection.carry import Carried
from spanferry.translation.base import Segment, Translation

Outcome = dict[str, Any]

_TICK = datetime.timedelta(microseconds=1)


def _moment_to_text(value: datetime.datetime) -> str:
    """Return ISO 8601 with the name of the zone as RFC 9557 has it: offsets alone would change with the season."""
    text, zone = datetime.datetime.isoformat(value), getattr(value.tzinfo, "key", None)
    return text if zone in (None, "UTC") else f"{text}[{zone}]"


def _moment_from_text(text: str) -> datetime.datetime:
    moment, _, zone = text.removesuffix("]").partition("[")
    found = datetime.datetime.fromisoformat(moment)
    if not zone:
        return found
    here = found.replace(tzinfo=zoneinfo.ZoneInfo(zone))
    # Of an hour that the clocks go through twice the offset says which.
    return here if here.utcoffset() == found.utcoffset() else here.replace(fold=1)


# Columns of Parquet hold values that JSON has no word for: type -> (name, to text, from text). Of two types that fit
# the first counts: a datetime is a date.
_CODECS: dict[type, tuple[str, Any, Any]] = {
    datetime.datetime: ("datetime", _moment_to_text, _moment_from_text),
    datetime.date: ("date", datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.timedelta: ("timedelta", lambda value: str(value // _TICK), lambda text: int(text) * _TICK),
    decimal.Decimal: ("decimal", str, decimal.Decimal),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode(), base64.b64decode),
}
_DECODERS = {name: decode for name, _, decode in _CODECS.values()}
_MARK = "$type"


def pack(example: Example) -> dict[str, Any]:
    """Return an example as plain data.

    >>> pack(Example("1", {"text": "Köln"}, (Span(0, 4, "LOC"),), meta={"seen": datetime.date(2024, 5, 1)}))["meta"]
    {'seen': {'$type': 'date', 'value': '2024-05-01'}}

    Raises:
        DataError: a column holds something that is no data (an object of some library), or a time that is finer than
            microseconds.
    """
    meta = {}
    for key, value in example.meta.items():
        try:
            meta[key] = _encode(value)
        except (TypeError, ValueError) as error:
            raise DataError(f"example {example.id!r}, column {key!r}: {error}") from None
    return {
        "id": example.id,
        "fields": dict(example.fields),
        "spans": [[span.start, span.end, span.label, span.field] for span in example.spans],
        "labels": dict(example.labels),
        "tokens": {field: [list(token) for token in tokens] for field, tokens in example.tokens.items()},
        "meta": meta,
    }


def unpack(record: Mapping[str, Any]) -> Example:
    """Return the example that `pack` packed.

    >>> example = Example("1", {"text": "Köln"}, (Span(0, 4, "LOC"),), meta={"seen": datetime.date(2024, 5, 1)})
    >>> unpack(pack(example)) == example
    True
    """
    return Example(
        id=record["id"],
        fields=record["fields"],
        spans=tuple(Span(*span) for span in record["spans"]),
        labels=record["labels"],
        tokens={field: tuple((start, end) for start, end in tokens) for field, tokens in record["tokens"].items()},
        meta={key: _decode(value) for key, value in record["meta"].items()},
    )


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if isinstance(value, Mapping) and _MARK not in value:
        return {str(key): _encode(item) for key, item in value.items()}
    # By inheritance: pyarrow reads nanoseconds as pandas.Timestamp and Timedelta. NaT inherits too, and is no time.
    for kind, (name, encode, _) in _CODECS.items():
        if isinstance(value, kind) and type(value).__name__ != "NaTType":
            if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
                raise ValueError(f"found {value}, expected whole microseconds; round the column, or write it as text")
            return {_MARK: name, "value": encode(value)}
    raise TypeError(
        f"found a value of type {type(value).__name__}, expected text, numbers, dates, bytes or lists of them"
    )


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict):
        if _MARK in value:
            return _DECODERS[value[_MARK]](value["value"])
        return {key: _decode(item) for key, item in value.items()}
    return value


def outcome(
    carried: Carried, translations: Mapping[str, Translation], marks: Mapping[str, int] | None = None
) -> Outcome:
    """Return what became of one example, given its translations by field, and what its marks told if it had any.

    Scores are rounded to four digits: the last digits of a float depend on which sentences shared a batch.
    """
    return {
        "id": carried.source.id,
        "source": dict(carried.source.fields),
        "reasons": list(carried.reasons),
        "target": None if carried.target is None else pack(carried.target),
        "translations": {
            field: {"text": each.text, "score": rounded(each.score), **pack_segments(each)}
            for field, each in translations.items()
        },
        "projections": [
            {
                "field": each.source.field,
                "label": each.source.label,
                "source_start": each.source.start,
                "source_end": each.source.end,
                "start": None if each.target is None else each.target.start,
                "end": None if each.target is None else each.target.end,
                "score": rounded(each.score),
                "confidence": rounded(each.confidence),
                "method": each.method,
                "reason": None if each.reason is None else str(each.reason),
                "detail": each.detail,
                "votes": [_vote(vote) for vote in each.votes],
            }
            for each in carried.projections
        ],
        "verdicts": [asdict(verdict) for verdict in carried.verdicts],
        "flags": list(carried.flags),
        **({} if marks is None else {"marks": dict(marks)}),
    }


def pack_segments(translation: Translation) -> dict[str, list[int]]:
    """Return where the sentences of a translation stand on both sides, for whoever aligns them again.

    Four numbers a segment, each counted from the last one's end: source start and end, target start and end. Nothing at
    all where the text is one sentence from end to end, as most are: that costs a build no room.

    >>> pack_segments(Translation("Yes. No!", "Ja. Nein!", (Segment(0, 4, 0, 3), Segment(5, 8, 4, 9))))
    {'segments': [0, 4, 0, 3, 1, 3, 1, 5]}
    >>> pack_segments(Translation("Yes.", "Ja.", (Segment(0, 4, 0, 3),)))
    {}
    """
    if translation.segments in ((), (Segment(0, len(translation.source), 0, len(translation.text)),)):
        return {}
    packed: list[int] = []
    here = there = 0
    for each in translation.segments:
        packed += each.source_start - here, each.source_end - each.source_start
        packed += each.target_start - there, each.target_end - each.target_start
        here, there = each.source_end, each.target_end
    return {"segments": packed}


def unpack_segments(translation: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Return the segments that `pack_segments` packed into a field's translation; none where it packed none.

    >>> unpack_segments({"text": "Ja. Nein!", "segments": [0, 4, 0, 3, 1, 3, 1, 5]})[1]
    Segment(source_start=5, source_end=8, target_start=4, target_end=9)
    """
    segments = []
    here = there = 0
    for gap, length, other_gap, other_length in cut(translation.get("segments", ()), 4):
        start, other_start = here + gap, there + other_gap
        here, there = start + length, other_start + other_length
        segments.append(Segment(start, here, other_start, there))
    return tuple(segments)


def rounded(score: float | None) -> float | None:
    """Return a score with as many digits as are kept."""
    return None if score is None else round(score, 4)


def _vote(vote: Vote) -> dict[str, Any]:
    place = vote.target
    return {
        "method": vote.method,
        "start": None if place is None else place.start,
        "end": None if place is None else place.end,
        "score": rounded(vote.score),
    }


def count(outcomes: Iterable[Outcome]) -> Counts:
    """Count what was kept, dropped, carried and lost.

    A span with a place, in an example that was dropped, is lost with it: reason ``example_dropped``. An example may be
    dropped for several reasons, and each is counted, so ``dropped_by_reason`` may add up to more than ``dropped``.
    ``methods`` and ``confidence`` count spans with a place: by what decided (the steps of a cascade), and by how sure.
    ``marks`` counts sentences, where labels are carried by marks, see `spanferry.flows.marked.Marks`.
    """
    total: Counter[str] = Counter(dict.fromkeys(("rows", "kept", "dropped", "spans", "carried", "lost"), 0))
    dropped, lost, flags = Counter[str](), Counter[str](), Counter[str]()
    methods, confidence, marks = Counter[str](), Counter[str](), Counter[str]()
    labels: dict[str, Counter[str]] = {}
    for each in outcomes:
        total["rows"] += 1
        total["dropped" if each["reasons"] else "kept"] += 1
        dropped.update(each["reasons"])
        flags.update(each["flags"])
        marks.update(each.get("marks", {}))
        for projection in each["projections"]:
            reason = lost_because(each, projection)
            total["spans"] += 1
            total["lost" if reason else "carried"] += 1
            if projection["start"] is not None:
                methods[projection["method"]] += 1
                if projection["confidence"] is not None:
                    confidence[confidence_range(projection["confidence"])] += 1
            if reason:
                lost[reason] += 1
            label = labels.setdefault(projection["label"], Counter({"spans": 0, "carried": 0}))
            label["spans"] += 1
            label["carried"] += reason is None
    return {
        **total,
        "dropped_by_reason": dict(sorted(dropped.items())),
        "lost_by_reason": dict(sorted(lost.items())),
        "flags": dict(sorted(flags.items())),
        "methods": dict(sorted(methods.items())),
        "confidence": dict(sorted(confidence.items())),
        "labels": {label: dict(numbers) for label, numbers in sorted(labels.items())},
        **({"marks": dict(sorted(marks.items()))} if marks else {}),
    }


def confidence_range(confidence: float) -> str:
    """Return the tenth that a confidence, 0..1, lies in; 1 itself is in the last.

    >>> confidence_range(0.93), confidence_range(1.0), confidence_range(0.0)
    ('0.9-1.0', '0.9-1.0', '0.0-0.1')
    """
    tenth = min(int(confidence * 10), 9)
    return f"{tenth / 10:.1f}-{(tenth + 1) / 10:.1f}"


def lost_because(outcome: Outcome, projection: Mapping[str, Any]) -> str | None:
    """Return why a span is not in the dataset; None if it is there."""
    if projection["reason"] is not None:
        return str(projection["reason"])
    return "example_dropped" if outcome["reasons"] else None


def losses(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the lines of `dropped/` for one outcome: the example if it was dropped, else each span it lost."""
    targets = {field: each["text"] for field, each in outcome["translations"].items()}
    if outcome["reasons"]:
        return [
            {
                "lost": "example",
                "id": outcome["id"],
                "reasons": outcome["reasons"],
                "source": outcome["source"],
                "target": targets,
                "spans": [
                    {**each, "reason": lost_because(outcome, each), "text": _text(outcome, each)}
                    for each in outcome["projections"]
                ],
                "verdicts": outcome["verdicts"],
            }
        ]
    return [
        {
            "lost": "span",
            "id": outcome["id"],
            "reasons": [each["reason"]],
            "source": outcome["source"],
            "target": targets,
            "spans": [{**each, "text": _text(outcome, each)}],
            "verdicts": [verdict for verdict in outcome["verdicts"] if verdict["span"] == index],
        }
        for index, each in enumerate(outcome["projections"])
        if each["reason"] is not None
    ]


def _text(outcome: Outcome, projection: Mapping[str, Any]) -> str:
    """Return the source characters that a projected span labels."""
    text: str = outcome["source"][projection["field"]]
    return text[projection["source_start"] : projection["source_end"]]
