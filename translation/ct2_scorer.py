"""The CTranslate2 engine for exact searches: a `PrefixScorer` that scores every beginning from its first token.

CTranslate2's `score_batch` keeps no states between calls and tells the probability of the given tokens alone, so that
each question about another token costs a row of its own. What it saves is in its kernels, and in int8; which engine is
faster depends on the model and the machine (`benchmarks/constrained.py --ctranslate2 float32,int8`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spanferry.data.errors import ModelError
from spanferry.translation.ct2 import CTranslate2Translator
from spanferry.translation.prefix_scorer import Opened, Outcome, Step

_Row = tuple[int, tuple[int, ...]]
"""Identity of the source, and the tokens of a target with its start token."""

_ROOM = 8  # tokens by which a marked text may be longer than what `max_tokens` lets through


class CTranslate2PrefixScorer:
    """Scores beginnings of translations with a converted model.

    Args:
        translator: the model.

    Attributes:
        precision: what the model's weights were converted to, ``"int8"`` for one.
    """

    def __init__(self, translator: CTranslate2Translator) -> None:
        self.translator = translator
        self.fingerprint = translator.fingerprint
        self.precision = translator.model.quantization
        self.open_tokens = 4096
        self.max_tokens = translator.max_tokens - _ROOM
        tokenizer = translator.tokenizer
        self._tokens = tokenizer.subwords.vocabulary
        self._ids = {token: number for number, token in enumerate(self._tokens)}
        self._unknown = self._ids[tokenizer.unk]
        self.unknown: int | None = self._unknown
        self.end = self._ids[tokenizer.eos]

    def encode_source(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return the token ids of each text as a source, special tokens excluded."""
        return [self._numbers(tokens) for tokens in self.translator.tokenizer.subwords.encode(texts)]

    def encode_target(self, texts: Sequence[str], language: str) -> list[list[int]]:
        """Return the token ids of each text as a translation, special tokens excluded."""
        return [self._numbers(tokens) for tokens in self.translator.tokenizer.subwords.encode_target(texts)]

    def _numbers(self, tokens: Iterable[str]) -> list[int]:
        return [self._ids.get(token, self._unknown) for token in tokens]

    def open(self, sources: Sequence[str], *, source: str, target: str) -> list[Opened]:
        """Split the source sentences into tokens; see `PrefixScorer.open`.

        Raises:
            LanguageError: the model does not speak ``source`` or ``target``.
            ModelError: a sentence is longer than the model takes.
        """
        tokenizer = self.translator.tokenizer
        source, target = tokenizer.check_pair(source, target, model=self.translator.model.model)
        prefix = tokenizer.target_prefix(target)
        around = sum(map(len, tokenizer.around_source(source, target)))
        opened = []
        for text, tokens in zip(sources, tokenizer.encode_source(sources, source, target), strict=True):
            if len(tokens) - around > self.max_tokens + _ROOM:
                raise ModelError(
                    f"a source of {len(tokens) - around} tokens, more than the {self.max_tokens} that the model takes: "
                    f"{text[:60]!r}... Split it into sentences first"
                )
            # CTranslate2 puts the start token itself.
            prompt = (self._ids[tokenizer.start], *self._numbers(prefix))
            opened.append(Opened((tokens, len(prefix), ()), prompt))
        return opened

    def run(self, steps: Sequence[Step]) -> list[Outcome]:
        """Take all the steps; see `PrefixScorer.run`. Equal rows are scored once."""
        rows: dict[_Row, int] = {}
        places: list[list[tuple[int, int]]] = []
        states = []
        for step in steps:
            source, given, known = step.state
            fed = (*known[: step.length], *step.feed)
            longest = self._longest_row(fed, step)
            answered_by = []
            for offset, token in step.ask:
                position = step.length + offset + 1
                row = longest
                if not _covers(longest, position, token, self.end):
                    row = fed[:position] if token == self.end else (*fed[:position], token)
                answered_by.append((rows.setdefault((id(source), row), len(rows)), position - 1 - given))
            places.append(answered_by)
            states.append((source, given, fed))
        scores = self._score(steps, rows)
        return [
            Outcome([min(0.0, scores[row][index]) for row, index in answered_by], state)
            for answered_by, state in zip(places, states, strict=True)
        ]

    def _longest_row(self, fed: tuple[int, ...], step: Step) -> tuple[int, ...]:
        """What was fed, and the next token if one was asked about: it answers most questions at once."""
        last = [token for offset, token in step.ask if offset == len(step.feed) - 1]
        return fed if not last or self.end in last else (*fed, last[0])

    def _score(self, steps: Sequence[Step], rows: dict[_Row, int]) -> list[list[float]]:
        sources = {id(step.state[0]): step.state for step in steps}
        scores: list[list[float]] = [[] for _ in rows]
        for given in {state[1] for state in sources.values()}:
            these = [(number, key) for key, number in rows.items() if sources[key[0]][1] == given]
            scored = self.translator.score_tokens(
                [sources[source][0] for _, (source, _) in these],
                [[self._tokens[token] for token in row[1:]] for _, (_, row) in these],
                skip=given,
            )
            for (number, _), found in zip(these, scored, strict=True):
                scores[number] = found
        return scores

    def close(self, opened: Opened) -> None:
        """Do nothing: a state is only the tokens that were fed."""


def _covers(row: tuple[int, ...], position: int, token: int, end: int) -> bool:
    """Tell whether scoring ``row`` and the end token after it answers for ``token`` at ``position``."""
    return row[position] == token if position < len(row) else (position == len(row) and token == end)
