"""Names for columns of a source that would otherwise take the name of one of ours."""

from __future__ import annotations

from collections.abc import Collection


def set_aside(name: str, ours: Collection[str], prefix: str) -> str:
    """Return the name under which the column ``name`` of a source stands beside ``ours``.

    No two columns come out with one name, and the answer hangs on nothing but the three arguments: rows that lack
    some columns name the others as every row does, so that each is one column of the table, whichever row comes first.

    Args:
        name: of any column of the source.
        ours: names that it must not have.
        prefix: what a name that is taken gets, more than once if need be. So does one that already has the prefix
            before a name of ours: it would be the new name of another column.

    >>> [set_aside(name, {"flags"}, "original_") for name in ("note", "flags", "original_flags")]
    ['note', 'original_flags', 'original_original_flags']
    """
    bare = name
    while bare not in ours:
        if not bare.startswith(prefix):
            return name
        bare = bare.removeprefix(prefix)
    return prefix * (1 + max(_times(each, prefix) for each in ours)) + name


def _times(name: str, prefix: str) -> int:
    """Count how often a name begins with the prefix."""
    times = 0
    while name.startswith(prefix, times * len(prefix)):
        times += 1
    return times
