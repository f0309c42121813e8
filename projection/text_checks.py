"""Checks of one translated text with its projections: each returns what is wrong, or None. All are pure functions.

Each takes the text, its projections (one a source span) and the FLORES-200 codes of both languages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import regex

from spanferry.data.errors import ConfigError
from spanferry.projection.base import Projection, TranslatedText
from spanferry.projection.span_checks import ratio_problem
from spanferry.translation.languages import get_language
from spanferry.translation.protect import KINDS, Kind, Protector

# ISO 15924 codes that name a mixture or a variant of scripts -> the scripts that Unicode tells apart.
_SCRIPTS = {
    "Hans": ("Han",),
    "Hant": ("Han",),
    "Jpan": ("Han", "Hiragana", "Katakana"),
    "Kore": ("Hangul", "Han"),
    "Hang": ("Hangul", "Han"),
}
# Up to 40 characters, and the same again three times or more (spelt out: much faster than a counted group).
_LOOP = re.compile(r"(.{1,40}?)\1\1\1(?:\1)*")


def empty(text: TranslatedText, projections: Sequence[Projection], source: str, target: str) -> str | None:
    """A text that says something has a translation that says something."""
    return "the translation is empty" if text.source.strip() and not text.target.strip() else None


def copied(
    text: TranslatedText, projections: Sequence[Projection], source: str, target: str, *, fewest_words: int = 4
) -> str | None:
    """The translation is not the source over again (case and white space apart).

    Passes for texts of fewer than `fewest_words` words (own choice): names and numbers are rightly the same.
    """
    words = text.source.casefold().split()
    same = len(words) >= fewest_words and words == text.target.casefold().split()
    return "the translation repeats the source" if same else None


def length_ratio(
    text: TranslatedText,
    projections: Sequence[Projection],
    source: str,
    target: str,
    *,
    lowest: float = 1 / 3,
    highest: float = 3.0,
    shortest: int = 20,
) -> str | None:
    """The translation is between `lowest` and `highest` times as wide as the source.

    The threshold of 3 is that of OpusFilter's examples (LengthRatioFilter). Width counts a Chinese, Japanese or Korean
    character as two. Passes while both texts are narrower than `shortest` (own choice).
    """
    return ratio_problem(text.source, text.target, lowest, highest, shortest)


def repetition(text: TranslatedText, projections: Sequence[Projection], source: str, target: str) -> str | None:
    """Nothing stands four times or more in a row in the translation, and more than twice as often as in the source.

    Catches the loops that decoders fall into: a word, a phrase of up to 40 characters, a row of dots. Digits may
    repeat (1000000). The threshold is our own: people write things three times in a row.

    >>> repetition(TranslatedText("It is good.", "Es ist gut, gut, gut, gut, gut.", ()), (), "eng_Latn", "deu_Latn")
    "'gut,' stands 4 times in a row"
    """
    unit, times = _longest_loop(text.target)
    if times <= 2 * _longest_loop(text.source)[1]:
        return None
    return f"{unit!r} stands {times} times in a row"


def _longest_loop(text: str) -> tuple[str, int]:
    """Return what stands most often in a row, and how often: four times or more, else once."""
    spaced = f" {' '.join(text.split())} "  # so that the first and the last round of a loop look like the others
    loops = [(loop[1].strip(), len(loop[0]) // len(loop[1])) for loop in _LOOP.finditer(spaced)]
    return max((loop for loop in loops if not loop[0].isdigit()), key=lambda loop: loop[1], default=("", 1))


def script(
    text: TranslatedText, projections: Sequence[Projection], source: str, target: str, *, lowest: float = 0.5
) -> str | None:
    """At least `lowest` of the translation's letters belong to the script of its language.

    The threshold is our own: half leaves room for names, and texts in the wrong script have almost none. Passes
    without letters.
    """
    letters, own = _script_patterns(get_language(target).script)
    total = len(letters.findall(text.target))
    if not total:
        return None
    share = len(own.findall(text.target)) / total
    return None if share >= lowest else f"{share:.0%} of the letters are in the script of {target}"


@cache
def _script_patterns(code: str) -> tuple[Any, Any]:
    scripts = "".join(rf"\p{{Script={name}}}" for name in _SCRIPTS.get(code, (code,)))
    return regex.compile(r"\p{L}"), regex.compile(rf"(?V1)[\p{{L}}&&[{scripts}]]")


def language(
    text: TranslatedText,
    projections: Sequence[Projection],
    source: str,
    target: str,
    *,
    certainty: float = 0.9,
    shortest: int = 20,
) -> str | None:
    """py3langid does not take the translation for another language with `certainty` or more (0..1).

    Passes for texts of fewer than `shortest` characters, where language identification guesses, and for languages
    that py3langid does not know. Thresholds are our own.
    """
    names = identified_as(target)
    if len(text.target) < shortest or not names:
        return None
    found, probability = identify_language(text.target)
    if found in names or probability < certainty:
        return None
    return f"looks like {found} ({probability:.2f}), expected {get_language(target).name}"


def identify_language(text: str) -> tuple[str, float]:
    """Return the language that py3langid takes a text for, as it labels it (ISO 639-1 mostly), and how sure it is.

    >>> identify_language("Die Bibliothek schließt um halb neun.")[0]
    'de'
    """
    found, probability = _identifier().classify(text)
    return str(found), float(probability)


def identified_as(code: str) -> frozenset[str]:
    """Return py3langid's labels for a language; none where it does not know the language.

    >>> sorted(identified_as("nob_Latn"))
    ['no']
    """
    language = get_language(code)
    names = {language.iso639_1, language.iso639_3, *_ALSO.get(language.iso639_1, ())}
    return _identifier_labels() & names


# py3langid labels both written forms of Norwegian "no" besides "nn".
_ALSO = {"nb": ("no",), "nn": ("no",)}


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ConfigError("the filter 'language' needs py3langid: pip install py3langid") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _identifier_labels() -> frozenset[str]:
    return frozenset(_identifier().labels)


def protected(
    text: TranslatedText,
    projections: Sequence[Projection],
    source: str,
    target: str,
    *,
    kinds: Sequence[Kind] = KINDS,
) -> str | None:
    """Numbers, addresses, placeholders, mathematics and code stand in the translation as often as in the source.

    By the rules of `spanferry.translation.protect`; `kinds` chooses among its kinds.
    """
    protector = _protector(tuple(kinds))
    lost = protector.lost(protector.find(text.source), text.target)
    return f"lost {', '.join(item.text for item in lost)}" if lost else None


@cache
def _protector(kinds: tuple[str, ...]) -> Protector:
    return Protector(kinds)


def comp_ins(text: TranslatedText, projections: Sequence[Projection], source: str, target: str) -> str | None:
    """COMP-INS: the target has as many spans of each label as the source ("The Devil is in the Details").

    >>> from spanferry.data.example import Span
    >>> from spanferry.projection.base import Reason
    >>> spans = Span(0, 3, "PER"), Span(8, 11, "PER")
    >>> text = TranslatedText("Ana and Eva", "Ana", spans)
    >>> found = Projection(spans[0], Span(0, 3, "PER"), "x"), Projection(spans[1], None, "x", reason=Reason.UNALIGNED)
    >>> comp_ins(text, found, "eng_Latn", "spa_Latn")
    'PER: 1 of 2 spans'
    """
    before = Counter(span.label for span in text.spans)
    after = Counter(projection.target.label for projection in projections if projection.target is not None)
    changed = [f"{label}: {after[label]} of {before[label]} spans" for label in before if after[label] != before[label]]
    return "; ".join(changed) or None
