"""Spans carried by word alignment: the links of a span's words say where its place is.

Three forms, by the setting ``form``:

``"learned"`` (default where the aligner says more than its links)
    The ranges about the linked words are judged by a small network that learned from translators who carried marks over
    (`spanferry.projection.range_model`): how sure the aligner's witnesses are of the words inside, of those at either
    end, and of those just outside. The score of a projection is the probability of its range among all of them.

``"candidates"`` (default for aligners that give links alone)
    Every target range that begins and ends at a linked word is a candidate for the span. A range is right in so far as
    the links of the span's words lead into it, and the links of its own words lead into the span; so its score is
    the F1 of the links ::

        score = 2 * inside / (from_span + from_range + gap_cost * unaligned)

    with ``inside`` the summed link scores between span and range, ``from_span`` and ``from_range`` those of all links
    that leave either, and ``unaligned`` the words of the range without links (they cost little, so that an article or
    a preposition inside a span does not split it); a word with a weak link is unaligned for the rest, so that a chance
    link does not stretch a span. The related score of the Cross-Lingual-NER project's candidate matching (NoDaLiDa
    2025), 2 * links / (words of span + words of range), punishes unaligned words as hard as wrong ones.

``"min-max"``
    The span's linked target words, joined over gaps of at most ``max_gap`` words; the run with the largest share of
    the span's links is its place (Garcia-Ferrero et al. 2022, with runs joined correctly).

The score of a projection in the last two forms is that of its range times the share of the span's words that it
renders, each counted by its strongest link: a range that holds all links of a span can still be wrong when they are
few or weak. (Area under the curve of right against wrong, with the factor and without: opinion targets en-es .80 and
.68 with awesome-align, .66 and .62 with SimAlign; Europarl entities with eflomal de .82 and .76, es .78 and .77, it .76
and .74.)

In all forms, spans that stood apart in the source stay apart: the choice that is best as a whole wins, whatever the
order in the target (`spanferry.projection.selection`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from spanferry.alignment.base import Aligner, Link, Token, TokenizedText
from spanferry.alignment.tokens import tokenize
from spanferry.data.errors import ConfigError
from spanferry.data.example import Span
from spanferry.projection.base import Projection, Reason, TranslatedText
from spanferry.projection.learned_ranges import Stretch, learned_candidates
from spanferry.projection.links import trusted_links
from spanferry.projection.range_model import load_range_model
from spanferry.projection.ranges import link_candidates, run_candidates
from spanferry.projection.selection import Candidate, select
from spanferry.projection.snap import trim_punctuation
from spanferry.translation.base import Segment

Form = Literal["auto", "learned", "candidates", "min-max"]
Snap = Literal["auto", "token", "character"]
TokenLink = tuple[Token, Token]
"""A token of the source, and one of the target that is linked with it."""


@dataclass(frozen=True, slots=True)
class AlignmentSettings:
    """How links become places.

    Attributes:
        form: ``"learned"``, ``"candidates"`` or ``"min-max"``, see the module; ``"auto"``: ``"learned"`` for alignments
            with witnesses, ``"candidates"`` for those without.
        gap_cost: candidates only: what an unaligned word inside a range weighs, in links, >= 0.
        max_gap: min-max only: the longest gap in words that joins two runs, >= 0.
        identical: link names, numbers and borrowed words that read the same on both sides, whatever the aligner says.
        snap: ``"token"``: a target span is whole tokens. ``"character"``: punctuation around it is left out, unless
            the source span has it too. ``"auto"``: ``"token"`` where the data brings its own target tokens (labels then
            stand on whole tokens, glued punctuation included), else ``"character"``.
        min_score: a span whose best place scores less has none, reason ``low_score``; 0..1.
        ranges: learned only: the network, ``"bundled"`` or a file of `spanferry models train-ranges`.

    Raises:
        ConfigError: a value is out of range.
    """

    form: Form = "auto"
    gap_cost: float = 0.1
    max_gap: int = 2
    identical: bool = True
    snap: Snap = "auto"
    min_score: float = 0.0
    ranges: str | Path = "bundled"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("form", self.form, get_args(Form)),
            ("snap", self.snap, get_args(Snap)),
        ):
            if value not in allowed:
                raise ConfigError(f"projection setting {name} is {value!r}, expected one of {', '.join(allowed)}")
        if self.gap_cost < 0 or self.max_gap < 0 or not 0 <= self.min_score <= 1:
            raise ConfigError(
                f"projection settings gap_cost={self.gap_cost}, max_gap={self.max_gap}, min_score={self.min_score}: "
                "expected gap_cost >= 0, max_gap >= 0 and 0 <= min_score <= 1"
            )


class AlignmentProjector:
    """Carries spans along the links of an aligner.

    Args:
        aligner: where the links come from.
        form, gap_cost, max_gap, identical, snap, min_score, ranges: see `AlignmentSettings`.

    Raises:
        ConfigError: a setting is out of range.
        ModelError: the network cannot be read.

    >>> from spanferry.alignment.base import WordAlignment
    >>> class Reversed:
    ...     fingerprint = "reversed"
    ...     def align(self, pairs, *, source, target):
    ...         return [WordAlignment(tuple(Link(i, len(t.tokens) - 1 - i) for i in range(len(s.tokens))))
    ...                 for s, t in pairs]
    >>> text = TranslatedText("big red house", "casa roja grande", (Span(0, 7, "LOOK"), Span(8, 13, "THING")))
    >>> [projections] = AlignmentProjector(Reversed()).project([text], source="eng_Latn", target="spa_Latn")
    >>> [text.target[p.target.start : p.target.end] for p in projections]
    ['roja grande', 'casa']
    """

    def __init__(
        self,
        aligner: Aligner,
        *,
        form: Form = "auto",
        gap_cost: float = 0.1,
        max_gap: int = 2,
        identical: bool = True,
        snap: Snap = "auto",
        min_score: float = 0.0,
        ranges: str | Path = "bundled",
    ) -> None:
        self.aligner = aligner
        self.settings = AlignmentSettings(form, gap_cost, max_gap, identical, snap, min_score, ranges)
        self._ranges = load_range_model(ranges).fingerprint if form in ("auto", "learned") else ""

    @property
    def fingerprint(self) -> str:
        """Identity of everything that can change the projections: the settings and the aligner's own fingerprint.

        Which tokens a text without its own is cut into depends on its language besides, and is named by
        `spanferry.alignment.tokens.tokenizer_name`.
        """
        used = self.settings
        form = f"max_gap={used.max_gap}" if used.form == "min-max" else f"gap_cost={used.gap_cost}"
        if self._ranges:
            form += f",ranges={self._ranges}"
        return (
            f"alignment/3(form={used.form},{form},identical={used.identical},snap={used.snap},"
            f"min_score={used.min_score},aligner={self.aligner.fingerprint})"
        )

    def project(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[Projection, ...]]:
        """Return, a text, exactly one `Projection` a span, in the order of ``text.spans``.

        Only segments that hold a span are aligned, all of them in one call.
        """
        work = [text for text in texts if text.spans]
        aligned = self._aligned(work, source, target)
        done = (project_links(text, *row, settings=self.settings) for text, row in zip(work, aligned, strict=True))
        return [next(done) if text.spans else () for text in texts]

    def links(self, texts: Sequence[TranslatedText], *, source: str, target: str) -> list[tuple[TokenLink, ...]]:
        """Return, a text, the tokens that are linked, in order: the links that `project` carries its spans along.

        A text without spans has none, nor has a segment without: they are not aligned.

        >>> from spanferry.alignment.fake import FakeAligner
        >>> projector = AlignmentProjector(FakeAligner({"wine": "vin"}))
        >>> text = TranslatedText("Ana has wine", "Ana a du vin", (Span(8, 12, "DRINK"),))
        >>> projector.links([text], source="eng_Latn", target="fra_Latn")
        [((Token(start=0, end=3), Token(start=0, end=3)), (Token(start=8, end=12), Token(start=9, end=12)))]
        """
        work = [text for text in texts if text.spans]
        found = []
        for text, (here, there, links, _) in zip(work, self._aligned(work, source, target), strict=True):
            trusted = trusted_links(
                _words(text.source, here), _words(text.target, there), links, identical=self.settings.identical
            )
            found.append(tuple(sorted((here[i], there[j]) for i, j, _ in trusted)))
        done = iter(found)
        return [next(done) if text.spans else () for text in texts]

    def _aligned(
        self, texts: Sequence[TranslatedText], source: str, target: str
    ) -> list[tuple[tuple[Token, ...], tuple[Token, ...], list[Link], list[Stretch]]]:
        """Return, a text with spans, the tokens of both sides, the links between them, and what was aligned alone."""
        source_tokens = _tokens([text.source for text in texts], [text.source_tokens for text in texts], source)
        target_tokens = _tokens([text.target for text in texts], [text.target_tokens for text in texts], target)
        pieces = [_pieces(*row) for row in zip(texts, source_tokens, target_tokens, strict=True)]
        pairs = [(piece.source, piece.target) for row in pieces for piece in row]
        alignments = iter(self.aligner.align(pairs, source=source, target=target) if pairs else ())
        aligned = []
        for here, there, row in zip(source_tokens, target_tokens, pieces, strict=True):
            links: list[Link] = []
            stretches: list[Stretch] = []
            for piece in row:
                found, (top, left) = next(alignments), (piece.source_offset, piece.target_offset)
                links += [Link(i + top, j + left, score) for i, j, score in found.links]
                rows, columns = (top, top + len(piece.source.tokens)), (left, left + len(piece.target.tokens))
                stretches.append(Stretch(rows, columns, found.witnesses))
            aligned.append((here, there, links, stretches))
        return aligned


def min_max_projector(
    aligner: Aligner, *, max_gap: int = 2, identical: bool = True, snap: Snap = "auto", min_score: float = 0.0
) -> AlignmentProjector:
    """Make an `AlignmentProjector` of the min-max form."""
    return AlignmentProjector(
        aligner, form="min-max", max_gap=max_gap, identical=identical, snap=snap, min_score=min_score
    )


def project_links(
    text: TranslatedText,
    source_tokens: Sequence[Token],
    target_tokens: Sequence[Token],
    links: Iterable[Link],
    stretches: Sequence[Stretch] = (),
    *,
    settings: AlignmentSettings = AlignmentSettings(),
) -> tuple[Projection, ...]:
    """Project the spans of one text along given links between its tokens: the pure heart of `AlignmentProjector`.

    Args:
        text: its spans are carried.
        source_tokens, target_tokens: of the whole text.
        links: between them, by number.
        stretches: what was aligned by itself, with its witnesses; empty means the whole text, by links alone.
        settings: how.

    >>> text = TranslatedText("the red house", "la casa roja", (Span(4, 13, "THING"),))
    >>> words = [Token(0, 3), Token(4, 7), Token(8, 13)], [Token(0, 2), Token(3, 7), Token(8, 12)]
    >>> [projection] = project_links(text, *words, [Link(0, 0), Link(1, 2), Link(2, 1)])
    >>> text.target[projection.target.start : projection.target.end], projection.score
    ('casa roja', 1.0)
    """
    source_words, target_words = _words(text.source, source_tokens), _words(text.target, target_tokens)
    trusted = trusted_links(source_words, target_words, links, identical=settings.identical)
    ranges = [_token_range(span, source_tokens) for span in text.spans]
    form = settings.form
    if form == "auto":
        form = "learned" if any(each.witnesses for each in stretches) else "candidates"
    if form == "learned":
        whole = stretches or (Stretch((0, len(source_words)), (0, len(target_words))),)
        candidates = learned_candidates(
            ranges,
            trusted,
            source_words,
            target_words,
            whole,
            model=load_range_model(settings.ranges),
            identical=settings.identical,
        )
    elif form == "candidates":
        candidates = link_candidates(ranges, trusted, len(source_words), len(target_words), settings.gap_cost)
    else:
        candidates = run_candidates(ranges, trusted, len(source_words), len(target_words), settings.max_gap)
    chosen, exact = select([(span.start, span.end) for span in text.spans], candidates)
    whole_tokens = settings.snap == "token" or (settings.snap == "auto" and text.target_tokens is not None)
    method = "min-max" if form == "min-max" else "alignment"  # its name in the table
    remark = "" if exact else "search cut off: a better set of places may exist"
    projections = []
    for span, words, options, place in zip(text.spans, ranges, candidates, chosen, strict=True):
        if place is None:
            projections.append(Projection(span, None, method, reason=_why(span, options, text)))
            continue
        strength, here, there = _coverage(words, place, trusted)
        score = min(1.0, round(place.score if form == "learned" else place.score * strength, 6))
        if score < settings.min_score:
            detail = f"best place scores {score:.3f}, threshold {settings.min_score}"
            projections.append(Projection(span, None, method, score, Reason.LOW_SCORE, detail, here, there))
            continue
        start, end = target_tokens[place.start].start, target_tokens[place.end - 1].end
        if not whole_tokens:
            start, end = trim_punctuation(text.target, start, end, like=text.source[span.start : span.end])
        goal = Span(start, end, span.label, span.field)
        projections.append(Projection(span, goal, method, score, None, remark, here, there))
    return tuple(projections)


def _words(text: str, tokens: Iterable[Token]) -> list[str]:
    return [text[start:end] for start, end in tokens]


def _coverage(words: tuple[int, int], place: Candidate, links: Iterable[Link]) -> tuple[float, float, float]:
    """Return three shares, 0..1: of the span's words that are linked into its place, counting each by its strongest
    link; the same counting every word once; and of the place's words that are linked into the span."""
    (first, last), start, end = words, place.start, place.end
    strongest: dict[int, float] = {}
    reached = set()
    for i, j, score in links:
        if first <= i < last and start <= j < end:
            reached.add(j)
            if score > strongest.get(i, 0.0):
                strongest[i] = score
    length = last - first
    return sum(strongest.values()) / length, len(strongest) / length, len(reached) / (end - start)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One stretch to align, and the numbers of its first tokens in the whole text."""

    source: TokenizedText
    target: TokenizedText
    source_offset: int
    target_offset: int


def _pieces(text: TranslatedText, source: Sequence[Token], target: Sequence[Token]) -> list[_Piece]:
    """Cut a text into its segments, without those that hold no span."""
    if not text.segments:
        return [_Piece(TokenizedText(text.source, tuple(source)), TokenizedText(text.target, tuple(target)), 0, 0)]
    pieces = []
    for segment in text.segments:
        if any(_in_segment(span, segment) for span in text.spans):
            here, first_here = _cut(text.source, source, segment.source_start, segment.source_end)
            there, first_there = _cut(text.target, target, segment.target_start, segment.target_end)
            pieces.append(_Piece(here, there, first_here, first_there))
    return pieces


def _in_segment(span: Span, segment: Segment) -> bool:
    return span.start < segment.source_end and segment.source_start < span.end


def _cut(text: str, tokens: Sequence[Token], start: int, end: int) -> tuple[TokenizedText, int]:
    """Return ``text[start:end]`` with the tokens that begin in it, and the number of the first of them."""
    first = bisect_left(tokens, start, key=_start)
    last = bisect_left(tokens, end, key=_start)
    # A token that the data brings may run over the end of a sentence ("end.Start"); its first part stands for it.
    inside = tuple(Token(token.start - start, min(token.end, end) - start) for token in tokens[first:last])
    return TokenizedText(text[start:end], inside), first


def _start(token: Token) -> int:
    return token.start


def _tokens(texts: Sequence[str], given: Sequence[tuple[Token, ...] | None], language: str) -> list[tuple[Token, ...]]:
    """Take the tokens that the data brings; split the other texts, each different one once."""
    missing = list(dict.fromkeys(text for text, tokens in zip(texts, given, strict=True) if tokens is None))
    made = {text.text: text.tokens for text in tokenize(missing, language)} if missing else {}
    return [made[text] if tokens is None else tokens for text, tokens in zip(texts, given, strict=True)]


def _token_range(span: Span, tokens: Sequence[Token]) -> tuple[int, int]:
    """Return the half-open range of the tokens that share a character with the span."""
    first = 0
    while first < len(tokens) and tokens[first][1] <= span.start:
        first += 1
    last = first
    while last < len(tokens) and tokens[last][0] < span.end:
        last += 1
    return first, last


def _why(span: Span, options: Sequence[Candidate], text: TranslatedText) -> Reason:
    if options:
        return Reason.OVERLAP
    if text.segments and not any(_in_segment(span, segment) for segment in text.segments):
        return Reason.TRUNCATED
    return Reason.UNALIGNED
