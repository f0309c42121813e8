"""The matching methods on bare matrices, against the `simalign` package's own functions, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from simalign import SentenceAligner

from spanferry.alignment import matching
from spanferry.alignment.linking import LinkSettings, _nearness
from spanferry.data.errors import ConfigError

# Few values, so that ties are many; all above 0, as similarities of real texts are.
MATRICES = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1)).map(
        lambda drawn: np.random.default_rng(drawn[2]).integers(1, 6, drawn[:2]).astype(np.float32) / 8
    ),
    min_size=1,
    max_size=4,
)
Matrices = list[Any]


def padded(matrices: Matrices) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch, with large values as padding: no method may look at them."""
    sizes = torch.tensor([matrix.shape for matrix in matrices])
    batch = torch.full((len(matrices), *sizes.amax(0).tolist()), 9.0)
    for index, matrix in enumerate(matrices):
        batch[index, : matrix.shape[0], : matrix.shape[1]] = torch.from_numpy(matrix)
    return batch, sizes


def unpadded(links: torch.Tensor, matrices: Matrices) -> Matrices:
    assert links.sum() == sum(links[i, : m.shape[0], : m.shape[1]].sum() for i, m in enumerate(matrices))
    return [links[i, : m.shape[0], : m.shape[1]].numpy() for i, m in enumerate(matrices)]


@given(MATRICES)
def test_argmax_is_simaligns(matrices: Matrices) -> None:
    for matrix, links in zip(matrices, unpadded(matching.argmax(*padded(matrices)), matrices), strict=True):
        forward, backward = SentenceAligner.get_alignment_matrix(matrix)
        assert np.array_equal(links, forward * backward > 0)


@given(MATRICES)
@settings(max_examples=300)
def test_itermax_is_simaligns(matrices: Matrices) -> None:
    for matrix, links in zip(matrices, unpadded(matching.itermax(*padded(matrices)), matrices), strict=True):
        assert np.array_equal(links, SentenceAligner.iter_max(matrix) > 0)


@given(MATRICES)
def test_match_is_one_to_one_and_as_good_as_simaligns(matrices: Matrices) -> None:
    # Where two matchings have the same total, networkx and scipy need not choose the same one.
    for matrix, links in zip(matrices, unpadded(matching.match(*padded(matrices)), matrices), strict=True):
        assert links.sum() == min(matrix.shape)
        assert links.sum(0).max() <= 1 and links.sum(1).max() <= 1
        theirs = SentenceAligner.get_max_weight_match(matrix)
        assert (matrix * links).sum() == (matrix * theirs).sum()


@given(MATRICES, st.sampled_from([0.0, 0.3, 1.0]))
def test_distortion_is_simaligns(matrices: Matrices, ratio: float) -> None:
    batch, sizes = padded(matrices)
    lowered = batch * _nearness(batch, sizes, ratio)
    for index, matrix in enumerate(matrices):
        expected = SentenceAligner.apply_distortion(matrix, ratio)
        assert np.allclose(lowered[index, : matrix.shape[0], : matrix.shape[1]], expected, atol=1e-6)


@given(MATRICES)
def test_softmax_gives_distributions_over_each_sides_own_subwords(matrices: Matrices) -> None:
    forward, backward = matching.softmax_probability(*padded(matrices))
    for index, matrix in enumerate(matrices):
        inside = np.s_[index, : matrix.shape[0], : matrix.shape[1]]
        assert np.allclose(forward[inside].sum(1), 1, atol=1e-5)
        assert np.allclose(backward[inside].sum(0), 1, atol=1e-5)
        assert forward[index].sum() == pytest.approx(matrix.shape[0], abs=1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"method": "itermx"}, "did you mean 'itermax'"),
        ({"method": "match", "unit": "words"}, "did you mean 'word'"),
        ({"method": "match", "distortion": 2.0}, "distortion 2.0"),
        ({"method": "softmax", "threshold": 1.0}, "threshold 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LinkSettings(**setting)
