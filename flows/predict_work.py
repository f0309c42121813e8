"""The work of translate-test on one shard: predict on the translations, and carry what was predicted back.

It is the road of translate-train with the languages exchanged: the translation is the text that spans come from, the
user's own text is what they are carried to. That text is never changed, and no row is dropped: where predictions are
lost, they are on record with their reasons. Labels of the data take no part in any of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spanferry.alignment.base import Token
from spanferry.alignment.tokens import tokenize
from spanferry.data.errors import BuildError
from spanferry.data.example import Example, Span
from spanferry.data.tasks import get_task
from spanferry.flows.config import AnyConfig, BuildConfig
from spanferry.flows.folder import BuildFolder
from spanferry.flows.jobs import Direction
from spanferry.flows.outcomes import Outcome, outcome, pack, rounded
from spanferry.flows.parts import Parts
from spanferry.flows.shards import write_records
from spanferry.projection.base import TranslatedText
from spanferry.projection.carry import Carried, carry
from spanferry.projection.causes import gold_forth_and_back
from spanferry.projection.distribution_data import distribution_data
from spanferry.projection.distributions import project_by_spans
from spanferry.projection.predict_file import text_key
from spanferry.projection.prediction import Prediction, renamed
from spanferry.translation.base import Segment, Translation

if TYPE_CHECKING:
    from spanferry.flows.work import Translated

LOST_TRANSLATION = "empty_translation"
"""Flag of a row whose text became empty in translation, so that nothing could be predicted on it."""


def predict_and_carry(translated: Translated, parts: Parts, direction: Direction) -> list[Outcome]:
    """Predict on translated examples and carry the predictions back; return what became of each.

    Raises:
        PredictionsMissing: the predictions are made elsewhere, and some are not there yet.
    """
    assert parts.predictor is not None  # what a translate-test build is made with
    pivots = in_pivot(translated)
    predictions = [
        renamed(prediction, parts.predictor_labels)
        for prediction in parts.predictor.predict(pivots, language=direction.target)
    ]
    labelled = [
        Example(pivot.id, pivot.fields, prediction.spans, prediction.labels)
        for pivot, prediction in zip(pivots, predictions, strict=True)
    ]
    backwards = {place: inverted(translation) for place, translation in translated.translations.items()}
    carried = carry(
        labelled,
        backwards,
        parts.projector,
        source=direction.target,
        target=direction.source,
        filters=parts.filters,
        on_lost=parts.on_lost,
        target_tokens=False,
        given_tokens=[example.tokens for example in translated.examples],
    )
    trips = _round_trips(translated, parts, direction)
    distributions = _distributions(translated, predictions, carried, parts, direction)
    return [
        _outcome(
            outcome(each, {field: backwards[index, field] for field in each.source.fields}),
            translated.examples[index],
            predictions[index],
            distributions[index],
        )
        | {"round_trip": trips[index]}
        for index, each in enumerate(carried)
    ]


def _distributions(
    translated: Translated, predictions: Sequence[Prediction], carried: Sequence[Carried], parts: Parts, side: Direction
) -> list[dict[str, Any] | None]:
    """Return, an example, the predictor's probabilities on the words of the original: what an ensemble averages.

    None where the predictor has none.
    """
    field = parts.task.spans_in
    known = [index for index, prediction in enumerate(predictions) if prediction.distribution is not None]
    found: list[dict[str, Any] | None] = [None for _ in predictions]
    if field is not None and known:
        words = tokenize([translated.examples[index].fields[field] for index in known], side.source)
        for index, text in zip(known, words, strict=True):
            distribution = predictions[index].distribution
            assert distribution is not None
            tokens = [(start, end) for start, end in text.tokens]
            found[index] = distribution_data(project_by_spans(distribution, carried[index].projections, tokens))
    return found


def _round_trips(translated: Translated, parts: Parts, direction: Direction) -> list[list[list[Any]] | None]:
    """Return, an example, where its gold spans stand in the translation, and where each comes back to in the original.

    None for all where the causes of missed spans are not asked for.
    """
    field = parts.task.spans_in
    if field is None or not parts.causes:
        return [None for _ in translated.examples]
    texts = []
    for index, example in enumerate(translated.examples):
        translation = translated.translations[index, field]
        own = example.tokens.get(field)
        tokens = None if own is None else tuple(Token(*each) for each in own)
        texts.append(TranslatedText(translation.source, translation.text, example.spans, translation.segments, tokens))
    trips = gold_forth_and_back(texts, parts.projector, source=direction.source, target=direction.target)
    return [[[_as_data(span) for span in side] for side in trip] for trip in trips]


def _as_data(span: Span | None) -> list[Any] | None:
    return None if span is None else [span.start, span.end, span.label, span.field]


def ask_for_predictions(config: AnyConfig, folder: BuildFolder, examples: Sequence[Example]) -> BuildError:
    """Write the texts that wait for predictions, each once, and return the error that says what to do."""
    task = get_task(config.task)
    rows = {key: {"id": key, **task.text_columns(each.fields)} for each in examples if (key := text_key(each))}
    write_records(folder.to_predict, rows.values())
    what = " and ".join([*task.span_roles[:1], *task.labels])
    answers = config.predictor.settings.get("path") if not isinstance(config, BuildConfig) else None
    return BuildError(
        f"{len(rows):,} texts wait for predictions: they are in {folder.to_predict}. Add {what} to each row, write the "
        f"rows to {answers}, and run the same command again"
    )


def in_pivot(translated: Translated) -> list[Example]:
    """Return the translated texts as examples for a predictor: no labels, and nothing of the original's."""
    return [
        Example(example.id, {field: translated.translations[index, field].text for field in example.fields})
        for index, example in enumerate(translated.examples)
    ]


def inverted(translation: Translation) -> Translation:
    """Return the translation as one of its target into its source: the way that predictions go.

    >>> inverted(Translation("Köln.", "Cologne.", (Segment(0, 5, 0, 8),))).segments
    (Segment(source_start=0, source_end=8, target_start=0, target_end=5),)
    """
    segments = tuple(
        Segment(each.target_start, each.target_end, each.source_start, each.source_end) for each in translation.segments
    )
    return Translation(translation.text, translation.source, segments, translation.score, translation.flags)


def _outcome(
    carried: Outcome, original: Example, prediction: Prediction, distribution: dict[str, Any] | None
) -> Outcome:
    """Add to what became of the predictions the original row and the predictor's own scores."""
    flags = list(carried["flags"])
    if any(text.strip() and not carried["source"][field].strip() for field, text in original.fields.items()):
        flags = sorted({*flags, LOST_TRANSLATION})
    scores = {column: rounded(prediction.label_scores.get(column)) for column in prediction.labels}
    return carried | {
        "flags": flags,
        "original": pack(original),
        "prediction": {
            "scores": [rounded(score) for score in prediction.scores],
            "label_scores": scores,
            "label_distributions": {
                column: {label: rounded(chance) for label, chance in chances.items()}
                for column, chances in prediction.label_distributions.items()
            },
            "distribution": distribution,
        },
    }
