"""Where the spans and the tokens of a row are, in the columns that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spanferry.data.columns import as_offsets, as_spans, as_strings, as_tags
from spanferry.data.detokenize import detokenize, locate
from spanferry.data.example import Span
from spanferry.data.spans import tags_to_spans

if TYPE_CHECKING:
    from spanferry.data.tasks import Reading

Tokens = tuple[tuple[int, int], ...]


def read_tokens(row: Mapping[str, Any], roles: Mapping[str, str], text: str | None) -> tuple[str, Tokens | None]:
    """Return the text and where its tokens lie, the text made from the tokens where the row has none.

    >>> read_tokens({"words": ["Zoë", "lacht", "."]}, {"tokens": "words"}, None)
    ('Zoë lacht.', ((0, 3), (4, 9), (9, 10)))
    """
    if "tokens" not in roles or (text is not None and row[roles["tokens"]] is None):
        return text or "", None
    words = as_strings(row[roles["tokens"]], roles["tokens"])
    if text is None:
        return detokenize(words)
    if "token_starts" in roles:
        return text, as_offsets(row[roles["token_starts"]], roles["token_starts"], words, text)
    return text, locate(words, text)


def read_spans(
    row: Mapping[str, Any],
    roles: Mapping[str, str],
    text: str,
    tokens: Tokens | None,
    *,
    field: str,
    reading: Reading,
) -> tuple[Span, ...]:
    """Return the row's spans, from spans or else from tags."""
    if (column := roles.get("spans")) is not None:
        return as_spans(row[column], column, text, field, reading.names.get(f"{column}.label"))
    if (column := roles.get("tags")) is not None:
        tags = as_tags(row[column], column, reading.names.get(column))
        return tags_to_spans(tags, tokens or (), reading.scheme, repair=reading.repair, field=field)
    return ()
