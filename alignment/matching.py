"""From similarities to links: the matching methods, for a whole batch of padded matrices at once.

Each takes similarities of shape (B, M, N), subwords of B source texts against subwords of their target texts, with
the true sizes of each pair, and returns a boolean tensor of the same shape, False at padding.

=========  ==========================================================================================================
argmax     links that are the best of their row and of their column
itermax    argmax, then once more among what has no link yet (one-sided rests discounted by 0.9)
match      the full one-to-one matching with the greatest total similarity
softmax    links whose probability is above a threshold in both directions (rows and columns normalised)
entmax     the same with 1.5-entmax in place of softmax, which gives most cells a probability of exactly 0
mutual     the best of each row and of each column by the geometric mean of these two probabilities, symmetrised
=========  ==========================================================================================================

References: the first three are SimAlign's (Jalili Sabet, Dufter, Yvon and Schütze, "SimAlign: High Quality Word
Alignments without Parallel Training Data using Static and Contextualized Embeddings", Findings of EMNLP 2020,
section 2, algorithm 1 for itermax); softmax and entmax are awesome-align's (Dou and Neubig, EACL 2021, section 2.1),
softmax TransAlign's too; entmax itself is that of Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models",
ACL 2019. `mutual` is our own: dividing by what a row and a column have elsewhere takes away the advantage of
words that are a little like everything, which the raw similarities of a small model suffer from. Ties go to the first
index.
"""

from __future__ import annotations

import torch

from spanferry.alignment.symmetrize import grow_diag_final_and

# SimAlign's settings: one further pass of itermax, and its discount.
_DISCOUNT = 0.9


def valid(sizes: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return which cells of (B, M, N) lie inside each pair's own matrix; ``sizes`` is (B, 2): rows and columns.

    >>> valid(torch.tensor([[1, 2]]), torch.Size((1, 2, 3))).int().tolist()
    [[[1, 1, 0], [0, 0, 0]]]
    """
    rows = torch.arange(shape[1], device=sizes.device) < sizes[:, :1]
    columns = torch.arange(shape[2], device=sizes.device) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


def argmax(similarity: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Link each pair of subwords that are each other's most similar.

    >>> argmax(torch.tensor([[[0.9, 0.1], [0.8, 0.2]]]), torch.tensor([[2, 2]])).int().tolist()
    [[[1, 0], [0, 0]]]
    """
    inside = valid(sizes, similarity.shape)
    return _mutual_best(similarity.masked_fill(~inside, -torch.inf)) & inside


def itermax(similarity: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """`argmax`, and then the mutual best among the cells whose row or column has no link yet.

    In the second pass a cell counts in full where both its row and its column are free, by 0.9 where one of them is.
    There is no second pass where one side has at most two subwords, or no row or no column is free.

    >>> cells = torch.tensor([[[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.8, 0.1, 0.1]]])
    >>> itermax(cells, torch.tensor([[3, 3]])).int().tolist()
    [[[1, 0, 0], [0, 1, 0], [1, 0, 0]]]

    Row 2 found nothing in the first pass, since column 0 prefers row 0; in the second it takes column 0 all the same.
    """
    inside = valid(sizes, similarity.shape)
    links = argmax(similarity, sizes)
    free_row = ~links.any(2, keepdim=True) & inside
    free_column = ~links.any(1, keepdim=True) & inside
    open_cells = free_row | free_column
    again = (sizes.amin(1) > 2) & free_row.flatten(1).any(1) & free_column.flatten(1).any(1)
    rest = similarity * torch.where(free_row & free_column, 1.0, _DISCOUNT)
    # A cell that is closed has weight 0 and wins only where every similarity is 0; it never becomes a link.
    rest = rest.masked_fill(~open_cells, 0.0).masked_fill(~inside, -torch.inf)
    return links | (_mutual_best(rest) & open_cells & again[:, None, None])


def match(similarity: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Link min(M, N) pairs of subwords, each subword at most once, with the greatest sum of similarities.

    >>> match(torch.tensor([[[0.9, 0.8], [0.8, 0.1]]]), torch.tensor([[2, 2]])).int().tolist()
    [[[0, 1], [1, 0]]]
    """
    from scipy.optimize import linear_sum_assignment

    links = torch.zeros(similarity.shape, dtype=torch.bool)
    matrices = similarity.cpu().numpy()
    for index, (rows, columns) in enumerate(sizes.tolist()):
        chosen = linear_sum_assignment(matrices[index, :rows, :columns], maximize=True)
        links[index, torch.from_numpy(chosen[0]), torch.from_numpy(chosen[1])] = True
    return links.to(similarity.device)


def softmax_probability(similarity: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return P(target subword | source subword) and P(source subword | target subword), 0 at padding.

    >>> forward, backward = softmax_probability(torch.zeros(1, 2, 4), torch.tensor([[2, 3]]))
    >>> forward[0, 0].tolist()[2:], backward[0, 0].tolist()[2:]
    ([0.333..., 0.0], [0.5, 0.0])
    """
    outside = ~valid(sizes, similarity.shape)
    logits = similarity.masked_fill(outside, torch.finfo(similarity.dtype).min)
    return logits.softmax(2).masked_fill(outside, 0.0), logits.softmax(1).masked_fill(outside, 0.0)


_ENTMAX_ZERO = 1e-6


def entmax(logits: torch.Tensor, dim: int) -> torch.Tensor:
    """Return the 1.5-entmax of ``logits`` along ``dim``: like softmax, but what is far behind the best gets 0.

    With z = logits / 2 it is max(z - t, 0)^2, and t is what makes these sum to 1 (Peters et al. 2019).
    Given that the k highest z are those above t, t follows from their mean and their sum of squares about it: so all k
    are tried at once, on the sorted z, and the last k whose own z lies above its t is the one.

    >>> [round(value, 4) for value in entmax(torch.tensor([2.0, 2.0, -9.0]), 0).tolist()]
    [0.5, 0.5, 0.0]
    >>> [round(value, 4) for value in entmax(torch.tensor([1.0, 0.0]), 0).tolist()]
    [0.8307, 0.1693]
    """
    # t lies at most 1 below the highest z, so that whatever is lower still may as well be 1 below: no overflow.
    z = ((logits - logits.amax(dim, keepdim=True)) / 2).clamp_min(-1.0)
    ranked = z.sort(dim, descending=True).values
    shape = [1] * z.dim()
    shape[dim] = -1
    count = torch.arange(1, z.shape[dim] + 1, device=z.device, dtype=z.dtype).view(shape)
    mean = ranked.cumsum(dim) / count
    spread = ranked.square().cumsum(dim) - count * mean.square()
    bounds = mean - ((1 - spread) / count).clamp_min(0.0).sqrt()
    last = (bounds <= ranked).sum(dim, keepdim=True).clamp_min(1) - 1
    probability = (z - bounds.gather(dim, last)).clamp_min(0.0).square()
    # What t's rounding leaves of a zero is no link: padding moves the rounding, and would make links.
    return probability.masked_fill(probability < _ENTMAX_ZERO, 0.0)


def entmax_probability(similarity: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`softmax_probability` with 1.5-entmax.

    >>> forward, backward = entmax_probability(torch.tensor([[[9.0, 0.0], [0.0, 9.0]]]), torch.tensor([[2, 2]]))
    >>> forward[0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    outside = ~valid(sizes, similarity.shape)
    logits = similarity.masked_fill(outside, torch.finfo(similarity.dtype).min / 4)
    return entmax(logits, 2).masked_fill(outside, 0.0), entmax(logits, 1).masked_fill(outside, 0.0)


def mutual(similarity: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Link each row's best and each column's by the geometric mean of `softmax_probability`'s two, grow-diag-final-and.

    Args:
        similarity: (B, M, N), divided by the temperature already.
        sizes: (B, 2).

    Returns:
        The links, and the means.

    >>> links, probability = mutual(torch.tensor([[[9.0, 1.0], [1.0, 9.0]]]), torch.tensor([[2, 2]]))
    >>> links.int().tolist()
    [[[1, 0], [0, 1]]]

    Cells within a thousandth of the best count as equal, and the first of them wins: a subword that stands twice (or
    that two words share) has the same similarity twice, up to rounding that differs from batch to batch.
    """
    forward, backward = softmax_probability(similarity, sizes)
    probability = (forward * backward).sqrt()
    rows, columns = _first_best(probability, 2).tolist(), _first_best(probability, 1).tolist()
    links = torch.zeros(similarity.shape, dtype=torch.bool)
    for index, (height, width) in enumerate(sizes.tolist()):
        best_of_rows = set(enumerate(rows[index][:height]))
        best_of_columns = {(row, column) for column, row in enumerate(columns[index][:width])}
        for row, column in grow_diag_final_and(best_of_rows, best_of_columns):
            links[index, row, column] = True
    return links.to(similarity.device), probability


def _first_best(probability: torch.Tensor, dim: int) -> torch.Tensor:
    """Index along ``dim`` of the first cell that is as good as the best, up to a thousandth of it."""
    return (probability >= probability.amax(dim, keepdim=True) * (1 - 1e-3)).int().argmax(dim)


def _mutual_best(similarity: torch.Tensor) -> torch.Tensor:
    """Cells that are the first maximum of their row and of their column."""
    best = torch.zeros(similarity.shape, dtype=torch.bool, device=similarity.device)
    if 0 in similarity.shape:
        return best
    # `max` names the first maximum, as `argmax` does, in a fifth of the time along columns (torch 2.13 on a CPU).
    columns, rows = similarity.max(2).indices, similarity.max(1).indices
    mutual = rows.gather(1, columns) == torch.arange(similarity.shape[1], device=similarity.device)
    return best.scatter_(2, columns[:, :, None], mutual[:, :, None])
