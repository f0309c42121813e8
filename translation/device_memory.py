"""What to do when a device's memory is full: go on with smaller batches, as far down as a single text."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from spanferry.data.errors import ModelError

Item = TypeVar("Item")
Result = TypeVar("Result")

_log = logging.getLogger(__name__)
# CTranslate2 and torch on CUDA; cuBLAS and cuDNN under either; torch's allocator for the CPU.
_FULL = re.compile(r"out of memory|_ALLOC_FAILED|can't allocate memory|not enough memory", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of a library says that memory, of a GPU or of the machine, is full.

    >>> is_out_of_memory(RuntimeError("CUDA failed with error out of memory"))
    True
    >>> is_out_of_memory(RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"))
    True
    >>> is_out_of_memory(RuntimeError("CUDA failed with error an illegal memory access was encountered"))
    False
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_FULL.search(str(error))))


def one_is_too_much(name: str, error: BaseException, advice: str) -> ModelError:
    """Return the error for a single text that does not fit.

    >>> print(one_is_too_much("my-model", RuntimeError("CUDA out of memory."), "Lower beam_size"))
    my-model: one text alone does not fit into the device's memory (CUDA out of memory). Lower beam_size, or free ...
    """
    problem = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return ModelError(
        f"{name}: one text alone does not fit into the device's memory ({problem}). {advice}, or free the device"
    )


def in_parts(
    batch: Sequence[Item], work: Callable[[Sequence[Item]], Result], *, name: str, advice: str
) -> Iterator[tuple[Sequence[Item], Result]]:
    """Work on a batch, or on its halves, or on theirs, where the device's memory does not take it; in order.

    Args:
        batch: at least one item.
        work: what to do with it or with a part of it.
        name: of the model, for messages.
        advice: see `TokenBudget`.

    Raises:
        ModelError: an item alone does not fit.

    >>> def work(batch):
    ...     if len(batch) > 2: raise RuntimeError("CUDA out of memory.")
    ...     return sum(batch)
    >>> list(in_parts([1, 2, 3, 4, 5], work, name="model", advice="Lower batch_tokens"))
    [([1, 2], 3), ([3], 3), ([4, 5], 9)]
    """
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            result = work(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise one_is_too_much(name, error, advice) from error
        else:
            yield part, result
            continue
        # Outside of the handler: the error's frames hold on to the tensors that filled the memory.
        middle = len(part) // 2
        _make_room(name, middle, "items")
        waiting += [part[middle:], part[:middle]]


class TokenBudget:
    """How many tokens a batch may have, with padding; fewer from when the device's memory turns out to be smaller.

    Args:
        tokens: to begin with, at least 1.
        name: of the model, for messages.
        advice: what a user does where a single text is too much: a sentence without its full stop.
    """

    def __init__(self, tokens: int, *, name: str, advice: str) -> None:
        self.tokens = tokens
        self._name, self._advice = name, advice

    def run(
        self, items: Sequence[Item], length: Callable[[Item], int], work: Callable[[Sequence[Item]], Result]
    ) -> Iterator[tuple[Sequence[Item], Result]]:
        """Yield batches, in order, each with its result.

        Args:
            items: shortest first.
            length: of an item, in tokens; a batch takes (items x the longest of them).
            work: what to do with a batch; where the memory does not take one, a smaller one is tried.

        Raises:
            ModelError: an item alone does not fit.

        >>> def work(batch):
        ...     if len(batch) > 3: raise RuntimeError("CUDA out of memory.")
        ...     return sum(batch)
        >>> budget = TokenBudget(8, name="model", advice="Lower batch_tokens")
        >>> list(budget.run([1, 1, 1, 2, 2, 5], lambda item: item, work)), budget.tokens
        ([([1, 1, 1], 3), ([2, 2], 4), ([5], 5)], 4)
        """
        start = 0
        while start < len(items):
            batch = self._batch(items, start, length)
            try:
                result = work(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise one_is_too_much(self._name, error, self._advice) from error
            else:
                yield batch, result
                start += len(batch)
                continue
            # Outside of the handler: the error's frames hold on to the tensors that filled the memory.
            self._lower(len(batch) * length(batch[-1]) // 2)

    def _batch(self, items: Sequence[Item], start: int, length: Callable[[Item], int]) -> Sequence[Item]:
        end = start + 1
        while end < len(items) and (end + 1 - start) * length(items[end]) <= self.tokens:
            end += 1
        return items[start:end]

    def _lower(self, tokens: int) -> None:
        self.tokens = max(1, min(self.tokens, tokens))
        _make_room(self._name, self.tokens, "tokens")


def _make_room(name: str, size: int, unit: str) -> None:
    _log.warning("%s: out of memory: going on with batches of %d %s", name, size, unit)
    if "torch" in sys.modules:  # what it keeps for later is of sizes that are not wanted any more
        sys.modules["torch"].cuda.empty_cache()
