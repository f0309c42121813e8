"""How alike two short texts are."""

from __future__ import annotations

from difflib import SequenceMatcher


def similarity(one: str, other: str, *, at_least: float = 0.0) -> float:
    """Return Ratcliff and Obershelp's ratio in 0..1, letter case aside: 2 * characters in common / characters in all.

    Args:
        one: a text.
        other: another.
        at_least: return 0 where the result would be less, which is often seen without computing it.

    >>> round(similarity("Warschau", "Warschaus"), 2), similarity("Rom", "ROM"), similarity("Rom", "Köln", at_least=0.5)
    (0.94, 1.0, 0.0)
    """
    one, other = one.casefold(), other.casefold()
    if one == other:
        return 1.0
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    if matcher.real_quick_ratio() < at_least or matcher.quick_ratio() < at_least:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= at_least else 0.0
