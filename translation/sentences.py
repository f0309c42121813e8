"""Where one sentence ends and the next begins, for any language.

Most full stops are plain, and most texts of a dataset are one sentence. Rules settle those at the cost of one regular
expression a text; only the doubtful ones (``Dr.``, ``z. B.``, ``J. R.``, ``...``) are put to a library, a short window
of text at a time: pysbd (Sadvilkar and Neumann 2020, "PySBD: Pragmatic Sentence Boundary Disambiguation") where it
knows the language, else the abbreviations among spaCy's tokenizer exceptions. Asking pysbd about every text would cost
about 1 ms a sentence, which is a third of what a small model needs to translate it.

When in doubt, two sentences stay together: a translator copes with that, whereas ``Dr.`` cut off from its name is
lost, and so is a label that lies across the cut.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

_CLOSERS = r"""["'”’»›“«)\]}」』）》】〉〕］*_]"""
# These end a sentence only before white space; the second set needs none (Chinese, Japanese, Khmer, Burmese, Hindi,
# Amharic, Arabic, Urdu, Armenian, Tibetan; from Unicode's Sentence_Terminal property).
_BOUNDARY = re.compile(
    rf"(?:[.!?…‽⁇⁈⁉;]{{1,9}}{_CLOSERS}{{0,4}}(?=\s)|[。！？｡．।॥።፧፨။។៕؟۔։།]+{_CLOSERS}{{0,4}})\s*(?=\S)"
)
_STRONG = frozenset("。！？｡．।॥።፧፨။។៕؟۔։།")
# No sentence ends inside a short quotation, bracket, piece of code or placeholder.
_ENCLOSED = re.compile(
    r"\([^()]{0,300}\)|\[[^\[\]]{0,300}\]|\{[^{}]{0,300}\}|`[^`]{0,300}`|\"[^\"]{0,300}\"|“[^“”]{0,300}”|„[^„“”]{0,300}[“”]"
    r"|«[^«»]{0,300}»|»[^«»]{0,300}«|「[^「」]{0,300}」|『[^『』]{0,300}』|（[^（）]{0,300}）|《[^《》]{0,300}》"
)
_OPENERS = frozenset('([{`"“„«»「『（《')
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_LAST_WORD = re.compile(r"[^\s(\[{\"'“„«‚‘]*\Z")
_WINDOW_BEFORE, _WINDOW_AFTER = 120, 40


def sentence_ends(line: str, language: str) -> list[int]:
    """Return the offsets in ``line`` at which a sentence begins, the first one excepted, in increasing order.

    Args:
        line: text without line breaks.
        language: any BCP 47 tag or FLORES-200 code; it decides which abbreviations are known.

    >>> line = 'Dr. Who left at 5 p.m. yesterday. "Where to?" asked Ann. ¿Quién sabe?'
    >>> [line[i:] for i in sentence_ends(line, "eng_Latn")]
    ['"Where to?" asked Ann. ¿Quién sabe?', '¿Quién sabe?']
    """
    match = _BOUNDARY.search(line)
    if match is None:
        return []
    enclosed = _enclosed(line)
    starts: list[int] = []
    while match is not None:
        stop, start = match.start(), match.end()
        inside = any(a < stop and len(line[stop:start].rstrip()) + stop < b for a, b in enclosed)
        if not inside and _is_boundary(line, match, starts[-1] if starts else 0, language):
            starts.append(start)
        match = _BOUNDARY.search(line, start)
    return starts


def _enclosed(line: str) -> list[tuple[int, int]]:
    return [] if _OPENERS.isdisjoint(line) else [match.span() for match in _ENCLOSED.finditer(line)]


def _is_boundary(line: str, match: re.Match[str], sentence_start: int, language: str) -> bool:
    following = _LETTER_OR_DIGIT.search(line, match.end())
    if following is None:  # only closing marks or an emoji are left: they belong to this sentence
        return False
    mark = match[0].rstrip()
    if mark[0] in _STRONG:
        # In Japanese a quotation is followed by its particle: 「行く。」と言った。
        return mark[-1] in _STRONG or match[0] != mark or _ask(line, match, sentence_start, language)
    if following[0].islower():
        return False
    if mark[0] == ";":
        return primary_subtag(language) == "el"  # the Greek question mark
    before = _LAST_WORD.search(line, max(sentence_start, match.start() - 40), match.start())
    word = before[0] if before else ""
    if mark[0] == ".":
        return (
            _stop_ends(word, mark) if _is_plain(word, mark, language) else _ask(line, match, sentence_start, language)
        )
    if mark[0] == "…":
        return _ask(line, match, sentence_start, language)
    return f"{word}{mark[0]}" not in _EXCLAMATION_NAMES


# Names that end in an exclamation mark and stand in the middle of sentences.
_EXCLAMATION_NAMES = frozenset({"Yahoo!", "Jeopardy!", "Yum!", "Panic!", "Wham!", "Oklahoma!"})


def _is_plain(word: str, mark: str, language: str) -> bool:
    """Say whether the full stop after ``word`` needs no library to judge."""
    if mark.startswith(".."):
        return False
    if word.isdecimal():
        return True
    if "." in word:  # "p.m", "z.B", "U.S.A" are abbreviations; "example.com" and "file.txt" are not
        return "/" in word or max(map(len, word.split("."))) > 3
    return len(word) > 1 and word.casefold() not in abbreviations(language)


def _stop_ends(word: str, mark: str) -> bool:
    # "der 1. FC Köln", "2. Dünya Savaşı", "1. First point": ordinals far more often than ends; years are ends.
    return len(mark) > 1 or not word.isdecimal() or len(word) >= 4


def _ask(line: str, match: re.Match[str], sentence_start: int, language: str) -> bool:
    begin = max(sentence_start, match.start() - _WINDOW_BEFORE)
    if begin > sentence_start:
        begin = line.find(" ", begin, match.start()) + 1 or begin
    end = min(len(line), match.end() + _WINDOW_AFTER)
    return _library_says(line[begin:end], match.end() - begin, primary_subtag(language))


@lru_cache(maxsize=1 << 16)
def _library_says(window: str, start: int, subtag: str) -> bool:
    """Say whether a sentence begins at ``window[start]``; False in a language that no library knows."""
    language = _pysbd_language(subtag)
    if language is None:
        return False
    from pysbd import Segmenter

    position = 0
    for piece in Segmenter(language=language, clean=False).segment(window):
        found = window.find(piece.strip(), position)
        if found < 0:  # pysbd rewrites some texts inside; then its pieces say nothing about ours
            return False
        if found == start:
            return True
        position = found + len(piece.strip())
    return False


@lru_cache(maxsize=256)
def abbreviations(language: str) -> frozenset[str]:
    """Return the abbreviations of ``language``, case-folded, without their final full stop.

    From pysbd where it knows the language, else from spaCy's tokenizer exceptions; empty where neither does.

    >>> "usw" in abbreviations("deu_Latn"), "hund" in abbreviations("deu_Latn")
    (True, False)
    """
    subtag = primary_subtag(language)
    known = _pysbd_language(subtag)
    if known is not None:
        from pysbd.languages import LANGUAGE_CODES

        words = LANGUAGE_CODES[known].Abbreviation.ABBREVIATIONS
        return frozenset(word.casefold().rstrip(".") for word in words)
    from spacy.util import get_lang_class

    try:
        exceptions = get_lang_class(subtag).Defaults.tokenizer_exceptions
    except ImportError:  # spaCy has no such language
        return frozenset()
    return frozenset(word.casefold().rstrip(".") for word in exceptions if word.endswith(".") and word[0].isalpha())


@lru_cache(maxsize=256)
def _pysbd_language(subtag: str) -> str | None:
    with warnings.catch_warnings():  # pysbd 0.3.4 has invalid escapes in its regular expressions
        warnings.simplefilter("ignore")
        import pysbd
        from pysbd.languages import LANGUAGE_CODES

        assert pysbd
    return subtag if subtag in LANGUAGE_CODES else None


@lru_cache(maxsize=1024)
def primary_subtag(language: str) -> str:
    """Return the ISO 639 code that spaCy and pysbd use, the macrolanguage's where there is one.

    >>> [primary_subtag(code) for code in ("eng_Latn", "zho_Hans", "arb_Arab", "pes_Arab", "de")]
    ['en', 'zh', 'ar', 'fa', 'de']
    """
    from langcodes import standardize_tag

    return standardize_tag(language.replace("_", "-"), macro=True).split("-")[0]
