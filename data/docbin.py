"""Examples as spaCy's DocBin files, as `spacy train` reads them. spaCy is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from spanferry.data.example import Example
from spanferry.data.writing import Tokenize, replacing

_A_FILE: Final = 10_000
_SPANS_KEY: Final = "sc"  # where spaCy's own components look for overlapping spans

Range = tuple[int, int]


def write_docbins(
    examples: Iterable[Example], stem: Path, field: str, tokenize: Tokenize, *, docs: int = _A_FILE
) -> dict[Path, int]:
    """Write examples as files of so many documents each, streamed; return the files and the documents in each.

    A document's text is that of the example, to the character. ``doc.ents`` has the spans, of those that overlap the
    longest; ``doc.spans["sc"]`` has all. Both are of whole tokens: an end within a token goes to the token's end. The
    id and the exact offsets are in ``doc.user_data`` as ``"id"`` and ``"spans"``.

    Args:
        examples: what to write.
        stem: path of the files, without ``-00000.spacy``.
        field: the text that the spans are in.
        tokenize: texts -> (start, end) of the tokens of each, for examples that bring none.
        docs: the most documents in a file; a file is in memory while it is made.
    """
    from spacy.tokens import DocBin
    from spacy.vocab import Vocab

    vocab, rest = Vocab(), iter(examples)
    written: dict[Path, int] = {}
    while (chunk := list(islice(rest, docs))) or not written:
        made = tokenize([example.fields[field] for example in chunk])
        texts = zip(chunk, made, strict=True)
        documents = [_document(vocab, each, each.tokens.get(field, tokens), field) for each, tokens in texts]
        path = stem.with_name(f"{stem.name}-{len(written):05d}.spacy")
        with replacing(path) as temporary:
            temporary.write_bytes(DocBin(docs=documents, store_user_data=True).to_bytes())
        written[path] = len(documents)
    return written


def _document(vocab: Any, example: Example, tokens: Sequence[Range], field: str) -> Any:
    from spacy.tokens import Doc
    from spacy.util import filter_spans

    words, spaces = words_and_spaces(example.fields[field], tokens)
    document = Doc(vocab, words=words, spaces=spaces)
    own = [span for span in example.spans if span.field == field]
    found = (document.char_span(span.start, span.end, span.label, alignment_mode="expand") for span in own)
    spans = [span for span in found if span is not None]  # expanded, each has a place
    document.spans[_SPANS_KEY] = spans
    document.ents = filter_spans(spans)
    document.user_data["id"] = example.id
    document.user_data["spans"] = [[span.start, span.end, span.label] for span in own]
    return document


def words_and_spaces(text: str, tokens: Sequence[Range]) -> tuple[list[str], list[bool]]:
    r"""Return words, and whether a blank follows each, that make up a text exactly, as spaCy has them.

    White space beyond one blank is words of its own.

    >>> words_and_spaces("Zoë\n lives  here.", [(0, 3), (5, 10), (12, 16), (16, 17)])
    (['Zoë', '\n ', 'lives', ' ', 'here', '.'], [False, False, True, False, False, False])
    """
    words: list[str] = []
    spaces: list[bool] = []
    for word in _pieces(text, tokens):
        blank = word.startswith(" ") and bool(words) and not words[-1].isspace()
        if blank:
            spaces[-1] = True
        if rest := word[1:] if blank else word:
            words.append(rest)
            spaces.append(False)
    return words, spaces


def _pieces(text: str, tokens: Sequence[Range]) -> Iterator[str]:
    """Yield the tokens and what lies between them."""
    end = 0
    for start, stop in [*tokens, (len(text), len(text))]:
        if end < start:
            yield text[end:start]
        if start < stop:
            yield text[start:stop]
        end = stop
