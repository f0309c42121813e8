"""The translation memory: what was put in comes out, whatever happens to the file and whoever else writes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanferry.data.errors import BuildError, ConfigError
from spanferry.data.shared_file import CorruptMemoryWarning
from spanferry.translation.base import Hypothesis
from spanferry.translation.memory import TranslationMemory

PAIR = ("model@1", "eng_Latn", "deu_Latn")
# 16 bytes that all SQLite files have in common, and at 68 the application id (https://www.sqlite.org/fileformat.html).
HEADER = b"SQLite format 3\0" + bytes(52) + b"spm1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.sqlite"


def some(number: int, prefix: str = "text") -> dict[str, Hypothesis]:
    return {f"{prefix} {i}": Hypothesis(f"Text {i}", -i / 8) for i in range(number)}


HYPOTHESES = st.builds(
    Hypothesis, st.text(), st.none() | st.floats(max_value=0, allow_nan=False, allow_infinity=False), st.booleans()
)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(), HYPOTHESES, max_size=20), st.lists(st.text(), max_size=5))
def test_what_was_put_comes_back(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Hypothesis], others: list[str]
) -> None:
    with TranslationMemory(tmp_path_factory.mktemp("memory") / "memory.sqlite") as memory:
        memory.put(*PAIR, entries)
        assert memory.get(*PAIR, [*entries, *others]) == entries
        assert len(memory) == len(entries)


def test_it_is_still_there_in_the_next_session(path: Path) -> None:
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, {"cut off": Hypothesis("abgeschn", -1.5, finished=False), "none": Hypothesis("keins")})
    with TranslationMemory(path) as memory:
        assert memory.get(*PAIR, ["cut off", "none"]) == {
            "cut off": Hypothesis("abgeschn", -1.5, finished=False),
            "none": Hypothesis("keins"),
        }


@pytest.mark.parametrize(
    "other",
    [("model@2", "eng_Latn", "deu_Latn"), ("model@1", "fra_Latn", "deu_Latn"), ("model@1", "eng_Latn", "spa_Latn")],
)
def test_another_model_or_language_knows_nothing_of_it(path: Path, other: tuple[str, str, str]) -> None:
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, {"Yes.": Hypothesis("Ja.")})
        assert memory.get(*other, ["Yes."]) == {}
        memory.put(*other, {"Yes.": Hypothesis("anders")})
        assert memory.get(*PAIR, ["Yes."]) == {"Yes.": Hypothesis("Ja.")}
        assert memory.counts() == {PAIR: 1, other: 1}


def test_more_than_a_batch(path: Path) -> None:
    entries = some(25_000)
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, entries)
        assert memory.get(*PAIR, list(entries)) == entries


def test_the_last_writer_wins(path: Path) -> None:
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, {"Yes.": Hypothesis("Nein.", finished=False)})
        memory.put(*PAIR, {"Yes.": Hypothesis("Ja.", -0.5)})
        assert memory.get(*PAIR, ["Yes."]) == {"Yes.": Hypothesis("Ja.", -0.5)}
        assert len(memory) == 1


def test_two_texts_with_the_same_hash_are_told_apart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spanferry.translation.memory._hash", lambda scope, text: 7)
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, {"Yes.": Hypothesis("Ja.")})
        assert memory.get(*PAIR, ["No."]) == {}
        memory.put("model@2", *PAIR[1:], {"Yes.": Hypothesis("anders")})
        assert memory.get(*PAIR, ["Yes."]) == {}


def test_a_put_that_fails_leaves_nothing_behind(path: Path) -> None:
    with TranslationMemory(path) as memory:
        with pytest.raises(sqlite3.ProgrammingError):
            memory.put(*PAIR, {"good": Hypothesis("gut"), "bad": Hypothesis(object())})  # type: ignore[arg-type]
        assert len(memory) == 0
        memory.put(*PAIR, {"good": Hypothesis("gut")})
        assert memory.get(*PAIR, ["good", "bad"]) == {"good": Hypothesis("gut")}


WRITER = textwrap.dedent("""
    import sys
    from spanferry.translation.base import Hypothesis
    from spanferry.translation.memory import TranslationMemory

    path, name = sys.argv[1:]
    sys.stdin.readline()
    with TranslationMemory(path) as memory:
        for batch in range(20):
            texts = [f"{name} {batch} {i}" for i in range(50)] + [f"shared {batch} {i}" for i in range(50)]
            memory.get("model@1", "eng_Latn", "deu_Latn", texts)
            memory.put("model@1", "eng_Latn", "deu_Latn", {text: Hypothesis(text.upper()) for text in texts})
""")


def run_writers(path: Path, names: list[str]) -> None:
    command = [sys.executable, "-W", "ignore", "-c", WRITER, str(path)]
    writers = [subprocess.Popen([*command, name], stdin=subprocess.PIPE, text=True) for name in names]
    for writer in writers:  # all of them wait for this line, so that they open the file at once
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0


def check_writers(path: Path, names: list[str]) -> None:
    texts = [f"{name} {batch} {i}" for name in (*names, "shared") for batch in range(20) for i in range(50)]
    with TranslationMemory(path) as memory:
        assert memory.get(*PAIR, texts) == {text: Hypothesis(text.upper()) for text in texts}
        assert len(memory) == len(texts)


def test_processes_that_open_and_write_at_once(path: Path) -> None:
    run_writers(path, ["a", "b", "c"])
    check_writers(path, ["a", "b", "c"])


def test_processes_that_find_it_damaged_at_once_move_it_aside_once(path: Path) -> None:
    path.write_bytes(HEADER + b"garbage" * 10_000)
    run_writers(path, ["a", "b", "c"])
    check_writers(path, ["a", "b", "c"])
    there = {file.name for file in path.parent.iterdir()} - {".memory.sqlite.lock"}
    assert there == {"memory.sqlite", "memory.sqlite.corrupt-1"}
    assert path.with_name("memory.sqlite.corrupt-1").read_bytes() == HEADER + b"garbage" * 10_000


def test_threads_share_one(path: Path) -> None:
    with TranslationMemory(path) as memory:
        threads = [
            threading.Thread(target=lambda name=name: memory.put(*PAIR, some(200, name)))
            for name in ("a", "b", "c", "d")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(memory) == 800


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_writes_through_its_own_connection(path: Path) -> None:
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, some(3, "parent"))
        child = multiprocessing.get_context("fork").Process(target=memory.put, args=(*PAIR, some(3, "child")))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        memory.put(*PAIR, some(3, "later"))
        assert len(memory) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_a_thread_is_at_work_does_not_wait_for_it(path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def work(memory: TranslationMemory) -> None:
        with memory.connection():
            inside.set()
            leave.wait(60)

    with TranslationMemory(path) as memory:
        thread = threading.Thread(target=work, args=(memory,))
        thread.start()
        child = multiprocessing.get_context("fork").Process(target=memory.put, args=(*PAIR, some(3, "child")))
        try:
            assert inside.wait(60)
            child.start()
            child.join(30)
            assert child.exitcode == 0
        finally:
            child.kill()
            leave.set()
            thread.join()
        assert len(memory) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_never_closes_the_connection_of_its_parent(path: Path) -> None:
    def forget(holder: list[TranslationMemory]) -> None:
        gc.collect()  # what earlier tests left
        before = sum(type(each) is sqlite3.Connection for each in gc.get_objects())
        holder.pop()
        gc.collect()
        assert sum(type(each) is sqlite3.Connection for each in gc.get_objects()) == before > 0

    holder = [TranslationMemory(path)]
    child = multiprocessing.get_context("fork").Process(target=forget, args=(holder,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    holder.pop().close()


def test_it_can_be_sent_to_another_process(path: Path) -> None:
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, some(2))
        with pickle.loads(pickle.dumps(memory)) as copy:
            assert len(copy) == 2


@pytest.mark.parametrize("content", [HEADER + b"garbage" * 1000, HEADER, HEADER[:30]])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.warns(CorruptMemoryWarning, match=r"memory is damaged .* moved to .*memory\.sqlite\.corrupt-1"):
        memory = TranslationMemory(path)
    with memory:
        assert len(memory) == 0
        memory.put(*PAIR, some(3))
        assert len(memory) == 3
    assert path.with_name("memory.sqlite.corrupt-1").read_bytes() == content
    path.write_bytes(content)
    with pytest.warns(CorruptMemoryWarning, match="corrupt-2"):
        TranslationMemory(path).close()


@pytest.mark.parametrize("content", [b"my notes\n", b"x" * 600, HEADER[:68] + b"else" * 1000, b"SQLite format 2" * 99])
def test_a_file_of_somebody_elses_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"memory\.sqlite: found another file, expected a translation memory"):
            TranslationMemory(path)
    assert path.read_bytes() == content
    assert not list(path.parent.glob("memory.sqlite?*"))


def test_an_empty_file_which_a_crash_may_leave_is_taken(path: Path) -> None:
    path.touch()
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, some(3))
        assert len(memory) == 3


@pytest.mark.parametrize("act", ["get", "put", "len"])
def test_damage_found_in_the_middle_of_work(path: Path, act: str) -> None:
    entries = some(3000)
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, entries)
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)  # the header and the schema stay readable
    path.write_bytes(content)
    with TranslationMemory(path) as memory, pytest.warns(CorruptMemoryWarning):
        if act == "get":
            assert memory.get(*PAIR, list(entries)) == {}
        elif act == "put":
            memory.put(*PAIR, {"new": Hypothesis("neu")})
        else:
            assert len(memory) == 0
    with TranslationMemory(path) as memory:
        assert memory.get(*PAIR, ["new"]) == ({"new": Hypothesis("neu")} if act == "put" else {})
    assert path.with_name("memory.sqlite.corrupt-1").stat().st_size == len(content)


def test_a_file_cut_in_half_is_moved_aside(path: Path) -> None:
    entries = some(5000)
    with TranslationMemory(path) as memory:
        memory.put(*PAIR, entries)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.warns(CorruptMemoryWarning), TranslationMemory(path) as memory:
        assert memory.get(*PAIR, list(entries)) == {}
    assert path.with_name("memory.sqlite.corrupt-1").exists()


def test_another_database_is_refused_and_untouched(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is not a translation memory; name another file"):
        TranslationMemory(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path: Path) -> None:
    TranslationMemory(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="has schema 99, this version of spanferry reads 1"):
        TranslationMemory(path)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="its folder cannot be made"):
        TranslationMemory(tmp_path / "file" / "memory.sqlite")
    with pytest.raises(ConfigError, match="cannot be written"):
        TranslationMemory(tmp_path)


def test_a_full_disk_is_a_build_error(path: Path) -> None:
    with TranslationMemory(path) as memory:
        memory._connected().execute("PRAGMA max_page_count = 20")  # what a full disk looks like to SQLite
        with pytest.raises(BuildError, match="full; make room on its disk"):
            memory.put(*PAIR, some(5000))
        assert len(memory) == 0
