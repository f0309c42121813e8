"""Whole texts through a translator: once each, in order, whole, with offsets, whatever the model does."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.data.errors import ConfigError, LanguageError, ModelError
from spanferry.translation.base import Hypothesis, Translation
from spanferry.translation.memory import TranslationMemory
from spanferry.translation.pipeline import TextSettings, translate_texts
from spanferry.translation.protect import Protector
from spanferry.translation.remembering import TranslationStats
from spanferry.translation.segments import to_source, to_target


class Recorder:
    """A translator that applies a function to each sentence and records what it was asked."""

    fingerprint = "recorder"
    languages = None

    def __init__(self, function: Callable[[str], str] = str.upper, max_tokens: int = 100) -> None:
        self.function, self.max_tokens = function, max_tokens
        self.calls: list[list[str]] = []

    @property
    def asked(self) -> list[str]:
        return [text for call in self.calls for text in call]

    def count_tokens(self, texts: Sequence[str], language: str) -> list[int]:
        return [len(text) for text in texts]

    def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
        assert re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", source)
        assert re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", target)
        assert all(len(text) <= self.max_tokens for text in texts)
        self.calls.append(list(texts))
        return [Hypothesis(self.function(text), -0.5) for text in texts]


def run(texts: Sequence[str], translator: Recorder, **more: object) -> list[Translation]:
    return translate_texts(texts, translator, **{"source": "en", "target": "de"} | more)  # type: ignore[arg-type]


def replacing(**words: str) -> Callable[[str], str]:
    return lambda text: re.sub(r"\w+", lambda match: words.get(match[0], match[0]), text)


TEXTS = st.text(" \t\n\r\u3000.!?。-*aAbé中한😀\u0301{}$`1/:@", max_size=60)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=6), st.sampled_from(["en", "zh", "th", "hi"]), st.integers(3, 30))
def test_an_identity_model_gives_every_text_back(texts: list[str], source: str, limit: int) -> None:
    # Into Thai, which sets no spaces of its own between sentences: nothing at all may change.
    translations = translate_texts(texts, Recorder(str, limit), source=source, target="tha_Thai")
    assert [translation.text for translation in translations] == texts
    assert [translation.source for translation in translations] == texts


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=4), st.integers(5, 30), st.sampled_from(["en", "zh"]))
def test_segments_tile_both_sides(texts: list[str], limit: int, source: str) -> None:
    double = Recorder(lambda text: f" {text}{text} ", limit)
    for translation in translate_texts(texts, double, source=source, target="de" if source == "en" else "fr"):
        at_source = at_target = 0
        for segment in translation.segments:
            gap = translation.source[at_source : segment.source_start]
            assert gap == translation.text[at_target : segment.target_start]
            assert segment.source_start < segment.source_end
            at_source, at_target = segment.source_end, segment.target_end
        assert translation.source[at_source:] == translation.text[at_target:]


def test_an_identical_sentence_is_translated_once() -> None:
    recorder, stats = Recorder(), TranslationStats()
    texts = ["One. Two.", "Two.", "One. Two.", "Three.\nOne."]
    translations = run(texts, recorder, stats=stats)
    assert [translation.text for translation in translations] == ["ONE. TWO.", "TWO.", "ONE. TWO.", "THREE.\nONE."]
    assert recorder.calls == [["One.", "Two.", "Three."]]
    assert (stats.texts, stats.sentences, stats.translated, stats.remembered, stats.characters) == (4, 3, 3, 0, 14)


@pytest.mark.parametrize(
    "text", ["", " \n\t", "?!", "–", "https://a.org/x", "3.5 (17 %)", "{name}", "😀", "`x = y`", "$x$"]
)
def test_what_has_no_word_to_translate_comes_back_without_the_model(text: str) -> None:
    recorder = Recorder()
    assert run([text], recorder)[0].text == text
    assert run([text], recorder)[0].score is None
    assert recorder.calls == []


def test_white_space_lines_and_code_stay_where_they_were() -> None:
    text = "\ufeffDear all,\r\n\r\n  - first point\r\n\t* second.  And more!\n```\nlet it be\n```\nbye "
    expected = "\ufeffDEAR ALL,\r\n\r\n  - FIRST POINT\r\n\t* SECOND.  AND MORE!\n```\nlet it be\n```\nBYE "
    assert run([text], Recorder())[0].text == expected


def test_spaces_are_added_where_the_source_script_has_none() -> None:
    words = {"你好。": "Hello.", "再见！": "Goodbye!", "好": "Good"}
    [translation] = translate_texts(["你好。再见！\n好"], Recorder(words.__getitem__), source="zh", target="en")
    assert translation.text == "Hello. Goodbye!\nGood"
    targets = [translation.text[s.target_start : s.target_end] for s in translation.segments]
    assert targets == ["Hello. ", "Goodbye!", "Good"]
    assert to_source(translation, 7, 8) == (3, 6)
    assert to_target(translation, 6, 7) == (15, 16)


def test_one_space_is_added_around_an_empty_translation() -> None:
    words = {"啊。": "", "你好。": "Hello.", "再见！": "Goodbye!"}
    [translation] = translate_texts(["啊。你好。啊。再见！"], Recorder(words.__getitem__), source="zh", target="en")
    assert translation.text == "Hello. Goodbye!"


def test_scores_are_weighted_by_length_and_leave_copies_out() -> None:
    class Scoring(Recorder):
        def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
            return [Hypothesis(text, -float(len(text))) for text in texts]

    [translation] = run(["Ab. Abcdef.\n17"], Scoring())
    assert translation.score == pytest.approx(-(3 * 3 + 7 * 7) / 10)


def test_an_unfinished_sentence_is_flagged_and_remembered_as_such(tmp_path: Path) -> None:
    class Stopping(Recorder):
        def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
            return [Hypothesis(text[:3], -1.0, finished=len(text) < 10) for text in texts]

    with TranslationMemory(tmp_path / "memory.sqlite") as memory:
        for _ in range(2):  # the second time from the memory
            translations = run(["Short.", "A much longer one."], Stopping(), memory=memory)
            assert [translation.flags for translation in translations] == [(), ("unfinished",)]


def test_a_sentence_over_the_limit_is_split_and_flagged() -> None:
    recorder = Recorder(max_tokens=30)
    text = "First of all we came, then we saw the whole of it, and then we went home. Short."
    [translation] = run([text], recorder)
    assert translation.text == text.upper()
    assert translation.flags == ("split",)
    assert len(translation.segments) >= 4
    assert max(map(len, recorder.asked)) <= 30


def test_a_single_grapheme_over_the_limit_stays_as_it_is() -> None:
    text = "a" + "\u0301" * 40 + " is odd"
    [translation] = run([text], Recorder(max_tokens=30))
    assert translation.text == "a" + "\u0301" * 40 + " IS ODD"
    assert translation.flags == ("split",)


class TestMemory:
    def test_what_it_has_is_not_translated(self, tmp_path: Path) -> None:
        texts = ["One. Two.", "See https://a.org/x now.", "x" * 150 + " y", "17"]
        with TranslationMemory(tmp_path / "memory.sqlite") as memory:
            first, second, stats = Recorder(), Recorder(), TranslationStats()
            before = run(texts, first, memory=memory)
            after = run(texts, second, memory=memory, stats=stats)
        assert first.calls
        assert second.calls == []
        assert after == before
        assert stats.translated == 0
        assert stats.remembered >= 4

    def test_only_what_is_new_is_translated(self, tmp_path: Path) -> None:
        with TranslationMemory(tmp_path / "memory.sqlite") as memory:
            run(["One.", "Two."], Recorder(), memory=memory)
            recorder = Recorder()
            run(["Two. Three.", "One."], recorder, memory=memory)
        assert recorder.calls == [["Three."]]

    def test_another_target_language_is_another_matter(self, tmp_path: Path) -> None:
        with TranslationMemory(tmp_path / "memory.sqlite") as memory:
            translate_texts(["Uno."], Recorder(), source="es", target="de", memory=memory)
            recorder = Recorder()
            translate_texts(["Uno."], recorder, source="es", target="fr", memory=memory)
        assert recorder.calls == [["Uno."]]

    def test_a_crash_costs_at_most_one_chunk(self, tmp_path: Path) -> None:
        class Crashing(Recorder):
            def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
                if len(self.calls) == 3:
                    raise ModelError("out of memory")
                return super().translate(texts, source=source, target=target)

        texts = [f"Sentence {letter}." for letter in "abcdefghij"]
        with TranslationMemory(tmp_path / "memory.sqlite") as memory:
            with pytest.raises(ModelError, match="out of memory"):
                run(texts, Crashing(), memory=memory, chunk_size=2)
            recorder = Recorder()
            run(texts, recorder, memory=memory, chunk_size=2)
        assert recorder.asked == texts[6:]


class TestProtected:
    def test_what_comes_through_is_left_alone(self) -> None:
        recorder = Recorder(replacing(See="Siehe", on="auf", page="Seite"))
        [translation] = run(["See {x} on page 1,024 of https://a.org."], recorder)
        assert translation.text == "Siehe {x} auf Seite 1,024 of https://a.org."
        assert translation.flags == ()
        assert len(recorder.calls) == 1

    def test_what_is_lost_is_tried_again_behind_a_stand_in(self) -> None:
        recorder, stats = Recorder(replacing(Ask="Frag", name="Name", now="jetzt")), TranslationStats()
        [translation] = run(["Ask {name} now, all 3."], recorder, stats=stats)
        assert translation.text == "Frag {name} jetzt, all 3."
        assert translation.flags == ()
        assert recorder.calls == [["Ask {name} now, all 3."], ["Ask X1 now, all 3."]]
        assert (stats.retried, stats.lost) == (1, 0)

    def test_what_stands_at_an_edge_is_kept_from_a_model_that_mangles_all(self) -> None:
        recorder = Recorder(lambda text: re.sub(r"[^ A-Za-z]|(?<=X)1", "", text.upper()))
        [translation] = run(["See here: https://a.org/x!"], recorder)
        assert translation.text == "SEE HERE https://a.org/x!"
        assert translation.flags == ()
        sources = [translation.source[s.source_start : s.source_end] for s in translation.segments]
        assert sources == ["See here:", "https://a.org/x!"]
        assert to_target(translation, 10, 25) == (9, 24)

    def test_a_number_at_an_edge_stays_with_its_sentence(self) -> None:
        recorder = Recorder(lambda text: text.replace("3", "drei").replace("X1", ""))
        [translation] = run(["They want 3."], recorder)
        assert (translation.text, translation.flags) == ("They want drei.", ("protected_lost",))

    def test_what_is_lost_for_good_is_flagged(self) -> None:
        stats = TranslationStats()
        [translation] = run(["We saw {name} there."], Recorder(lambda text: "nichts"), stats=stats)
        assert (translation.text, translation.flags, stats.lost) == ("nichts", ("protected_lost",), 1)

    def test_a_stand_in_that_comes_back_twice_is_no_rescue(self) -> None:
        twice = Recorder(lambda text: text.replace("X1", "X1 X1").replace("{name}", "name"))
        assert run(["We saw {name} there."], twice)[0].flags == ("protected_lost",)

    def test_a_second_try_may_be_told_to_give_up_sooner(self, tmp_path: Path) -> None:
        class Hasty(Recorder):
            fingerprint = "hasty"

            def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
                whole = super().translate(texts, source=source, target=target)
                return [Hypothesis(each.text[:12], each.score, finished=len(each.text) <= 12) for each in whole]

        class Patient(Recorder):
            def bounded(self, max_length_ratio: float) -> Hasty:
                return hasty

        texts = ["Ask {name} now.", "Then ask {name} again."]
        with TranslationMemory(tmp_path / "memory.sqlite") as memory:
            for known in (False, True):
                patient, hasty = Patient(replacing(name="Name")), Hasty(str)
                first, second = run(texts, patient, memory=memory)
                assert (first.text, first.flags) == ("Ask {name} now.", ())
                assert (second.text, second.flags) == ("Then ask {Name} again.", ("protected_lost",))
                assert patient.asked == ([] if known else texts)
                assert hasty.asked == ([] if known else ["Ask X1 now.", "Then ask X1 again."])

    def test_nothing_is_protected_unless_asked(self) -> None:
        recorder = Recorder(lambda text: "nichts")
        [translation] = run(["See {name} at https://a.org."], recorder, settings=TextSettings(protect=()))
        assert (translation.text, translation.flags) == ("nichts", ())

    def test_an_unknown_kind_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="did you mean 'url'"):
            run(["x"], Recorder(), settings=TextSettings(protect=("urls",)))

    @pytest.mark.parametrize("function", [str.lower, str.swapcase, lambda text: text[::-1], lambda text: text * 2])
    def test_nothing_is_lost_without_a_flag(self, function: Callable[[str], str]) -> None:
        texts = [
            "Mail A@b.org or {Name}.",
            "{A} is <B>X</B> and $X$",
            "Pay 1,234.5 for `A`",
            "%S or %(A)s https://A.org",
        ]
        protector = Protector()
        for translation in run(texts, Recorder(function)):
            lost = protector.lost(protector.find(translation.source), translation.text)
            assert bool(lost) == ("protected_lost" in translation.flags)


def test_ranges_to_keep_whole_are_not_parted() -> None:
    recorder = Recorder()
    text = "Play Wow! Now by Dr.\nHook. Then stop."
    translations = run([text, text], recorder, whole=[[(5, 13)], [(0, 28)]])
    assert [translation.text for translation in translations] == [text.upper()] * 2
    first, second = ([text[s.source_start : s.source_end] for s in each.segments] for each in translations)
    assert first == ["Play Wow! Now by Dr.", "Hook.", "Then stop."]
    assert second == ["Play Wow! Now by Dr.", "Hook. Then stop."]
    assert run([text], recorder)[0].segments[0].source_end == len("Play Wow!")


def test_a_second_stand_in_is_tried_where_the_first_fails() -> None:
    recorder = Recorder(lambda text: text.replace("{name}", "").replace("X1", "x"))
    [translation] = run(["We saw {name} there."], recorder, settings=TextSettings(stand_ins=("X{}", "ID{}")))
    assert (translation.text, translation.flags) == ("We saw {name} there.", ())
    assert recorder.asked == ["We saw {name} there.", "We saw X1 there.", "We saw ID1 there."]


def test_progress_counts_sentences(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with TranslationMemory(tmp_path / "memory.sqlite") as memory:
        run(["One.", "Two."], Recorder(), memory=memory)
        texts = ["One.", "Two.", "Three.", "Four.", "Five.", "17"]
        run(texts, Recorder(), memory=memory, chunk_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_lines_are_kept_whole_on_request() -> None:
    recorder = Recorder()
    run(["One. Two.\nThree."], recorder, settings=TextSettings(split="lines"))
    assert recorder.asked == ["One. Two.", "Three."]


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(LanguageError, match="unknown language 'Germn'"):
        translate_texts(["x"], Recorder(), source="en", target="Germn")


def test_a_translator_that_returns_too_few_is_refused() -> None:
    class Short(Recorder):
        def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[Hypothesis]:
            return super().translate(texts[1:], source=source, target=target)

    with pytest.raises(ModelError, match="returned 1 translations of 2 sentences"):
        run(["One.", "Two."], Short())
