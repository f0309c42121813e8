"""A projector that remembers: what a method once said of a text and its translation, it is not asked again.

Together with the translation memory this makes a build incremental. Rows that are put in, changed or taken out shift
all that follow them, so that every shard is another; but only texts that are new are translated and projected. The
filters are not remembered: they are applied anew, and changing them asks no model.

A method whose answer depends on the texts beside it (see `spanferry.alignment.base.CORPUS_WISE`) has nothing that could
be remembered a text at a time; it is asked every time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from spanferry.alignment.base import CORPUS_WISE
from spanferry.alignment.tokens import tokenizer_name
from spanferry.data.answer_memory import ENTRIES, AnswerMemory, split_key
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Projector, Reason, TranslatedText, Vote

_KEEP = """
INSERT INTO entries (hash, rest, created, answer) VALUES (?, ?, ?, ?)
ON CONFLICT (hash) DO UPDATE SET rest = excluded.rest, created = excluded.created, answer = excluded.answer
"""


class ProjectionMemory(AnswerMemory):
    """A file of remembered projections: key of a text -> what became of its spans, as JSON.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, ProjectionMemory(f"{folder}/memory.sqlite") as memory:
    ...     memory.put({b"0123456789abcdef": "[]"})
    ...     memory.get([b"0123456789abcdef", b"fedcba9876543210"])
    {b'0123456789abcdef': '[]'}
    """

    what, again = "memory of projections", "projected"
    application_id, version, tables = 0x73707031, 1, ENTRIES.format(more="")  # "spp1"

    def put(self, answers: Mapping[bytes, str]) -> None:
        """Remember answers by their keys, all or none; the last writer wins.

        Raises:
            BuildError: the disk is full, or another process has held the file for two minutes.
        """
        now = int(time.time())
        self._keep(_KEEP, sorted((*split_key(key), now, answer) for key, answer in answers.items()))

    def prune(self, before: int) -> int:
        """Remove what was written before a moment, give its room back to the disk, return how many entries it was."""
        return self._remove("SELECT id FROM entries WHERE created < ?", (before,))


def beside(memory: Path, what: str = "projections") -> Path:
    """Return where something else is remembered, given the file of the translations.

    >>> beside(Path("cache/memory.sqlite")).as_posix()
    'cache/memory.projections.sqlite'
    """
    return memory.with_name(f"{memory.stem}.{what}{memory.suffix}")


@dataclass(slots=True)
class ProjectionStats:
    """What a `RememberingProjector` did, since it was made.

    Attributes:
        projected: texts with spans that the method was asked about.
        remembered: texts with spans whose answer was known.
    """

    projected: int = 0
    remembered: int = 0


@dataclass(frozen=True, slots=True)
class RememberingProjector:
    """A `Projector` that asks another one only what nobody has asked it before.

    Attributes:
        projector: the method.
        memory: what was asked before; None to ask everything, and only count.
        stats: is added to.

    >>> from spanferry.projection.registry import load_projector
    >>> projector = RememberingProjector(load_projector("match"), memory=None)
    >>> texts = [TranslatedText("In Rome", "A Rome", (Span(3, 7, "LOC"),)), TranslatedText("Yes", "Oui", ())]
    >>> len(projector.project(texts, source="eng_Latn", target="fra_Latn")), projector.stats
    (2, ProjectionStats(projected=1, remembered=0))
    """

    projector: Projector
    memory: ProjectionMemory | None
    stats: ProjectionStats = field(default_factory=ProjectionStats)

    @property
    def fingerprint(self) -> str:
        """That of the method: remembering changes no answer."""
        return self.projector.fingerprint

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return what the method says of each text, asking it only what is not known."""
        if self.memory is None or CORPUS_WISE in self.fingerprint:
            self.stats.projected += sum(1 for text in texts if text.spans)
            return self.projector.project(texts, source=source, target=target)
        keys = self._keys(texts, source, target)
        known = self.memory.get([key for key in keys if key is not None])
        new = {key: text for key, text in zip(keys, texts, strict=True) if key is not None and key not in known}
        fresh = self.projector.project(list(new.values()), source=source, target=target) if new else []
        made = dict(zip(new, fresh, strict=True))
        self.memory.put({key: _dump(answer) for key, answer in made.items()})
        self.stats.projected += len(new)
        self.stats.remembered += sum(1 for key in keys if key in known)
        return [
            () if key is None else made[key] if key in made else _load(known[key], text)
            for key, text in zip(keys, texts, strict=True)
        ]

    def known(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[bool]:
        """Say of each text whether its answer is known; texts without spans have nothing to ask."""
        if self.memory is None or CORPUS_WISE in self.fingerprint:
            return [not text.spans for text in texts]
        keys = self._keys(texts, source, target)
        found = self.memory.get([key for key in keys if key is not None])
        return [key is None or key in found for key in keys]

    def _keys(self, texts: Sequence[TranslatedText], source: str, target: str) -> list[bytes | None]:
        """Return what each text is found by: a digest of all that its answer depends on; None without spans."""
        method = [self.fingerprint, source, target, tokenizer_name(source), tokenizer_name(target)]
        first = blake2b(json.dumps(method).encode(), digest_size=16)
        keys: list[bytes | None] = []
        for text in texts:
            digest = first.copy()
            spans = [(each.start, each.end, each.label, each.field) for each in text.spans]
            segments = [
                (each.source_start, each.source_end, each.target_start, each.target_end) for each in text.segments
            ]
            tokens = [text.source_tokens, text.target_tokens]
            digest.update(json.dumps([text.source, text.target, spans, segments, tokens, text.placed]).encode())
            keys.append(digest.digest() if text.spans else None)
        return keys


def _dump(projections: Sequence[Projection]) -> str:
    """Write projections as JSON, without their source spans, which their text has."""
    rows = [
        [
            _place(each.target, each.source),
            each.method,
            each.score,
            each.reason,
            each.detail,
            each.source_coverage,
            each.target_coverage,
            each.confidence,
            [[vote.method, _place(vote.target, each.source), vote.score] for vote in each.votes],
        ]
        for each in projections
    ]
    return json.dumps(rows, separators=(",", ":"))


def _load(answer: str, text: TranslatedText) -> tuple[Projection, ...]:
    """Read what `_dump` wrote of this text."""
    projections = []
    for row, span in zip(json.loads(answer), text.spans, strict=True):
        place, method, score, reason, detail, here, there, confidence, votes = row
        projections.append(
            Projection(
                span,
                _span(place, span),
                method,
                score,
                None if reason is None else Reason(reason),
                detail,
                here,
                there,
                confidence,
                tuple(Vote(name, _span(where, span), points) for name, where, points in votes),
            )
        )
    return tuple(projections)


def _place(target: Span | None, source: Span) -> list[Any] | None:
    if target is None:
        return None
    same = (target.label, target.field) == (source.label, source.field)
    return [target.start, target.end] if same else [target.start, target.end, target.label, target.field]


def _span(place: list[Any] | None, source: Span) -> Span | None:
    if place is None:
        return None
    return Span(*place) if len(place) == 4 else Span(place[0], place[1], source.label, source.field)
