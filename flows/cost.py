"""What a build costs, a thousand examples at a time, from what its runs left behind: time, characters, calls, memory.

Every run of a build adds a line to ``.spanferry/runs.jsonl``. A build that was stopped and went on, or had rows added,
has several; their costs add up, and what a later run reused costs nothing. The memory is the peak of the dearest run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

_RATES: Final = ("seconds", "model_seconds", "characters", "model_calls", "remembered")


@dataclass(frozen=True, slots=True)
class Cost:
    """What examples cost.

    Attributes:
        examples: rows that were computed.
        seconds: wall time, from the first to the last of them. The models are loaded before; what is loaded at first
            use (the words of a language) counts, and shows in small builds.
        model_seconds: time in the translation model, added up over shards that were translated at the same time.
        characters: length of what the models were given, in characters; what the memory knew was not given.
        model_calls: texts that a model was run on: sentences translated, and texts predicted on.
        remembered: translations and predictions that came from a memory at no cost. Where this is not 0, another run
            paid.
        peak_bytes: the most memory that the process held at one time; None where it is not known.

    >>> train = Cost(500, 10.0, 8.0, 40_000, 600, 0, 2**30)
    >>> train.per_thousand().seconds, train.per_thousand().characters
    (20.0, 80000.0)
    """

    examples: int = 0
    seconds: float = 0.0
    model_seconds: float = 0.0
    characters: float = 0
    model_calls: float = 0
    remembered: float = 0
    peak_bytes: int | None = None

    def __add__(self, other: Cost) -> Cost:
        """Add the cost of other work on other examples; memory does not add up, the larger peak counts."""
        peaks = [peak for peak in (self.peak_bytes, other.peak_bytes) if peak is not None]
        return Cost(
            self.examples + other.examples,
            self.seconds + other.seconds,
            self.model_seconds + other.model_seconds,
            self.characters + other.characters,
            self.model_calls + other.model_calls,
            self.remembered + other.remembered,
            max(peaks, default=None),
        )

    def beside(self, other: Cost) -> Cost:
        """Return what 1,000 examples of the one and 1,000 of the other cost together, done one after the other.

        >>> Cost(500, seconds=10.0).beside(Cost(100, seconds=1.0))
        Cost(examples=1000, seconds=30.0, model_seconds=0.0, characters=0.0, model_calls=0.0, remembered=0.0,
             peak_bytes=None)
        """
        return replace(self.per_thousand() + other.per_thousand(), examples=1000)

    def per_thousand(self) -> Cost:
        """Return what 1,000 examples cost at this rate; nothing of nothing."""
        scale = 1000 / self.examples if self.examples else 0.0
        return Cost(
            1000 if self.examples else 0,
            self.seconds * scale,
            self.model_seconds * scale,
            self.characters * scale,
            self.model_calls * scale,
            self.remembered * scale,
            self.peak_bytes,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the examples, what 1,000 of them cost (rounded to two decimals), and the peak of memory in bytes."""
        rate = self.per_thousand()
        rates = {name: round(getattr(rate, name), 2) for name in _RATES}
        return {"examples": self.examples, "per_thousand": rates, "peak_bytes": self.peak_bytes}


def costs(runs: Iterable[Mapping[str, Any]]) -> dict[str, Cost]:
    """Return what each language of a build cost, from the lines of ``runs.jsonl``.

    Languages on which nothing was computed in any run are left out.

    >>> run = {"peak_bytes": 5, "languages": {"de": {"rows": 2, "seconds": 1.5, "translated": 3, "characters": 90}}}
    >>> costs([run, run])["de"]
    Cost(examples=4, seconds=3.0, model_seconds=0.0, characters=180, model_calls=6, remembered=0, peak_bytes=5)
    """
    total: dict[str, Cost] = {}
    for run in runs:
        for language, timing in run.get("languages", {}).items():
            if timing.get("rows"):
                cost = Cost(
                    examples=timing["rows"],
                    seconds=timing.get("seconds", 0.0),
                    model_seconds=timing.get("model_seconds", 0.0),
                    characters=timing.get("characters", 0),
                    model_calls=timing.get("translated", 0) + timing.get("predicted", 0),
                    remembered=timing.get("remembered", 0) + timing.get("predictions_remembered", 0),
                    peak_bytes=run.get("peak_bytes"),
                )
                total[language] = total.get(language, Cost()) + cost
    return total


def peak_memory() -> int | None:
    """Return the most memory that this process has held so far, in bytes (resident set); None where nobody counts it.

    >>> peak = peak_memory()
    >>> peak is None or peak > 1_000_000
    True
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
