"""Ids: the source's own, each once; or made from the content, so that a row added elsewhere changes no other's id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from spanferry.data.errors import DataError
from spanferry.data.tasks import content_id


class Identities:
    """Gives out and checks the ids of one source.

    Memory grows by about 100 bytes an example (a 16-byte digest in a set, whatever the length of the text): a billion
    rows in one source would not fit, ten million take a gigabyte.

    >>> identities = Identities()
    >>> for _ in range(2):
    ...     identity = identities.make({"text": "ok"}, {"label": "yes"})
    ...     identities.check(identity)
    ...     print(identity)
    a90428e82164c38c55b4
    a90428e82164c38c55b4-2
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._repeats: dict[str, int] = {}

    def make(self, fields: Mapping[str, str], labels: Mapping[str, Any]) -> str:
        """Return `content_id`, and for the second and later of equal content ``-2``, ``-3`` ... behind it.

        The id counts as given out only when `check` has seen it.
        """
        base = content_id(fields, labels)
        if _digest(base) not in self._seen:
            return base
        count = self._repeats[base] = self._repeats.get(base, 1) + 1
        return f"{base}-{count}"

    def check(self, identity: str) -> None:
        """Take note of an id.

        Raises:
            DataError: it was there before.
        """
        digest = _digest(identity)
        if digest in self._seen:
            raise DataError(
                f"duplicate id {identity!r}: expected each id once",
                hint="columns: {id: null} makes ids from the content",
            )
        self._seen.add(digest)


def _digest(identity: str) -> bytes:
    return hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=16).digest()
