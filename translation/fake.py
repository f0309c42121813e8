"""A translator without a model: word for word by a dictionary, for tests, documentation and dry runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from spanferry.data.errors import ModelError
from spanferry.translation.base import Hypothesis
from spanferry.translation.languages import require_language

_WORDS = re.compile(r"\w+|[^\w\s]|\s+")


class FakeTranslator:
    """Replaces each word that the dictionary has, and leaves the rest as it is.

    Args:
        dictionary: source word -> target words. Where a word is not in it, its lower-cased form is looked up, and the
            first letter's case is kept.
        reverse: turn the order of the words round, which no projector should mind.
        languages: FLORES-200 codes that it claims to speak; None for all.
        max_tokens: longest text, in words and punctuation marks.

    >>> fake = FakeTranslator({"the": "die", "cat": "Katze"})
    >>> fake.translate(["The cat, asleep."], source="eng_Latn", target="deu_Latn")[0].text
    'Die Katze, asleep.'
    """

    def __init__(
        self,
        dictionary: Mapping[str, str] | None = None,
        *,
        reverse: bool = False,
        languages: Iterable[str] | None = None,
        max_tokens: int = 512,
    ) -> None:
        self._dictionary = dict(dictionary or {})
        self._reverse = reverse
        self._languages = None if languages is None else frozenset(languages)
        self._max_tokens = max_tokens

    @property
    def fingerprint(self) -> str:
        """Changes with the dictionary and the order."""
        content = json.dumps([sorted(self._dictionary.items()), self._reverse])
        return f"fake:{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @property
    def languages(self) -> frozenset[str] | None:
        """What it was told that it speaks."""
        return self._languages

    @property
    def max_tokens(self) -> int:
        """Longest text, in words and punctuation marks."""
        return self._max_tokens

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        """Return the number of words and punctuation marks of each text."""
        return [sum(not piece.isspace() for piece in _WORDS.findall(text)) for text in texts]

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        """Translate word for word; see `Translator.translate`."""
        for code in (source, target):
            require_language(code, self._languages, model="fake")
        for number, count in enumerate(self.count_tokens(texts, source)):
            if count > self._max_tokens:
                raise ModelError(f"text {number} has {count} tokens, more than the {self._max_tokens} that fake takes")
        return [Hypothesis(self._translate(text), -0.1 if text.strip() else None) for text in texts]

    def _translate(self, text: str) -> str:
        pieces = _WORDS.findall(text)
        places = [number for number, piece in enumerate(pieces) if piece[0].isalnum()]
        words = [self._word(pieces[number]) for number in places]
        if self._reverse:
            words.reverse()
        for number, word in zip(places, words, strict=True):
            pieces[number] = word
        return "".join(pieces)

    def _word(self, word: str) -> str:
        if word in self._dictionary:
            return self._dictionary[word]
        found = self._dictionary.get(word.lower(), word)
        return found[:1].upper() + found[1:] if word[:1].isupper() else found
