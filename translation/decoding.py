"""How a model is to translate (which changes the text) and where (which must not)."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.data.settings import check_values

OWNER: Final = "settings of a translator"
"""What messages call what flat settings are for."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Settings of the search; all of them can change a translation, so all are in a translator's fingerprint.

    Attributes:
        beam_size: hypotheses kept at each step; 1 is greedy search. Search ends when `beam_size` hypotheses are
            finished, as in fairseq and in transformers with ``early_stopping=True``.
        length_penalty: a finished hypothesis is ranked by log P / length ** length_penalty; above 1 favours longer ones.
        repetition_penalty: logits of tokens that were written before are divided (positive ones) by this; 1 is off
            (Keskar et al. 2019, section 4.1).
        no_repeat_ngram_size: no n-gram of this many tokens is written twice; 0 is off.
        suppress_unknown: never write the unknown token.
        max_length_ratio: a translation may have this many tokens for each token of the source, and 16 more; what
            stops there is `finished=False`. The source counts as the next power of two, so that sentences of about the
            same length share a batch.
    """  # noqa: E501

    beam_size: int = 4
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_unknown: bool = False
    max_length_ratio: float = 3.0

    def __post_init__(self) -> None:
        for name, lowest in (
            ("beam_size", 1),
            ("length_penalty", 0),
            ("repetition_penalty", 1),
            ("no_repeat_ngram_size", 0),
            ("max_length_ratio", 1),
        ):
            if getattr(self, name) < lowest:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least {lowest}")

    def length_limit(self, source_length: int, max_positions: int) -> int:
        """Return the most target tokens for a source of so many.

        >>> [Decoding().length_limit(length, 1024) for length in (1, 8, 9, 40, 600)]
        [40, 40, 64, 208, 1022]
        """
        counted = max(8, 1 << (source_length - 1).bit_length())
        # The start token and the language token take a position each.
        return min(int(self.max_length_ratio * counted) + 16, max_positions - 2)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in which portions a model computes; none of it is in a translator's fingerprint.

    Attributes:
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``; where settings are given flat, ``"cuda:1"`` as well.
        device_index: number of the GPU, or several, each of which gets a copy of the model.
        workers: batches computed at the same time on a CPU, or on each GPU; 0 chooses (a CPU: one for each core that
            this process may use, a GPU: one).
        threads: threads of each worker on a CPU; 0 chooses (1, or what is left when `workers` is set).
        batch_tokens: tokens in a batch, padding included; 0 chooses by device.
        compute_type: CTranslate2's name of the type to compute in; ``"default"`` is the type of the weights.
    """

    device: str = "auto"
    device_index: int | tuple[int, ...] = 0
    workers: int = 0
    threads: int = 0
    batch_tokens: int = 0
    compute_type: str = "default"

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "batch_tokens"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected 0 (automatic) or more")

    def cpu_workers(self) -> tuple[int, int]:
        """Return (workers, threads each) for a CPU.

        >>> Placement(workers=2, threads=3).cpu_workers()
        (2, 3)
        """
        cores = usable_cores()
        if self.workers:
            return self.workers, self.threads or max(1, cores // self.workers)
        threads = self.threads or 1
        return max(1, cores // threads), threads

    def padded_tokens(self, device: str) -> int:
        """Return the size of a batch on ``"cpu"`` or ``"cuda"``."""
        return self.batch_tokens or (2048 if device == "cpu" else 16384)


def usable_cores() -> int:
    """Return how many cores this process may run on (containers and `taskset` give fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sort_settings(settings: dict[str, Any]) -> tuple[Decoding, Placement, dict[str, Any]]:
    """Split flat settings into those of the search, those of the place, and the rest.

    Raises:
        ConfigError: one of the first two has a value of the wrong kind, or out of range.

    >>> sort_settings({"beam_size": 1, "device": "cpu", "revision": "main"})[2]
    {'revision': 'main'}
    >>> sort_settings({"device": "cuda:1"})[1].device_index
    1
    """
    rest = dict(settings)
    device, _, index = str(rest.get("device", "auto")).partition(":")
    if index.isdecimal():  # as torch writes it
        rest["device"], rest["device_index"] = device, rest.get("device_index", int(index))
    if isinstance(rest.get("device_index"), list):
        rest["device_index"] = tuple(rest["device_index"])
    check_values(OWNER, rest, Decoding, Placement)
    decoding = Decoding(**{field.name: rest.pop(field.name) for field in fields(Decoding) if field.name in rest})
    placement = Placement(**{field.name: rest.pop(field.name) for field in fields(Placement) if field.name in rest})
    return decoding, placement, rest


def refuse_unknown(settings: dict[str, Any], known: tuple[str, ...]) -> None:
    """Refuse settings that no part has taken.

    Raises:
        ConfigError: there are some; the message names the nearest known one.
    """
    names = [*known, *asdict(Decoding()), *asdict(Placement())]
    for name in settings:
        if name not in known:
            raise ConfigError(f"unknown setting {name!r} of a translator: {did_you_mean(name, names)}")
