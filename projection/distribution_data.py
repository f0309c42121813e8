"""Tag distributions as plain data, for files and shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spanferry.data.errors import DataError
from spanferry.projection.distributions import TagDistribution

DIGITS = 4
"""Digits that are kept of a probability: the others depend on which texts shared a batch."""


def distribution_data(distribution: TagDistribution) -> dict[str, Any]:
    """Return a distribution as plain data: ``tags``, ``tokens``, and ``rows``, null for a token that has none.

    >>> zoe = TagDistribution(((0, 3), (4, 9)), ("O", "B-PER"), np.array([[0.25, 0.75], [np.nan, np.nan]]))
    >>> distribution_data(zoe)
    {'tags': ['O', 'B-PER'], 'tokens': [[0, 3], [4, 9]], 'rows': [[0.25, 0.75], None]}
    """
    rows = distribution.probabilities.round(DIGITS).tolist()
    return {
        "tags": list(distribution.tags),
        "tokens": [list(token) for token in distribution.tokens],
        "rows": [row if known else None for row, known in zip(rows, distribution.known, strict=True)],
    }


def read_distribution(data: Mapping[str, Any]) -> TagDistribution:
    """Return the distribution that `distribution_data` wrote; rounded rows are scaled to the sum 1 again.

    Raises:
        DataError: it is none.

    >>> read_distribution({"tags": ["O", "B-PER"], "tokens": [[0, 3]], "rows": [[0.2499, 0.75]]}).probabilities.tolist()
    [[0.24992499..., 0.75007500...]]
    """
    try:
        tags, nothing = tuple(data["tags"]), [np.nan] * len(data["tags"])
        tokens = tuple((int(start), int(end)) for start, end in data["tokens"])
        rows = np.array([nothing if row is None else row for row in data["rows"]], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"a distribution is {str(data)[:80]!r} ({error}): expected tags, tokens [start, end], and rows of "
            "probabilities, one a tag, or null"
        ) from None
    rows = rows.reshape(len(rows), len(tags)) if rows.size else np.empty((len(tokens), len(tags)))
    sums = rows.sum(axis=1, keepdims=True)
    near = np.abs(sums - 1) <= len(tags) * 10.0**-DIGITS
    return TagDistribution(tokens, tags, np.where(near, rows / np.where(near, sums, 1.0), rows))
