"""A classifier of transformers, loaded: rows of token ids in, logits out, in batches of like length.

Weights are read from safetensors alone, and code that comes with a checkpoint is never run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from spanferry.data.errors import ModelError
from spanferry.translation.checkpoints import Checkpoint, checksum, find_checkpoint, no_progress_bars
from spanferry.translation.convert import resolve_device
from spanferry.translation.device_memory import TokenBudget

CLASSES: Final = "SequenceClassification"
CHOICES: Final = "MultipleChoice"
Logits = NDArray[np.float64]
Row = Mapping[str, Any]
"""Token ids as ``input_ids``, and where the model has them ``token_type_ids``."""

_ROOM: Final = 512  # tokens that a model reads when neither it nor its tokenizer says how many
_LEAST: Final = 16  # tokens that must be left for a window


class LoadedModel:
    """A model of transformers with its tokenizer.

    Args:
        name: folder or hub id.
        kind: what it predicts: ``"TokenClassification"``, ``"SequenceClassification"``, ``"MultipleChoice"`` or
            ``"QuestionAnswering"``.
        revision, device, batch_tokens: see `spanferry.projection.predict_transformers.TransformersPredictor`.

    Attributes:
        checksum: SHA-256 over its files.
        tokenizer: a fast one.
        classes: names of its outputs.
        regression: it has a single output, which is a number.
        longest: tokens that it reads at once, special tokens included.

    Raises:
        ModelError: there is no such model, its weights are a pickle, or it is of another kind.
    """

    def __init__(self, name: str | Path, kind: str, *, revision: str | None, device: str, batch_tokens: int) -> None:
        checkpoint = find_checkpoint(name, revision=revision)
        self.checksum = checksum(checkpoint)
        self.tokenizer, self._model = _load(checkpoint, kind, device)
        config = self._model.config
        self.regression = kind == CLASSES and config.num_labels == 1
        if getattr(config, "problem_type", None) == "multi_label_classification":
            raise ModelError(f"{name}: gives several labels to a text, expected a classifier with one")
        self.classes = tuple(str(config.id2label[number]) for number in range(config.num_labels))
        # RoBERTa and its kin count positions from behind the padding token's.
        positions = getattr(config, "max_position_embeddings", None) or _ROOM
        shifted = config.model_type in ("roberta", "xlm-roberta", "camembert", "longformer", "xlm-roberta-xl")
        self.longest = min(self.tokenizer.model_max_length, positions - 2 if shifted else positions)
        self._pad = self.tokenizer.pad_token_id or 0
        self._budget = TokenBudget(batch_tokens, name=str(name), advice="Let the predictor have device: cpu")
        self._kind = kind

    def encode_all(self, texts: Sequence[Sequence[str]], cut: int | None = None) -> tuple[list[Row], list[int]]:
        """Return the rows of all texts (or pairs), and the index of the text that each row is of.

        A text over the limit has several rows, in which the part ``cut`` (by default the longer one) is windowed.
        Beside the token ids, a row has the ``offsets`` of its tokens and ``sequence_ids``, the part that each is of.

        Raises:
            ModelError: the other part alone leaves too little room.
        """
        rows: list[Row] = []
        owners: list[int] = []
        for index, parts in enumerate(texts):
            longer = cut if cut is not None else max(range(len(parts)), key=lambda part: len(parts[part]))
            others = sum(self._count(part) for number, part in enumerate(parts) if number != longer)
            if others + _LEAST > self.longest:
                raise ModelError(
                    f"text {index} ({parts[1 - longer][:40]!r}...) has {others} tokens, the model reads {self.longest}"
                )
            encoded = self.tokenizer(
                *parts,
                truncation="only_first" if longer == 0 else "only_second",
                max_length=self.longest,
                stride=(self.longest - others) // 4,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                verbose=False,
            )
            for number in range(len(encoded["input_ids"])):
                row = {name: encoded[name][number] for name in ("input_ids", "token_type_ids") if name in encoded}
                row |= {"offsets": encoded["offset_mapping"][number], "sequence_ids": encoded.sequence_ids(number)}
                rows.append(row)
                owners.append(index)
        return rows, owners

    def run(self, rows: Sequence[Row]) -> Iterator[tuple[int, list[Logits]]]:
        """Yield each row's number and its logits, in any order; without those of the padding.

        The logits are [tokens, tags] of a token classifier, [classes] of a sequence classifier, [1] of a model for
        multiple choice (a row is one choice), and [tokens] twice, for starts and ends, of one that answers questions.
        """

        def length(number: int) -> int:
            return len(rows[number]["input_ids"])

        def work(group: Sequence[int]) -> list[Logits]:
            return self._logits([rows[number] for number in group])

        by_token = self._kind not in (CLASSES, CHOICES)
        for group, arrays in self._budget.run(sorted(range(len(rows)), key=length), length, work):
            for row, number in enumerate(group):
                yield number, [array[row, : length(number)] if by_token else array[row] for array in arrays]

    def _logits(self, rows: Sequence[Row]) -> list[Logits]:
        """Return the logits of a batch, one array a head, with those of the padding."""
        lengths = [len(row["input_ids"]) for row in rows]
        batch = {"attention_mask": [[1] * length + [0] * (max(lengths) - length) for length in lengths]}
        for name, filler in (("input_ids", self._pad), ("token_type_ids", 0)):
            if name in rows[0]:
                batch[name] = [[*row[name], *[filler] * (max(lengths) - len(row[name]))] for row in rows]
        tensors = {name: torch.tensor(values, device=self._model.device) for name, values in batch.items()}
        if self._kind == CHOICES:  # of [questions, choices, tokens]: each choice as a question of its own
            tensors = {name: values[:, None] for name, values in tensors.items()}
        with torch.inference_mode():
            output = self._model(**tensors)
        heads = [output.logits] if "logits" in output else [output.start_logits, output.end_logits]
        return [head.float().cpu().numpy().astype(np.float64) for head in heads]

    def _count(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _load(checkpoint: Checkpoint, kind: str, device: str) -> tuple[Any, Any]:
    import transformers

    folder = checkpoint.folder
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        architectures = config.architectures or []
        if not any(name.endswith(f"For{kind}") for name in architectures):
            raise ModelError(
                f"{checkpoint.name}: found a model of the kind {', '.join(architectures) or 'unknown'}, expected one "
                f"for this task: ...For{kind}"
            )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, add_prefix_space=True)
        with no_progress_bars():
            model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(
                folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{checkpoint.name}: cannot be loaded by transformers: {error}") from error
    if not tokenizer.is_fast:
        raise ModelError(f"{checkpoint.name}: its tokenizer gives no offsets (no fast tokenizer)")
    place, _, index = device.partition(":")
    place = resolve_device(place)
    return tokenizer, model.eval().to(f"{place}:{index}" if index and place == "cuda" else place)
