"""Lines of files that grow, are rotated and truncated, and of pipes."""

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_jbert.streams import tail
from spacy_jbert.streams.tail import Pipe, Tail


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "news.jsonl"


def append(file: Path, text: str) -> None:
    with file.open("a", encoding="utf-8") as opened:
        opened.write(text)


def texts(source: Tail | Pipe, most: int = 100) -> list[tuple[int, str]]:
    return [
        (line.number, (b"<none>" if line.content is None else line.content).decode())
        for line in source.read(most)
    ]


def again(source: Tail) -> Tail:
    """As another process goes on."""
    return Tail(source.path, json.loads(json.dumps(source.position)))


def test_whole_lines_only(file: Path) -> None:
    source = Tail(file)
    assert texts(source) == []
    assert source.position is None
    append(file, "一\r\n\n二")
    assert texts(source) == [(1, "一"), (2, "")]
    assert source.at_end()
    assert texts(again(source)) == []
    append(file, "つ\n三\n")
    assert texts(again(source)) == texts(source) == [(3, "二つ"), (4, "三")]


def test_a_batch_at_a_time(file: Path) -> None:
    append(file, "".join(f"{n}\n" for n in range(5)))
    source = Tail(file)
    assert texts(source, 2) == [(1, "0"), (2, "1")]
    assert texts(again(source), 2) == [(3, "2"), (4, "3")]


def test_a_rotated_file_is_read_to_its_end(file: Path) -> None:
    append(file, "a\nb\n")
    source = Tail(file)
    texts(source, 1)
    other = again(source)
    append(file, "c\n")
    file.rename(file.with_name("news.jsonl.1"))
    append(file, "d\n")
    for reader in (source, other, again(source)):
        assert texts(reader) == [(2, "b"), (3, "c")]
        assert texts(reader) == [(1, "d")]
        assert reader.at_end()


def test_files_between_two_rotations_are_read_too(file: Path, tmp_path: Path) -> None:
    append(file, "a\n")
    source = Tail(file)
    texts(source)
    position = source.position
    source.close()
    file.rename(tmp_path / "news.jsonl-20260101")
    append(file, "b\n")
    file.rename(tmp_path / "news.jsonl-20260102")
    append(tmp_path / "news.jsonl.bak", "no\n")
    append(file, "c\n")
    for n, path in enumerate(sorted(tmp_path.glob("news.jsonl-*"))):
        os.utime(path, ns=(n + 1, n + 1))
    other = Tail(file, position)
    assert [texts(other), texts(other), texts(other)] == [[(1, "b")], [(1, "c")], []]


def rotated(file: Path, name: str, time: int) -> None:
    """Rename the file, and let it be written to for the last time then."""
    os.utime(file, ns=(time, time))
    file.rename(file.with_name(name))


@pytest.mark.parametrize("new", ["", "c\n"])
def test_later_files_are_read_where_the_own_one_is_gone(
    file: Path, new: str, caplog: pytest.LogCaptureFixture
) -> None:
    append(file, "before\n")
    rotated(file, "news.jsonl.4", 10)
    append(file, "a\n")
    os.utime(file, ns=(20, 20))
    source = Tail(file)
    assert texts(source) == [(1, "a")]
    position = json.loads(json.dumps(source.position))
    # Held open, for its inode not to be another one's.
    rotated(file, "news.jsonl.3", 30)
    append(file, "b1\nb2\n")
    rotated(file, "news.jsonl.2", 40)
    append(file, "b3\n")
    rotated(file, "news.jsonl.1", 50)
    append(file, new or "c")
    file.with_name("news.jsonl.3").unlink()
    other = Tail(file, position)
    assert "JW561" in caplog.text
    found = [texts(other) for _ in range(4)]
    expected = [[(1, "b1"), (2, "b2")], [(1, "b3")], [(1, "c")] if new else [], []]
    assert found == expected
    source.close()
    # A state of an earlier version doesn't know.
    del position["time"]
    assert texts(Tail(file, position)) == expected[2]


def test_a_copy_before_a_truncation_goes_on(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    append(file, "a\nb\n")
    os.utime(file, ns=(20, 20))
    source = Tail(file)
    texts(source)
    append(file, "c\n")
    file.with_name("news.jsonl-20260105").write_bytes(file.read_bytes())
    file.write_text("d\n", encoding="utf-8")
    other = again(source)
    assert [texts(other), texts(other)] == [[(3, "c")], [(1, "d")]]
    assert "JW561" not in caplog.text


@pytest.mark.parametrize(
    "name", [".1", ".old", "-2026-01-05", "-20260105-1500", ".20260105T1500", ".2026-01-05_10", "~"]
)
def test_a_file_is_found_whatever_a_rotation_calls_it(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "news[1].jsonl"
    append(file, "a\n")
    source = Tail(file)
    texts(source)
    append(file, "b\n")
    file.rename(file.with_name(file.name + name))
    append(file, "c\n")
    file.with_name(file.name + ".folder").mkdir()
    other = again(source)
    assert [texts(other), texts(other), texts(other)] == [[(2, "b")], [(1, "c")], []]
    assert not caplog.text


@pytest.mark.parametrize("name", ["-2026-01-05", "-20260105-1500", ".20260105T1500"])
def test_dated_files_between_are_read(file: Path, name: str) -> None:
    append(file, "a\n")
    source = Tail(file)
    texts(source)
    rotated(file, "news.jsonl-2026-01-04", 10)
    append(file, "b\n")
    rotated(file, f"news.jsonl{name}", 20)
    for other in (".old", ".bak", "-x", ".1.gz", "-2026-01-05.gz", "2"):
        append(file.with_name(f"news.jsonl{other}"), "no\n")
    append(file, "c\n")
    assert [texts(source), texts(source), texts(source)] == [[(1, "b")], [(1, "c")], []]


@pytest.mark.parametrize("new", ["x\n", "another, and longer than what was there\nand so on\n"])
def test_a_truncated_file_begins_anew(
    file: Path, new: str, caplog: pytest.LogCaptureFixture
) -> None:
    append(file, "one\ntwo\n")
    source = Tail(file)
    texts(source)
    position = source.position
    file.write_text("", encoding="utf-8")
    append(file, new)
    with caplog.at_level(logging.WARNING):
        assert texts(source)[0] == (1, new.splitlines()[0])
        assert texts(Tail(file, position))[0] == (1, new.splitlines()[0])
    assert caplog.text.count("JW561") == 2


def test_a_removed_file_is_waited_for(file: Path) -> None:
    append(file, "one\n")
    source = Tail(file)
    texts(source)
    file.unlink()
    assert texts(source) == []
    append(file, "two\n")
    assert texts(source) == [(1, "two")]


def test_a_line_too_long_is_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "LONGEST_LINE", 20)
    monkeypatch.setattr(tail, "_PIECE", 7)
    append(file, "a\n" + "x" * 70)
    source = Tail(file)
    assert texts(source) == [(1, "a")]
    append(file, "x\nb\n")
    assert texts(source) == [(2, "<none>"), (3, "b")]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="J261"):
        Tail(tmp_path).read(1)


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_a_pipe_gives_lines_as_they_come(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    source = Pipe(reading)
    assert texts(source) == []
    os.write(writing, "一\n二".encode())
    assert texts(source) == [(1, "一")]
    os.write(writing, "つ\n三".encode())
    assert texts(source) == [(2, "二つ")]
    assert not source.at_end()
    os.close(writing)
    assert texts(source) == [(3, "三")]
    assert source.at_end()
    assert source.position == {"line": 3}


def test_a_pipe_that_begins_again(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.write(writing, b"a\nb\nc\n")
    os.close(writing)
    assert texts(Pipe(reading, done=2)) == [(3, "c")]


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc", b"x" * 9]), max_size=40))
def test_a_pipe_numbers_lines_as_they_are(pieces: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "LONGEST_LINE", 8)
        patch.setattr(tail, "_PIECE", 3)
        reading, writing = os.pipe()
        os.write(writing, b"".join(pieces))
        os.close(writing)
        source, lines = Pipe(reading), []
        while not source.at_end():
            lines += source.read(3)
        os.close(reading)
    text = b"".join(pieces)
    expected = text.split(b"\n")[: -1 if text.endswith(b"\n") or not text else None]
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))
    assert [line.content for line in lines] == [
        part if len(part) <= 8 else None for part in expected
    ]
