"""The fields of one example translated together, so that what they share stays shared.

Translated apart, the same word of a premise and its hypothesis may become two different ones, and a model that judges
pairs leans on common words (Artetxe, Labaka and Agirre, "Translation Artifacts in Cross-lingual Transfer Learning",
2020). Here the fields are joined by a separator and translated as one sentence. The separator must come back exactly as
often as it went in, with text on both sides; where it does not, for that example the fields are translated apart, and
flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from spanferry.translation.base import Segment, Translation, Translator
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.pipeline import TextSettings, translate_texts
from spanferry.translation.remembering import Progress, TranslationStats

SEPARATORS: Final = ("/", "—", "#", "|")
"""Tried in this order: the first that none of the texts holds."""
APART: Final = "fields_apart"
"""Flag of fields that were to be translated together and were not."""

_PLAIN = TextSettings()


def translate_jointly(
    groups: Sequence[Sequence[str]],
    translator: Translator,
    *,
    source: str,
    target: str,
    memory: TranslationMemory | None = None,
    settings: TextSettings = _PLAIN,
    progress: Progress | None = None,
    stats: TranslationStats | None = None,
) -> list[list[Translation]]:
    """Translate the texts of each group together.

    A group that has fewer than two texts with words, or is longer than the model can take at once, is translated apart;
    so is one whose separator does not come back. The fields of a group that was translated together have no segments
    smaller than themselves, and share its score.

    Args:
        groups: texts that belong together.
        translator, source, target, memory, settings, progress, stats: see `translate_texts`.

    Returns:
        One `Translation` a text, group by group. Those of a group that should have been translated together and was
        not have the flag `APART`.

    >>> from spanferry.translation.fake import FakeTranslator
    >>> fake = FakeTranslator({"cat": "Katze"})
    >>> [[premise, hypothesis]] = translate_jointly([["A cat.", "No cat."]], fake, source="en", target="de")
    >>> premise.text, hypothesis.text, hypothesis.flags
    ('A Katze.', 'No Katze.', ())
    """
    joined = {number: text for number, texts in enumerate(groups) if (text := _join(texts)) is not None}
    whole = [[(0, len(text))] for text, _ in joined.values()]
    together = translate_texts(
        [text for text, _ in joined.values()],
        translator,
        source=source,
        target=target,
        memory=memory,
        whole=whole,
        settings=settings,
        progress=progress,
        stats=stats,
    )
    found: dict[int, list[Translation]] = {}
    for (number, (_, separator)), translation in zip(joined.items(), together, strict=True):
        parts = _parts(groups[number], translation, separator)
        if parts is not None:
            found[number] = parts
    left = [number for number in range(len(groups)) if number not in found]
    apart = iter(
        translate_texts(
            [text for number in left for text in groups[number]],
            translator,
            source=source,
            target=target,
            memory=memory,
            settings=settings,
            stats=stats,
        )
    )
    for number in left:
        each = [next(apart) for _ in groups[number]]
        found[number] = [_flagged(one) for one in each] if _wanted(groups[number]) else each
    return [found[number] for number in range(len(groups))]


def _wanted(texts: Sequence[str]) -> bool:
    return sum(any(map(str.isalnum, text)) for text in texts) > 1


def _join(texts: Sequence[str]) -> tuple[str, str] | None:
    """Return the texts as one, and the separator; None where there is nothing to gain, or no separator to be had."""
    if not _wanted(texts) or not all(text.strip() for text in texts):
        return None
    separator = next((each for each in SEPARATORS if not any(each in text for text in texts)), None)
    return None if separator is None else (f" {separator} ".join(text.strip() for text in texts), separator)


def _parts(texts: Sequence[str], translation: Translation, separator: str) -> list[Translation] | None:
    """Cut a translation at its separators; None where they did not come back, or the model did not see all at once."""
    pieces = translation.text.split(separator)
    whole = len(translation.segments) == 1 and not {"split", "unfinished"} & set(translation.flags)
    if not whole or len(pieces) != len(texts) or not all(any(map(str.isalnum, piece)) for piece in pieces):
        return None
    found = []
    for text, piece in zip(texts, pieces, strict=True):
        before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
        start, length = len(before), len(piece.strip())
        segment = Segment(start, len(text) - len(after), start, start + length)
        rendered = f"{before}{piece.strip()}{after}"
        found.append(Translation(text, rendered, (segment,), translation.score, translation.flags))
    return found


def _flagged(translation: Translation) -> Translation:
    flags = tuple(sorted({*translation.flags, APART}))
    return Translation(translation.source, translation.text, translation.segments, translation.score, flags)
