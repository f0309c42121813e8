"""Texts through a translator with marks around their spans, and without them out again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from spanferry.data.example import Span
from spanferry.projection.marked_text import MarkedText, Style, Unmarked, mark_text, marks_chooser, read_text
from spanferry.projection.marks import Range
from spanferry.translation.base import Translation, Translator
from spanferry.translation.languages import get_language
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.pipeline import TextSettings, text_ranges, translate_texts
from spanferry.translation.remembering import Progress, TranslationStats

_PLAIN = TextSettings()


def translate_marked(
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    translator: Translator,
    *,
    source: str,
    target: str,
    style: Style = "brackets",
    whole_texts: bool = False,
    memory: TranslationMemory | None = None,
    settings: TextSettings = _PLAIN,
    progress: Progress | None = None,
    stats: TranslationStats | None = None,
) -> list[Unmarked]:
    """Translate texts with marks around their spans, and take the marks out again.

    Args:
        texts: texts of any length.
        spans: the spans of each; equal ones share a mark, crossing ones have tags whatever the style.
        translator: the model.
        source, target: languages in any form that `get_language` knows.
        style: ``"brackets"`` or ``"tags"``, see `marks`; a sentence that holds such marks already, or a model that
            cannot spell them, gets others.
        whole_texts: translate sentences without spans too, and translate plain those whose marks came back broken, so
            that ``translation`` is whole; False translates sentences with spans alone and leaves the rest as it is.
        memory, settings, progress, stats: see `translate_texts`.

    >>> from spanferry.translation.fake import FakeTranslator
    >>> fake = FakeTranslator({"cat": "Katze", "the": "die"})
    >>> [read] = translate_marked(["See the cat."], [[Span(4, 11, "PET")]], fake, source="en", target="de")
    >>> read.translation.text, read.places
    ('See die Katze.', ((4, 13),))
    """
    work = _Work(translator, source, target, style, memory, settings, stats)
    whole = [[(span.start, span.end) for span in row] for row in spans]
    cuts = text_ranges(texts, source=source, whole=whole, settings=settings)
    found = work.read(texts, spans, cuts, [frozenset()] * len(texts), whole_texts=whole_texts, progress=progress)
    plain = [frozenset[int]() for _ in texts]
    broken: list[tuple[Range, ...]] = [each.broken for each in found]
    # Once is enough unless a model gives a sentence another translation in other company; every round has fewer marks.
    while whole_texts and (again := [number for number, each in enumerate(found) if each.broken]):
        for number in again:
            ranges = found[number].broken
            plain[number] |= {
                i for i, span in enumerate(spans[number]) if any(a < span.end and span.start < b for a, b in ranges)
            }
        retried = work.read(
            [texts[number] for number in again],
            [spans[number] for number in again],
            [cuts[number] for number in again],
            [plain[number] for number in again],
            whole_texts=True,
        )
        for number, each in zip(again, retried, strict=True):
            found[number] = each
            broken[number] += each.broken
    return [replace(each, broken=tuple(sorted(lost))) for each, lost in zip(found, broken, strict=True)]


@dataclass(frozen=True, slots=True)
class _Work:
    translator: Translator
    source: str
    target: str
    style: Style
    memory: TranslationMemory | None
    settings: TextSettings
    stats: TranslationStats | None

    def read(
        self,
        texts: Sequence[str],
        spans: Sequence[Sequence[Span]],
        cuts: Sequence[Sequence[Range]],
        plain: Sequence[Collection[int]],
        *,
        whole_texts: bool,
        progress: Progress | None = None,
    ) -> list[Unmarked]:
        """Mark, translate and read; ``plain`` are the spans of each text that get no marks."""
        choose = marks_chooser(self.translator, self.style, get_language(self.source).script)
        marked = [
            mark_text(text, row, ranges, choose, without=skip, whole_text=whole_texts)
            for text, row, ranges, skip in zip(texts, spans, cuts, plain, strict=True)
        ]
        translations = self._translate(
            [each.text for each in marked], ranges=[each.cuts for each in marked], progress=progress
        )
        alone = self._alone(marked, spans)
        return [
            read_text(each, translation, row, alone)
            for each, translation, row in zip(marked, translations, spans, strict=True)
        ]

    def _alone(self, marked: Sequence[MarkedText], spans: Sequence[Sequence[Span]]) -> dict[str, str]:
        """Translate by itself what stands in brackets that only their content tells apart: text -> translation."""
        wanted = dict.fromkeys(
            text.plain[sentence.source[0] + start : sentence.source[0] + end]
            for text, row in zip(marked, spans, strict=True)
            for sentence in text.sentences
            if sentence.compared(row)
            for start, end in sentence.ranges
        )
        translations = self._translate(list(wanted), ranges=[[(0, len(text))] for text in wanted])
        return {each.source: each.text for each in translations}

    def _translate(
        self, texts: Sequence[str], *, ranges: Sequence[Sequence[Range]], progress: Progress | None = None
    ) -> list[Translation]:
        return translate_texts(
            texts,
            self.translator,
            source=self.source,
            target=self.target,
            memory=self.memory,
            ranges=ranges,
            settings=self.settings,
            progress=progress,
            stats=self.stats,
        )
