"""Translation memory: what a model once translated, it need not translate again.

One SQLite file, shared by every process of a machine (write-ahead log; not for network file systems). An entry is
found by fingerprint of the translator, languages and text; nothing else is in the key, so that another batch size,
thread count or device finds it too.

Layout, for tens of millions of entries: rows are only ever appended, so that what was translated together lies
together; and a row is found by a 64-bit hash in an index of about 15 bytes an entry, which stays in the page cache
when the rows themselves (some hundred bytes each) no longer do. A hash as the table's own key would put every row of
a batch on another page. Each batch is sorted by hash, so that it walks the index in one direction. The hash only
finds candidates: the text itself is compared.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from spanferry.data.shared_file import SharedFile, transaction
from spanferry.translation.base import Hypothesis

_SCHEMA = """
CREATE TABLE scopes (
    id INTEGER PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    UNIQUE (fingerprint, source, target)
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    scope INTEGER NOT NULL REFERENCES scopes (id),
    hash INTEGER NOT NULL,
    created INTEGER NOT NULL,
    score REAL,
    finished INTEGER NOT NULL,
    source_text TEXT NOT NULL,
    target_text TEXT NOT NULL
);
CREATE UNIQUE INDEX entries_by_hash ON entries (hash);
"""
_FIND = """
SELECT hash, source_text, target_text, score, finished FROM entries
WHERE hash IN (SELECT value FROM json_each(?)) AND scope = ?
"""
_KEEP = """
INSERT INTO entries (scope, hash, created, score, finished, source_text, target_text) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (hash) DO UPDATE SET scope = excluded.scope, created = excluded.created, score = excluded.score,
    finished = excluded.finished, source_text = excluded.source_text, target_text = excluded.target_text
"""
_BATCH = 10_000


class TranslationMemory(SharedFile):
    """A file of remembered translations.

    What it promises of the file, and what it raises, is said in `SharedFile`.

    Args:
        path: the file; it is made, with its folder, where there is none.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, TranslationMemory(Path(folder) / "memory.sqlite") as memory:
    ...     memory.put("model@1", "eng_Latn", "deu_Latn", {"Yes.": Hypothesis("Ja.", -0.25)})
    ...     memory.get("model@1", "eng_Latn", "deu_Latn", ["Yes.", "No."])
    ...     memory.get("model@2", "eng_Latn", "deu_Latn", ["Yes."])
    {'Yes.': Hypothesis(text='Ja.', score=-0.25, finished=True)}
    {}
    """

    what, again = "translation memory", "translated"
    application_id, version, tables = 0x73706D31, 1, _SCHEMA  # "spm1"

    def __init__(self, path: str | Path) -> None:
        self._scopes: dict[tuple[str, str, str], int] = {}
        super().__init__(path)

    def get(self, fingerprint: str, source: str, target: str, texts: Sequence[str]) -> dict[str, Hypothesis]:
        """Return what is remembered of ``texts``; those that are not known are not in the answer.

        Args:
            fingerprint: see `Translator.fingerprint`.
            source: FLORES-200 code of the texts' language.
            target: FLORES-200 code of the language wanted.
            texts: any number of texts.
        """
        with self._repaired():
            connection = self._connected()
            scope = self._scope(connection, (fingerprint, source, target))
            if scope is None:
                return {}
            found: dict[str, Hypothesis] = {}
            hashes = sorted((_hash(scope, text), text) for text in set(texts))
            for at in range(0, len(hashes), _BATCH):
                wanted = dict(hashes[at : at + _BATCH])
                rows = connection.execute(_FIND, (f"[{','.join(map(str, wanted))}]", scope))
                for key, source_text, target_text, score, finished in rows:
                    if wanted[key] == source_text:
                        found[source_text] = Hypothesis(target_text, score, bool(finished))
            return found
        return {}  # the memory was damaged, and is empty now

    def put(self, fingerprint: str, source: str, target: str, translations: Mapping[str, Hypothesis]) -> None:
        """Remember ``translations`` (text -> what the model made of it), all or none; the last writer wins.

        Raises:
            BuildError: the disk is full, or another process has held the file for two minutes.
        """
        if not translations:
            return
        for _ in range(2):  # a second time when the file was damaged, into the empty one
            with self._repaired():
                connection = self._connected()
                now = int(time.time())
                with transaction(connection):
                    scope = self._scope(connection, (fingerprint, source, target)) or self._new_scope(
                        connection, (fingerprint, source, target)
                    )
                    rows = [
                        (scope, _hash(scope, text), now, each.score, each.finished, text, each.text)
                        for text, each in translations.items()
                    ]
                    rows.sort(key=lambda row: row[1])
                    connection.executemany(_KEEP, rows)
                return

    def __len__(self) -> int:
        """Number of entries, of all models and languages."""
        with self._repaired():
            return int(self._connected().execute("SELECT count(*) FROM entries").fetchone()[0])
        return 0

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return the number of entries for each (fingerprint, source language, target language)."""
        query = "SELECT fingerprint, source, target, count(entries.id) FROM scopes JOIN entries ON scope = scopes.id"
        with self._repaired():
            rows = self._connected().execute(f"{query} GROUP BY scopes.id ORDER BY scopes.id")
            return {(fingerprint, source, target): number for fingerprint, source, target, number in rows}
        return {}

    def _forget(self) -> None:
        self._scopes.clear()

    def _scope(self, connection: sqlite3.Connection, names: tuple[str, str, str]) -> int | None:
        if names not in self._scopes:
            query = "SELECT id FROM scopes WHERE fingerprint = ? AND source = ? AND target = ?"
            row = connection.execute(query, names).fetchone()
            if row is None:
                return None
            self._scopes[names] = row[0]
        return self._scopes[names]

    @staticmethod
    def _new_scope(connection: sqlite3.Connection, names: tuple[str, str, str]) -> int:
        # Not kept in `_scopes`: the transaction may yet be rolled back.
        query = "INSERT INTO scopes (fingerprint, source, target) VALUES (?, ?, ?) RETURNING id"
        return int(connection.execute(query, names).fetchone()[0])


def _hash(scope: int, text: str) -> int:
    key = scope.to_bytes(8, "little")
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), signed=True)
