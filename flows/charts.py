"""Charts as small SVG texts: bars and histograms with named axes, readable by people and by screen readers.

Drawn by hand: matplotlib's SVG neither follows a dark page nor keeps its text as text in one small file, and Vega or
Plotly would put one to four megabytes of script into every report. Colours are classes of the page's stylesheet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

_WIDTH: Final = 640
_LEFT: Final = 130
_ROW: Final = 26


def stacked_bars(
    title: str, rows: Mapping[str, Mapping[str, int]], parts: Mapping[str, str], *, axis: str, unit: str
) -> str:
    """Return bars of shares, one a row, each cut into parts: 0 to 100 % from left to right.

    Args:
        title: what a screen reader says the picture is.
        rows: name of a bar -> part -> number.
        parts: part -> class of its colour, in order.
        axis: what the horizontal axis shows.
        unit: what is counted: the name of the numbers at the right.
    """
    height = len(rows) * _ROW + 40
    span = _WIDTH - _LEFT - 70
    base = len(rows) * _ROW
    drawn = [_text(_WIDTH - 64, base + 33, unit, "start", "quiet")]
    for tick in range(0, 101, 25):
        x = _LEFT + span * tick / 100
        drawn.append(f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{base}"/>')
        drawn.append(_text(x, base + 15, f"{tick} %", "middle", "quiet"))
    drawn.append(_text(_LEFT + span / 2, base + 33, axis, "middle"))
    for index, (name, numbers) in enumerate(rows.items()):
        top, total, left = index * _ROW, sum(numbers.values()), float(_LEFT)
        drawn.append(_text(_LEFT - 8, top + 17, name, "end"))
        for part, style in parts.items():
            number = numbers.get(part, 0)
            wide = span * number / total if total else 0.0
            if wide:
                label = f"{name}: {part} {number:,} ({number / total:.1%})"
                drawn.append(
                    f'<rect class="{style}" x="{left:.1f}" y="{top + 3}" width="{wide:.1f}" height="{_ROW - 6}">'
                    f"<title>{escape(label)}</title></rect>"
                )
            left += wide
        drawn.append(_text(_WIDTH - 64, top + 17, f"{total:,}", "start", "quiet"))
    return _svg(title, _WIDTH, height, drawn)


def histogram(
    title: str, edges: Sequence[float], counts: Sequence[int], *, axis: str, unit: str, ticks: Mapping[float, str]
) -> str:
    """Return a histogram of bins of equal width on the page.

    Args:
        title: what a screen reader says the picture is; it also stands above it.
        edges: of the bins, one more than there are bins.
        counts: a bin each.
        axis: what the horizontal axis shows.
        unit: what is counted: the name of the vertical axis.
        ticks: edge -> how it is written below the axis.
    """
    wide, high, left, top = 320, 190, 50, 26
    base, right = high - 40, wide - 8
    most = _round_up(max([*counts, 1]))
    step = (right - left) / len(counts)
    drawn = [_text(left, 14, title, "start", "strong")]
    for tick in sorted({0, most // 2, most}):
        y = base - (base - top) * tick / most
        drawn.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>')
        drawn.append(_text(left - 5, y + 4, _short(tick), "end", "quiet"))
    for index, number in enumerate(counts):
        tall = (base - top) * number / most
        label = f"{edges[index]:.3g} to {edges[index + 1]:.3g}: {number:,} {unit}"
        drawn.append(
            f'<rect class="c0" x="{left + index * step + 0.5:.1f}" y="{base - tall:.1f}" width="{step - 1:.1f}" '
            f'height="{tall:.1f}"><title>{escape(label)}</title></rect>'
        )
    for index, edge in enumerate(edges):
        if edge in ticks:
            drawn.append(_text(left + index * step, base + 15, ticks[edge], "middle", "quiet"))
    drawn.append(_text((left + right) / 2, high - 6, axis, "middle"))
    middle = (base + top) / 2
    drawn.append(
        f'<text class="quiet" text-anchor="middle" transform="translate(11 {middle}) rotate(-90)">{unit}</text>'
    )
    return _svg(title, wide, high, drawn)


def _round_up(number: int) -> int:
    """Return the next number of one digit and zeros, half of which is whole.

    >>> [_round_up(number) for number in (1, 7, 12, 254, 4800)]
    [2, 8, 20, 300, 5000]
    """
    power = int(10 ** (len(str(number)) - 1))
    rounded = -(-number // power) * power
    return rounded + rounded % 2


def _short(number: int) -> str:
    """Write a number in few characters.

    >>> [_short(number) for number in (0, 950, 1500, 20000, 3000000)]
    ['0', '950', '1.5k', '20k', '3M']
    """
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, wide: int, high: int, drawn: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {wide} {high}" style="max-width:{wide}px" role="img" '
        f'aria-label="{escape(title)}">{"".join(drawn)}</svg>'
    )
