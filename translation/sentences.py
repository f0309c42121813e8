"""Where one sentence ends and the next begins, for any language.

Most full stops are plain, and most texts of a dataset are one sentence. Rules settle those at the cost of one regular
expression a text; only the doubtful ones (``Dr.``, ``z. B.``, ``J. R.``, ``...``) are put to a library, a short window
of text at a time: pysbd (Sadvilkar and Neumann 2020, "PySBD: Pragmatic Sentence Boundary Disambiguation") where it
knows the language, else the abbreviations among spaCy's tokenizer exceptions. On news in five languages
(`benchmarks/sentence_boundaries.py` on NTREX-128) this costs 0.03 to 0.11 ms of CPU time a sentence, pysbd on whole
texts 0.7 to 5.7 ms, as much as a small model needs to translate; precision is the same and recall 3 to 7 points higher.

When in doubt, two sentences stay together: a translator copes with that, whereas ``Dr.`` cut off from its name is
lost, and so is a label that lies across the cut.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_left
from functools import lru_cache
from operator import itemgetter

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
_ONLY_CONSONANTS = re.compile(r"[b-df-hj-np-tv-xzčďňřšťžçñß]+", re.IGNORECASE)
_WINDOW_BEFORE, _WINDOW_AFTER = 120, 40
# What stands before a name ends no sentence in any language; pysbd 0.3.4 knows these in some.
_TITLES = frozenset({"dr", "drs", "prof", "mr", "mrs", "ms", "mx", "mme", "mlle", "sr", "sra", "srta", "dña"}) | {
    *("sig", "dott", "avv", "ing", "mgr", "st", "sta", "ste", "hr", "fr")
}
# Names that end in an exclamation mark and stand in the middle of sentences.
_EXCLAMATION_NAMES = frozenset({"Yahoo!", "Jeopardy!", "Yum!", "Panic!", "Wham!", "Oklahoma!"})


def sentence_starts(line: str, language: str) -> list[int]:
    """Return the offsets in ``line`` at which a sentence begins, the first one excepted, in increasing order.

    Args:
        line: text without line breaks.
        language: any BCP 47 tag or FLORES-200 code; it decides which abbreviations are known.

    >>> line = 'Dr. Who left at 5 p.m. yesterday. "Where to?" asked Ann. ¿Quién sabe?'
    >>> [line[i:] for i in sentence_starts(line, "eng_Latn")]
    ['"Where to?" asked Ann. ¿Quién sabe?', '¿Quién sabe?']
    """
    match = _BOUNDARY.search(line)
    if match is None:
        return []
    enclosed = [] if _OPENERS.isdisjoint(line) else [found.span() for found in _ENCLOSED.finditer(line)]
    starts: list[int] = []
    while match is not None:
        start = match.end()
        if not _is_inside(enclosed, match) and _is_boundary(line, match, starts[-1] if starts else 0, language):
            starts.append(start)
        match = _BOUNDARY.search(line, start)
    return starts


def _is_inside(enclosed: list[tuple[int, int]], match: re.Match[str]) -> bool:
    """Say whether something enclosed goes on after the mark that ``match`` found."""
    index = bisect_left(enclosed, match.start(), key=itemgetter(0)) - 1
    return index >= 0 and match.start() + len(match[0].rstrip()) < enclosed[index][1]


def _is_boundary(line: str, match: re.Match[str], sentence_start: int, language: str) -> bool:
    following = _LETTER_OR_DIGIT.search(line, match.end(), match.end() + 100)
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
    found = _LAST_WORD.search(line, max(sentence_start, match.start() - 40), match.start())
    word = found[0] if found else ""
    return _mark_ends(word, mark) and (_is_plain(word, mark, language) or _ask(line, match, sentence_start, language))


def _mark_ends(word: str, mark: str) -> bool:
    """Say whether ``mark`` may end a sentence after ``word`` at all."""
    if mark[0] == "!":
        return f"{word}!" not in _EXCLAMATION_NAMES
    if mark == ".":
        # "der 1. FC Köln", "2. Dünya Savaşı", "1. First point": ordinals far more often than ends; years are ends.
        return word.casefold() not in _TITLES and (not word.isdecimal() or len(word) >= 4)
    return True


def _is_plain(word: str, mark: str, language: str) -> bool:
    """Say whether ``mark`` after ``word`` needs no library to judge."""
    if mark[0] == "…" or mark.startswith(".."):
        return False
    if mark[0] != "." or not _LETTER_OR_DIGIT.search(word) or word.replace(".", "").isdecimal():
        return True  # after another mark, a closing bracket, a per-cent sign, a number
    if "." in word:  # "p.m", "z.B", "U.S.A" are abbreviations; "example.com" and "file.txt" are not
        return "/" in word or max(map(len, word.split("."))) > 3
    if len(word) >= 3 and word.isupper():
        return True
    if len(word) == 1 or _ONLY_CONSONANTS.fullmatch(word):
        return False
    return word.casefold() not in abbreviations(language)


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

        return frozenset(word.casefold().rstrip(".") for word in LANGUAGE_CODES[known].Abbreviation.ABBREVIATIONS)
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
        from pysbd.languages import LANGUAGE_CODES
    return subtag if subtag in LANGUAGE_CODES else None


@lru_cache(maxsize=1024)
def primary_subtag(language: str) -> str:
    """Return the ISO 639 code that spaCy and pysbd use, the macrolanguage's where there is one.

    >>> [primary_subtag(code) for code in ("eng_Latn", "zho_Hans", "arb_Arab", "pes_Arab", "de")]
    ['en', 'zh', 'ar', 'fa', 'de']
    """
    from langcodes import standardize_tag

    return standardize_tag(language.replace("_", "-"), macro=True).split("-")[0]
