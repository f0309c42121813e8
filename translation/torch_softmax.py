"""Log-probabilities after positions that a decoder computed, with no more of the vocabulary than a question needs.

A token's log-probability is its logit less the total of all (their log-sum-exp). The logit is one row of the
vocabulary; the total is all of them, for a small model more than the rest of the decoder together. So each position's
output is kept, and its total is computed when somebody must know it, once. Until then the total over some of the
vocabulary, which can only be smaller, gives a bound: the tokens that are likely somewhere in the sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from spanferry.translation.torch_decoder import Decoder, pick

_LIKELY = 1e-3
"""A token that is somewhere as probable as this is among the likely ones of its sentence."""
_SLACK = 1e-5
"""What float32 may round away; a bound must not fall below the truth by it. (In bfloat16 a logit may in rare cases be
rounded differently in two products; there the bound holds up to that.)"""


class Softmax:
    """What a decoder says of the next token, by the slots of the positions (`StatePool`).

    Args:
        decoder: the model's.
        like: a tensor of the type of the outputs, on their device.
        end: the id of the end token.
        most_logits: how many numbers a tensor of logits may have.
    """

    def __init__(self, decoder: Decoder, like: Tensor, end: int, most_logits: int) -> None:
        self._decoder, self._end, self._most_logits = decoder, end, most_logits
        self._outputs = like.new_zeros(0, 0)
        self._totals = np.empty(0)

    def store(self, slots: np.ndarray, outputs: Tensor, size: int) -> None:
        """Keep the outputs (T x width) of the positions in `slots` (T), all of which are below `size`."""
        if len(self._outputs) < size:
            grown = outputs.new_zeros(size, outputs.shape[1])
            grown[: len(self._outputs)] = self._outputs.view(-1, outputs.shape[1])
            self._outputs = grown
            self._totals = np.concatenate([self._totals, np.full(size - len(self._totals), np.nan)])
        self._outputs.index_copy_(0, self._index(slots), outputs)
        self._totals[slots] = np.nan

    def log_probs(self, slots: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return log P(token | all up to the slot) of each pair."""
        new = np.unique(slots[np.isnan(self._totals[slots])])
        for _ in self._complete(new):
            pass
        return self._less(self._logit(slots, tokens), self._totals[slots])

    def likely(self, sentences: list[np.ndarray]) -> list[np.ndarray]:
        """Return, for the slots of each sentence, the tokens that are likely after one of them, in ascending order."""
        ends = np.cumsum([len(slots) for slots in sentences])
        starts = ends - [len(slots) for slots in sentences]
        peaks: dict[int, Tensor] = {}
        found: list[np.ndarray] = []
        first = 0
        for log_probs in self._complete(np.concatenate(sentences)):
            last = first + len(log_probs)
            for number in range(np.searchsorted(ends, first, "right"), np.searchsorted(starts, last, "left")):
                peak = log_probs[max(0, starts[number] - first) : ends[number] - first].amax(0)
                peaks[number] = torch.maximum(peaks[number], peak) if number in peaks else peak
                if ends[number] <= last:
                    found.append((peaks.pop(number) > np.log(_LIKELY)).nonzero()[:, 0].cpu().numpy())
            first = last
        return found

    def bounds(
        self, slots: np.ndarray, tokens: np.ndarray, sentences: np.ndarray, likely: list[np.ndarray]
    ) -> np.ndarray:
        """Return bounds of the log-probabilities from above, where the total is not known.

        Args:
            slots, tokens: of each question (N).
            sentences: whose likely tokens are counted in each question (N), an index into `likely`.
            likely: of each sentence, in ascending order.
        """
        totals = self._totals[slots]
        rough = np.isnan(totals)
        logits = self._logit(slots, tokens)
        new, first, row = np.unique(slots[rough], return_index=True, return_inverse=True)
        if len(new):
            totals[rough] = self._totals_of_likely(new, sentences[rough][first], likely)[row] - _SLACK
            words = self._decoder.words
            known = np.concatenate([each + number * words for number, each in enumerate(likely)])
            asked = tokens + sentences * words
            outside = rough & (known[np.searchsorted(known, asked).clip(max=len(known) - 1)] != asked)
            # A token that is not among the likely ones adds itself to the total.
            totals[outside] = np.logaddexp(totals[outside], self._rounded(logits[outside]))
        return self._less(logits, totals)

    def _totals_of_likely(self, slots: np.ndarray, sentences: np.ndarray, likely: list[np.ndarray]) -> np.ndarray:
        """Return the total over the likely tokens of each slot's sentence (N)."""
        totals = np.empty(len(slots))
        order = np.argsort(sentences, kind="stable")
        these, starts = np.unique(sentences[order], return_index=True)
        groups = np.split(order, starts[1:])
        widest = max(len(likely[sentence]) for sentence in these)
        for part in self._portions(len(these), widest * max(self._outputs.shape[1], *map(len, groups))):
            rows, _ = padded([slots[group] for group in groups[part]])
            columns, theirs = padded([likely[sentence] for sentence in these[part]])
            outputs = pick(self._outputs, self._index(rows))
            logits = self._decoder.logits(outputs, self._index(columns)).float()
            logits += self._index(np.where(theirs, 0.0, -np.inf).astype(np.float32))[:, None]
            found = logits.logsumexp(-1).cpu().numpy()
            for number, group in enumerate(groups[part]):
                totals[group] = found[number, : len(group)]
        return totals

    def _less(self, logits: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Return the log-probabilities, <= 0, of tokens with these logits (N) after positions with these totals (N)."""
        # A total counts the token with its logit in the type of the outputs. Where the token has most of the total,
        # bfloat16 would make it more or less probable by up to 3 %.
        error = np.exp(logits - totals) - np.exp(self._rounded(logits) - totals)
        found: np.ndarray = logits - (totals + np.log1p(error))
        return found.clip(max=0.0)

    def _rounded(self, logits: np.ndarray) -> np.ndarray:
        rounded: np.ndarray = torch.from_numpy(logits).to(self._outputs.dtype).double().numpy()
        return rounded

    def _complete(self, slots: np.ndarray) -> Iterator[Tensor]:
        """Compute the totals of the slots; yields all log-probabilities, a portion of the slots at a time."""
        for part in self._portions(len(slots), self._decoder.words):
            logits = self._decoder.logits(pick(self._outputs, self._index(slots[part])), None)
            log_probs = logits.log_softmax(-1, dtype=torch.float32)
            # Any token tells the total; the end of the translation has a logit in every family.
            totals = logits[:, self._end].double() - log_probs[:, self._end].double()
            self._totals[slots[part]] = totals.cpu().numpy()
            yield log_probs

    def _logit(self, slots: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        logits = np.empty(len(slots))
        for part in self._portions(len(slots), self._outputs.shape[1]):
            outputs = pick(self._outputs, self._index(slots[part]))
            logits[part] = self._decoder.logit(outputs, self._index(tokens[part])).cpu().numpy()
        return logits

    def _portions(self, rows: int, width: int) -> Iterator[slice]:
        """Cut rows so that a portion of them, `width` numbers each, is not too large."""
        most = max(1, self._most_logits // width)
        return (slice(first, first + most) for first in range(0, rows, most))

    def _index(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(numbers).to(self._outputs.device)


def padded(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Put rows under one another: (rows x longest), filled with zeros, and which cells are theirs.

    >>> padded([np.array([5, 6]), np.array([7])])[0].tolist()
    [[5, 6], [7, 0]]
    """
    lengths = np.array([len(row) for row in rows])
    theirs = np.arange(lengths.max()) < lengths[:, None]
    cells = np.zeros(theirs.shape, np.int64)
    cells[theirs] = np.concatenate(rows)
    return cells, theirs
