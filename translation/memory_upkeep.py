"""Looking after a translation memory: what is in it, what of it to take out, what of it to throw away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from spanferry.translation.base import Hypothesis
from spanferry.translation.memory import TranslationMemory

_BATCH = 20_000
"""Entries removed in one transaction: other processes that write wait for one batch, not for all."""

_SCOPES = """
SELECT fingerprint, source, target, count(*), sum(length(source_text) + length(target_text)), min(created), max(created)
FROM scopes JOIN entries ON scope = scopes.id GROUP BY scopes.id ORDER BY scopes.id
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the memory holds of one model and one pair of languages.

    Attributes:
        fingerprint: the model's, see `Translator.fingerprint`.
        source, target: FLORES-200 codes.
        entries: how many sentences.
        characters: of all their sources and targets.
        oldest, newest: when the first and the last of them were written, in seconds since 1970.
    """

    fingerprint: str
    source: str
    target: str
    entries: int
    characters: int
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered sentence."""

    fingerprint: str
    source_language: str
    target_language: str
    source: str
    hypothesis: Hypothesis
    created: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Which entries are meant: those that meet every condition that is not None.

    Attributes:
        model: part of the model's fingerprint.
        source, target: FLORES-200 codes.
        before: written before this moment, in seconds since 1970.
    """

    model: str | None = None
    source: str | None = None
    target: str | None = None
    before: int | None = None

    def condition(self) -> tuple[str, list[str | int]]:
        """Return the choice as an SQL condition over ``scopes`` and ``entries``, and its parameters.

        >>> Choice(target="deu_Latn", before=1700000000).condition()
        ('target = ? AND created < ?', ['deu_Latn', 1700000000])
        >>> Choice().condition()
        ('1', [])
        """
        conditions = {
            "instr(fingerprint, ?) > 0": self.model,
            "source = ?": self.source,
            "target = ?": self.target,
            "created < ?": self.before,
        }
        chosen = {text: value for text, value in conditions.items() if value is not None}
        return " AND ".join(chosen) or "1", list(chosen.values())


def scopes(memory: TranslationMemory) -> list[Scope]:
    """Return what the memory holds, in the order in which the models were first used.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, TranslationMemory(f"{folder}/memory.sqlite") as memory:
    ...     memory.put("model@1", "eng_Latn", "deu_Latn", {"Yes.": Hypothesis("Ja.", -0.25)})
    ...     [(scope.fingerprint, scope.target, scope.entries, scope.characters) for scope in scopes(memory)]
    [('model@1', 'deu_Latn', 1, 7)]
    """
    with memory.connection() as connection:
        return [Scope(*row) for row in connection.execute(_SCOPES)]
    return []  # the memory was damaged, and is empty now


def entries(memory: TranslationMemory, choice: Choice = Choice()) -> Iterator[Entry]:
    """Yield the chosen entries, oldest first, as they stood when the first was asked for."""
    condition, parameters = choice.condition()
    query = (
        "SELECT fingerprint, source, target, source_text, target_text, score, finished, created "
        f"FROM entries JOIN scopes ON scope = scopes.id WHERE {condition} ORDER BY entries.id"
    )
    with memory.connection() as connection:
        for fingerprint, source, target, text, translated, score, finished, created in connection.execute(
            query, parameters
        ):
            yield Entry(fingerprint, source, target, text, Hypothesis(translated, score, bool(finished)), created)


def count(memory: TranslationMemory, choice: Choice) -> int:
    """Return how many entries are chosen."""
    condition, parameters = choice.condition()
    query = f"SELECT count(*) FROM entries JOIN scopes ON scope = scopes.id WHERE {condition}"
    with memory.connection() as connection:
        return int(connection.execute(query, parameters).fetchone()[0])
    return 0


def prune(memory: TranslationMemory, choice: Choice) -> int:
    """Remove the chosen entries, give their room back to the disk, and return how many there were.

    A build that uses the memory meanwhile goes on; it translates again what it no longer finds. While another process
    is reading, the file keeps its size; it shrinks when that process is done.

    Raises:
        BuildError: another process has held the file for two minutes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, TranslationMemory(f"{folder}/memory.sqlite") as memory:
    ...     memory.put("model@1", "eng_Latn", "deu_Latn", {"Yes.": Hypothesis("Ja.", -0.25)})
    ...     memory.put("model@2", "eng_Latn", "deu_Latn", {"Yes.": Hypothesis("Ja!", -0.5)})
    ...     prune(memory, Choice(model="@1")), len(memory)
    (1, 1)
    """
    condition, parameters = choice.condition()
    chosen = f"SELECT entries.id FROM entries JOIN scopes ON scope = scopes.id WHERE {condition} LIMIT {_BATCH}"
    removed = 0
    with memory.connection() as connection:
        while gone := connection.execute(f"DELETE FROM entries WHERE id IN ({chosen})", parameters).rowcount:
            removed += gone
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # without this the room is given back at the next close
    return removed
