"""How well a model carries markers: translate marked sentences and look at what comes back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from spanferry.data.errors import ConfigError, DataError
from spanferry.translation.base import Translator
from spanferry.translation.corpus import SentencePair, read_pairs
from spanferry.translation.languages import get_language
from spanferry.translation.marking import Phrase, from_inline_marks, insert_markers
from spanferry.translation.registry import load_translator

Style = Literal["brackets", "tags"]
STYLES: tuple[Style, ...] = ("brackets", "tags")


def evaluate_markers(
    model: str | Path,
    marked_file: Path,
    *,
    source: str,
    target: str,
    style: Style = "brackets",
    limit: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Translate sentences with markers and count what comes back whole.

    Args:
        model: what `load_translator` takes.
        marked_file: lines of `source TAB target ...` with `<1>...</1>` marks, the same on both sides.
        source: language of the first column, in any form that `get_language` knows.
        target: language of the second column, likewise.
        style: ``"brackets"``: every phrase becomes ``[ x ]`` (EasyProject, Codec); ``"tags"``: ``<a>x</a>``,
            ``<b>y</b>``, ... (LabelPigeon).
        limit: take the first lines only.
        settings: what the translator takes.

    Returns:
        `sentences`; `kept`, the share (0 to 1) in which every marker came back once, each pair in its order; `same`,
        the share of marked phrases in these sentences whose text is the reference's marked text (many right answers
        differ, so this is a lower bound); `model`.

    Raises:
        ConfigError: no such style.
        DataError: the file has no sentence with marks that pair.
    """
    if style not in STYLES:
        raise ConfigError(f"unknown marker style {style!r}: expected {' or '.join(STYLES)}")
    codes = get_language(source).flores, get_language(target).flores
    parsed = [from_inline_marks(pair) for pair in read_pairs(marked_file, *codes, named_by="--source")]
    marked = [found for found in parsed if found is not None][:limit]
    if not marked:
        raise DataError("no sentence with the same <1>...</1> marks on both sides", path=marked_file)
    return score_markers(load_translator(model, **settings), marked, style)


def score_markers(
    translator: Translator, marked: Sequence[tuple[SentencePair, list[Phrase]]], style: Style
) -> dict[str, Any]:
    """Score a translator on pairs and their marked phrases in memory; see :func:`evaluate_markers`.

    >>> class Echo:
    ...     fingerprint = "echo"
    ...     def translate(self, texts, *, source, target):
    ...         from spanferry.translation.base import Hypothesis
    ...         return [Hypothesis(text) for text in texts]
    >>> pair = SentencePair("eng_Latn", "deu_Latn", "Press Esc.", "Esc drücken.", "gnome")
    >>> result = score_markers(Echo(), [(pair, [((6, 9), (0, 3))])], "tags")
    >>> result["kept"], result["same"]
    (1.0, 1.0)
    """
    markers = [_markers(len(phrases), style) for _, phrases in marked]
    texts = [insert_markers(pair, phrases, each).source for (pair, phrases), each in zip(marked, markers, strict=True)]
    first = marked[0][0]
    translations = translator.translate(texts, source=first.source_language, target=first.target_language)
    kept = phrases_kept = same = 0
    for (pair, phrases), each, translation in zip(marked, markers, translations, strict=True):
        found = _marked_phrases(translation.text, each)
        if found is None:
            continue
        kept += 1
        phrases_kept += len(found)
        wanted = [pair.target[slice(*phrase)] for _, phrase in phrases]
        pairs = (
            zip(sorted(found), sorted(wanted), strict=True) if style == "brackets" else zip(found, wanted, strict=True)
        )
        same += sum(one == other for one, other in pairs)
    return {
        "sentences": len(marked),
        "kept": round(kept / len(marked), 4),
        "same": round(same / max(1, phrases_kept), 4),
        "style": style,
        "model": translator.fingerprint,
    }


def _markers(number: int, style: Style) -> list[tuple[str, str]]:
    if style == "brackets":
        return [("[ ", " ]")] * number
    return [(f"<{name}>", f"</{name}>") for name in "abcdefgh"[:number]]


def _marked_phrases(text: str, markers: Sequence[tuple[str, str]]) -> list[str] | None:
    """The phrases between the markers, None where a marker is lost, doubled or out of order.

    >>> _marked_phrases("a [ b ] c", [("[ ", " ]")]), _marked_phrases("a ] b [", [("[ ", " ]")])
    (['b'], None)
    """
    found = []
    for opening, closing in dict.fromkeys((opening.strip(), closing.strip()) for opening, closing in markers):
        wanted = sum(marker[0].strip() == opening for marker in markers)
        inside = re.findall(f"{re.escape(opening)}(.*?){re.escape(closing)}", text)
        if len(inside) != wanted or text.count(opening) != wanted or text.count(closing) != wanted:
            return None
        found += [phrase.strip() for phrase in inside]
    return found if all(found) else None
