"""What two ways of writing the same word have in common: case, accents, width, hyphens and spaces taken off."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import regex
from rapidfuzz.distance import Levenshtein

from spanferry.projection.links import is_mark

# Accents of scripts that are read without them; elsewhere (Devanagari, Thai, Arabic) a mark is a letter.
_ACCENTS = regex.compile(r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}]\p{Mn}*)\p{Mn}+", regex.VERSION1)
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})


@lru_cache(maxsize=1 << 16)
def surface_key(text: str) -> str:
    """Return what is left of a text without case, accents, punctuation, spaces and compatibility forms.

    Empty for punctuation alone. Signs that stand for words (``%``, ``&``, ``+``) stay, and so do emoji. Digits of any
    script become ASCII digits. Source of the forms: Unicode's NFKD and full case folding.

    >>> [surface_key(text) for text in ("São-Paulo", "Sao Paulo", "STRASSE", "Straße", "e-mail", "Ⅻ", "٣ %", "«»")]
    ['saopaulo', 'saopaulo', 'strasse', 'strasse', 'email', 'xii', '3%', '']
    """
    if text.isascii() and text.isalnum():
        return text.lower()
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    plain = _ACCENTS.sub("", folded).translate(_LETTERS)
    return "".join(
        str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in plain if not _passes_unseen(sign)
    )


def _passes_unseen(sign: str) -> bool:
    return sign.isspace() or is_mark(sign) or unicodedata.category(sign) == "Cf" or "\ufe00" <= sign <= "\ufe0f"


def is_telling(text: str) -> bool:
    """Tell whether a text that reads the same in two languages is likely to mean the same.

    A short word in lower case is rarely a name: English "die" is not German "die", nor is "a" Spanish "a".

    >>> [is_telling(text) for text in ("die", "Rome", "EU", "hotel", "7")]
    [False, True, True, True, True]
    """
    letters = sum(map(str.isalnum, text))
    return letters >= 4 or not text.isascii() or any(map(str.isdigit, text)) or (letters > 1 and text != text.lower())


def similarity(one: str, other: str, least: float) -> float:
    """Return 1 - edits / longer length (Levenshtein), or 0 where it is under `least`; 0 to 1.

    >>> similarity("kommission", "commission", 0.75), similarity("koln", "cologne", 0.75)
    (0.9, 0.0)
    """
    found: float = Levenshtein.normalized_similarity(one, other, score_cutoff=least)
    return found
