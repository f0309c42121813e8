"""The torch engine for exact searches: a `PrefixScorer` on a transformers checkpoint.

A sentence is encoded once, however many candidates it has. What was computed for the beginning of one candidate
serves every other that begins so (`torch_decoder`). Steps of many sentences go through the model together, sorted by
length and cut into batches by tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from spanferry.data.errors import ConfigError, ModelError
from spanferry.translation.checkpoints import checksum, find_checkpoint, no_progress_bars
from spanferry.translation.convert import trained_languages
from spanferry.translation.device_memory import in_parts
from spanferry.translation.families import ModelTokenizer, load_tokenizer
from spanferry.translation.prefix_scorer import Opened, Outcome, Step
from spanferry.translation.torch_decoder import Lease, Reach, Rows, StatePool, run_rows, store_source, take_apart
from spanferry.translation.torch_softmax import Softmax, padded

Result = TypeVar("Result")

_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Largest tensors of a batch, in numbers: logits (tokens x vocabulary), and pasts (rows x states).
_MOST_LOGITS = {"cpu": 2**20, "cuda": 2**28}
_MOST_PAST = {"cpu": 2**15, "cuda": 2**19}
# Memory for states of sentences at work, in bytes, and how many states an exact search holds for a template token.
_STATE_MEMORY = {"cpu": 2**30, "cuda": 2**34}
_STATES_A_TOKEN = 40
# New tokens of a sentence that attend to its source together.
_MOST_IN_GROUP = 32


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
        raise ModelError(
            f"{found.folder}: a converted CTranslate2 model, and the torch engine needs the checkpoint that it was "
            "made from: name that (the method's setting `model`), or take `engine: ctranslate2`"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with no_progress_bars():
        network = AutoModelForSeq2SeqLM.from_pretrained(
            str(found.folder), dtype=_PRECISIONS[precision], local_files_only=True, use_safetensors=not allow_pickle
        )
    name = f"torch:{checksum(found)[:16]}:{precision}"
    tokenizer = load_tokenizer(found.folder).within(trained_languages(network.config.to_dict()))
    return TorchScorer(network.to(device), tokenizer, fingerprint=name, batch_tokens=batch_tokens, name=str(model))


@dataclass(slots=True)
class _Sentence:
    """A source in its pool."""

    source_slots: np.ndarray
    likely: np.ndarray | None = None
    """tokens that are likely somewhere in what was fed first, the template, in ascending order"""


@dataclass(frozen=True, slots=True)
class _State:
    """A sequence that was fed: the slots of its tokens, which stay taken as long as a state needs them."""

    sentence: _Sentence
    slots: np.ndarray
    leases: tuple[Lease, ...] = ()


class TorchScorer:
    """Scores beginnings of translations with a transformers model.

    On a CPU with bfloat16 products (AVX512-BF16, AMX) that precision is up to twice as fast as float32. Its
    log-probabilities of whole sentences of 10 to 20 tokens are off by about a tenth of a nat, so places that are no
    further apart than that may change their order (docs/speed.md).

    Args:
        model: M2M100 or NLLB, mBART, Marian, or T5, on its device and in its precision.
        tokenizer: the model's.
        fingerprint: identity of the weights and the precision.
        batch_tokens: new tokens in a batch; 0 chooses by device.
        name: what people call the model; by default the fingerprint.

    Attributes:
        precision: what it computes in: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    """

    def __init__(
        self, model: Any, tokenizer: ModelTokenizer, *, fingerprint: str, batch_tokens: int = 0, name: str = ""
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint
        self._name = name or fingerprint
        self.device = next(model.parameters()).device
        self._batch_tokens = batch_tokens or (1024 if self.device.type == "cpu" else 16384)
        self._decoder = take_apart(model)
        layers, own = len(self._decoder.layers), self._decoder.layers[0].own
        like = own.key.weight
        self.precision = str(like.dtype).removeprefix("torch.")
        self._pool = StatePool(layers, own.key.out_features, like)
        self._source_pool = StatePool(layers, own.key.out_features, like)
        memory = _STATE_MEMORY["cpu" if self.device.type == "cpu" else "cuda"]
        state = (2 * layers * own.key.out_features + own.query.in_features) * like.element_size()
        self.open_tokens = max(128, memory // (state * _STATES_A_TOKEN))
        self._ids = {token: number for number, token in enumerate(tokenizer.subwords.vocabulary)}
        self.end = self._ids[tokenizer.eos]
        most_logits = _MOST_LOGITS["cpu" if self.device.type == "cpu" else "cuda"]
        self._softmax = Softmax(self._decoder, like, self.end, most_logits)
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
        """Encode the source sentences; see `PrefixScorer.open`.

        Raises:
            LanguageError: the model does not speak ``source`` or ``target``.
            ModelError: a sentence is longer than the model takes.
        """
        source, target = self.tokenizer.check_pair(source, target, model=self._name)
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
            for part, slots in self._in_parts(batch, lambda part: self._encode([sequences[number] for number in part])):
                for number, own in zip(part, slots, strict=True):
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
        with self._source_pool.lent(int(mask.sum())) as slots:
            store_source(self._decoder, states.last_hidden_state[here.bool()], self._tensor(slots), self._source_pool)
        return np.split(slots, np.cumsum([len(sequence) for sequence in sequences])[:-1])

    @torch.inference_mode()
    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Take all the steps; see `PrefixScorer.run`."""
        outcomes: list[Outcome | None] = [None] * len(steps)
        order = sorted(range(len(steps)), key=lambda number: (len(steps[number].feed), steps[number].length))
        for batch in self._batches(order, steps):
            for part, found in self._in_parts(batch, lambda part: self._run([steps[number] for number in part])):
                for number, outcome in zip(part, found, strict=True):
                    outcomes[number] = outcome
                if len(part) < len(batch):  # what was learned of the memory holds for the batches to come
                    tokens = sum(len(steps[number].feed) for number in part)
                    self._batch_tokens = max(1, min(self._batch_tokens, tokens))
        return [each for each in outcomes if each is not None]

    def _in_parts(
        self, batch: Sequence[int], work: Callable[[Sequence[int]], list[Result]]
    ) -> Iterator[tuple[Sequence[int], list[Result]]]:
        return in_parts(batch, work, name=self._name, advice="Let the projection have device: cpu")

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
        feeding = [number for number, step in enumerate(steps) if step.feed]
        states = [step.state for step in steps]
        for number, state in zip(feeding, self._feed([steps[number] for number in feeding]), strict=True):
            states[number] = state
        # A sentence's first step tells which tokens are likely in it; until then there are no bounds.
        first = [number for number in feeding if steps[number].state.sentence.likely is None]
        rough = [step.rough and step.state.sentence.likely is not None for step in steps]
        self._learn_likely([(steps[number], states[number]) for number in first])
        answers = self._answers(steps, [state.slots for state in states], rough)
        return [Outcome(*each) for each in zip(answers, states, rough, strict=True)]

    def _feed(self, steps: list[Step]) -> Iterator[_State]:
        """Compute what is to be fed; returns the states after it."""
        if not steps:
            return
        fed = np.array([len(step.feed) for step in steps])
        with self._pool.lent(int(fed.sum())) as slots:
            own = np.split(slots, np.cumsum(fed)[:-1])
            pasts = [
                np.concatenate([step.state.slots[: step.length], new]) for step, new in zip(steps, own, strict=True)
            ]
            outputs = run_rows(self._decoder, self._rows(steps, fed, slots, pasts), self._pool, self._source_pool)
            self._softmax.store(slots, outputs, self._pool.size)
        for step, new, past in zip(steps, own, pasts, strict=True):
            yield _State(step.state.sentence, past, (*step.state.leases, Lease(self._pool, new)))

    def _rows(self, steps: list[Step], fed: np.ndarray, slots: np.ndarray, pasts: list[np.ndarray]) -> Rows:
        lengths = np.array([step.length for step in steps])
        row = np.repeat(np.arange(len(steps)), fed)
        starts = np.cumsum(fed) - fed
        offset = np.arange(len(row)) - starts[row]
        widest = int(fed.max())
        gather = np.zeros((len(steps), widest), np.int64)
        gather[row, offset] = np.arange(len(row))
        past, _ = padded(pasts)
        last_seen = lengths[:, None] + np.arange(widest)
        visible = np.arange(past.shape[1]) <= last_seen[:, :, None]
        numbers: dict[int, int] = {}
        sentence = np.array([numbers.setdefault(id(step.state.sentence), number) for number, step in enumerate(steps)])
        groups, source_gather, source_scatter = _grouped(sentence[row])
        source, source_visible = padded([steps[number].state.sentence.source_slots for number in groups])
        return Rows(
            tokens=self._tensor(np.concatenate([step.feed for step in steps])),
            positions=self._tensor(lengths[row] + offset),
            slots=self._tensor(slots),
            own=self._reach(gather, row * widest + offset, past, visible),
            source=self._reach(source_gather, source_scatter, source, source_visible[:, None]),
        )

    def _reach(self, *indices: np.ndarray) -> Reach:
        return Reach(*(self._tensor(each) for each in indices))

    def _learn_likely(self, first: list[tuple[Step, _State]]) -> None:
        """Remember the tokens that are likely where somebody asked, and those that were fed."""
        asking = [(step, state) for step, state in first if step.ask]
        if not asking:
            return
        asked = [state.slots[sorted({step.length + offset for offset, _ in step.ask})] for step, state in asking]
        for (step, state), found in zip(asking, self._softmax.likely(asked), strict=True):
            state.sentence.likely = np.union1d(found, [*step.feed, self.end])

    def _answers(self, steps: list[Step], pasts: list[np.ndarray], rough: list[bool]) -> list[list[float]]:
        """Answer the questions of all steps; a position that nobody asks about costs no softmax."""
        counts = [len(step.ask) for step in steps]
        asked = np.array([question for step in steps for question in step.ask], np.int64).reshape(-1, 2)
        ends = np.cumsum(counts)
        parts = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
        slots = np.concatenate(
            [past[step.length + asked[part, 0]] for step, past, part in zip(steps, pasts, parts, strict=True)]
        )
        bounded = np.repeat(np.array(rough, bool), counts)
        found = np.empty(len(asked))
        found[~bounded] = self._softmax.log_probs(slots[~bounded], asked[~bounded, 1])
        numbers: dict[int, int] = {}
        likely: list[np.ndarray] = []
        for step in itertools.compress(steps, rough):
            sentence = step.state.sentence
            if numbers.setdefault(id(sentence), len(likely)) == len(likely):
                likely.append(sentence.likely)
        if likely:
            sentences = np.repeat([numbers.get(id(step.state.sentence), 0) for step in steps], counts)
            found[bounded] = self._softmax.bounds(slots[bounded], asked[bounded, 1], sentences[bounded], likely)
        return [found[part].tolist() for part in parts]

    def close(self, opened: Opened) -> None:
        """Forget the sentence. The slots of a state are free as soon as nobody has the state any more."""
        self._source_pool.give_back(opened.state.sentence.source_slots)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def _grouped(sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group tokens by their sentences (T), so many a group at most that a long one costs the others little padding.

    Returns:
        The sentence of each group (G), the tokens of each group (G x longest), and each token's place there (T).

    >>> [each.tolist() for each in _grouped(np.array([7, 4, 7]))]
    [[4, 7], [[1, 0], [0, 2]], [2, 0, 3]]
    """
    order = np.argsort(sentences, kind="stable")
    ordered = sentences[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    column = (np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))) % _MOST_IN_GROUP
    group = np.cumsum(column == 0) - 1
    gather = np.zeros((group[-1] + 1, column.max() + 1), np.int64)
    gather[group, column] = order
    scatter = np.empty(len(order), np.int64)
    scatter[order] = group * gather.shape[1] + column
    return ordered[column == 0], gather, scatter


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
