"""Values of settings, checked against annotations: one rule for every kind of part, plug-ins too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from spanferry.alignment.base import Aligner
from spanferry.alignment.fake import FakeAligner
from spanferry.alignment.registry import ALIGNERS, load_aligner
from spanferry.data.errors import ConfigError
from spanferry.data.registry import LazyTable
from spanferry.data.settings import check_settings, check_values, parameters_of, what_is_wrong
from spanferry.data.tasks import get_task
from spanferry.projection.prediction import PREDICTORS, load_predictor
from spanferry.projection.registry import PROJECTORS, load_projector
from spanferry.translation.registry import TRANSLATORS, load_translator

if TYPE_CHECKING:
    from decimal import Decimal

TABLES: tuple[LazyTable, ...] = (ALIGNERS, PROJECTORS, PREDICTORS, TRANSLATORS)


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        (1, float, None),
        (True, float, "is True, expected a number"),
        (float("nan"), float, "is nan, expected a number"),
        (2.0, int, "is 2.0, expected a whole number"),
        (True, int, "is True, expected a whole number"),
        (0, bool, "is 0, expected true or false"),
        ("x", str | Path, None),
        (5, str | Path | None, "is 5, expected text or null"),
        (None, int, "is None, expected a whole number"),
        ("x", Path, None),
        (Path("x"), str, "is PosixPath('x'), expected text"),
        (1, Literal[True], "is 1: known: True"),
        ("itermx", Literal["itermax"], "is 'itermx': did you mean 'itermax'? Known: itermax"),
        ("ab", Sequence[str], "is 'ab', expected a list of text"),
        (["a", 1], list[str], "has 1, expected text"),
        (["a", 1], str | list[str] | None, "has 1, expected text"),
        (iter("ab"), Iterable[int], None),  # what is in it would be gone
        ({"a": "b"}, Sequence[str], "is {'a': 'b'}, expected a list of text"),
        ({"a": [1]}, Mapping[str, str | Sequence[str]], "has 1, expected text"),
        ({1: "a"}, Mapping[str, str], "has 1, expected text"),
        ({1: object()}, Mapping[Any, Any], None),
        ([["[", "]"]], Sequence[tuple[str, str]], None),
        ([["[", "]", "!"]], Sequence[tuple[str, str]], "has ['[', ']', '!'], expected [text, text]"),
        ([1, 2, 3], tuple[int, ...], None),
        (1, int | tuple[int, ...], None),
        ("fake", Aligner, "is 'fake', expected an Aligner"),
        ({}, Aligner | None, "is {}, expected an Aligner or null"),
        (FakeAligner(), Aligner | None, None),
        ("x", Annotated[int, "over 0"], "is 'x', expected a whole number"),
        ("fast", Enum("Mode", "FAST SLOW"), None),  # whoever asks for one may take its name
        (print, Callable[[str], None], None),
    ],
)
def test_values_and_what_they_ought_to_be(value: object, kind: Any, problem: str | None) -> None:
    assert what_is_wrong(value, kind) == problem


@pytest.mark.parametrize(("table", "name"), [(table, name) for table in TABLES for name in table.builtin])
def test_every_default_is_a_value_that_its_setting_can_have(table: LazyTable, name: str) -> None:
    from inspect import Parameter
    from typing import get_type_hints

    part = table.load(name)
    kinds = get_type_hints(part.__init__ if isinstance(part, type) else part)
    for setting, parameter in parameters_of(part).items():
        assert parameter.default is Parameter.empty or what_is_wrong(parameter.default, kinds[setting]) is None


def load(kind: str, name: str, settings: dict[str, Any]) -> object:
    makers: dict[str, Callable[..., object]] = {
        "aligner": load_aligner,
        "predictor": lambda name, **settings: load_predictor(name, task=get_task("ner"), **settings),
        "projector": load_projector,
        "translator": load_translator,
    }
    return makers[kind](name, **settings)


@pytest.mark.parametrize(
    ("kind", "name", "settings", "message"),
    [
        ("projector", "alignment", {"gap_cost": "0,2"}, "method 'alignment': gap_cost is '0,2', expected a number"),
        ("projector", "alignment", {"min_score": "abc"}, "min_score is 'abc', expected a number"),
        ("projector", "alignment", {"max_gap": "x"}, "max_gap is 'x', expected a whole number"),
        ("projector", "alignment", {"ranges": 5}, "ranges is 5, expected text"),
        ("projector", "alignment", {"aligner": 5}, "aligner is 5, expected an Aligner"),
        ("projector", "match", {"min_score": "x"}, "method 'match': min_score is 'x', expected a number"),
        ("projector", "match", {"calibration": 5}, "calibration is 5: expected the path of a file"),
        (
            "projector",
            "cascade",
            {"steps": [{"method": "match", "fuzzy": "x"}]},
            r"step 1 \(match\): projection method 'match': fuzzy is 'x', expected a number",
        ),
        ("projector", "constrained", {"settings": {"depth": 1}}, "engine 'torch' has no setting 'depth'"),
        ("projector", "constrained", {"settings": {"batch_tokens": "x"}}, "batch_tokens is 'x', expected a whole"),
        ("aligner", "joint", {"threshold": "x"}, "aligner 'joint': threshold is 'x', expected a number"),
        ("aligner", "joint", {"readings": "x"}, "readings is 'x', expected a whole number"),
        ("aligner", "lexical", {"priors": 5}, "priors is 5, expected text, a list of text or null"),
        ("aligner", "lexical", {"readings": "x"}, "readings is 'x', expected a whole number"),
        ("aligner", "mt-encoder", {"layer": "x"}, "layer is 'x', expected a whole number or null"),
        ("aligner", "mt-encoder", {"threshold": "x"}, "threshold is 'x', expected a number or null"),
        ("aligner", "fake", {"dictionary": {"a": 5}}, "dictionary has 5, expected text"),
        ("predictor", "file", {"path": 5}, "predictor 'file': path is 5, expected text"),
        ("translator", "fake", {"dictionary": 5}, "translator 'fake': dictionary is 5, expected a mapping or null"),
        ("translator", "fake", {"dictionry": {}}, "translator 'fake' has no setting 'dictionry': did you mean"),
        ("translator", "bundled", {"max_tokens": "x"}, "settings of a translator: max_tokens is 'x', expected a whole"),
        ("translator", "bundled", {"beam_size": "x"}, "beam_size is 'x', expected a whole number"),
        ("translator", "bundled", {"quantization": 8}, "quantization is 8, expected text"),
    ],
)
def test_a_wrong_value_is_one_sentence(kind: str, name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(kind, name, settings)


def test_parts_that_take_anything_get_it() -> None:
    def part(depth: int = 1, **others: str) -> None: ...

    check_settings("part 'x'", {"depth": 2, "colour": 3}, part)
    with pytest.raises(ConfigError, match="part 'x': depth is 'x', expected a whole number"):
        check_settings("part 'x'", {"depth": "x"}, part)


def test_annotations_that_cannot_be_found_are_not_held_against_a_value() -> None:
    def part(price: Decimal, depth: int = 1, size: float = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    check_values("part 'x'", {"price": "1", "depth": "x", "size": None}, part)
    with pytest.raises(ConfigError, match="part 'x' needs the setting 'price'"):
        check_settings("part 'x'", {}, part)
