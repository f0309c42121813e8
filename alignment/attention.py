"""Align by the translation model's own cross-attention, through CTranslate2.

The model is made to write the given target, and at the step that predicts a target token its attention says which
source tokens it looks at. One head can be trained to look where statistical alignments point (guided alignment: Chen,
Matusov, Khadivi and Peter 2016; Garg, Peitz, Nallasamy and Paulik, "Jointly Learning to Align and Translate with
Transformer Models", EMNLP 2019); another may know more at the step after, at which the token is what the decoder reads
(Chen, Sun, Chen and Zhang, "Accurate Word Alignment Induction from Neural Machine Translation", EMNLP 2020). A
checkpoint names its head by ``{"spanferry": {"alignment_layer": ..., "alignment_heads": [...], "alignment_state":
"reads"}}`` in its config.json. Of any other checkpoint CTranslate2 gives the mean over the heads of one layer, which
aligns less well. `benchmarks/attention_heads.py` measures every layer, head and state of a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spanferry.alignment.base import Link, TokenizedText, WordAlignment
from spanferry.alignment.placement import words_of_subwords
from spanferry.alignment.symmetrize import SYMMETRIZATIONS, get_symmetrization
from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.translation.convert import ALIGNMENT_STATES as STATES
from spanferry.translation.ct2 import CTranslate2Translator, load_ctranslate2
from spanferry.translation.device_memory import TokenBudget

METHODS = ("forward", "threshold", *SYMMETRIZATIONS)

Matrix = np.ndarray[Any, np.dtype[np.float32]]
Pair = tuple[TokenizedText, TokenizedText]
Placed = tuple[list[str], tuple[list[int], list[int]]]  # subwords; which of them belong to which words


class AttentionAligner:
    """Links words by the cross-attention of a translation model.

    Args:
        model: folder, hub id or ``"bundled"``; or a loaded model, to share it with the translation.
        method: how the probabilities of the two directions become links,

            - a name of `spanferry.alignment.symmetrize`: the geometric mean of P(source word | target word), from
              translating source into target, and P(target word | source word), from translating back; by it each
              source word's best and each target word's best, symmetrised;
            - ``"threshold"``: every pair of words whose geometric mean is above ``threshold``;
            - ``"forward"``: each target word's best source word by P(source word | target word); half the work.
        threshold: least probability of a link, 0..1, whatever the method.
        state: ``"writes"``, a target token's attention is that of the step which predicts it, as guided training
            teaches; or ``"reads"``, that of the step after. None: what the checkpoint names, else ``"writes"``.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``; of a loaded model, its own.
        batch_tokens: target subwords in one batch; like the device not part of the fingerprint.

    The score of a link is the probability that was held against the threshold. Subwords past the model's longest
    sentence are not read, so that the words they belong to have no links: such a text is as a rule a translation that
    went round in circles, and one of them must not stop a build.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the model cannot be loaded.
    """

    def __init__(
        self,
        model: str | Path | CTranslate2Translator = "bundled",
        *,
        method: str = "grow-diag-final-and",
        threshold: float = 0.0,
        state: str | None = None,
        device: str = "auto",
        batch_tokens: int = 4096,
    ) -> None:
        if method not in METHODS:
            raise ConfigError(f"method {method!r}: {did_you_mean(method, METHODS)}")
        if not 0.0 <= threshold < 1.0:
            raise ConfigError(f"threshold {threshold}, expected 0 <= threshold < 1")
        if state is not None and state not in STATES:
            raise ConfigError(f"state {state!r}: {did_you_mean(state, STATES)}")
        if not isinstance(model, CTranslate2Translator):
            model = load_ctranslate2(model, device=device)
        self._translator = model
        self._method, self._threshold, self._batch_tokens = method, threshold, batch_tokens
        self._state = state or model.model.alignment_state

    @property
    def fingerprint(self) -> str:
        """Identity of weights, their arithmetic, and method."""
        settings = f"{self._method}:{self._threshold}" + (":reads" if self._state == "reads" else "")
        return f"attention:{self._translator.computes}:{settings}"

    def align(self, pairs: Sequence[Pair], *, source: str, target: str) -> list[WordAlignment]:
        """Return one alignment a pair.

        Raises:
            LanguageError: the model does not translate between the two, in a direction that the method needs.
        """
        forward = self._attention(pairs, source, target)
        if self._method == "forward":
            return [_links(_best(matrix, self._threshold), matrix) for matrix in forward]
        turned = [(right, left) for left, right in pairs]
        backward = self._attention(turned, target, source)
        return [
            join_directions(there, back.T, method=self._method, threshold=self._threshold)
            for there, back in zip(forward, backward, strict=True)
        ]

    def _attention(self, pairs: Sequence[Pair], source: str, target: str) -> list[Matrix]:
        return forced_attention(
            self._translator, pairs, source=source, target=target, batch_tokens=self._batch_tokens, state=self._state
        )


def join_directions(
    forward: Matrix, backward: Matrix, *, method: str = "grow-diag-final-and", threshold: float = 0.0
) -> WordAlignment:
    """Link words by the probabilities of both directions, each (source words, target words).

    Args:
        forward: P(source word | target word); columns sum to 1 at most.
        backward: P(target word | source word); rows do.
        method: ``"threshold"`` or a name of `spanferry.alignment.symmetrize`; see `AttentionAligner`.
        threshold: least geometric mean of a link.

    >>> there = np.array([[0.9, 0.2], [0.1, 0.8]], dtype=np.float32)
    >>> [link[:2] for link in join_directions(there, there).links]
    [(0, 0), (1, 1)]
    """
    mean = np.sqrt(forward * backward)
    if method == "threshold":
        return _links(_cells(mean > threshold), mean)
    symmetrize = get_symmetrization(method)
    return _links(symmetrize(_turn(_best(mean.T, threshold)), _best(mean, threshold)), mean)


def forced_attention(
    translator: CTranslate2Translator,
    pairs: Sequence[Pair],
    *,
    source: str,
    target: str,
    batch_tokens: int = 4096,
    state: str = "writes",
) -> list[Matrix]:
    """Return, a pair, P(source word | target word) by the attention: an array (source words, target words).

    A target word's column is the mean over its subwords; a source word's row the sum. A column sums to at most 1: the
    rest is attention to the language and end tokens, which belong to no word. Subwords past the model's longest
    sentence are left out; a word of such subwords has a row or column of zeros.

    Args:
        translator: a loaded model.
        pairs: tokenised texts.
        source, target: FLORES-200 codes.
        batch_tokens: target subwords in one batch.
        state: the step that ``"writes"`` a token, or the one after, which ``"reads"`` it.

    Raises:
        LanguageError: the model does not translate from ``source`` into ``target``.
    """
    tokenizer = translator.tokenizer
    source, target = tokenizer.check_pair(source, target, model=translator.model.model)
    before, after = tokenizer.around_source(source, target)
    prefix = tokenizer.target_prefix(target)
    first = len(prefix) + STATES.index(state)
    sides = [_place(translator, [pair[side] for pair in pairs], target=side == 1) for side in (0, 1)]
    matrices = [np.zeros((len(left.tokens), len(right.tokens)), dtype=np.float32) for left, right in pairs]
    speaking = [number for number, matrix in enumerate(matrices) if matrix.size]
    # Of one batch, all are forced and then continued to the length of the longest: so like goes with like.
    speaking.sort(key=lambda number: (len(sides[1][number][0]), len(sides[0][number][0])))

    def run(group: Sequence[int]) -> Any:
        steps = first + len(sides[1][group[-1]][0])
        return translator.engine.translate_batch(
            [[*before, *sides[0][number][0], *after] for number in group],
            [[*prefix, *sides[1][number][0]] for number in group],
            beam_size=1,
            return_attention=True,
            max_input_length=0,
            max_decoding_length=steps,
            # The step that reads the last token would write the end, and its attention would not be given.
            min_decoding_length=steps if state == "reads" else 1,
        )

    budget = TokenBudget(batch_tokens, name=translator.model.model, advice="Choose a smaller quantization")
    for group, results in budget.run(speaking, lambda number: len(prefix) + len(sides[1][number][0]), run):
        for number, result in zip(group, results, strict=True):
            (source_tokens, rows), (target_tokens, columns) = sides[0][number], sides[1][number]
            attention = np.asarray(result.attention[0][first : first + len(target_tokens)], np.float32)
            attention = attention[:, len(before) : len(before) + len(source_tokens)]
            _sum_by_word(attention.T, rows, columns, out=matrices[number])
    return matrices


def _place(translator: CTranslate2Translator, texts: Sequence[TokenizedText], *, target: bool) -> list[Placed]:
    placed: list[Placed] = []
    encoded = translator.tokenizer.subwords.encode_with_offsets([text.text for text in texts], target=target)
    most = translator.max_tokens
    for text, (tokens, offsets) in zip(texts, encoded, strict=True):
        placed.append((tokens[:most], words_of_subwords(text.tokens, offsets[:most])))
    return placed


def _sum_by_word(
    attention: Matrix, rows: tuple[list[int], list[int]], columns: tuple[list[int], list[int]], *, out: Matrix
) -> None:
    """Add up (source subwords, target subwords) into ``out`` (source words, target words)."""
    cells = attention[np.ix_(rows[0], columns[0])]
    np.add.at(out, np.ix_(rows[1], columns[1]), cells)
    out /= np.maximum(np.bincount(columns[1], minlength=out.shape[1]), 1)


def _best(matrix: Matrix, threshold: float) -> set[tuple[int, int]]:
    """Each column's best row, where it is above ``threshold``: (row, column)."""
    if not matrix.size:
        return set()
    rows = matrix.argmax(0)
    return {(row, column) for column, row in enumerate(rows.tolist()) if matrix[row, column] > threshold}


def _turn(links: set[tuple[int, int]]) -> set[tuple[int, int]]:
    return {(column, row) for row, column in links}


def _cells(chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> set[tuple[int, int]]:
    rows, columns = chosen.nonzero()
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


def _links(pairs: set[tuple[int, int]], scores: Matrix) -> WordAlignment:
    return WordAlignment(tuple(Link(i, j, min(float(scores[i, j]), 1.0)) for i, j in sorted(pairs)))
