"""An adapter: low-rank updates that teach a translation model's encoder to align (LoRA, Hu et al. 2022).

To a weight matrix W of the encoder, (rows x columns), an adapter adds up·down, (rows x rank)·(rank x columns). The
model itself stays as it is; the adapter is a folder of two small files, `adapter.safetensors` with the matrices and
`adapter.json` with the record of what it was made for::

    aligner = load_aligner("mt-encoder", model="facebook/nllb-200-distilled-600M", adapter="runs/nllb-adapter/adapter")

TransAlign (2025) puts such an adapter on the feed-forward layers of NLLB's encoder; `spanferry models train-aligner`
trains one for NLLB, M2M100, mBART-50 and OPUS-MT.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spanferry.data.errors import ConfigError, ModelError
from spanferry.translation.checkpoints import Checkpoint, write_atomically
from spanferry.translation.families import TOKENIZER_FILES

BUNDLED = Path(__file__).with_name("bundled")
RECORD, WEIGHTS = "adapter.json", "adapter.safetensors"
_OF_DECODER = re.compile(r"(^|\.)decoder\.(?!embed_)")  # its embeddings are the encoder's where both share them


@dataclass(frozen=True, slots=True)
class AdapterRecord:
    """What an adapter is for, and how it was made.

    Attributes:
        base: `base_checksum` of the model that it was trained on; it fits every model that has the same.
        model: that model's name, for messages.
        layer: the hidden state that was taught to align, 1 to the number of layers.
        rank: of the updates of the layers' matrices.
        embedding_rank: of the update of the embeddings, 0 for none.
        targets: names of the linear layers that have an update.
        temperature: what cosines were divided by in training.
        languages: FLORES-200 codes of what it was trained on.
        data: digest of the training recipe.
    """

    base: str
    model: str
    layer: int
    rank: int
    embedding_rank: int
    targets: tuple[str, ...]
    temperature: float
    languages: tuple[str, ...]
    data: str


class LowRank(nn.Module):
    """A linear layer or an embedding with a low-rank update of its weight, W + up·down, which begins as zero.

    >>> base = nn.Linear(3, 2)
    >>> layer, x = LowRank(base, 1), torch.ones(1, 3)
    >>> bool((layer(x) == base(x)).all())
    True
    >>> _ = nn.init.ones_(layer.up)
    >>> merged = nn.functional.linear(x, base.weight + layer.up @ layer.down, base.bias)
    >>> torch.allclose(layer(x), merged, atol=1e-6)
    True
    """

    def __init__(self, base: Any, rank: int) -> None:
        super().__init__()
        rows, columns = base.weight.shape
        if not 1 <= rank <= min(rows, columns):
            raise ConfigError(f"rank {rank} of an update of {rows} x {columns}, expected 1..{min(rows, columns)}")
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, columns) * columns**-0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the base returns, with the update: two thin products instead of one more thick matrix."""
        plain: torch.Tensor = self.base(inputs)
        if isinstance(self.base, nn.Embedding):
            # M2M100 and mBART multiply what they look up.
            return plain + nn.functional.embedding(inputs, self.up) @ self.down * getattr(self.base, "embed_scale", 1.0)
        return plain + nn.functional.linear(nn.functional.linear(inputs, self.down), self.up)


def insert(encoder: nn.Module, *, targets: Sequence[str], rank: int, embedding_rank: int = 0) -> None:
    """Give an encoder's matrices low-rank updates, and make these all that can be trained.

    Args:
        encoder: of a transformers model, cut to the layers that are used; changed in place.
        targets: last parts of the linear layers' names: ``fc1``, ``q_proj``, ...
        rank: of their updates.
        embedding_rank: of the embeddings' update; 0 leaves them out.

    Raises:
        ConfigError: a target is no linear layer of the encoder, or a rank is out of range.
    """
    encoder.requires_grad_(requires_grad=False)
    chosen = [name for name, module in _linear(encoder) if name.rpartition(".")[2] in targets]
    missing = set(targets) - {name.rpartition(".")[2] for name in chosen}
    if missing:
        known = ", ".join(sorted({name.rpartition(".")[2] for name, _ in _linear(encoder)}))
        raise ConfigError(f"targets: the encoder has no {', '.join(sorted(missing))}. It has {known}")
    for name in chosen:
        _replace(encoder, name, rank)
    if embedding_rank:
        _replace(encoder, "embed_tokens", embedding_rank)


def _linear(encoder: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, module) for name, module in encoder.named_modules() if isinstance(module, nn.Linear))


def _replace(encoder: nn.Module, name: str, rank: int) -> None:
    parent, _, attribute = name.rpartition(".")
    owner = encoder.get_submodule(parent)
    setattr(owner, attribute, LowRank(getattr(owner, attribute), rank))


def updates(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """Return the matrices of an encoder that `insert` changed: ``layers.0.fc1.up``, ``layers.0.fc1.down``, ..."""
    return {
        f"{name}.{part}": getattr(module, part).detach()
        for name, module in encoder.named_modules()
        if isinstance(module, LowRank)
        for part in ("up", "down")
    }


def save_adapter(folder: Path, record: AdapterRecord, matrices: dict[str, torch.Tensor]) -> Path:
    """Write an adapter, its matrices in half precision, and return the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: matrix.half().cpu().contiguous() for name, matrix in matrices.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes them for the owner alone
    write_atomically(folder / RECORD, json.dumps(asdict(record), indent=2) + "\n")
    return folder


def load_adapter(folder: Path) -> tuple[AdapterRecord, dict[str, torch.Tensor]]:
    """Read an adapter's record and its matrices, in float32.

    Raises:
        ModelError: the folder holds no adapter, or what it holds cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    missing = [name for name in (RECORD, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder}: no adapter: {' and '.join(missing)} not found. Give a folder that `spanferry models "
            "train-aligner` wrote (OUTPUT/adapter)"
        )
    try:
        values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        values |= {name: tuple(values[name]) for name in ("targets", "languages")}
        record = AdapterRecord(**values)
        matrices = {name: matrix.float() for name, matrix in load_file(folder / WEIGHTS).items()}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the adapter cannot be read: {error}. Train it again") from error
    return record, matrices


def require_base(record: AdapterRecord, checkpoint: Checkpoint, folder: Path) -> None:
    """Refuse an adapter that was trained on another encoder.

    Raises:
        ModelError: the checksums differ.
    """
    found = base_checksum(checkpoint)
    if found != record.base:
        raise ModelError(
            f"{folder}: this adapter was trained on {record.model} (weights {record.base[:16]}) and fits no model with "
            f"another tokenizer, encoder or embeddings; found {checkpoint.name} (weights {found[:16]}). Give "
            "that model, another adapter, or none"
        )


def merge(encoder: nn.Module, matrices: dict[str, torch.Tensor]) -> None:
    """Add every update to its matrix, in place: the encoder runs as fast as without.

    Raises:
        ModelError: a matrix is not in the encoder, or has another shape.
    """
    for name in sorted(name.removesuffix(".up") for name in matrices if name.endswith(".up")):
        try:
            weight: Any = encoder.get_submodule(name).weight
            with torch.no_grad():
                weight += (matrices[f"{name}.up"] @ matrices[f"{name}.down"]).to(weight)
        except (AttributeError, KeyError, RuntimeError) as error:
            raise ModelError(f"the adapter's update of {name} does not fit the encoder: {error}") from error


def base_checksum(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 over what an adapter depends on: tokenizer and weights, but not the layers of the decoder.

    A model whose decoder alone was trained further keeps its adapters, and so does one with another configuration.
    """
    facts = {name: _file_checksum(checkpoint.folder / name) for name in TOKENIZER_FILES}
    for file in checkpoint.weights:
        if file.endswith(".safetensors"):
            facts |= _tensor_checksums(checkpoint.folder / file)
        elif not file.endswith(".json"):  # the index of several files says nothing of their content
            facts[file] = _file_checksum(checkpoint.folder / file)
    total = hashlib.sha256()
    for name in sorted(name for name, checksum in facts.items() if checksum):
        total.update(f"{name}\0{facts[name]}\n".encode())
    return total.hexdigest()


def _tensor_checksums(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as weights:
        names = [name for name in weights.keys() if not _OF_DECODER.search(name)]  # noqa: SIM118
        return {name: _tensor_checksum(weights.get_tensor(name)) for name in names}


def _tensor_checksum(tensor: torch.Tensor) -> str:
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + content.tobytes()).hexdigest()


def _file_checksum(file: Path) -> str:
    """Return the SHA-256 of a file, empty for one that is not there."""
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def adapter_checksum(folder: Path) -> str:
    """Return the SHA-256 over an adapter's matrices, in hexadecimal."""
    return _file_checksum(folder / WEIGHTS)
