"""Where does each word come from, if words that follow one another tend to render words that follow one another?

A hidden Markov model of alignment (Vogel, Ney and Tillmann, "HMM-Based Word Alignment in Statistical Translation",
COLING 1996), with a NULL state for each source word that remembers it (Och and Ney 2003, section 2.1): the words
of one side are observed in order, each is emitted by a word of the other side or by NULL, and the next emitter depends
on how far it is from the last one. What comes out is the posterior by the forward-backward algorithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def posterior(emission: Array, null_emission: Array, jumps: Array, *, null: float) -> Array:
    """Return P(word j is emitted by word i | all words), for a batch of pairs whose emitting sides are equally long.

    Args:
        emission: (B, I, J), P(observed word j | emitting word i). Where a pair has fewer than J observed words, the
            rest is 1, and so in ``null_emission``; it then changes nothing.
        null_emission: (B, J), P(observed word j | NULL).
        jumps: (2 I + 1,), weight of a jump of -I..I words; the sentence begins before word 0, at -1.
        null: P(NULL), between 0 and 1.

    Returns:
        (B, I, J); a column sums to at most 1, the rest is NULL's.

    >>> emission = np.array([[[0.9, 0.5], [0.1, 0.5]]])
    >>> flat = np.ones(5)
    >>> posterior(emission, np.full((1, 2), 0.5), flat, null=0.5).round(2).tolist()
    [[[0.45, 0.25], [0.05, 0.25]]]

    With flat jumps each word is judged by itself: 0.9 against 0.1 and NULL's 0.5, weighted 1/4, 1/4 and 1/2.
    """
    count, size, length = emission.shape
    places = np.arange(size)
    moves = jumps[places[None, :] - places[:, None] + size]
    moves = moves / moves.sum(1, keepdims=True)
    first = jumps[places + 1 + size]
    emitted = np.ascontiguousarray((1 - null) * emission.transpose(2, 0, 1))  # (J, B, I)
    skipped = (null * null_emission).T[:, :, None]  # (J, B, 1)
    ahead = np.empty((length, 2, count, size))
    here = np.broadcast_to(first / first.sum(), (count, size))
    stay = here
    for step in range(length):
        if step:
            stay = ahead[step - 1].sum(0)
            here = stay @ moves
        ahead[step, 0] = here * emitted[step]
        ahead[step, 1] = stay * skipped[step]
        ahead[step] /= ahead[step].sum((0, 2))[:, None]
    result = np.empty((length, count, size))
    after = np.ones((2, count, size))
    for step in range(length - 1, -1, -1):
        both = ahead[step] * after
        result[step] = both[0] / both.sum((0, 2))[:, None]
        before = (emitted[step] * after[0]) @ moves.T + skipped[step] * after[1]
        after[:] = before / before.max(1, keepdims=True)
    return result.transpose(1, 2, 0)
