"""What can be seen of a projection without knowing whether it is right: the traits that a calibration weighs."""

from __future__ import annotations

import difflib
import math

from spanferry.projection.base import Projection, TranslatedText

_LEAST = 1e-3


def evidence(projection: Projection, text: TranslatedText) -> dict[str, float]:
    """Return the traits of a projection that has a target: name -> number. A trait that it does not have is left out.

    ===================== ================================================================================
    ``score``             log-odds of its score, of a method on its own
    ``source_coverage``,  shares of its words with a counterpart, see `Projection`
    ``target_coverage``
    ``length``            logarithm of the source span's length in characters: long spans have more ways to go wrong
    ``stretch``           how much longer or shorter the target span is: absolute logarithm of the ratio of lengths
    ``uneven_stretch``    the same beyond the ratio of the whole texts
    ``words``             difference of their numbers of words between white space
    ``likeness``          how alike both read, 0..1 (`difflib.SequenceMatcher.ratio`): names and numbers do
    ``agrees:NAME``       1 for each voter that named this place (see `Projection.votes`), with the log-odds of its
    ``score:NAME``        score
    ``differs:NAME``      1 for each that named another place
    ``silent:NAME``       1 for each that named none
    ===================== ================================================================================

    >>> from spanferry.data.example import Span
    >>> text = TranslatedText("in Rome", "a Roma", (Span(3, 7, "LOC"),))
    >>> traits = evidence(Projection(text.spans[0], Span(2, 6, "LOC"), "alignment", 0.5), text)
    >>> {name: round(value, 2) for name, value in traits.items()}
    {'length': 1.39, 'stretch': 0.0, 'uneven_stretch': 0.15, 'words': 0.0, 'likeness': 0.75, 'score': 0.0}
    """
    place = projection.target
    if place is None:
        return {}
    here, there = text.source[projection.source.start : projection.source.end], text.target[place.start : place.end]
    ratio = math.log(len(there) / len(here))
    traits = {
        "length": math.log(len(here)),
        "stretch": abs(ratio),
        "uneven_stretch": abs(ratio - math.log(len(text.target) / len(text.source))),
        "words": float(abs(len(here.split()) - len(there.split()))),
        "likeness": difflib.SequenceMatcher(None, here.casefold(), there.casefold(), autojunk=False).ratio(),
    }
    if projection.source_coverage is not None:
        traits["source_coverage"] = projection.source_coverage
    if projection.target_coverage is not None:
        traits["target_coverage"] = projection.target_coverage
    if not projection.votes and projection.score is not None:
        traits["score"] = _log_odds(projection.score)
    for vote in projection.votes:
        if vote.target is None:
            traits[f"silent:{vote.method}"] = 1.0
        elif (vote.target.start, vote.target.end) != (place.start, place.end):
            traits[f"differs:{vote.method}"] = 1.0
        else:
            traits[f"agrees:{vote.method}"] = 1.0
            if vote.score is not None:
                traits[f"score:{vote.method}"] = _log_odds(vote.score)
    return traits


def _log_odds(score: float) -> float:
    score = min(max(score, _LEAST), 1 - _LEAST)
    return math.log(score / (1 - score))
