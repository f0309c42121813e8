"""Which of the ranges that a span could have is its place: a small network that learned it from translators.

Many texts are translated with marks in them, for links, names of menus, emphasis, and their translators put each mark
where it belongs. From such pairs the network learned how the links of a right range look, and how those of ranges that
are a word too wide, too narrow, or elsewhere (`spanferry.projection.range_training`). It sees nothing but
`spanferry.projection.range_features`: no words, no language, no script.

The form is that of a conditional logit (McFadden 1974) with one hidden layer: each range gets a number, and a softmax
over a span's ranges makes probabilities of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from spanferry.data.errors import ModelError
from spanferry.projection.range_features import NAMES

BUNDLED = Path(__file__).resolve().parent / "bundled" / "ranges.safetensors"

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]


@dataclass(frozen=True, eq=False)
class RangeModel:
    """The weights: of F features (`NAMES`) and H hidden units.

    Attributes:
        shift, scale: (F,), what features are measured from and by.
        direct: (F,), from feature to result.
        hidden, hidden_bias: (F, H) and (H,), through tanh.
        result: (H,), from hidden unit to result.

    >>> size = len(NAMES)
    >>> direct = np.zeros(size)
    >>> direct[NAMES.index("links:f1")] = 2.0
    >>> model = RangeModel(np.zeros(size), np.ones(size), direct, np.zeros((size, 1)), np.zeros(1), np.zeros(1))
    >>> ranges = np.zeros((2, size))
    >>> ranges[0, NAMES.index("links:f1")] = 1.0
    >>> model.probabilities(ranges).round(3).tolist()
    [0.881, 0.119]
    """

    shift: Array
    scale: Array
    direct: Array
    hidden: Array
    hidden_bias: Array
    result: Array

    def probabilities(self, features: Array) -> Array:
        """Return how probable each range is the place, (ranges,) with sum 1, of features (ranges, F)."""
        seen = (features - self.shift) / self.scale
        logits = seen @ self.direct + np.tanh(seen @ self.hidden + self.hidden_bias) @ self.result
        shares = np.exp(logits - logits.max())
        probabilities: Array = shares / shares.sum()
        return probabilities

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the weights, eight digits."""
        digest = hashlib.sha256()
        for name in self.__dataclass_fields__:
            digest.update(np.ascontiguousarray(getattr(self, name), dtype=np.float32).tobytes())
        return digest.hexdigest()[:8]


@lru_cache(maxsize=4)
def load_range_model(path: str | Path = "bundled") -> RangeModel:
    """Read a model, once: ``"bundled"``, the one that is shipped, or a file.

    Raises:
        ModelError: the file cannot be read, or its features are not those of this version.
    """
    from safetensors import SafetensorError, safe_open

    path = BUNDLED if path == "bundled" else Path(path).expanduser()
    try:
        with safe_open(path, "np") as file:
            names = (file.metadata() or {}).get("features", "")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read as a model of ranges: {error}") from error
    if names.split(",") != list(NAMES) or set(weights) != set(RangeModel.__dataclass_fields__):
        raise ModelError(
            f"{path}: was trained on other features than this version of spanferry looks at. Train it again: "
            "spanferry models train-ranges"
        )
    return RangeModel(**weights)


def save_range_model(model: RangeModel, path: Path) -> None:
    """Write a model, its features named beside the weights; a file that is there is replaced as a whole."""
    from safetensors.numpy import save_file

    from spanferry.data.writing import replacing

    weights = {name: np.ascontiguousarray(getattr(model, name), np.float32) for name in RangeModel.__dataclass_fields__}
    with replacing(path) as draft:
        save_file(weights, draft, {"features": ",".join(NAMES)})
        draft.chmod(0o644)  # safetensors writes them for the owner alone
