"""Text to subword ids and back, with the model's own tokenizer files, without importing transformers.

Two kinds of files exist. `tokenizer.json` runs in the Rust `tokenizers` library; a SentencePiece model runs in
`sentencepiece`, with ids of its own or from a `vocab.json`. Both encode whole batches on all cores. Special tokens are
never read out of the text: a `</s>` that a user wrote is text, or unknown, but ends nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from spanferry.data.errors import ModelError

PlacedTokens = tuple[list[str], list[tuple[int, int]]]
"""Tokens of a text, and where each stands in it: ``text[start:end]``, a leading space included or not."""

UNKNOWN = "<unk>"


class Subwords(Protocol):
    """A vocabulary, and the two ways through it."""

    vocabulary: list[str]
    """Token of each id."""

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of each text, without special tokens around them."""
        ...

    def encode_target(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the tokens of texts of the target side, which OPUS-MT cuts by another model."""
        ...

    def encode_with_offsets(self, texts: Sequence[str], *, target: bool = False) -> list[PlacedTokens]:
        """Return the tokens of `encode` (or `encode_target`) and the characters that each stands for."""
        ...

    def decode(self, tokens: Sequence[Sequence[str]]) -> list[str]:
        """Return the text of each token sequence; special tokens are left out."""
        ...


class FastSubwords:
    """Subwords of a `tokenizer.json`.

    Raises:
        ModelError: the file is something else.
    """

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Any = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            reason = " ".join(str(error).split())
            raise ModelError(f"{file}: found no tokenizer in it ({reason}), expected a tokenizer.json") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._tokenizer.encode_special_tokens = True
        self._ids: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocabulary = by_id(self._ids)
        added = self._tokenizer.get_added_tokens_decoder()
        self._special = {number for number, token in added.items() if token.special and token.content != UNKNOWN}

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._tokens(encoding.ids) for encoding in encodings]

    def _tokens(self, ids: list[int]) -> list[str]:
        token = self.vocabulary
        if self._special.isdisjoint(ids):
            return [token[number] for number in ids]
        # A Unigram vocabulary has the special tokens among its pieces and finds them in a text.
        return [UNKNOWN if number in self._special else token[number] for number in ids]

    encode_target = encode

    def encode_with_offsets(self, texts: Sequence[str], *, target: bool = False) -> list[PlacedTokens]:
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [(self._tokens(encoding.ids), encoding.offsets) for encoding in encodings]

    def decode(self, tokens: Sequence[Sequence[str]]) -> list[str]:
        ids = self._ids
        known = [[ids[token] for token in sequence if token in ids] for sequence in tokens]
        texts: list[str] = self._tokenizer.decode_batch(known, skip_special_tokens=True)
        return [text.strip() for text in texts]


class SentencePieceSubwords:
    """Subwords of one or two SentencePiece models.

    Args:
        source: model for encoding.
        target: model for decoding, where it is another one (OPUS-MT).
        ids: id of each token, where SentencePiece's own ids are not the model's. A piece that is not in it is `unk`.
        special: tokens that :meth:`decode` leaves out.
    """

    def __init__(
        self,
        source: Path,
        *,
        ids: Callable[[list[str]], Mapping[str, int]],
        target: Path | None = None,
        special: Callable[[str], bool],
    ) -> None:
        from sentencepiece import SentencePieceProcessor

        self._source = SentencePieceProcessor(model_file=str(source))
        self._target = self._source if target is None else SentencePieceProcessor(model_file=str(target))
        pieces = self._source.id_to_piece(list(range(self._source.get_piece_size())))
        self.vocabulary = by_id(ids(pieces))
        self._known = {token: token for token in self.vocabulary}
        self._special = {token for token in self.vocabulary if special(token)}

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        # By the piece's text: what one SentencePiece model does not know, the common vocabulary may (OPUS-MT). The
        # string that is kept is the vocabulary's, so that a million tokens are not a million strings.
        return self._encode(self._source, texts)

    def encode_target(self, texts: Sequence[str]) -> list[list[str]]:
        return self._encode(self._target, texts)

    def encode_with_offsets(self, texts: Sequence[str], *, target: bool = False) -> list[PlacedTokens]:
        known = self._known
        encoded = (self._target if target else self._source).encode(list(texts), return_type="offset_mapping")
        return [([known.get(piece, UNKNOWN) for piece in text["pieces"]], text["offsets"]) for text in encoded]

    def _encode(self, model: Any, texts: Sequence[str]) -> list[list[str]]:
        known = self._known
        return [[known.get(piece, UNKNOWN) for piece in pieces] for pieces in model.encode(list(texts), out_type=str)]

    def decode(self, tokens: Sequence[Sequence[str]]) -> list[str]:
        special = self._special
        plain = [[token for token in sequence if token not in special] for sequence in tokens]
        # An empty list would make sentencepiece guess the type of the whole batch from it.
        texts = iter(self._target.decode([sequence for sequence in plain if sequence]) if any(plain) else [])
        return [next(texts).replace("▁", " ").strip() if sequence else "" for sequence in plain]


def by_id(ids: Mapping[str, int]) -> list[str]:
    """Return the tokens in id order; an id that no token has gets a made-up word, as in fairseq.

    >>> by_id({"a": 0, "c": 2})
    ['a', 'madeupword1', 'c']
    """
    tokens = [f"madeupword{number}" for number in range(max(ids.values()) + 1)]
    for token, number in ids.items():
        tokens[number] = token
    return tokens


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is not there, or is not a JSON object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected a JSON object, found {type(content).__name__}")
    return content
