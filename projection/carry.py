"""Examples across a translation: the one road from a source example to a target example, or to a record of its loss.

For every example: its fields are replaced by their translations, its spans by their projections, its labels and
other columns are kept as they are. Nothing is lost silently: a `Carried` holds one `Projection` a source span, every
filter's verdict, and, when there is no target example, the reasons why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from spanferry.alignment.base import Token
from spanferry.alignment.tokens import tokenize
from spanferry.data.errors import ConfigError, DataError, did_you_mean
from spanferry.data.example import Example
from spanferry.projection.base import Projection, Projector, TranslatedText
from spanferry.projection.filters import Filter, Verdict, judge
from spanferry.translation.base import Translation

OnLost = Literal["drop_example", "keep"]
Tokens = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """What became of one example.

    Attributes:
        source: the example as it was.
        target: the example in the target language, its spans in order of their place; None when it was dropped.
        projections: one a source span, in the order of ``source.spans``.
        verdicts: what the filters found wrong; ``span`` counts in ``source.spans``.
        flags: what a reader should know, sorted: the translations' flags and the names of filters that failed.
        reasons: why there is no target, sorted; empty exactly when there is one. ``"empty"``, a projection's reason
            (``"unaligned"``, ...), or ``"filter:"`` and its name.
    """

    source: Example
    target: Example | None
    projections: tuple[Projection, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    flags: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def lost(self) -> tuple[Projection, ...]:
        """The projections without a target."""
        return tuple(projection for projection in self.projections if projection.target is None)


def carry(
    examples: Sequence[Example],
    translations: Mapping[tuple[int, str], Translation],
    projector: Projector,
    *,
    source: str,
    target: str,
    filters: Sequence[Filter] = (),
    on_lost: OnLost = "drop_example",
    target_tokens: bool | None = None,
    given_tokens: Sequence[Mapping[str, Tokens]] | None = None,
    placed: Mapping[tuple[int, str], tuple[tuple[int, int] | None, ...]] | None = None,
) -> list[Carried]:
    """Carry each example across its translations; one `Carried` an example, in the same order.

    Args:
        examples: with their own tokens, if they have any: the projector then uses them.
        translations: (index of the example, field) -> its translation; every field of every example has one.
        projector: the method that carries the spans; it sees all texts with spans at once.
        source, target: FLORES-200 codes.
        filters: see `spanferry.projection.filters`.
        on_lost: an example that lost a span is dropped (default), or kept without that span. In training data an
            entity without its label teaches the model that it is none, so dropping is the safe choice and the custom
            of the field; ``"keep"`` suits data of which every row must stay, such as test sets and long documents.
        target_tokens: give target examples tokens of their own; None does so where the source example has tokens.
        given_tokens: an example, field -> (start, end) of each token of its target text, for target texts that bring
            their own (the user's data in translate-test): the projector then uses them, and target examples keep them.
        placed: (index of the example, field) -> where the marks of each of its spans came out, for texts that were
            translated with marks in them, see `TranslatedText.placed`.

    Whatever the settings, an example with a text whose translation is empty is dropped: there is nothing to keep.

    Raises:
        ConfigError: ``on_lost`` is unknown.
        DataError: a field has no translation, or its translation is of another text.

    >>> from spanferry.alignment.fake import FakeAligner
    >>> from spanferry.data.example import Span
    >>> from spanferry.projection.by_alignment import AlignmentProjector
    >>> example = Example("1", {"text": "Zoë lives in Cologne."}, (Span(0, 3, "PER"), Span(13, 20, "LOC")))
    >>> translations = {(0, "text"): Translation("Zoë lives in Cologne.", "Zoë wohnt in Köln.")}
    >>> projector = AlignmentProjector(FakeAligner({"cologne": "köln"}))
    >>> [carried] = carry([example], translations, projector, source="eng_Latn", target="deu_Latn")
    >>> [carried.target.text_of(span) for span in carried.target.spans]
    ['Zoë', 'Köln']
    """
    if on_lost not in get_args(OnLost):
        raise ConfigError(f"on_lost is {on_lost!r}: {did_you_mean(str(on_lost), get_args(OnLost))}")
    theirs = [{} for _ in examples] if given_tokens is None else given_tokens
    texts = [
        _translated_texts(index, example, translations, tokens)
        for index, (example, tokens) in enumerate(zip(examples, theirs, strict=True))
    ]
    for (index, name), places in (placed or {}).items():
        texts[index][name] = replace(texts[index][name], placed=places)
    projected = iter(projector.project([text for row in texts for text in row.values()], source=source, target=target))
    results = [
        _assemble(
            example,
            {name: (text, next(projected)) for name, text in row.items()},
            flags=[flag for name in row for flag in translations[index, name].flags],
            filters=filters,
            on_lost=on_lost,
            source=source,
            target=target,
        )
        for index, (example, row) in enumerate(zip(examples, texts, strict=True))
    ]
    results = [
        result if result.target is None or not tokens else replace(result, target=replace(result.target, tokens=tokens))
        for result, tokens in zip(results, theirs, strict=True)
    ]
    return _with_tokens(results, target_tokens, target)


def _translated_texts(
    index: int,
    example: Example,
    translations: Mapping[tuple[int, str], Translation],
    target_tokens: Mapping[str, Tokens],
) -> dict[str, TranslatedText]:
    """Return, a field, its text beside its translation, with the spans that point into it."""
    row = {}
    for name, text in example.fields.items():
        translation = translations.get((index, name))
        if translation is None or translation.source != text:
            found = "no translation" if translation is None else f"the translation of {translation.source[:60]!r}"
            raise DataError(f"example {example.id!r}: field {name!r} ({text[:60]!r}) has {found}")
        row[name] = TranslatedText(
            text,
            translation.text,
            tuple(span for span in example.spans if span.field == name),
            translation.segments,
            _as_tokens(example.tokens.get(name)),
            _as_tokens(target_tokens.get(name)),
        )
    return row


def _as_tokens(offsets: Tokens | None) -> tuple[Token, ...] | None:
    return None if offsets is None else tuple(Token(*each) for each in offsets)


def _assemble(
    example: Example,
    row: Mapping[str, tuple[TranslatedText, tuple[Projection, ...]]],
    *,
    flags: Iterable[str],
    filters: Sequence[Filter],
    on_lost: OnLost,
    source: str,
    target: str,
) -> Carried:
    """Judge the projections of one example and put its target together."""
    projections: list[Projection | None] = [None] * len(example.spans)
    verdicts: list[Verdict] = []
    reasons = set()
    for name, (text, found) in row.items():
        places = [index for index, span in enumerate(example.spans) if span.field == name]
        judged, failures = judge(text, found, filters, field=name, source=source, target=target)
        for index, projection in zip(places, judged, strict=True):
            projections[index] = projection
        verdicts += [
            failure if failure.span is None else replace(failure, span=places[failure.span]) for failure in failures
        ]
        if text.source.strip() and not text.target.strip():
            reasons.add("empty")
    reasons |= {f"filter:{verdict.filter}" for verdict in verdicts if verdict.on_fail == "drop_example"}
    everyone = tuple(projection for projection in projections if projection is not None)
    if on_lost == "drop_example":
        reasons |= {str(projection.reason) for projection in everyone if projection.target is None}
    all_flags = tuple(sorted({*flags, *(verdict.filter for verdict in verdicts)}))
    carried: Example | None = None
    if not reasons:
        fields = {name: text.target for name, (text, _) in row.items()}
        spans = sorted(projection.target for projection in everyone if projection.target is not None)
        carried = Example(example.id, fields, tuple(spans), example.labels, meta=example.meta)
    return Carried(example, carried, everyone, tuple(verdicts), all_flags, tuple(sorted(reasons)))


def _with_tokens(results: list[Carried], wanted: bool | None, language: str) -> list[Carried]:
    """Give target examples the tokens of their own language, all tokenised in one call."""
    chosen: dict[int, Example] = {}
    for index, result in enumerate(results):
        if result.target is not None and not result.target.tokens:
            if not (wanted or (wanted is None and result.source.tokens)):
                continue
            chosen[index] = result.target
    texts = [text for example in chosen.values() for text in example.fields.values()]
    made = iter(tokenize(texts, language) if texts else ())
    done = list(results)
    for index, example in chosen.items():
        tokens = {name: tuple((start, end) for start, end in next(made).tokens) for name in example.fields}
        done[index] = replace(results[index], target=replace(example, tokens=tokens))
    return done
