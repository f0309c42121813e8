"""Join the links of two directions into one set: pure functions on sets of (source, target) pairs.

``forward`` holds the links of the aligner run source to target, ``backward`` those of the run target to source, both
written as (source, target). Intersection is precise, union is complete; the growing forms start at the intersection
and add links of the union.

References:
    Och and Ney, "A Systematic Comparison of Various Statistical Alignment Models", Computational Linguistics 29(1),
    2003 (intersection, union, refined).
    Koehn, Axelrod, Mayne, Callison-Burch, Osborne and Talbot, "Edinburgh System Description for the 2005 IWSLT Speech
    Translation Evaluation", IWSLT 2005 (grow-diag, final, final-and). The order in which neighbours are tried is
    left open there; here it is that of the Moses toolkit, so that the sets agree with those of its tools.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from types import MappingProxyType

from spanferry.data.errors import ConfigError, did_you_mean

Links = Set[tuple[int, int]]

# Moses' order: the four direct neighbours, then the diagonal ones.
_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def intersection(forward: Links, backward: Links) -> set[tuple[int, int]]:
    """Links that both directions found.

    >>> sorted(intersection({(0, 0), (1, 1)}, {(1, 1), (1, 2)}))
    [(1, 1)]
    """
    return set(forward & backward)


def union(forward: Links, backward: Links) -> set[tuple[int, int]]:
    """Links that either direction found.

    >>> sorted(union({(0, 0), (1, 1)}, {(1, 1), (1, 2)}))
    [(0, 0), (1, 1), (1, 2)]
    """
    return set(forward | backward)


def grow_diag(forward: Links, backward: Links) -> set[tuple[int, int]]:
    """Grow the intersection by neighbouring links of the union, diagonals included, that cover a new word.

    A link of the union joins when it touches a link that is in, and its source or its target word had no link yet;
    repeated until nothing is added.

    >>> sorted(grow_diag({(0, 0), (1, 1), (3, 3)}, {(0, 0), (1, 2), (3, 3), (5, 5)}))
    [(0, 0), (1, 1), (1, 2), (3, 3)]

    (1, 1) touches (0, 0) and covers two new words; (1, 2) then covers a new target; (5, 5) touches nothing.
    """
    candidates = forward | backward
    links = set(forward & backward)
    sources = {source for source, _ in links}
    targets = {target for _, target in links}
    frontier = sorted(links)
    while frontier:
        added = []
        for source, target in frontier:
            for step in _NEIGHBOURS:
                new = (source + step[0], target + step[1])
                if new in candidates and new not in links and (new[0] not in sources or new[1] not in targets):
                    links.add(new)
                    sources.add(new[0])
                    targets.add(new[1])
                    added.append(new)
        frontier = sorted(links) if added else []
    return links


def grow_diag_final(forward: Links, backward: Links) -> set[tuple[int, int]]:
    """`grow_diag`, then the links of each direction whose source OR target word has no link yet.

    >>> sorted(grow_diag_final({(0, 0), (2, 0), (1, 1)}, {(0, 0), (1, 1), (4, 4)}))
    [(0, 0), (1, 1), (2, 0), (4, 4)]
    """
    return _final(forward, backward, both=False)


def grow_diag_final_and(forward: Links, backward: Links) -> set[tuple[int, int]]:
    """`grow_diag`, then the links of each direction whose source AND target word have no link yet.

    >>> sorted(grow_diag_final_and({(0, 0), (3, 0), (1, 1)}, {(0, 0), (1, 1), (4, 4)}))
    [(0, 0), (1, 1), (4, 4)]
    """
    return _final(forward, backward, both=True)


def _final(forward: Links, backward: Links, *, both: bool) -> set[tuple[int, int]]:
    links = grow_diag(forward, backward)
    sources = {source for source, _ in links}
    targets = {target for _, target in links}
    for direction in (forward, backward):
        for source, target in sorted(direction):
            new_source, new_target = source not in sources, target not in targets
            if (new_source and new_target) if both else (new_source or new_target):
                links.add((source, target))
                sources.add(source)
                targets.add(target)
    return links


SYMMETRIZATIONS: MappingProxyType[str, Callable[[Links, Links], set[tuple[int, int]]]] = MappingProxyType(
    {
        "intersection": intersection,
        "union": union,
        "grow-diag": grow_diag,
        "grow-diag-final": grow_diag_final,
        "grow-diag-final-and": grow_diag_final_and,
    }
)


def get_symmetrization(name: str) -> Callable[[Links, Links], set[tuple[int, int]]]:
    """Return the function called ``name``.

    Raises:
        ConfigError: there is none of this name.

    >>> get_symmetrization("grow-diag") is grow_diag
    True
    """
    if name not in SYMMETRIZATIONS:
        raise ConfigError(f"unknown symmetrization {name!r}: {did_you_mean(name, SYMMETRIZATIONS)}")
    return SYMMETRIZATIONS[name]
