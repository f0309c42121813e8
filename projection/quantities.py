"""Numbers, times of day and dates, whatever the locale they are written in.

A text often does not say how it is meant: ``1,234`` is a thousand and more in English, one and a bit in German. So
each is read in every way that it can be, and two agree when they have a reading in common.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from functools import lru_cache

# A number in groups of three, by spaces too; else digits with any separators inside. Apostrophes are Swiss.
_NUMBER = re.compile(r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[.,٫]\d+)?|\d+(?:[.,:'’٬٫]\d+)*")
_DECIMAL_SIGNS = ".,٫"

# What follows the hour: the half of the day, or the part of it in the languages that count to twelve so.
_BEFORE_NOON = r"a\.?\s?m\.?|morgens|früh|vormittags|de la mañana|del mattino|di mattina|du matin|da manhã"
_AFTER_NOON = (
    r"p\.?\s?m\.?|nachmittags|abends|de la tarde|de la noche|del pomeriggio|di sera|de l['’]après-midi|du soir|da tarde"
)
_TIME = re.compile(
    r"(?P<hour>\d{1,2})(?:(?P<sign>[:.h])(?P<minute>\d{2}))?\s*(?P<mark>uhr|hrs?\.?|h\.?|horas|heures|ore|o['’]clock)?"
    rf"(?:\s*(?P<after>\d{{2}}))?\s*(?:(?P<early>{_BEFORE_NOON})|(?P<late>{_AFTER_NOON}))?"
)
_YEAR_FIRST = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})([./-])\s?(\d{1,2})\2\s?(\d{4}|\d{2})")


def numbers_agree(one: str, other: str) -> bool:
    """Tell whether two texts hold the same numbers in the same order; two texts without any do.

    >>> numbers_agree("1,234.5 km", "1.234,5 km"), numbers_agree("1,234.5", "12,345"), numbers_agree("2001", "2002")
    (True, False, False)
    >>> numbers_agree("12 300", "12'300"), numbers_agree("٣", "3"), numbers_agree("1,234", "1.234")
    (True, True, True)
    """
    here, there = _numbers(one), _numbers(other)
    return len(here) == len(there) and all(not a.isdisjoint(b) for a, b in zip(here, there, strict=True))


def moments(text: str) -> frozenset[str]:
    """Return what time of day or which date the whole text can mean; nothing for any other text.

    A bare number is neither. In ``3/4/2024`` either part may be the month; between points the day comes first.

    >>> [sorted(moments(text)) for text in ("7:30 pm", "19.30 Uhr", "7 Uhr 30 abends", "7")]
    [['19:30'], ['19:30'], ['19:30'], []]
    >>> sorted(moments("3/4/2024")), sorted(moments("03.04.2024")), sorted(moments("3/25/2024"))
    (['2024-03-04', '2024-04-03'], ['2024-04-03'], ['2024-03-25'])
    """
    plain = _with_plain_digits(text).casefold().strip()
    return _times(plain) | _dates(plain) if any(map(str.isdigit, plain)) else frozenset()


@lru_cache(maxsize=1 << 14)
def _numbers(text: str) -> tuple[frozenset[str], ...]:
    return tuple(_readings(match.group()) for match in _NUMBER.finditer(_with_plain_digits(text)))


def _with_plain_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text)


def _readings(number: str) -> frozenset[str]:
    """Return the values that a written number can have, as plain decimals.

    >>> [sorted(_readings(number)) for number in ("1,234", "1.234.567", "0.50", "1.2.3")]
    [['1.234', '1234'], ['1234567'], ['0.5'], ['1 2 3']]
    """
    parts, signs = re.split(r"\D", number), re.findall(r"\D", number)
    grouped = len(parts[0]) <= 3 and parts[0] != "0"
    found = set()
    if grouped and all(len(part) == 3 for part in parts[1:]) and len(set(signs)) == 1:
        found.add(_plain("".join(parts), ""))
    before_last = signs[:-1]
    whole = not before_last or (
        grouped and len(set(before_last)) == 1 and before_last[0] != signs[-1] and all(len(p) == 3 for p in parts[1:-1])
    )
    if signs and signs[-1] in _DECIMAL_SIGNS and whole:
        found.add(_plain("".join(parts[:-1]), parts[-1]))
    if not signs:
        found.add(_plain(number, ""))
    return frozenset(found or {" ".join(parts)})  # 1.2.3, 7:30: parts that count for themselves


def _plain(whole: str, fraction: str) -> str:
    fraction = fraction.rstrip("0")
    return f"{whole.lstrip('0') or '0'}{'.' if fraction else ''}{fraction}"


def _times(text: str) -> frozenset[str]:
    match = _TIME.fullmatch(text)
    if match is None or not (match["early"] or match["late"] or match["mark"] or match["sign"] == ":"):
        return frozenset()
    if match["after"] and (match["minute"] or match["mark"] != "uhr"):  # "7 Uhr 30"
        return frozenset()
    hour, minute = int(match["hour"]), int(match["minute"] or match["after"] or 0)
    if match["early"] or match["late"]:
        if not 1 <= hour <= 12:
            return frozenset()
        hour = hour % 12 + (12 if match["late"] else 0)
    return frozenset({f"{hour}:{minute:02}"}) if hour <= 24 and minute < 60 else frozenset()


def _dates(text: str) -> frozenset[str]:
    if match := _YEAR_FIRST.fullmatch(text):
        year, month, day = map(int, match.groups())
        return frozenset(_date(year, month, day))
    match = _YEAR_LAST.fullmatch(text)
    if match is None:
        return frozenset()
    first, sign, second, year = int(match[1]), match[2], int(match[3]), int(match[4])
    found = set()
    for full in (year,) if len(match[4]) == 4 else (1900 + year, 2000 + year):
        found.update(_date(full, second, first))
        if sign != ".":
            found.update(_date(full, first, second))
    return frozenset(found)


def _date(year: int, month: int, day: int) -> set[str]:
    try:
        return {date(year, month, day).isoformat()}
    except ValueError:
        return set()
