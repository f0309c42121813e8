"""Why gold spans are missing from translate-test predictions: the translation, the predictor, or the projection.

Gold on the original text is projected onto the translation, and from there back, by the very method that carries the
predictions (forth, back). Each missed gold span then has exactly one cause, asked in this order:

1. ``translation``: it does not come back to its own place. Whatever a model predicts there, a perfect one included,
   cannot be brought home: the translation dropped or reshaped it, or the method cannot follow.
2. ``predictor``: it does come back, but the model did not predict it where it stands in the translation. In what way:
   ``label`` (the right place with another label), ``boundary`` (the right label, overlapping), ``unseen`` (neither).
3. ``projection``: the model predicted it and it would come back alone, yet it was lost or misplaced on the way:
   among the other predictions, by a filter, or by a threshold.

The causes add up to the missed spans, and with those that were found to all gold spans.

One limit: where gold was projected forth to a wrong place that happens to lead back, a right prediction beside it is
put down to the predictor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spanferry.data.errors import DataError
from spanferry.data.example import Span
from spanferry.data.spans import overlaps
from spanferry.projection.base import Projector, TranslatedText
from spanferry.projection.metrics import percent
from spanferry.translation.base import Segment

CAUSES: Final = ("translation", "predictor", "projection")
PREDICTOR_ERRORS: Final = ("label", "boundary", "unseen")


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One example of translate-test with gold.

    Attributes:
        gold: gold spans of the original.
        forth: where each stands in the translation; None where it has no place there.
        back: where each of ``forth`` came back to in the original; None where it did not.
        predicted: what the model predicted, on the translation.
        final: the predictions on the original, as they were written.

    Raises:
        DataError: ``forth`` and ``back`` are not one a gold span.
    """

    gold: Sequence[Span]
    forth: Sequence[Span | None]
    back: Sequence[Span | None]
    predicted: Sequence[Span]
    final: Sequence[Span]

    def __post_init__(self) -> None:
        if not len(self.gold) == len(self.forth) == len(self.back):
            raise DataError(
                f"{len(self.gold)} gold spans have {len(self.forth)} places in the translation and {len(self.back)} "
                "back in the original: expected one (or None) for each"
            )


@dataclass(frozen=True, slots=True)
class Causes:
    """Gold spans by what became of them; see above.

    Attributes:
        gold: all of them.
        found: those that the final predictions hold, with both ends and the label right.
        missed: cause -> how many of the others, all of `CAUSES`.
        predictor: how the predictor missed those that it missed, all of `PREDICTOR_ERRORS`.
        per_label: label -> the same for its gold spans, in alphabetical order.
    """

    gold: int = 0
    found: int = 0
    missed: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    predictor: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(PREDICTOR_ERRORS, 0))
    per_label: Mapping[str, Causes] = field(default_factory=dict)

    @property
    def ceiling(self) -> float:
        """Recall that a perfect predictor could reach at most without luck, 0..100: all but ``translation``."""
        return percent(self.gold - self.missed["translation"], self.gold)

    def __add__(self, other: Causes) -> Causes:
        labels = sorted({*self.per_label, *other.per_label})
        nothing = Causes()
        return Causes(
            self.gold + other.gold,
            self.found + other.found,
            {cause: self.missed[cause] + other.missed[cause] for cause in CAUSES},
            {error: self.predictor[error] + other.predictor[error] for error in PREDICTOR_ERRORS},
            {each: self.per_label.get(each, nothing) + other.per_label.get(each, nothing) for each in labels},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data, and the ceiling of recall rounded to two decimals."""
        found: dict[str, Any] = {
            "gold": self.gold,
            "found": self.found,
            "missed": dict(self.missed),
            "predictor": dict(self.predictor),
            "ceiling": round(self.ceiling, 2),
        }
        if self.per_label:
            found["per_label"] = {label: causes.to_json() for label, causes in self.per_label.items()}
        return found


def split_causes(examples: Iterable[RoundTrip]) -> Causes:
    """Return what became of the gold spans of examples, and why those that are missing are missing.

    >>> paris, rome, oslo, bonn = (Span(at, at + 4, "LOC") for at in (0, 10, 20, 30))
    >>> example = RoundTrip(
    ...     gold=[paris, rome, oslo, bonn],
    ...     forth=[paris, rome, oslo, bonn],        # here the translation has everything in the same place
    ...     back=[paris, None, oslo, bonn],         # the way back from Rome is lost
    ...     predicted=[paris, Span(20, 26, "LOC"), bonn],
    ...     final=[paris, Span(20, 26, "LOC")],
    ... )
    >>> causes = split_causes([example])
    >>> causes.found, dict(causes.missed), dict(causes.predictor), causes.ceiling
    (1, {'translation': 1, 'predictor': 1, 'projection': 1}, {'label': 0, 'boundary': 1, 'unseen': 0}, 75.0)
    """
    gold, found = Counter[str](), Counter[str]()
    missed, errors = Counter[tuple[str, str]](), Counter[tuple[str, str]]()  # by label and cause
    for example in examples:
        final = Counter(example.final)
        for span, there, home in zip(example.gold, example.forth, example.back, strict=True):
            gold[span.label] += 1
            if final[span]:
                final[span] -= 1
                found[span.label] += 1
            elif there is None or home != span:
                missed[span.label, "translation"] += 1
            elif there in example.predicted:
                missed[span.label, "projection"] += 1
            else:
                missed[span.label, "predictor"] += 1
                errors[span.label, _error(there, example.predicted)] += 1
    per_label = {
        label: Causes(
            gold[label],
            found[label],
            {cause: missed[label, cause] for cause in CAUSES},
            {error: errors[label, error] for error in PREDICTOR_ERRORS},
        )
        for label in sorted(gold)
    }
    total = sum(per_label.values(), Causes())
    return Causes(total.gold, total.found, total.missed, total.predictor, per_label)


def gold_forth_and_back(
    texts: Sequence[TranslatedText], projector: Projector, *, source: str, target: str
) -> list[tuple[tuple[Span | None, ...], tuple[Span | None, ...]]]:
    """Project gold spans onto the translation and from there back: `forth` and `back` of `RoundTrip`, a text.

    Args:
        texts: originals with their gold spans, and their translations.
        projector: the method that carries the predictions.
        source, target: FLORES-200 codes of the originals and the translations.

    >>> from spanferry.projection.registry import load_projector
    >>> text = TranslatedText("Zoë wohnt in Köln.", "Zoë lives in Köln.", (Span(0, 3, "PER"), Span(4, 9, "V")))
    >>> gold_forth_and_back([text], load_projector("alignment", aligner="fake"), source="deu_Latn", target="eng_Latn")
    [((Span(start=0, end=3, label='PER', field='text'), None), (Span(start=0, end=3, label='PER', field='text'), None))]
    """
    forth = [
        tuple(projection.target for projection in projections)
        for projections in projector.project(texts, source=source, target=target)
    ]
    turned = [_turned(text, [span for span in there if span]) for text, there in zip(texts, forth, strict=True)]
    returned = projector.project(turned, source=target, target=source)
    trips = []
    for there, projections in zip(forth, returned, strict=True):
        home = iter(projection.target for projection in projections)
        trips.append((there, tuple(next(home) if span else None for span in there)))
    return trips


def _turned(text: TranslatedText, spans: Sequence[Span]) -> TranslatedText:
    """Return a text and its translation with their roles exchanged, and spans of the translation to carry."""
    segments = tuple(
        Segment(each.target_start, each.target_end, each.source_start, each.source_end) for each in text.segments
    )
    return TranslatedText(text.target, text.source, tuple(spans), segments, text.target_tokens, text.source_tokens)


def _error(there: Span, predicted: Sequence[Span]) -> str:
    """Say how the predictor missed the span that stands at ``there`` in the translation."""
    near = [span for span in predicted if overlaps(span, there)]
    if any((span.start, span.end) == (there.start, there.end) for span in near):
        return "label"
    return "boundary" if any(span.label == there.label for span in near) else "unseen"
