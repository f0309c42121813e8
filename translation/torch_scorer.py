"""The torch engine for exact searches: a `PrefixScorer` on a transformers checkpoint.

A sentence is encoded once, however many candidates it has. What was computed for the beginning of one candidate
serves every other that begins so (`torch_decoder`). Steps of many sentences go through the model together, sorted by
length and cut into batches by tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spanferry.data.errors import ConfigError, ModelError
from spanferry.translation.checkpoints import checksum, find_checkpoint, no_progress_bars
from spanferry.translation.families import ModelTokenizer, load_tokenizer
from spanferry.translation.prefix_scorer import Opened, Outcome, Step
from spanferry.translation.torch_decoder import Lease, Rows, StatePool, run_rows, store_source, take_apart

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Largest tensors of a batch, in numbers: logits (tokens x vocabulary), and pasts (rows x states).
_MOST_LOGITS = {"cpu": 2**20, "cuda": 2**28}
_MOST_PAST = {"cpu": 2**15, "cuda": 2**19}
# Memory for states of sentences at work, in bytes, and how many states an exact search holds for a template token.
_STATE_MEMORY = {"cpu": 2**30, "cuda": 2**34}
_STATES_A_TOKEN = 40
# So many tokens beside each of the template go into the small softmax of rough answers.
_LIKELY = 64
# What float32 may round away; a bound must not fall below the truth by it.
_SLACK = 1e-5


def load_torch_scorer(
    model: str | Path = "bundled",
    *,
    revision: str | None = None,
    device: str = "auto",
    precision: str = "float32",
    batch_tokens: int = 0,
    allow_pickle: bool = False,
) -> TorchScorer:
    """Load a checkpoint for scoring.

    Args:
        model: folder, hub id, or ``"bundled"``.
        revision: branch, tag or commit of a hub model.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``: what to compute in.
        batch_tokens: new tokens in a batch; 0 chooses by device.
        allow_pickle: take `pytorch_model.bin` where no safetensors are.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the checkpoint cannot be found, or is of an unknown kind.
    """
    if precision not in _PRECISIONS:
        raise ConfigError(f"precision is {precision!r}: expected one of {', '.join(_PRECISIONS)}")
    from transformers import AutoModelForSeq2SeqLM

    found = find_checkpoint(model, revision=revision, allow_pickle=allow_pickle)
    if found.converted:
        raise ModelError(f"{found.folder}: a converted CTranslate2 model; the torch engine needs the checkpoint itself")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with no_progress_bars():
        network = AutoModelForSeq2SeqLM.from_pretrained(
            str(found.folder), dtype=_PRECISIONS[precision], local_files_only=True, use_safetensors=not allow_pickle
        )
    name = f"torch:{checksum(found)[:16]}:{precision}"
    return TorchScorer(network.to(device), load_tokenizer(found.folder), fingerprint=name, batch_tokens=batch_tokens)


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A source in its pool."""

    source_slots: np.ndarray
    likely: dict[int, int] = field(default_factory=dict)
    """tokens that were likely somewhere in the template -> their column in a small softmax"""


@dataclass(frozen=True, slots=True)
class _State:
    """A sequence that was fed: the slots of its tokens, which stay taken as long as a state needs them."""

    sentence: _Sentence
    slots: np.ndarray
    leases: tuple[Lease, ...] = ()


class TorchScorer:
    """Scores beginnings of translations with a transformers model.

    Args:
        model: M2M100 or NLLB, mBART, Marian, or T5, on its device and in its precision.
        tokenizer: the model's.
        fingerprint: identity of the weights and the precision.
        batch_tokens: new tokens in a batch; 0 chooses by device.
    """

    def __init__(self, model: Any, tokenizer: ModelTokenizer, *, fingerprint: str, batch_tokens: int = 0) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self.device = next(model.parameters()).device
        self._batch_tokens = batch_tokens or (1024 if self.device.type == "cpu" else 16384)
        self._decoder = take_apart(model)
        layers, own = len(self._decoder.layers), self._decoder.layers[0].own
        like = own.key.weight
        self._pool = StatePool(layers, own.key.out_features, like)
        self._source_pool = StatePool(layers, own.key.out_features, like)
        memory = _STATE_MEMORY["cpu" if self.device.type == "cpu" else "cuda"]
        state = 2 * layers * own.key.out_features * like.element_size()
        self.open_tokens = max(128, memory // (state * _STATES_A_TOKEN))
        self._ids = {token: number for number, token in enumerate(tokenizer.subwords.vocabulary)}
        self.end = self._ids[tokenizer.eos]
        self._unknown = self._ids[tokenizer.unk]
        self.unknown: int | None = self._unknown
        limits = (self._decoder.longest, tokenizer.length_limit, 512)
        # Room for the language token, the end token, and a few more where markers change the tokens beside them.
        self.max_tokens = min(limit for limit in limits if limit is not None) - 8

    def encode_source(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return the token ids of each text as a source, special tokens excluded."""
        return [self._numbers(tokens) for tokens in self.tokenizer.subwords.encode(texts)]

    def encode_target(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return the token ids of each text as a translation, special tokens excluded."""
        return [self._numbers(tokens) for tokens in self.tokenizer.subwords.encode_target(texts)]

    def _numbers(self, tokens: Iterable[str]) -> list[int]:
        return [self._ids.get(token, self._unknown) for token in tokens]

    @torch.inference_mode()
    def open(self, sources: Sequence[str], *, source: str, target: str) -> list[Opened]:
        """Encode the source sentences; see `PrefixScorer.open`."""
        source, target = self.tokenizer.check_pair(source, target, model=self.fingerprint)
        sequences = [self._numbers(tokens) for tokens in self.tokenizer.encode_source(sources, source, target)]
        for text, sequence in zip(sources, sequences, strict=True):
            if len(sequence) > self.max_tokens + 8:
                raise ModelError(
                    f"a source of {len(sequence)} tokens, more than the {self.max_tokens} that the model takes: "
                    f"{text[:60]!r}... Split it into sentences first"
                )
        prompt = (self._start(), *self._numbers(self.tokenizer.target_prefix(target)))
        opened: list[Opened | None] = [None] * len(sources)
        order = sorted(range(len(sources)), key=lambda number: len(sequences[number]))
        for batch in _cut(order, lambda number: len(sequences[number]), 4 * self._batch_tokens):
            slots = self._encode([sequences[number] for number in batch])
            for number, own in zip(batch, slots, strict=True):
                opened[number] = Opened(_State(_Sentence(own), np.empty(0, np.int64)), prompt)
        return [each for each in opened if each is not None]

    def _start(self) -> int:
        start = self.model.config.decoder_start_token_id
        return int(self._ids[self.tokenizer.start] if start is None else start)

    def _encode(self, sequences: list[list[int]]) -> list[np.ndarray]:
        longest = max(map(len, sequences))
        tokens = np.full((len(sequences), longest), self.model.config.pad_token_id, np.int64)
        mask = np.zeros_like(tokens)
        for row, sequence in enumerate(sequences):
            tokens[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        here = torch.from_numpy(mask).to(self.device)
        states = self.model.get_encoder()(input_ids=torch.from_numpy(tokens).to(self.device), attention_mask=here)
        slots = self._source_pool.take(int(mask.sum()))
        store_source(self._decoder, states.last_hidden_state[here.bool()], self._tensor(slots), self._source_pool)
        return np.split(slots, np.cumsum([len(sequence) for sequence in sequences])[:-1])

    @torch.inference_mode()
    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Take all the steps; see `PrefixScorer.run`."""
        outcomes: list[Outcome | None] = [None] * len(steps)
        order = sorted(range(len(steps)), key=lambda number: (len(steps[number].feed), steps[number].length))
        for batch in self._batches(order, steps):
            for number, outcome in zip(batch, self._run([steps[number] for number in batch]), strict=True):
                outcomes[number] = outcome
        return [each for each in outcomes if each is not None]

    def _batches(self, order: Iterable[int], steps: Sequence[Step]) -> Iterator[list[int]]:
        most_past = _MOST_PAST["cpu" if self.device.type == "cpu" else "cuda"]
        batch: list[int] = []
        tokens = longest = 0
        for number in order:
            new = len(steps[number].feed)
            here = max(longest, steps[number].length + new)
            if batch and (tokens + new > self._batch_tokens or (len(batch) + 1) * here > most_past):
                yield batch
                batch, tokens, here = [], 0, steps[number].length + new
            batch.append(number)
            tokens, longest = tokens + new, here
        if batch:
            yield batch

    def _run(self, steps: list[Step]) -> list[Outcome]:
        fed = np.array([len(step.feed) for step in steps])
        slots = self._pool.take(int(fed.sum()))
        ends = np.cumsum(fed)
        own = np.split(slots, ends[:-1])
        pasts = [np.concatenate([step.state.slots[: step.length], new]) for step, new in zip(steps, own, strict=True)]
        outputs = run_rows(self._decoder, self._rows(steps, fed, slots, pasts), self._pool, self._source_pool)
        answers = self._answers(outputs, steps, ends - fed)
        outcomes = []
        for step, new, past, found in zip(steps, own, pasts, answers, strict=True):
            lease = Lease(self._pool, new)
            state = _State(step.state.sentence, past, (*step.state.leases, lease)) if step.keep else None
            outcomes.append(Outcome(found, state))
        return outcomes

    def _rows(self, steps: list[Step], fed: np.ndarray, slots: np.ndarray, pasts: list[np.ndarray]) -> Rows:
        lengths = np.array([step.length for step in steps])
        row = np.repeat(np.arange(len(steps)), fed)
        starts = np.cumsum(fed) - fed
        offset = np.arange(len(row)) - starts[row]
        widest = int(fed.max())
        gather = np.zeros((len(steps), widest), np.int64)
        gather[row, offset] = np.arange(len(row))
        past, _ = _pad(pasts)
        source, source_visible = _pad([step.state.sentence.source_slots for step in steps])
        last_seen = lengths[:, None] + np.arange(widest)
        visible = np.arange(past.shape[1]) <= last_seen[:, :, None]
        return Rows(
            tokens=self._tensor(np.concatenate([step.feed for step in steps])),
            positions=self._tensor(lengths[row] + offset),
            gather=self._tensor(gather),
            scatter=self._tensor(row * widest + offset),
            slots=self._tensor(slots),
            past=self._tensor(past),
            source=self._tensor(source),
            visible=self._tensor(visible[:, None]),
            source_visible=self._tensor(source_visible[:, None, None]),
        )

    def _answers(self, outputs: Tensor, steps: list[Step], starts: np.ndarray) -> list[list[float]]:
        """Answer the questions of all steps; a position that nobody asks about costs no softmax."""
        counts = np.array([len(step.ask) for step in steps])
        asked = np.array([question for step in steps for question in step.ask], np.int64).reshape(-1, 2)
        asked[:, 0] += np.repeat(starts, counts)
        ends = np.cumsum(counts)
        found = np.empty(len(asked))
        # A sentence's first step gives the tokens of its small softmax.
        rough = np.repeat([step.rough and bool(step.state.sentence.likely) for step in steps], counts)
        self._answer_exactly(outputs, asked, np.flatnonzero(~rough), found)
        by_sentence: dict[int, list[int]] = {}
        for number, step in enumerate(steps):
            if not step.state.sentence.likely:
                first = starts[number]
                self._learn_likely(step, outputs[first : first + len(step.feed)])
            elif counts[number] and rough[ends[number] - 1]:
                by_sentence.setdefault(id(step.state.sentence), []).append(number)
        for numbers in by_sentence.values():
            which = np.concatenate([np.arange(ends[number] - counts[number], ends[number]) for number in numbers])
            found[which] = self._answer_roughly(outputs, asked[which], steps[numbers[0]].state.sentence)
        return [part.tolist() for part in np.split(found, ends[:-1])]

    def _answer_exactly(self, outputs: Tensor, asked: np.ndarray, which: np.ndarray, found: np.ndarray) -> None:
        """Fill in log P of the tokens asked about, by the softmax over the whole vocabulary, a portion at a time."""
        positions, row = np.unique(asked[which, 0], return_inverse=True)
        order = np.argsort(row, kind="stable")
        most = _MOST_LOGITS["cpu" if self.device.type == "cpu" else "cuda"]
        portion = max(1, most // self.model.config.vocab_size)
        for first in range(0, len(positions), portion):
            logits = self._decoder.logits(outputs[self._tensor(positions[first : first + portion])], None).float()
            total = logits.logsumexp(-1)
            here = order[slice(*np.searchsorted(row[order], [first, first + portion]))]
            rows, tokens = self._tensor(row[here] - first), self._tensor(asked[which[here], 1])
            found[which[here]] = (logits[rows, tokens] - total[rows]).clamp(max=0).cpu().numpy()

    def _learn_likely(self, step: Step, outputs: Tensor) -> None:
        """Remember the tokens that are likely beside those that were fed first: the template's."""
        logits = self._decoder.logits(outputs, None)
        tokens = logits.topk(min(_LIKELY, logits.shape[-1]), dim=-1).indices.flatten().tolist()
        tokens += [*step.feed, self.end]
        step.state.sentence.likely.update((token, column) for column, token in enumerate(dict.fromkeys(tokens)))

    def _answer_roughly(self, outputs: Tensor, asked: np.ndarray, sentence: _Sentence) -> np.ndarray:
        """Return bounds from above: the softmax over some of the vocabulary alone, whose total can only be smaller."""
        likely = sentence.likely
        for token in asked[:, 1].tolist():
            likely.setdefault(token, len(likely))
        tokens = torch.tensor(list(likely), device=self.device)
        logits = self._decoder.logits(outputs[self._tensor(asked[:, 0])], tokens).float()
        columns = torch.tensor([[likely[token]] for token in asked[:, 1].tolist()], device=self.device)
        bounds = logits.gather(1, columns)[:, 0] - logits.logsumexp(-1) + _SLACK
        return bounds.clamp(max=0).cpu().numpy()

    def close(self, opened: Opened) -> None:
        """Forget the sentence. The slots of a state are free as soon as nobody has the state any more."""
        self._source_pool.give_back(opened.state.sentence.source_slots)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _pad(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Put the rows under one another: (rows x longest), and which cells are theirs."""
    lengths = np.array([len(row) for row in rows])
    theirs = np.arange(lengths.max()) < lengths[:, None]
    padded = np.zeros(theirs.shape, np.int64)
    padded[theirs] = np.concatenate(rows)
    return padded, theirs


def _cut(order: Sequence[int], length: Any, most: int) -> Iterator[list[int]]:
    """Cut a sequence, shortest first, into batches of at most `most` tokens with padding."""
    batch: list[int] = []
    for number in order:
        if batch and (len(batch) + 1) * length(number) > most:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
