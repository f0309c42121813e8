"""The token sequences of a template and of all its marked variants, without tokenising each of them.

A variant is the template with two markers put in as characters; what counts is how the model's tokenizer splits that
text, which need not be the template's tokens with two more among them: ``"Köln"`` is ``▁" Köln "``, but ``"[ Köln ]"``
is ``▁" [ ▁Köln ▁] "``. Subword vocabularies split a text at its spaces first, so a variant differs from the template
only in the words that a marker touches, and only these are tokenised, once each. Whether a tokenizer really works so
is checked on the template and on a variant; where it does not, every variant is tokenised as a whole.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spanferry.projection.marker_choice import Markers

Encode = Callable[[Sequence[str]], list[list[int]]]
"""Texts -> token ids of each, special tokens excluded."""

_MOST_PIECES = 500_000


class PieceEncoder:
    """Encodes pieces of text, each different one once.

    >>> calls = []
    >>> def letters(texts):
    ...     calls.append(list(texts))
    ...     return [[ord(letter) for letter in text] for text in texts]
    >>> encoder = PieceEncoder(letters)
    >>> encoder.prefetch(["ab", "c", "ab"])
    >>> encoder["ab"], encoder["d"], calls
    ([97, 98], [100], [['ab', 'c'], ['d']])
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._known: dict[str, list[int]] = {}

    def prefetch(self, pieces: Iterable[str]) -> None:
        """Encode in one call what is not known yet."""
        if len(self._known) > _MOST_PIECES:
            self._known.clear()
        new = [piece for piece in dict.fromkeys(pieces) if piece not in self._known]
        if new:
            self._known.update(zip(new, self._encode(new), strict=True))

    def __getitem__(self, piece: str) -> list[int]:
        if piece not in self._known:
            self.prefetch([piece])
        return self._known[piece]


@dataclass(frozen=True, slots=True)
class Variant:
    """A marked variant of a template.

    Attributes:
        tokens: of the whole sequence, end token included.
        branch: the variant leaves its parent (the template, or the variant with the opening marker alone) here:
            ``tokens[:branch]`` are the parent's, ``tokens[branch]`` is the first that is not.
        tail: the template's tokens from this index on are also the variant's last ones.
    """

    tokens: list[int]
    branch: int
    tail: int


class MarkedTemplate:
    """A template and its variants as token sequences.

    Args:
        text: the template.
        starts, ends: character offsets where a marked range may begin and end; each `start` is that of a character
            that is not white space, and each `end` comes after one.
        markers: what to put in.
        encoder: the model's tokenizer.
        end: id of the end token.

    Attributes:
        tokens: the template's own tokens and the end token.
        whole: variants had to be tokenised as a whole.

    >>> encoder = PieceEncoder(lambda texts: [[ord(letter) for letter in text.replace(" ", "")] for text in texts])
    >>> template = MarkedTemplate("ab cd", [0, 3], [2, 5], Markers("[ ", " ]"), encoder=encoder, end=0)
    >>> def show(variant): return "".join(map(chr, variant.tokens[:-1])), variant.branch, variant.tail
    >>> show(template.opened(3)), show(template.marked(3, 5))
    (('ab[cd', 2, 4), ('ab[cd]', 5, 4))
    """

    def __init__(
        self,
        text: str,
        starts: Sequence[int],
        ends: Sequence[int],
        markers: Markers,
        *,
        encoder: PieceEncoder,
        end: int,
    ) -> None:
        self.text, self.starts, self.ends, self.markers = text, sorted(starts), sorted(ends), markers
        self._encoder = encoder
        self._end = end
        self.whole = False
        self._split_at_spaces()
        if not self._true_to_tokenizer():
            self.whole = True
            self._words = [(0, len(text))]
            self._lay_out()

    def _split_at_spaces(self) -> None:
        self._words = [match.span() for match in re.finditer(r"\S+", self.text)]
        opening, closing = self.markers
        pieces = [self.text[start:end] for start, end in self._words]
        for cuts, marker in ((self.starts, opening), (self.ends, closing)):
            for cut in cuts:
                start, end = self._words[self._word_at(cut, marker is opening)]
                pieces += f"{self.text[start:cut]}{marker}{self.text[cut:end]}".split()
        self._encoder.prefetch(pieces)
        self._lay_out()

    def _lay_out(self) -> None:
        self.tokens: list[int] = []
        self._first = []
        for start, end in self._words:
            self._first.append(len(self.tokens))
            self.tokens += self._piece(self.text[start:end])
        self._first.append(len(self.tokens))
        self.tokens.append(self._end)

    def _true_to_tokenizer(self) -> bool:
        """Compare what was put together with what the tokenizer says, for the template and one variant."""
        texts, built = [self.text], [self.tokens]
        pairs = [(start, end) for start in self.starts[len(self.starts) // 2 :] for end in self.ends if end > start]
        if pairs:
            texts.append(self.markers.around(self.text, *pairs[0]))
            built.append(self.marked(*pairs[0]).tokens)
        self._encoder.prefetch(texts)
        return all([*self._encoder[text], self._end] == tokens for text, tokens in zip(texts, built, strict=True))

    def _piece(self, text: str) -> list[int]:
        if self.whole:
            return self._encoder[text]
        return [token for part in text.split() for token in self._encoder[part]]

    def _word_at(self, offset: int, opens: bool) -> int:
        """Number of the word that begins at or holds the character after an opening, or before a closing marker."""
        return bisect_right(self._words, offset if opens else offset - 1, key=lambda word: word[0]) - 1

    @property
    def longest(self) -> int:
        """A number of tokens that no variant exceeds by more than a few, end token excluded."""
        pieces = [self._encoder[marker.strip()] for marker in self.markers]
        return len(self.tokens) - 1 + sum(len(piece) for piece in pieces)

    def opened(self, start: int) -> Variant:
        """Return the template with the opening marker at ``start`` and no closing one."""
        word = self._word_at(start, True)
        changed = f"{self._before(start)}{self.text[start : self._words[word][1]]}"
        tokens = self._replaced(self.tokens, self._first[word], self._first[word + 1], changed)
        return Variant(tokens, _branch(tokens, self.tokens, self._first[word]), self._first[word + 1])

    def marked(self, start: int, end: int, opened: Variant | None = None) -> Variant:
        """Return the template with ``start`` to ``end`` marked; its parent is ``opened`` (`opened(start)`)."""
        opened = opened or self.opened(start)
        begins, ends = self._word_at(start, True), self._word_at(end, False)
        first, last = self._words[ends]
        more = len(opened.tokens) - len(self.tokens)
        at = self._first[ends] + (more if ends > begins else 0)
        before = self.text[first:end]
        if ends == begins:
            before = f"{self._before(start)}{self.text[start:end]}"
        changed = f"{before}{self.markers.closing}{self.text[end:last]}"
        tokens = self._replaced(opened.tokens, at, self._first[ends + 1] + more, changed)
        return Variant(tokens, _branch(tokens, opened.tokens, at), self._first[ends + 1])

    def early_ends(self, start: int, opened: Variant) -> list[int]:
        """Return the ends whose variant differs from ``opened`` no later than that differs from the template.

        There are some where the closing marker changes the token that the opening one is part of (``[R``, ``[Rom]``).
        Their parent is the template: see `from_template`.
        """
        word = self._word_at(start, True)
        shared = self._first[word]
        if self.markers.opening[-1].isspace() and not self.whole:
            # The closing marker stands in another piece, so what comes before it is the same in every variant.
            shared += len(self._piece(self._before(start)))
        if opened.branch < shared:
            return []
        self.prefetch(start)
        more = len(opened.tokens) - len(self.tokens)
        early = []
        for end in self.ends:
            if end > start:
                closes = self._word_at(end, False)
                if closes > word and self._first[closes] + more > opened.branch:
                    break
                if self.marked(start, end, opened).branch <= opened.branch:
                    early.append(end)
        return early

    def from_template(self, variant: Variant) -> Variant:
        """Return the variant with the template as its parent."""
        return Variant(variant.tokens, _branch(variant.tokens, self.tokens, 0), variant.tail)

    def prefetch(self, start: int) -> None:
        """Encode at once what all variants that open at ``start`` and close in the same word are made of."""
        _, last = self._words[self._word_at(start, True)]
        changed = [
            f"{self._before(start)}{self.text[start:end]}{self.markers.closing}{self.text[end:last]}"
            for end in self.ends
            if start < end <= last
        ]
        self._encoder.prefetch(changed if self.whole else (part for text in changed for part in text.split()))

    def _before(self, start: int) -> str:
        """Return the word in which an opening marker stands, up to and with the marker."""
        first, _ = self._words[self._word_at(start, True)]
        return f"{self.text[first:start]}{self.markers.opening}"

    def _replaced(self, tokens: list[int], first: int, last: int, changed: str) -> list[int]:
        return [*tokens[:first], *self._piece(changed), *tokens[last:]]


def _branch(tokens: list[int], parent: list[int], first: int) -> int:
    """Index of the first difference, from `first` on; never past the last token of either.

    >>> _branch([1, 2, 3, 0], [1, 2, 4, 0], 0), _branch([1, 0], [1, 0], 0)
    (2, 1)
    """
    longest = min(len(tokens), len(parent)) - 1
    while first < longest and tokens[first] == parent[first]:
        first += 1
    return first
