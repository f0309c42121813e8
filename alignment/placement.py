"""Which word does a subword belong to, when a model reads the text as it is and not word by word?"""

from __future__ import annotations

from collections.abc import Sequence

from spanferry.alignment.base import Token


def words_of_subwords(tokens: Sequence[Token], offsets: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Match subwords with the tokens whose characters they share.

    Args:
        tokens: of the text, in order, without overlap.
        offsets: of the subwords, in order: ``text[start:end]``.

    Returns:
        Two lists of one length, sorted: the subword, and the token it belongs to. A subword that spans two tokens
        stands twice; one that shares no character with a token (a space by itself) belongs to the token after it, if
        there is one before the next subword.

    >>> words_of_subwords([Token(0, 2), Token(2, 5), Token(6, 8)], [(0, 2), (2, 4), (4, 5), (5, 5), (5, 8)])
    ([0, 1, 2, 3, 4], [0, 1, 1, 2, 2])
    >>> words_of_subwords([Token(0, 3), Token(3, 6)], [(0, 6)])
    ([0, 0], [0, 1])
    """
    subwords, words = [], []
    first = 0
    for subword, (start, end) in enumerate(offsets):
        while first < len(tokens) and tokens[first].end <= start:
            first += 1
        word = first
        while word < len(tokens) and tokens[word].start < end:
            subwords.append(subword)
            words.append(word)
            word += 1
        if word == first and first < len(tokens) and tokens[first].start <= end + 1:
            subwords.append(subword)
            words.append(first)
    return subwords, words
