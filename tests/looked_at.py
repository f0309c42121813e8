"""A small finished build in Arabic, Chinese and German, written by hand: what pages and commands are tried on.

It has what is hard to show: text from right to left, text without spaces, nested and crossing spans, lost ones, methods
that disagree, an emoji before a span, and text that would be a script if a page took it for HTML.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SCRIPT = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"

# id -> source, its spans, and what each language made of it: a text, and where each span went or why it did not.
_ROWS: list[tuple[str, str, list[tuple[str, str]], dict[str, tuple[str, list[str]]]]] = [
    (
        "curie",
        "Marie Curie was born in Warsaw in 1867.",
        [("Marie Curie", "PER"), ("Warsaw", "LOC")],
        {
            "de": ("Marie Curie wurde 1867 in Warschau geboren.", ["Marie Curie", "Warschau"]),
            "ar": ("وُلدت ماري كوري في وارسو عام 1867.", ["ماري كوري", "وارسو"]),
            "zh-Hans": ("玛丽·居里于1867年出生在华沙。", ["玛丽·居里", "华沙"]),
        },
    ),
    (
        "cairo",
        "The University of Cologne and the Cairo Museum work together with Dr. Layla Hassan 🙂 on Nile archives.",
        [
            ("University of Cologne", "ORG"),
            ("Cologne", "LOC"),
            ("Cairo Museum", "ORG"),
            ("Layla Hassan", "PER"),
            ("Nile", "LOC"),
        ],
        {
            "de": (
                "Die Universität zu Köln und das Ägyptische Museum arbeiten mit 🙂 Dr. Layla Hassan an Nil-Archiven.",
                ["Universität zu Köln", "Köln", "Ägyptische Museum", "Layla Hassan", "!unaligned"],
            ),
            "ar": (
                "تتعاون جامعة كولونيا ومتحف القاهرة مع الدكتورة ليلى حسن 🙂 في أرشيفات النيل.",
                ["جامعة كولونيا", "كولونيا", "متحف القاهرة", "ليلى حسن", "النيل"],
            ),
            "zh-Hans": (
                "科隆大学与开罗博物馆同莱拉·哈桑博士🙂合作研究尼罗河档案。",
                ["科隆大学", "科隆", "开罗博物馆", "莱拉·哈桑", "尼罗河"],
            ),
        },
    ),
    (
        "script",
        f"Acme {SCRIPT} moved to Berlin & Bonn.",
        [("Acme", "ORG"), ("Berlin", "LOC"), ("Bonn", "LOC")],
        {
            "de": (f"Acme {SCRIPT} zog nach Berlin & Bonn.", ["Acme", "Berlin", "Bonn"]),
            "ar": (f"انتقلت أكمي {SCRIPT} إلى برلين وبون.", ["أكمي", "برلين", "!unaligned"]),
            "zh-Hans": (f"Acme {SCRIPT} 搬到了柏林和波恩。", ["Acme", "柏林", "!overlap"]),
        },
    ),
    (
        "quiet",
        "The library closes at half past eight.",
        [],
        {
            "de": ("Die Bibliothek schließt um halb neun.", []),
            "ar": ("تغلق المكتبة في الثامنة والنصف.", []),
            "zh-Hans": ("图书馆八点半关门。", []),
        },
    ),
]
# source word -> what it became in any of the three languages; Chinese is aligned by characters.
_WORDS = {
    "born": "geboren وُلدت 出 生",
    "in": "in في 在",
    "Warsaw": "Warschau وارسو 华 沙",
    "Marie": "ماري 玛 丽",
    "Curie": "كوري 居 里",
    "University": "Universität جامعة 大 学",
    "Cologne": "Köln كولونيا 科 隆",
    "Museum": "ومتحف 博 物 馆",
    "Cairo": "Ägyptische القاهرة 开 罗",
    "and": "und 和",
    "Berlin": "برلين 柏 林",
    "Nile": "النيل 尼 罗 河",
}
SETTINGS = {
    "task": "ner",
    "direction": "translate-train",
    "source": {"path": "train.jsonl", "language": "en"},
    "targets": ["de", "ar", "zh-Hans"],
    "translation": {"model": "fake"},
    "projection": {"aligner": "fake", "aligner_settings": {"dictionary": _WORDS}},
}
_FLORES = {"de": "deu_Latn", "ar": "arb_Arab", "zh-Hans": "zho_Hans"}


def outcomes(language: str) -> list[dict[str, Any]]:
    """Return the outcomes of one language."""
    return [_outcome(*row[:3], *row[3][language]) for row in _ROWS]


def _outcome(name: str, source: str, spans: list[tuple[str, str]], text: str, places: list[str]) -> dict[str, Any]:
    projections = []
    for index, ((words, label), place) in enumerate(zip(spans, places, strict=True)):
        here, lost = source.index(words), place.startswith("!")
        start = None if lost else text.index(place)
        end = None if start is None else start + len(place)
        vote = {"method": "alignment", "start": start, "end": end, "score": 0.9}
        other = vote | {"method": "candidates"} | ({"start": 0, "end": 2} if index == 1 else {})
        projections.append(
            {
                "field": "text",
                "label": label,
                "source_start": here,
                "source_end": here + len(words),
                "start": start,
                "end": end,
                "score": None if lost else round(0.95 - 0.15 * index, 2),
                "confidence": None if lost else round(0.9 - 0.2 * index, 2),
                "method": "cascade",
                "reason": place[1:] if lost else None,
                "detail": "",
                "votes": [vote, other],
            }
        )
    reasons = sorted({each["reason"] for each in projections if each["reason"]})
    placed = sorted([each["start"], each["end"], each["label"], "text"] for each in projections if not each["reason"])
    target = {"id": name, "fields": {"text": text}, "spans": placed, "labels": {}, "tokens": {}, "meta": {}}
    return {
        "id": name,
        "source": {"text": source},
        "reasons": reasons,
        "target": None if reasons else target,
        "translations": {"text": {"text": text, "score": -0.4}},
        "projections": projections,
        "verdicts": [],
        "flags": [],
    }


def write(root: Path) -> Path:
    """Write the build's report and shards; return its folder."""
    from spanferry.flows.config import parse_config
    from spanferry.flows.outcomes import count
    from spanferry.flows.parts import load_linker
    from spanferry.flows.shards import write_json, write_records

    languages: dict[str, Any] = {}
    for language in _FLORES:
        rows = outcomes(language)
        write_records(root / ".spanferry" / "shards" / language / "train" / "00000.jsonl", rows)
        languages[language] = {"splits": {"train": count(rows)}, "total": count(rows)}
    write_json(root / ".spanferry" / "source" / "train.json", {"shards": [[len(_ROWS), ""]]})
    config = parse_config({**SETTINGS, "output": str(root)})
    linker = load_linker(config)
    assert linker is not None
    report = {
        "spanferry": "0.1.0",
        "signature": "task:ner|src:eng_Latn|version:0.1.0",
        "task": "ner",
        "direction": "translate-train",
        "source": {"language": "en", "splits": {"train": {"rows": len(_ROWS), "rejected": 0}}},
        "languages": languages,
        "missing": [],
        "models": {"projector": linker.fingerprint},
        "settings": config.model_dump(exclude={"run", "output"}),
    }
    write_json(root / "report.json", json.loads(json.dumps(report)))
    return root
