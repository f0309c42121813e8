"""The signature line: stable, one line, and read back equal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanferry.data.errors import ConfigError
from spanferry.data.signature import fingerprint, parse_signature, signature

keys = st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
settings_dicts = st.dictionaries(keys, values, max_size=5)


@given(settings_dicts)
def test_signature_reads_back_equal(settings: dict[str, Any]) -> None:
    line = signature(settings)
    assert parse_signature(line) == settings
    assert json.dumps(parse_signature(line), sort_keys=True) == json.dumps(settings, sort_keys=True)  # True is not 1


@given(settings_dicts)
def test_signature_is_one_line(settings: dict[str, Any]) -> None:
    assert len(signature(settings).splitlines()) <= 1


@given(settings_dicts)
def test_order_of_keys_does_not_matter(settings: dict[str, Any]) -> None:
    reversed_settings = dict(reversed(settings.items()))
    assert signature(reversed_settings) == signature(settings)
    assert fingerprint(reversed_settings) == fingerprint(settings)


@given(settings_dicts, settings_dicts)
def test_different_settings_have_different_lines_and_fingerprints(one: dict[str, Any], two: dict[str, Any]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (signature(one) == signature(two)) is same
    assert (fingerprint(one) == fingerprint(two)) is same


def test_signature_leads_with_the_task_and_ends_with_the_version() -> None:
    settings = {
        "version": "0.1.0",
        "beam": 4,
        "tgt": "deu_Latn",
        "projector": {"name": "alignment", "max_gap": 2},
        "src": "eng_Latn",
        "filters": [],
        "task": "ner",
    }
    assert signature(settings) == (
        "task:ner|src:eng_Latn|tgt:deu_Latn|beam:4|filters:[]|projector.max_gap:2|projector.name:alignment|version:0.1.0"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("nllb@1f0c", "nllb@1f0c"),
        ("facebook/nllb:v1", "facebook/nllb:v1"),
        ("4", '"4"'),
        ("true", '"true"'),
        ("NaN", '"NaN"'),
        ("", '""'),
        (" a", '" a"'),
        ("a|b", '"a\\u007cb"'),
        ("a\u2028b", '"a\\u2028b"'),
        (None, "null"),
        (True, "true"),
        (1.0, "1.0"),
        (["a|b", 1], '["a\\u007cb",1]'),
        ({}, "{}"),
    ],
)
def test_how_a_value_is_written(value: Any, written: str) -> None:
    assert signature({"key": value}) == f"key:{written}"
    assert parse_signature(f"key:{written}") == {"key": value}


def test_fingerprint_is_sha256_of_canonical_json() -> None:
    # printf '{"beam":4,"task":"ner"}' | sha256sum
    assert fingerprint({"task": "ner", "beam": 4}) == "becb6e2e521083052a0ef7a27b56643848e01acaf1838732d6d1dbc70361245b"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), b"bytes", {1: "a"}, [{2: 3}], object()])
def test_what_json_would_change_is_refused(bad: Any) -> None:
    for function in (signature, fingerprint):
        with pytest.raises(ConfigError, match="expected"):
            function({"key": bad})


@pytest.mark.parametrize("line", ["task", "task:ner||beam:4", "a:1|a:2", "a:1|a.b:2", ".a:1", '"a:1', "a b:1"])
def test_what_is_no_signature_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="signature"):
        parse_signature(line)
