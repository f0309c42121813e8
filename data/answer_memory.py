"""A file of remembered answers: the key of a question -> what was answered, as text.

What the memories of projections and of predictions have in common. Rows are appended, and found by an index of 64-bit
hashes, as in `spanferry.translation.memory`; the other 64 bits of a key stand in the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from spanferry.data.shared_file import SharedFile, transaction

ENTRIES: Final = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    hash INTEGER NOT NULL,
    rest BLOB NOT NULL,
    created INTEGER NOT NULL,
    answer TEXT NOT NULL{more}
);
CREATE UNIQUE INDEX entries_by_hash ON entries (hash);
"""
"""The tables of such a file; a subclass puts columns of its own in place of ``{more}``."""

_FIND: Final = "SELECT hash, rest, answer FROM entries WHERE hash IN (SELECT value FROM json_each(?))"
_BATCH: Final = 10_000
_REMOVED_AT_ONCE: Final = 20_000


class AnswerMemory(SharedFile):
    """A `SharedFile` of answers; a subclass says which, how they are put in, and which of them go."""

    def get(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """Return what is remembered under ``keys``, each of 16 bytes; those not known are not in the answer."""
        found: dict[bytes, str] = {}
        with self.connection() as connection:
            hashes = sorted((split_key(key)[0], key) for key in set(keys))
            for at in range(0, len(hashes), _BATCH):
                wanted = dict(hashes[at : at + _BATCH])
                for number, rest, answer in connection.execute(_FIND, (f"[{','.join(map(str, wanted))}]",)):
                    if wanted[number][8:] == rest:
                        found[wanted[number]] = answer
            return found
        return {}  # the file was damaged, and is empty now

    def __len__(self) -> int:
        """Number of entries."""
        with self.connection() as connection:
            return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
        return 0

    def _keep(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run a statement for every row, all or none."""
        for _ in range(2 if rows else 0):  # a second time when the file was damaged, into the empty one
            with self.connection() as connection, transaction(connection):
                connection.executemany(statement, rows)
                return

    def _remove(self, chosen: str, parameters: Sequence[Any]) -> int:
        """Remove the entries whose ids a query selects, give their room back, return how many they were."""
        removed = 0
        remove = f"DELETE FROM entries WHERE id IN ({chosen} LIMIT {_REMOVED_AT_ONCE})"
        with self.connection() as connection:
            while gone := connection.execute(remove, parameters).rowcount:
                removed += gone
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed


def split_key(key: bytes) -> tuple[int, bytes]:
    """Return a key of 16 bytes as the hash that it is found by, and the rest.

    >>> split_key(b"\\0\\0\\0\\0\\0\\0\\0\\1restrest")
    (1, b'restrest')
    """
    return int.from_bytes(key[:8], signed=True), key[8:]
