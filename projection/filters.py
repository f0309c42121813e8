"""Filters: a verdict with its reason on each projected span, or on a whole translated text.

A check is a pure function that says what is wrong, or None (`spanferry.projection.span_checks`,
`spanferry.projection.text_checks`). A `Filter` is a check with its settings and with what to do when it fails::

    flag           keep everything, put the verdict on record (the default)
    drop_span      the span loses its place, reason ``filtered``
    drop_example   the example goes to the dropped ones

A span's verdict touches that span alone, never the sentence, unless ``on_fail`` says so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, get_args

from spanferry.data.errors import ConfigError, did_you_mean
from spanferry.data.settings import check_values
from spanferry.projection import span_checks, text_checks
from spanferry.projection.base import Projection, Reason, TranslatedText

OnFail = Literal["flag", "drop_span", "drop_example"]
SpanCheck = Callable[[TranslatedText, Projection], str | None]
TextCheck = Callable[[TranslatedText, Sequence[Projection], str, str], str | None]

SPAN_CHECKS: Final[Mapping[str, Callable[..., str | None]]] = {
    "comp_src": span_checks.comp_src,
    "comp_tgt": span_checks.comp_tgt,
    "restr_tgt": span_checks.restr_tgt,
    "span_length": span_checks.span_length,
    "span_numbers": span_checks.span_numbers,
}
TEXT_CHECKS: Final[Mapping[str, Callable[..., str | None]]] = {
    "comp_ins": text_checks.comp_ins,
    "copied": text_checks.copied,
    "empty": text_checks.empty,
    "language": text_checks.language,
    "length_ratio": text_checks.length_ratio,
    "protected": text_checks.protected,
    "repetition": text_checks.repetition,
    "script": text_checks.script,
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one filter found wrong.

    Attributes:
        filter: its name.
        field: the text it is about.
        span: index of the span in the example's spans; None for a verdict on the whole text.
        detail: what was found, for people.
        on_fail: what was done.
    """

    filter: str
    field: str
    span: int | None
    detail: str
    on_fail: OnFail


@dataclass(frozen=True, slots=True)
class Filter:
    """A check with its settings, and what to do when it fails; exactly one of the two checks is set."""

    name: str
    on_fail: OnFail = "flag"
    span_check: SpanCheck | None = None
    text_check: TextCheck | None = None


def filter_names() -> list[str]:
    """Return the name of every filter, sorted."""
    return sorted([*SPAN_CHECKS, *TEXT_CHECKS])


def filter_settings(name: str) -> Mapping[str, Any]:
    """Return the settings of the filter called ``name`` with their defaults, without ``on_fail``.

    Raises:
        ConfigError: there is no such filter.

    >>> dict(filter_settings("span_length"))
    {'lowest': 0.25, 'highest': 4.0, 'shortest': 12}
    """
    parameters = inspect.signature(_check(name)).parameters
    return {key: value.default for key, value in parameters.items() if value.kind is value.KEYWORD_ONLY}


def load_filter(name: str, /, *, on_fail: OnFail = "flag", **settings: Any) -> Filter:
    """Make the filter called ``name`` with the settings of its check.

    Raises:
        ConfigError: the name, a setting or ``on_fail`` is unknown, a setting has a value that it cannot have, or
            ``drop_span`` is asked of a check of whole texts.

    >>> load_filter("length_ratio", on_fail="drop_example", highest=2.5).name
    'length_ratio'
    >>> load_filter("length_ratio", hihgest=2.5)
    Traceback (most recent call last):
        ...
    spanferry.data.errors.ConfigError: filter 'length_ratio' has no setting 'hihgest': did you mean 'highest'? ...
    """
    check, known = _check(name), filter_settings(name)
    owner = f"filter {name!r}"
    for setting in settings:
        if setting not in known:
            raise ConfigError(f"{owner} has no setting {setting!r}: {did_you_mean(setting, [*known, 'on_fail'])}")
    check_values(owner, settings, check)
    limits = {**known, **settings}
    if "highest" in limits and limits["lowest"] > limits["highest"]:
        raise ConfigError(
            f"{owner}: lowest is {limits['lowest']:g} and highest {limits['highest']:g}, "
            "expected lowest to be no more than highest"
        )
    if on_fail not in get_args(OnFail):
        raise ConfigError(f"{owner}: on_fail is {on_fail!r}: {did_you_mean(str(on_fail), get_args(OnFail))}")
    bound = partial(check, **settings) if settings else check
    if name in SPAN_CHECKS:
        return Filter(name, on_fail, span_check=bound)
    if on_fail == "drop_span":
        raise ConfigError(f"{owner} judges whole texts: on_fail must be flag or drop_example, not drop_span")
    return Filter(name, on_fail, text_check=bound)


def _check(name: str) -> Callable[..., str | None]:
    check = SPAN_CHECKS.get(name) or TEXT_CHECKS.get(name)
    if check is None:
        raise ConfigError(f"unknown filter {name!r}: {did_you_mean(name, filter_names())}")
    return check


def load_filters(settings: Mapping[str, Mapping[str, Any] | None]) -> tuple[Filter, ...]:
    """Make filters from a mapping of names to settings, as a config file has it.

    >>> [filter.name for filter in load_filters({"empty": {"on_fail": "drop_example"}, "copied": None})]
    ['empty', 'copied']
    """
    return tuple(load_filter(name, **(values or {})) for name, values in settings.items())


def judge(
    text: TranslatedText,
    projections: Sequence[Projection],
    filters: Sequence[Filter],
    *,
    field: str,
    source: str,
    target: str,
) -> tuple[tuple[Projection, ...], list[Verdict]]:
    """Apply every filter to one text: return the projections as they are now, and a `Verdict` for each failure.

    Filters of spans go first, so that filters of texts see the spans that are left. The ``span`` of a verdict counts
    within ``projections``.
    """
    current = list(projections)
    verdicts = []
    for filter_ in filters:
        if filter_.span_check is None:
            continue
        for index, projection in enumerate(current):
            if projection.target is None or (detail := filter_.span_check(text, projection)) is None:
                continue
            verdicts.append(Verdict(filter_.name, field, index, detail, filter_.on_fail))
            if filter_.on_fail == "drop_span":
                refused = f"{filter_.name}: {detail}"
                current[index] = replace(projection, target=None, reason=Reason.FILTERED, detail=refused)
    verdicts += [
        Verdict(filter_.name, field, None, detail, filter_.on_fail)
        for filter_ in filters
        if filter_.text_check is not None and (detail := filter_.text_check(text, current, source, target)) is not None
    ]
    return tuple(current), verdicts
