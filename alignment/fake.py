"""A dictionary aligner: no model, the same links every time. For tests, docs and trying things out."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from spanferry.alignment.base import Link, TokenizedText, WordAlignment


class FakeAligner:
    """Links words that are equal, or that a dictionary gives for each other, ignoring case.

    Where a word stands several times, its occurrences are linked in order: first with first, second with second.

    Args:
        dictionary: source word -> its translation; a translation of several words, separated by spaces, is linked
            word by word.

    >>> from spanferry.alignment.tokens import from_words
    >>> pair = from_words(["Zoë", "drinks", "wine"]), from_words(["Wein", "trinkt", "Zoë"])
    >>> aligner = FakeAligner({"wine": "Wein", "drinks": "trinkt"})
    >>> [link[:2] for link in aligner.align([pair], source="eng_Latn", target="deu_Latn")[0].links]
    [(0, 2), (1, 1), (2, 0)]
    """

    def __init__(self, dictionary: Mapping[str, str] | None = None) -> None:
        self._translations = {
            word.casefold(): tuple(translation.casefold().split()) for word, translation in (dictionary or {}).items()
        }
        entries = repr(sorted(self._translations.items())).encode()
        self._fingerprint = f"fake:{hashlib.sha256(entries).hexdigest()[:16]}"

    @property
    def fingerprint(self) -> str:
        """Identity of the dictionary."""
        return self._fingerprint

    def align(
        self, pairs: Sequence[tuple[TokenizedText, TokenizedText]], *, source: str, target: str
    ) -> list[WordAlignment]:
        """Return one alignment a pair; the languages play no part, and every score is 1.0."""
        return [self._align(pair_source.words, pair_target.words) for pair_source, pair_target in pairs]

    def _align(self, source: Sequence[str], target: Sequence[str]) -> WordAlignment:
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(target):
            places[word.casefold()].append(place)
        used: defaultdict[str, int] = defaultdict(int)
        links = set()
        for index, word in enumerate(map(str.casefold, source)):
            for rendering in self._translations.get(word, (word,)):
                if used[rendering] < len(places.get(rendering, ())):
                    links.add(Link(index, places[rendering][used[rendering]]))
                    used[rendering] += 1
        return WordAlignment(tuple(sorted(links)))
