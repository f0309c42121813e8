"""Matter that must come through a translation unchanged: addresses, numbers, placeholders, mathematics, code.

A good model copies most of it, so it is first translated as it stands and *verified*. What was lost is tried again
behind stand-ins (`mask`, `restore`): short codes that models copy, put in the place of the lost items and taken out
again. What is lost even so, and stands at the start or end of its sentence, is kept out of the model's sight
(`edges`; numbers are not). The pipeline flags the rest.

When is an item unchanged? An address, placeholder, formula or piece of code, when the target has it exactly as often
as the source, character by character. A number, when the target has the same digits: separators may change
(``1,000.5`` -> ``1.000,5``, ``12,300`` -> ``12 300``), and so may the script of the digits (``٣`` is 3). Numbers more
than the source has are no loss ("at two" -> "um 2 Uhr"); a number written out in words ("3" -> "drei") is one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from spanferry.data.errors import ConfigError, did_you_mean

Kind = Literal["code", "math", "email", "url", "placeholder", "number"]
"""A kind of protected matter."""

# Scripts without spaces are left out, or the sentence around an address would belong to it.
_IN_URL = r"[^\s<>\"“”„«»\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]"
_URL_END = r"[A-Za-z0-9\u00c0-\u024f\u0370-\u04ff_/#=&%~+$@-]"
# Repetitions are bounded where a text could otherwise make the search quadratic (a megabyte of base64, say).
_PATTERNS: dict[Kind, str] = {
    "code": r"(?<!`)(?:```[^\n]{1,999}?```|``[^\n]{1,999}?``|`[^`\n]+`)(?!`)",
    # A pair of dollars is mathematics by pandoc's rule: no space inside at either end, no digit after the second.
    "math": r"\$\$[^$\n]+\$\$|\$(?=[^\s$])(?:[^$\n\\]|\\.)*(?<=[^\s\\])\$(?!\d)"
    r"|\\\((?:[^\\\n]|\\(?![()]))+\\\)|\\\[(?:[^\\\n]|\\(?![\[\]]))+\\\]",
    "email": r"(?<![A-Za-z0-9._+-])[A-Za-z0-9._+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[A-Za-z]{2,}",
    "url": rf"(?:(?:https?|ftp)://|www\.){_IN_URL}*{_URL_END}"
    rf"|\b(?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}(?:com|org|net|edu|gov|io|info)\b(?:/{_IN_URL}*{_URL_END})?",
    "placeholder": r"\{\{[^{}\n]+\}\}|\$?\{[^{}\s]*\}|%\(\w+\)[-#0+ ]?\d*(?:\.\d+)?[a-zA-Z]"
    r"|(?<![\w%])%(?:\d+\$)?[-#0+]?\d*(?:\.\d+)?[sdifuxXeEgGcr@](?!\w)|</?[A-Za-z][\w.:-]*(?:\s[^<>\n]*)?/?>"
    r"|&(?:\#\d+|\#x[0-9A-Fa-f]+|[A-Za-z]+\d*);",
    "number": r"\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)(?:[.,٫]\d+)?|\d+(?:[.,:'’٬٫]\d+)*",
}
KINDS: tuple[Kind, ...] = tuple(_PATTERNS)
"""Every kind of protected matter; where two could begin at the same place, the one named first wins."""

_NUMBER = re.compile(_PATTERNS["number"])
# Without one of these a text holds no item of any other kind: most texts are done with at the cost of a glance.
_SIGNS = re.compile(r"[`$\\@{%<&]")
_MARKS = ("://", "www.", ".com", ".org", ".net", ".edu", ".gov", ".io", ".info")
_MATH_SIGN = re.compile(r"[\\^_={}+<>*/]")
_LETTER = re.compile(r"[^\W\d_]")
_BLOCKS = {"code": r"^(?P<fence>`{3,9}|~{3,9})[^`~\n]*\n(?:.*\n)*?(?P=fence)[ \t]*$", "math": r"\$\$[^$]+\$\$"}
_WORD = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True)
class Item:
    """Protected matter: ``text`` stands at ``[start, end)`` of its sentence.

    >>> Item("number", 4, 5, "3").text
    '3'
    """

    kind: str
    start: int
    end: int
    text: str


class Protector:
    """Finds protected matter of some kinds and says whether it came through.

    Args:
        kinds: any of `KINDS`.

    Raises:
        ConfigError: a kind is unknown.

    >>> protector = Protector(["url", "number"])
    >>> items = protector.find("See https://a.org/x_(y) on page 1,024.")
    >>> [item.text for item in items]
    ['https://a.org/x_(y)', '1,024']
    >>> [item.text for item in protector.lost(items, "Siehe https://a.org/x auf Seite 1.024.")]
    ['https://a.org/x_(y)']
    """

    def __init__(self, kinds: Collection[str] = KINDS) -> None:
        for kind in kinds:
            if kind not in _PATTERNS:
                raise ConfigError(f"unknown kind of protected matter {kind!r}: {did_you_mean(kind, KINDS)}")
        self.kinds = tuple(kind for kind in KINDS if kind in kinds)
        alternatives = [f"(?P<{kind}>{_PATTERNS[kind]})" for kind in self.kinds]
        self._pattern = re.compile("|".join(alternatives)) if alternatives else None
        blocks = [_BLOCKS[kind] for kind in self.kinds if kind in _BLOCKS]
        self._blocks = re.compile("|".join(blocks), re.MULTILINE) if blocks else None

    def blocks(self, text: str) -> list[tuple[int, int]]:
        """Return the ranges of ``text`` that no sentence is looked for in: fenced code, displayed mathematics."""
        if self._blocks is None or not ("```" in text or "~~~" in text or "$$" in text):
            return []
        return [match.span() for match in self._blocks.finditer(text)]

    def find(self, text: str) -> list[Item]:
        """Return the protected items of ``text``, in order; they do not overlap."""
        if _SIGNS.search(text) is None and not any(mark in text for mark in _MARKS):
            if "number" not in self.kinds:
                return []
            return [Item("number", *match.span(), match[0]) for match in _NUMBER.finditer(text)]
        items: list[Item] = []
        position = 0
        while self._pattern is not None and (match := self._pattern.search(text, position)):
            kind = match.lastgroup or ""
            start, position = match.span()
            if kind == "math" and not _is_math(match[0]):
                position = start + 1
                continue
            if kind == "url" and text[position : position + 1] == ")" and match[0].count("(") > match[0].count(")"):
                position += 1
            items.append(Item(kind, start, position, text[start:position]))
        return items

    def lost(self, items: Sequence[Item], translated: str) -> list[Item]:
        """Return those of ``items`` that ``translated`` has not as often as their sentence (see the module's rule)."""
        exact = [item for item in items if item.kind != "number"]
        numbers = [item for item in items if item.kind == "number"]
        lost = _lost_numbers(numbers, translated) if numbers else []
        if exact:
            here = Counter(item.text for item in exact)
            there = Counter(item.text for item in self.find(translated) if item.kind != "number")
            lost += [item for item in exact if here[item.text] != there[item.text]]
            lost.sort(key=lambda item: item.start)
        return lost

    def is_all(self, text: str, items: Sequence[Item]) -> bool:
        """Say whether nothing in ``text`` needs a translator: no letter stands outside its protected ``items``.

        >>> protector = Protector()
        >>> [protector.is_all(text, protector.find(text)) for text in ("https://a.org (3.5)", "§ 3 – ?!", "3 km")]
        [True, True, False]
        """
        position = 0
        for item in items:
            if _LETTER.search(text, position, item.start):
                return False
            position = item.end
        return _LETTER.search(text, position) is None


def _is_math(text: str) -> bool:
    """Tell ``$x^2$`` from ``$5 for US$``: a sign, or no white space at all."""
    return not text.startswith("$") or _MATH_SIGN.search(text) is not None or not any(map(str.isspace, text))


def _lost_numbers(numbers: Sequence[Item], translated: str) -> list[Item]:
    found = [_digits(match[0]) for match in _NUMBER.finditer(translated)]
    if "".join(found) == "".join(_digits(item.text) for item in numbers):
        return []  # the same digits in the same order, however they are grouped: 2019 300 -> 2019300
    left = Counter(found)
    lost = []
    for item in numbers:
        digits = _digits(item.text)
        if left[digits] <= 0:
            lost.append(item)
        left[digits] -= 1
    return lost


def _digits(number: str) -> str:
    if number.isascii():
        return "".join(filter(str.isdigit, number))
    return "".join(str(unicodedata.digit(character)) for character in number if character.isdecimal())


_ALONE_BEFORE, _ALONE_AFTER = re.compile(r"(?<![A-Za-z0-9])"), re.compile(r"(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Masked:
    """A sentence with stand-ins in the place of some items, see `mask`.

    Attributes:
        text: the sentence with the stand-ins.
        originals: stand-in -> what it stands for.
        patterns: stand-in -> what to look for in the translation, the spaces that `mask` put around it included.
    """

    text: str
    originals: Mapping[str, str]
    patterns: tuple[str, ...]

    def restore(self, translated: str) -> str | None:
        """Put the items back into a translation of `text`; None unless every stand-in is there exactly once.

        >>> masked = mask("Ask {name} now.", [Item("placeholder", 4, 10, "{name}")], "X{}")
        >>> masked.text, masked.restore("Frag jetzt X1."), masked.restore("Frag jetzt X.")
        ('Ask X1 now.', 'Frag jetzt {name}.', None)
        """
        if not self.patterns:
            return translated
        pattern = re.compile("|".join(self.patterns))
        if sorted(match[0].strip() for match in pattern.finditer(translated)) != sorted(self.originals):
            return None
        return pattern.sub(lambda match: self.originals[match[0].strip()], translated)


def mask(sentence: str, items: Sequence[Item], stand_in: str) -> Masked:
    """Put a stand-in in the place of each of ``items``.

    A number that is part of a word (``MP3``) is left as it is. Any other item that touches a word (``<b>bold</b>``)
    gets a space there, which `Masked.restore` takes out again.

    Args:
        sentence: the sentence that the items stand in.
        items: some of its items, in order.
        stand_in: pattern of the stand-ins, with ``{}`` for a running number; numbers whose stand-in the sentence has
            already are passed over.
    """
    folded = sentence.casefold()
    names = (name for number in count(1) if (name := stand_in.format(number)).casefold() not in folded)
    pieces: list[str] = []
    originals: dict[str, str] = {}
    patterns: list[str] = []
    position = 0
    for item in items:
        before = "" if _ALONE_BEFORE.match(sentence, item.start) else " "
        after = "" if _ALONE_AFTER.match(sentence, item.end) else " "
        if item.kind == "number" and before + after:
            continue
        name = next(names)
        pieces += (sentence[position : item.start], before, name, after)
        originals[name] = item.text
        spaces_before, spaces_after = before and " ?", after and " ?"
        patterns.append(f"{spaces_before}{_ALONE_BEFORE.pattern}{re.escape(name)}{_ALONE_AFTER.pattern}{spaces_after}")
        position = item.end
    return Masked("".join(pieces) + sentence[position:], originals, tuple(patterns))


def edges(sentence: str, items: Sequence[Item]) -> tuple[int, int]:
    """Return the range of ``sentence`` between the items that stand at its start and at its end.

    An item stands there when only white space, punctuation and other such items separate it from the edge.

    >>> sentence = "https://a.org: read it, {name}!"
    >>> start, end = edges(sentence, Protector().find(sentence))
    >>> sentence[start:end]
    ': read it,'
    """
    start, end = 0, len(sentence)
    for item in items:
        if _WORD.search(sentence, start, item.start):
            break
        start = item.end
    for item in reversed(items):
        if item.start < start or _WORD.search(sentence, item.end, end):
            break
        end = item.start
    part = sentence[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
