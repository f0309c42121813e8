"""The learned form of alignment projection: what is seen of a range, the network that judges it, and its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from spanferry.alignment.base import Link, TokenizedText, WordAlignment
from spanferry.alignment.fake import FakeAligner
from spanferry.alignment.tokens import from_words
from spanferry.data.errors import ConfigError, DataError, ModelError
from spanferry.data.example import Span
from spanferry.projection.base import Reason, TranslatedText
from spanferry.projection.by_alignment import AlignmentProjector, AlignmentSettings, project_links
from spanferry.projection.learned_ranges import Stretch, learned_candidates
from spanferry.projection.links import trusted_links, trusted_matrix
from spanferry.projection.range_features import NAMES, span_ranges, views
from spanferry.projection.range_model import BUNDLED, RangeModel, load_range_model, save_range_model
from spanferry.projection.range_recipe import RangeRecipe
from spanferry.projection.range_training import marked_pairs, train_ranges
from spanferry.translation.base import Segment

LEARNED = AlignmentSettings(form="learned")
WORDS = st.sampled_from(["Rome", "rome", "7", ".", "die", "house", "Haus", ","])


class Witness:
    """Says of every two words what `FakeAligner` links, and a little of all else."""

    def __init__(self, dictionary: Mapping[str, str]) -> None:
        self._links = FakeAligner(dictionary)
        self.fingerprint = "witness"

    def align(
        self, pairs: Sequence[tuple[TokenizedText, TokenizedText]], *, source: str, target: str
    ) -> list[WordAlignment]:
        found = []
        for pair, alignment in zip(pairs, self._links.align(pairs, source=source, target=target), strict=True):
            matrix = np.full([len(text.tokens) for text in pair], 0.01)
            for i, j, _ in alignment.links:
                matrix[i, j] = 0.9
            found.append(WordAlignment(alignment.links, (matrix,)))
        return found


# ---- what is seen -------------------------------------------------------------------------------------------


def test_what_is_seen_of_a_range_by_hand() -> None:
    # The span is "b c"; b-1 and c-2 are sure, c-3 is not; word 3 hangs more on d, word 0 renders a.
    witness = np.array([[0.9, 0.0, 0.0, 0.0], [0.0, 0.8, 0.0, 0.0], [0.0, 0.0, 0.6, 0.2], [0.0, 0.0, 0.0, 0.5]])
    links = [Link(0, 0, 0.9), Link(1, 1, 0.8), Link(2, 2, 0.6), Link(3, 3, 0.5)]
    pair = views(["a", "bb", "ccc", "d"], ["p", "qq", "rr", "s"], links, [witness])
    ranges = span_ranges((1, 3), pair)
    assert ranges is not None
    places = list(zip(ranges.starts.tolist(), ranges.ends.tolist(), strict=True))
    assert places[0] == (1, 3) and (1, 4) in places and (0, 3) in places
    seen = dict(zip(NAMES, ranges.features[places.index((1, 4))].tolist(), strict=True))
    assert seen["links:precision"] == pytest.approx(1.4 / 1.9, abs=1e-5)  # 0.5 of word 3 leads elsewhere
    assert seen["mean:precision"] == pytest.approx(1.6 / 2.1, abs=1e-5)
    assert seen["mean:recall"] == pytest.approx(1.0, abs=1e-5)
    assert (seen["mean:last-span"], seen["mean:last-rest"]) == pytest.approx((0.2, 0.5))
    assert (seen["mean:before-span"], seen["mean:before-rest"]) == pytest.approx((0.0, 0.9))
    assert (seen["mean:behind-span"], seen["mean:behind-rest"]) == (0.0, 0.0)  # the text ends there
    assert seen["first:f1"] == seen["second:f1"] == seen["mean:f1"]  # one witness stands for both
    assert seen["unexplained"] == pytest.approx((0.2 + 0.4 + 0.3) / 3)
    assert (seen["covered"], seen["least-covered"]) == pytest.approx((0.8, 0.8))
    assert (seen["from-left"], seen["from-right"]) == pytest.approx((0.0, 0.5))
    assert seen["length-ratio"] == pytest.approx(np.log(3 / 2))
    assert seen["character-ratio"] == pytest.approx(np.log(6 / 6))


def test_links_stand_for_witnesses_where_there_are_none() -> None:
    pair = views(["a", "b"], ["p", "q"], [Link(0, 1, 0.7), Link(1, 0)])
    assert (pair.links == pair.mean).all() and pair.first is pair.second


def test_a_span_that_no_link_leaves_has_no_range() -> None:
    assert span_ranges((1, 2), views(["a", "b"], ["p", "q"], [Link(0, 0)], [np.full((2, 2), 0.3)])) is None


@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, min_size=1, max_size=5), st.booleans(), st.data())
def test_a_matrix_is_mended_as_links_are(
    source: list[str], target: list[str], identical: bool, data: st.DataObject
) -> None:
    cells = st.tuples(st.integers(0, len(source) - 1), st.integers(0, len(target) - 1))
    links = [Link(i, j, 0.5) for i, j in data.draw(st.sets(cells))]
    matrix = np.zeros((len(source), len(target)))
    expected = matrix.copy()
    for i, j, score in links:
        matrix[i, j] = score
    for i, j, score in trusted_links(source, target, links, identical=identical):
        expected[i, j] = score
    assert (trusted_matrix(source, target, matrix, identical=identical) == expected).all()


# ---- the network --------------------------------------------------------------------------------------------


def test_a_model_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    model = load_range_model()
    save_range_model(model, tmp_path / "again.safetensors")
    again = load_range_model(tmp_path / "again.safetensors")
    assert again.fingerprint == model.fingerprint
    features = np.random.default_rng(0).random((7, len(NAMES)))
    assert (again.probabilities(features) == model.probabilities(features)).all()
    assert model.probabilities(features).sum() == pytest.approx(1.0)


def test_a_file_that_is_no_model_of_ranges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.safetensors: cannot be read"):
        load_range_model(tmp_path / "none.safetensors")
    save_file(load_file(BUNDLED), tmp_path / "other.safetensors", {"features": "length,colour"})
    with pytest.raises(ModelError, match=r"other\.safetensors: was trained on other features.*models train-ranges"):
        load_range_model(tmp_path / "other.safetensors")


def test_another_network_is_another_fingerprint() -> None:
    model = load_range_model()
    other = RangeModel(model.shift, model.scale, model.direct + 1, model.hidden, model.hidden_bias, model.result)
    assert other.fingerprint != model.fingerprint
    assert model.fingerprint in AlignmentProjector(FakeAligner()).fingerprint
    assert model.fingerprint not in AlignmentProjector(FakeAligner(), form="candidates").fingerprint


# ---- the projector ------------------------------------------------------------------------------------------


def test_the_form_goes_by_what_the_aligner_says() -> None:
    text = TranslatedText("big red house", "casa roja grande", (Span(4, 13, "X"),))
    dictionary = {"big": "grande", "red": "roja", "house": "casa"}
    scores = [
        projector.project([text], source="eng_Latn", target="spa_Latn")[0][0].score
        for projector in (
            AlignmentProjector(Witness(dictionary)),
            AlignmentProjector(Witness(dictionary), form="learned"),
            AlignmentProjector(Witness(dictionary), form="candidates"),
            AlignmentProjector(FakeAligner(dictionary)),
        )
    ]
    assert scores[0] == scores[1]
    assert scores[0] is not None and 0.5 < scores[0] < 1.0  # a probability
    assert scores[2:] == [1.0, 1.0]  # an F1 of links


def test_a_neighbour_that_hangs_on_a_weak_link_stays_outside() -> None:
    # The verb at the end of a German clause is linked, for want of better, with the name before it.
    source = from_words(["that", "Austria", "differs"])
    target = from_words(["dass", "sich", "Österreich", "unterscheidet"])
    witness = np.array([[0.9, 0.05, 0.0, 0.0], [0.0, 0.05, 0.9, 0.12], [0.0, 0.1, 0.02, 0.1]])
    links = [Link(0, 0, 0.9), Link(1, 2, 0.9), Link(1, 3, 0.12), Link(2, 1, 0.1)]
    text = TranslatedText(
        source.text, target.text, (Span(5, 12, "LOC"),), source_tokens=source.tokens, target_tokens=target.tokens
    )
    places = {}
    for form in ("learned", "candidates"):
        [projection] = project_links(
            text, source.tokens, target.tokens, links, [Stretch((0, 3), (0, 4), (witness,))],
            settings=AlignmentSettings(form=form),  # type: ignore[arg-type]
        )  # fmt: skip
        assert projection.target is not None
        places[form] = text.target[projection.target.start : projection.target.end]
    assert places == {"learned": "Österreich", "candidates": "Österreich unterscheidet"}


def test_a_span_sees_its_own_stretches_alone() -> None:
    source, target = ["Rome", "I", "like", "Rome"], ["Rom", "Ich", "mag", "Rom"]
    here, there = Stretch((0, 1), (0, 1), (np.ones((1, 1)),)), Stretch((1, 4), (1, 4), (np.eye(3),))
    links = [Link(i, i) for i in range(4)]
    model = load_range_model()
    candidates = learned_candidates([(3, 4), (0, 2)], links, source, target, [here, there], model=model)
    assert min(option.start for option in candidates[0]) >= 1
    assert (candidates[0][0].start, candidates[0][0].end) == (3, 4)
    assert (candidates[1][0].start, candidates[1][0].end) == (0, 2)  # one that has words in both
    assert learned_candidates([(0, 1)], links, source, target, [there], model=model) == [[]]


def test_a_span_over_a_stretch_that_has_no_witness_keeps_its_place() -> None:
    # The second sentence has no translation, so that no aligner has anything to say of it.
    here, there = Stretch((0, 2), (0, 2), (np.eye(2), np.eye(2))), Stretch((2, 3), (2, 2))
    links = [Link(0, 0), Link(1, 1)]
    model = load_range_model()
    [options] = learned_candidates([(0, 3)], links, ["a", "b", "c"], ["p", "q"], [here, there], model=model)
    assert (options[0].start, options[0].end) == (0, 2)


def test_what_was_not_aligned_is_truncated_and_what_has_no_link_unaligned() -> None:
    text = TranslatedText(
        "Rome. Berlin.", "Rom.", (Span(0, 4, "LOC"), Span(6, 12, "LOC")), (Segment(0, 5, 0, 4),)
    )  # fmt: skip
    [(found, lost)] = AlignmentProjector(Witness({"Rome": "Rom"})).project([text], source="eng_Latn", target="deu_Latn")
    assert found.target == Span(0, 3, "LOC")
    assert lost.reason is Reason.TRUNCATED
    text = TranslatedText("uh Rome", "Rom", (Span(0, 2, "NOISE"),))
    [(lost,)] = AlignmentProjector(Witness({"Rome": "Rom"})).project([text], source="eng_Latn", target="deu_Latn")
    assert lost.reason is Reason.UNALIGNED


def apart(one: Span, other: Span) -> bool:
    return one.end <= other.start or other.end <= one.start


def _ranges(length: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, length - 1), st.integers(0, length - 1)).map(lambda r: (min(r), max(r) + 1))


@given(st.integers(1, 9), st.data(), st.booleans())
def test_word_for_word_translations_keep_every_span(length: int, data: st.DataObject, heard: bool) -> None:
    words = data.draw(st.lists(_ranges(length), min_size=1, max_size=5, unique=True))
    order = data.draw(st.permutations(range(length))) if data.draw(st.booleans()) else list(range(length))
    here = from_words([f"s{chr(97 + i)}x" for i in range(length)])
    there = from_words([f"t{chr(97 + i)}y" for i in order])
    # Only spans whose words stay together have a place of their own.
    places = [sorted(order.index(i) for i in range(first, last)) for first, last in words]
    kept = [n for n, place in enumerate(places) if place[-1] - place[0] + 1 == len(place)]
    if not kept:
        return
    spans = tuple(Span(here.tokens[words[n][0]].start, here.tokens[words[n][1] - 1].end, "A") for n in kept)
    text = TranslatedText(here.text, there.text, spans, (), here.tokens, there.tokens)
    matrix = np.zeros((length, length))
    matrix[order, range(length)] = 1.0
    stretch = Stretch((0, length), (0, length), (matrix,) if heard else ())
    links = [Link(i, j) for j, i in enumerate(order)]
    projections = project_links(text, here.tokens, there.tokens, links, [stretch], settings=LEARNED)
    expected = [(there.tokens[places[n][0]].start, there.tokens[places[n][-1]].end) for n in kept]
    assert [p.target and (p.target.start, p.target.end) for p in projections] == expected


@given(st.integers(1, 7), st.integers(1, 7), st.data())
def test_spans_that_stood_apart_stay_apart_and_none_is_forgotten(rows: int, columns: int, data: st.DataObject) -> None:
    here = from_words([f"s{chr(97 + i)}x" for i in range(rows)])
    there = from_words([f"t{chr(97 + i)}y" for i in range(columns)])
    spans = tuple(
        Span(here.tokens[a].start, here.tokens[b - 1].end, "A")
        for a, b in data.draw(st.lists(_ranges(rows), min_size=1, max_size=4))
    )
    cell = st.sampled_from([0.0, 0.02, 0.2, 0.9])
    row = st.lists(cell, min_size=columns, max_size=columns)
    witness = np.array(data.draw(st.lists(row, min_size=rows, max_size=rows)))
    links = [Link(int(i), int(j), float(witness[i, j])) for i, j in zip(*(witness > 0.1).nonzero(), strict=True)]
    text = TranslatedText(here.text, there.text, spans, (), here.tokens, there.tokens)
    stretch = Stretch((0, rows), (0, columns), (witness, witness))
    projections = project_links(text, here.tokens, there.tokens, links, [stretch], settings=LEARNED)
    assert tuple(projection.source for projection in projections) == spans
    for projection in projections:
        assert (projection.target is None) == (projection.reason is not None)
        assert projection.score is None or 0 < projection.score <= 1
    for one, other in combinations(projections, 2):
        if one.target and other.target and apart(one.source, other.source):
            assert apart(one.target, other.target)


# ---- its training -------------------------------------------------------------------------------------------


def recipe(folder: Path, **others: object) -> RangeRecipe:
    """A recipe on forty sentences whose target has the words in another order, read from a file."""
    words = ["sun", "moon", "star", "cloud", "wind"]
    lines = []
    for n in range(40):
        one, two, three = words[n % 5], words[(n + 1 + n // 5) % 5], words[(n + 2) % 5]
        lines.append(f"see <1>{one} {two}</1> and {three}\tund T{three} sieh <1>T{two} T{one}</1>\tsky")
    (folder / "marked.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dictionary = {word: f"T{word}" for word in words} | {"see": "sieh", "and": "und"}
    settings = {
        "output": "ranges.safetensors",
        "data": [{
            "path": "marked.tsv", "source_language": "en", "target_language": "de", "inline_marks": True,
            "quotas": {"sky": [{"pairs": 100}]},
        }],
        "aligner": "fake", "aligner_settings": {"dictionary": dictionary},
        "most_alike": 9, "hidden": 4, "epochs": 30, "batch_spans": 16, "held_out": 0.2,
    }  # fmt: skip
    return RangeRecipe.model_validate(settings | others).relative_to(folder)


def test_training_learns_from_translators_and_repeats_itself(tmp_path: Path) -> None:
    told: list[str] = []
    made = train_ranges(recipe(tmp_path), report=told.append)
    assert made.tested >= 8 and made.right == made.tested
    assert told[0] == "marked.tsv: aligning 40 sentence pairs" and told[-1].startswith("learning from")
    first = made.path.read_bytes()
    assert train_ranges(recipe(tmp_path)).path.read_bytes() == first
    load_range_model.cache_clear()
    own = AlignmentProjector(FakeAligner(), ranges=str(made.path))
    assert load_range_model(made.path).fingerprint in own.fingerprint
    assert own.fingerprint != AlignmentProjector(FakeAligner()).fingerprint
    with pytest.raises(ModelError, match=r"none\.safetensors"):
        AlignmentProjector(FakeAligner(), ranges=str(tmp_path / "none.safetensors"))


def test_phrases_that_teach_nothing_are_left_out(tmp_path: Path) -> None:
    data = {"path": "taught.tsv", "source_language": "en", "target_language": "de", "quotas": {"x": [{"pairs": 9}]}}
    [corpus] = recipe(tmp_path, data=[data]).data
    lines = [
        "<1>All of it</1>.\t<1>Alles</1>.\tx",
        "press <1>Enter</1> and <2>Esc</2>\t<2>Esc</2> und <1>Eingabe</1> drücken\tx",
    ] * 3
    corpus.path.write_text("\n".join([*lines, "no <1>end\tkein <1>Ende</1>\tx"]), encoding="utf-8")
    pairs = list(marked_pairs(corpus, most_alike=2))
    assert [(pair.source, phrases) for pair, phrases in pairs] == [("press Enter and Esc", [((6, 11), (8, 15))])] * 2


def test_mistakes_in_a_recipe_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("output: x.safetensors\ndata: []\nhiden: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"recipe\.yaml: data: .*hiden: unknown setting; did you mean 'hidden'"):
        RangeRecipe.read(tmp_path / "recipe.yaml")
    with pytest.raises(DataError, match="too few phrases"):
        train_ranges(recipe(tmp_path, held_out=0.001, data=[{
            "path": "marked.tsv", "source_language": "en", "target_language": "de", "quotas": {"earth": [{"pairs": 9}]}
        }]))  # fmt: skip


@pytest.mark.parametrize(
    ("output", "what"), [("notes.txt/ranges.safetensors", "cannot be written"), (".", "is a folder, expected a file")]
)
def test_an_output_that_cannot_be_written_is_found_before_the_work(tmp_path: Path, output: str, what: str) -> None:
    (tmp_path / "notes.txt").write_text("", encoding="utf-8")
    told: list[str] = []
    with pytest.raises(ConfigError, match=rf"{what}.*; name another"):
        train_ranges(recipe(tmp_path, output=output), report=told.append)
    assert not told


def test_the_shipped_model_is_small_and_its_card_says_what_it_is() -> None:
    assert BUNDLED.stat().st_size < 40_000
    assert BUNDLED.stat().st_mode & 0o444 == 0o444
    card = (BUNDLED.parent / "README.md").read_text(encoding="utf-8")
    assert load_range_model().fingerprint in card
    recipe = RangeRecipe.read(BUNDLED.parent / "recipe.yaml")
    for name in {name for corpus in recipe.data for name in corpus.quotas}:
        assert f"| {name} |" in card
