"""A small tagger trained in a minute, from nothing: spaCy's entity recogniser on the examples at hand.

It is there to try the whole road of translate-test, and as a baseline; a strong model is one that was pretrained.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spanferry.data.errors import ConfigError, DataError
from spanferry.data.example import Example
from spanferry.data.spans import flatten
from spanferry.translation.languages import get_language

_BATCH = 8


def train_tagger(
    examples: Sequence[Example],
    folder: str | Path,
    *,
    language: str,
    field: str = "text",
    epochs: int = 12,
    seed: int = 1,
    report: Callable[[int, float], None] | None = None,
) -> Path:
    """Train a spaCy pipeline with an entity recogniser, and write it to a folder.

    Where spans nest or cross, the longest is learnt; ends within a word are moved outwards. The same examples, seed
    and machine give the same tagger.

    Args:
        examples: with spans in ``field``; at least one of them has some.
        folder: where it goes; a pipeline there is replaced.
        language: of the text, in any form that `get_language` knows.
        field: of the text.
        epochs: passes over the examples, at least 1.
        seed: of the weights and the order.
        report: called after each epoch with its number, from 1, and the loss.

    Returns:
        The folder, for the predictor ``spacy``.

    Raises:
        ConfigError: ``epochs`` is below 1, or spaCy has no such language.
        DataError: no example has spans.

    >>> import tempfile
    >>> from spanferry.data.example import Span
    >>> data = [Example("1", {"text": "Zoë laughs."}, (Span(0, 3, "PER"),))]
    >>> folder = train_tagger(data, Path(tempfile.mkdtemp()) / "tagger", language="en", epochs=1)
    >>> (folder / "ner").is_dir()
    True
    """
    import spacy

    if epochs < 1:
        raise ConfigError(f"epochs is {epochs}: expected 1 or more")
    if not any(span.field == field for example in examples for span in example.spans):
        raise DataError(f"none of {len(examples)} examples has a span in field {field!r}: nothing to learn from")
    code = get_language(language).bcp47.split("-")[0]
    try:
        pipeline = spacy.blank(code)
    except ImportError:
        raise ConfigError(
            f"spaCy has no language {code!r}; train with language 'xx', which is none in particular"
        ) from None
    with _seeded(seed):
        pipeline.add_pipe("ner")
        data = [_example(pipeline, example, field) for example in examples]
        optimizer = pipeline.initialize(lambda: data)
        order = random.Random(seed)
        for epoch in range(1, epochs + 1):
            order.shuffle(data)
            losses: dict[str, float] = {}
            for start in range(0, len(data), _BATCH):
                pipeline.update(data[start : start + _BATCH], sgd=optimizer, drop=0.3, losses=losses)
            if report is not None:
                report(epoch, losses["ner"])
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with pipeline.use_params(optimizer.averages):
        pipeline.to_disk(folder)
    return folder


def _example(pipeline: Any, example: Example, field: str) -> Any:
    """Return an example as spaCy learns from it."""
    from spacy.training import Example as TrainingExample
    from spacy.util import filter_spans

    text = example.fields[field]
    reference = pipeline.make_doc(text)
    spans, _ = flatten([span for span in example.spans if span.field == field])
    found = [reference.char_span(s.start, s.end, label=s.label, alignment_mode="expand") for s in spans]
    reference.ents = filter_spans([each for each in found if each is not None])
    return TrainingExample(pipeline.make_doc(text), reference)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that spaCy draws from, and give them back as they were."""
    import numpy as np
    from thinc.api import fix_random_seed

    before = random.getstate(), np.random.get_state()
    fix_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
