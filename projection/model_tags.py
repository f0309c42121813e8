"""The tags of a token classifier, in whatever scheme it was trained, read as IOB2: one meaning for every model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spanferry.data.errors import ModelError
from spanferry.data.spans import Scheme, tag_names
from spanferry.projection.distributions import TagDistribution

_OPENING = frozenset("BSU")


class ModelTags:
    """A model's tags and what they mean.

    The scheme is guessed from the names: ``S-`` or ``E-`` is BIOES, ``U-`` or ``L-`` is BILOU, ``B-`` is IOB2, ``I-``
    alone is IO, and so are labels without any prefix. IOB1 has the names of IOB2, and must be said.

    Args:
        names: the tags in the order of the model's outputs.
        scheme: None guesses.

    Raises:
        ModelError: there is no ``O`` among them, or nothing else.

    >>> tags = ModelTags(["O", "B-PER", "E-PER", "I-PER", "S-PER"])
    >>> tags.scheme, tags.labels
    ('BIOES', ('PER',))
    >>> tags.distribution([(0, 3)], np.array([[0.1, 0.2, 0.0, 0.0, 0.7]])).probabilities.round(2).tolist()
    [[0.1, 0.9, 0.0]]
    """

    def __init__(self, names: Sequence[str], scheme: Scheme | None = None) -> None:
        self.names = tuple(names)
        tags = [name for name in names if name != "O"]
        if "O" not in names or not tags:
            raise ModelError(
                f"the model's labels are {', '.join(names)}: expected O and tags such as B-PER and I-PER. A checkpoint "
                "whose config.json has no id2label cannot be read"
            )
        bare = not all(tag[:1] in "BIESLU" and tag[1:2] == "-" for tag in tags)
        self._parts = [
            ("I" if bare else name[0], name if bare else name[2:]) if name != "O" else None for name in names
        ]
        prefixes = {part[0] for part in self._parts if part is not None}
        self.scheme: Scheme = scheme or _guess(prefixes)
        self.labels = tuple(dict.fromkeys(part[1] for part in self._parts if part is not None))

    def distribution(self, tokens: Sequence[tuple[int, int]], probabilities: NDArray[np.float64]) -> TagDistribution:
        """Return the distribution over IOB2 tags of a text.

        Tags that open a span (``B-``, ``S-``, ``U-``) are ``B-``, the others ``I-``. In IO and IOB1, where ``I-`` may
        open, a label's ``I-`` is ``B-`` on a token whose predecessor is most probably not of that label.

        Args:
            tokens: (start, end) of each word.
            probabilities: [words, tags of the model], rows of NaN for words that the model did not see.
        """
        tags = tag_names(self.labels)
        found = np.zeros((len(tokens), len(tags)))
        for column, part in enumerate(self._parts):
            name = "O" if part is None else f"{'B' if part[0] in _OPENING else 'I'}-{part[1]}"
            found[:, tags.index(name)] += probabilities[:, column]
        if self.scheme in ("IO", "IOB1"):
            self._open(found)
        found[np.isnan(probabilities).any(axis=1)] = np.nan
        return TagDistribution(tuple((start, end) for start, end in tokens), tuple(tags), found)

    def _open(self, found: NDArray[np.float64]) -> None:
        """Move ``I-`` to ``B-`` where the word before is of another label; columns are O, B-, I-, B-, I-, ..."""
        inside = found[:, 1::2] + found[:, 2::2]
        outside = found[:, :1]
        best = np.concatenate([outside, inside], axis=1).argmax(axis=1)  # NaN counts as the largest: then O
        for word in range(len(found)):
            for number in range(len(self.labels)):
                if word == 0 or best[word - 1] != number + 1:
                    found[word, 1 + 2 * number] += found[word, 2 + 2 * number]
                    found[word, 2 + 2 * number] = 0.0


def _guess(prefixes: set[str]) -> Scheme:
    if prefixes & {"E", "S"}:
        return "BIOES"
    if prefixes & {"L", "U"}:
        return "BILOU"
    return "IOB2" if "B" in prefixes else "IO"
