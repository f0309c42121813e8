"""Whole texts through a translation model: everything that makes it safe on real text, in one function.

The road of a text: to sentences (`segments`); what needs no model stays as it is; each different sentence is looked
up in the translation memory once; the rest goes to the model in large calls, so that it can sort and batch by length,
and is remembered after each call; what must come through unchanged is verified, and tried again where it was lost
(`protect`); the translations take the places of their sources.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from spanferry.translation.base import Hypothesis, Segment, Translation, Translator
from spanferry.translation.languages import get_language
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.protect import KINDS, Item, Protector, edges, mask
from spanferry.translation.remembering import Progress, RememberingModel, TranslationStats
from spanferry.translation.segments import Range, cut_long, join_across, sentence_ranges

_SCRIPTS_WITHOUT_SPACES = frozenset({"Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"})

# Tokens of a second try for each token of its source, see `Decoding.max_length_ratio`: a sentence that lost something
# often makes the model run on and on when it is asked again, which costs as much as ten sentences and rescues nothing.
_SECOND_TRY_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class TextSettings:
    """How texts are prepared for a model. All of it can change the output, so all of it belongs in a signature.

    Attributes:
        protect: kinds of matter that must come through unchanged, of `protect.KINDS`; empty for none.
        split: ``"sentences"``, or ``"lines"`` for models that were trained on longer stretches.
        stand_ins: what the model sees in the place of lost items on the second try, on the third, and so on, ``{}``
            being a running number.
    """

    protect: tuple[str, ...] = KINDS
    split: Literal["sentences", "lines"] = "sentences"
    stand_ins: tuple[str, ...] = ("X{}",)


def translate_texts(
    texts: Iterable[str],
    translator: Translator,
    *,
    source: str,
    target: str,
    memory: TranslationMemory | None = None,
    whole: Sequence[Iterable[Range]] | None = None,
    ranges: Sequence[Sequence[Range]] | None = None,
    settings: TextSettings = TextSettings(),
    progress: Progress | None = None,
    stats: TranslationStats | None = None,
    chunk_size: int = 5000,
) -> list[Translation]:
    r"""Translate whole texts, each different sentence once, with offsets that lead back.

    Args:
        texts: texts of any length; empty ones, and ones without a word to translate, come back as they are.
        translator: the model.
        source: language of the texts, in any form that `get_language` knows.
        target: language wanted, likewise.
        memory: what is in it is not translated again; what is translated is added.
        whole: for each text, ranges that no sentence should end in (labelled spans, say).
        ranges: for each text, what of it to translate, in order, in place of its sentences (`text_ranges`); the rest of
            the text stays as it is.
        settings: see `TextSettings`.
        progress: see `Progress`.
        stats: is added to.
        chunk_size: most sentences in one call of the model; after each the memory is written, so that a crash costs
            at most one chunk.

    Returns:
        One `Translation` for each text, in order.

    Raises:
        LanguageError: a language is unknown, or the model does not speak it.
        ModelError: the model failed.

    >>> class Shouting:
    ...     fingerprint, languages, max_tokens = "shouting", None, 100
    ...     def count_tokens(self, texts, language):
    ...         return [len(text.split()) for text in texts]
    ...     def translate(self, texts, *, source, target):
    ...         return [Hypothesis(text.upper(), -0.5) for text in texts]
    >>> [translation] = translate_texts(["Hello there.\n\n  Bye!\n"], Shouting(), source="en", target="de")
    >>> translation.text, translation.segments[1], translation.score
    ('HELLO THERE.\n\n  BYE!\n', Segment(source_start=16, source_end=20, target_start=16, target_end=20), -0.5)
    """
    began = time.perf_counter()
    stats = TranslationStats() if stats is None else stats
    texts = list(texts)
    from_language, to_language = get_language(source), get_language(target)
    model = RememberingModel(translator, from_language.flores, to_language.flores, memory, stats, chunk_size)
    protector = Protector(settings.protect)
    if ranges is None:
        ranges = text_ranges(texts, source=source, whole=whole, settings=settings)
    plans = [(text, tuple(cuts)) for text, cuts in zip(texts, ranges, strict=True)]
    sentences = dict.fromkeys(text[start:end] for text, cuts in dict.fromkeys(plans) for start, end in cuts)
    outcomes = _translate_sentences(list(sentences), model, protector, settings.stand_ins, progress)
    adds_spaces = from_language.script in _SCRIPTS_WITHOUT_SPACES and to_language.script not in _SCRIPTS_WITHOUT_SPACES
    translations = {plan: _assemble(*plan, outcomes, adds_spaces) for plan in dict.fromkeys(plans)}
    stats.texts += len(texts)
    stats.seconds += time.perf_counter() - began
    return [translations[plan] for plan in plans]


def text_ranges(
    texts: Sequence[str],
    *,
    source: str,
    whole: Sequence[Iterable[Range]] | None = None,
    settings: TextSettings = TextSettings(),
) -> list[list[Range]]:
    """Return, a text, the ranges that `translate_texts` shows to the model: its sentences, or lines.

    Args:
        texts, source, whole, settings: as for `translate_texts`.

    >>> text_ranges(["It works. Thanks!"], source="en")
    [[(0, 9), (10, 17)]]
    """
    language, protector = get_language(source).flores, Protector(settings.protect)
    by_sentence = settings.split == "sentences"
    ranges = {
        text: sentence_ranges(text, language, apart=protector.blocks(text), sentences=by_sentence)
        for text in dict.fromkeys(texts)
    }
    if whole is None:
        return [ranges[text] for text in texts]
    return [join_across(text, ranges[text], spans) for text, spans in zip(texts, whole, strict=True)]


@dataclass(frozen=True, slots=True)
class _Part:
    """``[start, end)`` of a sentence, and what became of it; no score where no model was asked."""

    start: int
    end: int
    text: str
    score: float | None = None

    def moved(self, by: int) -> _Part:
        return _Part(self.start + by, self.end + by, self.text, self.score)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """A translated sentence: its parts in order (their gaps are the source's), and its flags."""

    parts: tuple[_Part, ...]
    flags: tuple[str, ...] = ()


def _copied(sentence: str) -> _Outcome:
    return _Outcome((_Part(0, len(sentence), sentence),))


def _translated(sentence: str, hypothesis: Hypothesis, text: str, *flags: str) -> _Outcome:
    if not hypothesis.finished:
        flags = (*flags, "unfinished")
    return _Outcome((_Part(0, len(sentence), text.strip(), hypothesis.score),), flags)


def _translate_sentences(
    sentences: Sequence[str],
    model: RememberingModel,
    protector: Protector,
    stand_ins: Sequence[str],
    progress: Progress | None,
) -> dict[str, _Outcome]:
    items = {sentence: protector.find(sentence) for sentence in sentences}
    wanted = [sentence for sentence in sentences if not protector.is_all(sentence, items[sentence])]
    outcomes = {sentence: _copied(sentence) for sentence in sentences}
    model.stats.sentences += len(wanted)
    model.recall(wanted)

    long = model.too_long(wanted)
    cuts = dict(zip(long, cut_long(long, model.translator.max_tokens, model.count_tokens), strict=True))
    pieces = dict.fromkeys(sentence[start:end] for sentence, ranges in cuts.items() for start, end in ranges)
    items |= {piece: protector.find(piece) for piece in pieces}
    # A single grapheme over the limit stays as it is.
    unfit = set(model.too_long(pieces))
    pieces_wanted = [piece for piece in pieces if piece not in unfit and not protector.is_all(piece, items[piece])]
    model.recall(pieces_wanted)

    units = {unit: items[unit] for unit in (*wanted, *pieces_wanted) if unit not in cuts}
    outcomes |= {piece: _copied(piece) for piece in pieces}
    outcomes |= _translate_units(units, model, protector, stand_ins, progress)
    return outcomes | {sentence: _joined(sentence, ranges, outcomes) for sentence, ranges in cuts.items()}


def _joined(sentence: str, ranges: Sequence[Range], outcomes: Mapping[str, _Outcome]) -> _Outcome:
    """Make one outcome of those of a cut sentence's pieces."""
    pieces = [(start, outcomes[sentence[start:end]]) for start, end in ranges]
    flags = {flag for _, outcome in pieces for flag in outcome.flags}
    return _Outcome(tuple(part.moved(start) for start, outcome in pieces for part in outcome.parts), (*flags, "split"))


def _translate_units(
    units: Mapping[str, Sequence[Item]],
    model: RememberingModel,
    protector: Protector,
    stand_ins: Sequence[str],
    progress: Progress | None,
) -> dict[str, _Outcome]:
    """Translate sentences that the model can take; ``units`` has the protected items of each."""
    model.translate(units, progress)
    lost = {
        unit: missing
        for unit, items in units.items()
        if items and (missing := protector.lost(items, model.known[unit].text))
    }
    saved: dict[str, _Outcome] = {}
    again = model.bounded(_SECOND_TRY_RATIO)
    for stand_in in stand_ins:
        saved |= _with_stand_ins(units, _without(lost, saved), again, protector, stand_in)
    saved |= _with_edges_apart(units, _without(lost, saved), model, protector)
    model.stats.lost += len(lost) - len(saved)
    outcomes = {}
    for unit in units:
        known = model.known[unit]
        flags = ("protected_lost",) if unit in lost else ()
        outcomes[unit] = saved.get(unit) or _translated(unit, known, known.text, *flags)
    return outcomes


def _without(lost: Mapping[str, Sequence[Item]], saved: Mapping[str, _Outcome]) -> dict[str, Sequence[Item]]:
    return {unit: items for unit, items in lost.items() if unit not in saved}


def _with_stand_ins(
    units: Mapping[str, Sequence[Item]],
    lost: Mapping[str, Sequence[Item]],
    model: RememberingModel,
    protector: Protector,
    stand_in: str,
) -> dict[str, _Outcome]:
    """Translate again with stand-ins for what was lost; return the sentences that end, and have everything then."""
    masked = {unit: each for unit, missing in lost.items() if (each := mask(unit, missing, stand_in)).originals}
    texts = _translate_again([each.text for each in masked.values()], model)
    saved = {}
    for unit, each in masked.items():
        if each.text in texts and (hypothesis := model.known[each.text]).finished:
            restored = each.restore(hypothesis.text)
            if restored is not None and not protector.lost(units[unit], restored):
                saved[unit] = _translated(unit, hypothesis, restored)
    return saved


def _with_edges_apart(
    units: Mapping[str, Sequence[Item]],
    lost: Mapping[str, Sequence[Item]],
    model: RememberingModel,
    protector: Protector,
) -> dict[str, _Outcome]:
    """Translate again without what stands at either end; return the sentences that have everything then.

    Not for the sake of numbers: they belong to their sentence (one book, two books), which suffers without them.
    """
    inner = {}
    for unit, missing in lost.items():
        start, end = edges(unit, units[unit])
        if not any(item.kind == "number" or (start <= item.start and item.end <= end) for item in missing):
            inner[unit] = (start, end)
    texts = _translate_again([unit[start:end] for unit, (start, end) in inner.items()], model)
    saved = {}
    for unit, (start, end) in inner.items():
        hypothesis = model.known.get(unit[start:end])
        kept = [item for item in units[unit] if start <= item.start and item.end <= end]
        if unit[start:end] in texts and hypothesis is not None and not protector.lost(kept, hypothesis.text):
            middle = _translated(unit[start:end], hypothesis, hypothesis.text)
            before, after = unit[:start].rstrip(), unit[end:].lstrip()
            parts = [_Part(0, len(before), before), middle.parts[0].moved(start)]
            parts.append(_Part(len(unit) - len(after), len(unit), after))
            saved[unit] = _Outcome(tuple(part for part in parts if part.start < part.end), middle.flags)
    return saved


def _translate_again(texts: Sequence[str], model: RememberingModel) -> set[str]:
    """Translate changed sentences; return those that the model could take."""
    model.recall(dict.fromkeys(texts))
    fit = set(texts).difference(model.too_long(dict.fromkeys(texts)))
    model.translate(text for text in texts if text in fit)
    model.stats.retried += len(fit)
    return fit


def _assemble(text: str, ranges: Sequence[Range], outcomes: Mapping[str, _Outcome], adds_spaces: bool) -> Translation:
    """Put the translations of a text's sentences in the places of the sentences."""
    pieces: list[str] = []
    segments: list[Segment] = []
    flags: set[str] = set()
    position = length = weight = 0
    total = 0.0
    tail = ""  # the last character so far
    for start, end in ranges:
        outcome = outcomes[text[start:end]]
        flags.update(outcome.flags)
        for part in outcome.parts:
            gap = text[position : start + part.start]
            if adds_spaces and part.text and segments and not gap and tail and not tail.isspace():
                # The space that the source's script does without counts as the end of the sentence before it.
                last = segments.pop()
                segments.append(replace(last, target_end=last.target_end + 1))
                pieces.append(" ")
                length += 1
            begin = length + len(gap)
            length = begin + len(part.text)
            position = start + part.end
            pieces += (gap, part.text)
            tail = (gap + part.text)[-1:] or tail
            segments.append(Segment(start + part.start, position, begin, length))
            if part.score is not None:
                total += part.score * len(part.text)
                weight += len(part.text)
    pieces.append(text[position:])
    return Translation(text, "".join(pieces), tuple(segments), total / weight if weight else None, tuple(sorted(flags)))
