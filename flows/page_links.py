"""The links between words on a report page: made again, for the examples that it shows, as the build made them.

Shards hold no links. Written as briefly as can be (``0-0 1-2``), they would add 7 % to the shards of the entity samples
of this project, and 20 % as offsets of characters, for every row of every build; a page shows some hundred rows, and
the aligner ``joint`` links a hundred a second on one core of a CPU. What comes out is the same: the method is made from
the build's settings and must have the fingerprint that the build's report names, sentences are aligned where the
build cut them (2 % of the shards of long texts, nothing of texts of one sentence), by the tokens that the data brought.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spanferry.alignment.base import CORPUS_WISE, Token
from spanferry.data.errors import ConfigError, ModelError, SpanferryError
from spanferry.flows.build_outcomes import Row, languages_between, source_spans, task_of
from spanferry.flows.config import parse_config
from spanferry.flows.members import Build, shards_of
from spanferry.flows.outcomes import Outcome, unpack_segments
from spanferry.flows.parts import LINKED, load_linker
from spanferry.flows.shards import read_records
from spanferry.projection.base import TranslatedText
from spanferry.projection.by_alignment import AlignmentProjector, TokenLink
from spanferry.translation.languages import get_language

Key = tuple[str, str, str]
"""Language, split and id of an example."""
Chosen = Sequence[tuple[str, Row]]
"""Examples with their languages, BCP-47."""
_Tokens = Mapping[str, Sequence[Sequence[int]]]

_SHARDS: Final = 3
"""Shards of a split that are aligned again, whole, with an aligner that learns from all texts that it is given."""
NOT_ASKED: Final = "Links between words are left out of this page (--no-links)."


@dataclass(frozen=True)
class PageLinks:
    """Which words of a page's examples are linked.

    Attributes:
        said: a sentence for the page: whose links they are, or why there are none.
        found: example -> field -> its links; examples without any are not in it.
    """

    said: str
    found: Mapping[Key, Mapping[str, Sequence[TokenLink]]] = field(default_factory=dict)


def link_examples(build: Build, chosen: Chosen) -> PageLinks:
    """Link the words of some examples of a build as the build did; where that cannot be, say why.

    A page without links is still a page: that the aligner's model is gone does not stop a report.
    """
    try:
        linker = _linker(build)
        found = _link(build, chosen, linker)
    except SpanferryError as error:
        return PageLinks(f"No links between words are drawn: {str(error).rstrip('.')}.")
    name = linker.aligner.fingerprint.partition(":")[0]
    learned = f"; {name} learns from whole shards, and the first {_SHARDS} of a split were aligned again"
    return PageLinks(
        "Point at a word, or go to it with → and ←, to see the words that it is linked with (in sentences with spans, "
        f"by the aligner {name}, as when the build was made{learned if CORPUS_WISE in linker.fingerprint else ''}).",
        found,
    )


def _linker(build: Build) -> AlignmentProjector:
    """Return what carried the spans of a build along links.

    Raises:
        ConfigError: nothing did, or its links are not those of the build any more.
        ModelError: its model is gone.
    """
    if task_of(build).spans_in is None:
        raise ConfigError("the data has no spans, so that nothing was aligned")
    settings = build.report["settings"]
    linker = load_linker(parse_config({**settings, "output": str(build.folder.root)}))
    if linker is None:
        raise ConfigError(f"the method {settings['projection']['method']} carries spans without any")
    name = linker.aligner.fingerprint.partition(":")[0]
    chosen = settings["projection"]
    first: Mapping[str, Any] = next(iter(chosen["settings"].get("steps", ())), {})
    if CORPUS_WISE in linker.fingerprint and chosen["method"] == "cascade" and first.get("method") not in LINKED:
        raise ConfigError(f"{name} learned from what the steps before it left open, and that is not known any more")
    if linker.fingerprint not in build.report["models"]["projector"]:
        raise ModelError(f"the aligner {name} is not what it was when the build was made")
    return linker


def _link(build: Build, chosen: Chosen, linker: AlignmentProjector) -> dict[Key, dict[str, Sequence[TokenLink]]]:
    found: dict[Key, dict[str, Sequence[TokenLink]]] = {}
    for language in dict.fromkeys(language for language, _ in chosen):
        rows = [row for each, row in chosen if each == language and "machine" not in row.outcome]
        wanted = {(row.split, row.outcome["id"]) for row in rows}
        sides = tuple(get_language(side).flores for side in languages_between(build, language))
        for batch in _first_shards(build, language, wanted) if CORPUS_WISE in linker.fingerprint else [rows]:
            own = _own_tokens(build, batch)
            places: list[tuple[Key, str]] = []
            texts = []
            for split, outcome in batch:
                for name, text in _texts(outcome, own.get((split, outcome["id"]), {})).items():
                    places.append(((language, split, outcome["id"]), name))
                    texts.append(text)
            for (key, name), links in zip(places, linker.links(texts, source=sides[0], target=sides[1]), strict=True):
                if links and key[1:] in wanted:
                    found.setdefault(key, {})[name] = links
    return found


def _first_shards(build: Build, language: str, wanted: set[tuple[str, str]]) -> Iterator[list[Row]]:
    """Yield the first shards of each split that have wanted rows in them, whole: as an aligner that learns saw them."""
    for split in dict.fromkeys(split for split, _ in wanted):
        for shard in shards_of(build, language, split)[:_SHARDS]:
            rows = [Row(split, outcome) for outcome in read_records(shard)]
            if any((split, row.outcome["id"]) in wanted for row in rows):
                yield rows


def _texts(outcome: Outcome, own: _Tokens) -> dict[str, TranslatedText]:
    """Return, a field, what the method was given; ``own`` are the tokens that the source brought."""
    spans = source_spans(outcome)
    theirs: _Tokens = outcome["original"]["tokens"] if "original" in outcome else {}
    return {
        name: TranslatedText(
            text,
            outcome["translations"][name]["text"],
            tuple(span for span in spans if span.field == name),
            unpack_segments(outcome["translations"][name]),
            _as_tokens(own.get(name)),
            _as_tokens(theirs.get(name)),
        )
        for name, text in outcome["source"].items()
    }


def _as_tokens(offsets: Sequence[Sequence[int]] | None) -> tuple[Token, ...] | None:
    return None if offsets is None else tuple(Token(start, end) for start, end in offsets)


def _own_tokens(build: Build, rows: Sequence[Row]) -> dict[tuple[str, str], _Tokens]:
    """Return the tokens that source examples brought: split and id -> field -> their offsets.

    In translate-test the source of the labels is a translation, and brings none.
    """
    found: dict[tuple[str, str], _Tokens] = {}
    if build.direction == "translate-test":
        return found
    for split in dict.fromkeys(row.split for row in rows):
        facts: Mapping[str, Any] = build.folder.read_json(build.folder.source_split(split)) or {}
        wanted = {row.outcome["id"] for row in rows if row.split == split}
        for index in range(len(facts["shards"])) if facts.get("tokens") else ():
            for record in read_records(build.folder.source(split, index)):
                if record["id"] in wanted:
                    found[split, record["id"]] = record["tokens"]
    return found
