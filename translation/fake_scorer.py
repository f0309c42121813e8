"""A `PrefixScorer` made of a dictionary: for tests and examples, with no model behind it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spanferry.data.errors import DataError
from spanferry.translation.prefix_scorer import Opened, Outcome, Step

_LIKELY, _UNLIKELY = -0.1, -9.0
_MARKERS = (("[ ", " ]"), ("<a> ", " </a>"), ("( ", " )"), ("{ ", " }"), ("« ", " »"))


class _Wanted(NamedTuple):
    """What the model believes of a source: the rendering of the marked words, and how many stand before it."""

    opening: str
    closing: str
    rendering: str
    earlier: int


class FakePrefixScorer:
    """Believes that a marked range is rendered word by word, and that mentions of the same words keep their order.

    The opening marker costs 0.1 nats before the n-th rendering of the marked words, if they stand in the source for the
    n-th time, and so does the closing one after it; both cost 9 nats anywhere else. Every other token costs 0.1. A
    token is a character that is not white space; one that begins a word is another token.

    Args:
        dictionary: source word -> its rendering; other words stay as they are.
        markers: pairs that may occur. The last of which each half stands once in a source is meant, blanks included,
            or without them where none does.

    >>> scorer = FakePrefixScorer({"red": "rojas"})
    >>> [opened] = scorer.open(["[ red ] cars"], source="eng_Latn", target="spa_Latn")
    >>> [tokens] = scorer.encode_target(["[ rojas ]"], "spa_Latn")
    >>> ask = [(number, token) for number, token in enumerate(tokens)]
    >>> scorer.run([Step(opened.state, 0, [*opened.prompt, *tokens[:-1]], ask)])[0].answers
    [-0.1, -0.1, -0.1, -0.1, -0.1, -0.1, -0.1]
    """

    end = 0
    unknown: int | None = None
    max_tokens = 100_000
    open_tokens = 4096

    def __init__(
        self, dictionary: Mapping[str, str] | None = None, markers: Sequence[tuple[str, str]] = _MARKERS
    ) -> None:
        self._dictionary = dict(dictionary or {})
        self._markers = tuple(markers)
        entries = repr((sorted(self._dictionary.items()), self._markers)).encode()
        self.fingerprint = f"fake:{hashlib.sha256(entries).hexdigest()[:16]}"

    def encode_source(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return a token for each character that is not white space."""
        return [
            [2 * ord(sign) + (place == 0) for word in text.split() for place, sign in enumerate(word)] for text in texts
        ]

    def encode_target(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return a token for each character that is not white space."""
        return self.encode_source(texts, language)

    def open(self, sources: Sequence[str], *, source: str, target: str) -> list[Opened]:
        """Read the marked sources.

        Raises:
            DataError: a source has no pair of markers.
        """
        return [Opened((self._read(text), ()), (1,)) for text in sources]

    def _read(self, source: str) -> _Wanted:
        pairs = [*((pair[0].strip(), pair[1].strip()) for pair in self._markers), *self._markers]
        for opening, closing in reversed(pairs):
            if source.count(opening) == source.count(closing) == 1:
                before, _, rest = source.partition(opening)
                words = " ".join(rest.partition(closing)[0].split())
                rendering = " ".join(self._dictionary.get(word, word) for word in words.split())
                return _Wanted(opening.strip(), closing.strip(), rendering, _mentions(words, before))
        raise DataError(f"no pair of markers in {source!r}, expected one of {self._markers}")

    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Take the steps, one after the other."""
        outcomes = []
        for step in steps:
            wanted, known = step.state
            tokens = (*known[: step.length], *step.feed)
            answers = [
                self._log_prob(wanted, _text(tokens[: step.length + offset + 1]), token) for offset, token in step.ask
            ]
            outcomes.append(Outcome(answers, (wanted, tokens)))
        return outcomes

    def _log_prob(self, wanted: _Wanted, written: str, token: int) -> float:
        sign, (before, opening, inside) = chr(token // 2), written.partition(wanted.opening)
        if sign == wanted.opening[0] and not opening:
            return _LIKELY if _mentions(wanted.rendering, before) == wanted.earlier else _UNLIKELY
        if sign == wanted.closing[0] and opening and wanted.closing not in inside:
            return _LIKELY if inside.strip() == wanted.rendering else _UNLIKELY
        return _LIKELY

    def close(self, opened: Opened) -> None:
        """Do nothing: states are only what was written."""


def _text(tokens: Sequence[int]) -> str:
    """What was written, without the prompt."""
    return "".join(f" {chr(token // 2)}" if token % 2 else chr(token // 2) for token in tokens[1:]).lstrip()


def _mentions(words: str, text: str) -> int:
    """How often the words stand in the text.

    >>> _mentions("one", "one, someone and one")
    2
    """
    return len(re.findall(rf"(?<!\w){re.escape(words)}(?!\w)", " ".join(text.split())))
