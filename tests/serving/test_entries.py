"""Files of any kind to entries, and what can't be read on the way."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import spacy
from spacy.tokens import Doc, DocBin

from spacy_jbert.errors import DataError
from spacy_jbert.serving.bulk import _batches
from spacy_jbert.serving.entries import Entry, Source, estimated_count, find_inputs
from spacy_jbert.serving.manifest import Done

TEXTS = ["東京へ行く。", "京都は古い。", "大阪で食べる。"]


def entries(*paths: Path, **settings: Any) -> list[Entry]:
    return [entry for _, _, entry in Source(list(paths), **settings).entries(0, 0)]


def read(path: Path, **settings: Any) -> list[tuple[int, Any]]:
    """Line and text, or the code of what is wrong."""
    return [
        (entry.line, entry.fields["text"] if entry.reason is None else entry.reason[1:5])
        for entry in entries(path, **settings)
    ]


def zst(data: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv"])
@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".xz", lzma.compress),
        (".bz2", bz2.compress),
        (".zst", zst),
    ],
)
def test_every_kind_of_text_packed_or_not(
    tmp_path: Path, name: str, suffix: str, pack: Any
) -> None:
    records = [{"id": str(i), "text": text} for i, text in enumerate(TEXTS)]
    mark = "," if name == "a.csv" else "\t"
    content = {
        "a.txt": "\n".join(TEXTS) + "\n\n",
        "a.jsonl": "".join(json.dumps(record) + "\n" for record in records),
        "a.json": json.dumps(records),
    }.get(name, f"id{mark}text\n" + "".join(f"{i}{mark}{text}\n" for i, text in enumerate(TEXTS)))
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(pack(content.encode()))
    found = entries(path)
    assert [entry.fields["text"] for entry in found] == TEXTS
    if name != "a.txt":
        assert [entry.fields for entry in found] == records
    counted = estimated_count(path, Source([path]))
    assert counted is None if name == "a.json" else counted in (3, 4)


def test_parquet_and_docbins_keep_what_they_have(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"n": [1, 2, 3], "text": TEXTS}), path)
    assert [entry.fields for entry in entries(path)] == [
        {"n": n, "text": text} for n, text in enumerate(TEXTS, 1)
    ]
    assert estimated_count(path, Source([path])) == 3
    nlp = spacy.blank("xx")
    doc = nlp("東京 へ")
    doc.set_ents([doc.char_span(0, 2, "GPE")])
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    [entry] = entries(tmp_path / "a.spacy")
    assert entry.doc is not None
    again = Doc(nlp.vocab).from_bytes(entry.doc)
    assert [(ent.text, ent.label_) for ent in again.ents] == [("東京", "GPE")]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.jsonl",
            b'{"text": "\xe3\x81\x82"}\n{"text": \n{"text": "\xe3\x81"}\n[1]\n{"text": "b"}\n',
            [(1, "あ"), (2, "J204"), (3, "J228"), (4, "J205"), (5, "b")],
        ),
        (
            "a.csv",
            b'id,text\n1,\xe3\x81\x82\n2\n3,\xe3\x81\n4,"b\nc"\n5,"x"y\n6,d\n',
            [(2, "あ"), (3, "J208"), (4, "J228"), (5, "b\nc"), (7, "J209"), (8, "d")],
        ),
        (
            "a.txt",
            b"\xe3\x81\x82\n\n\xe3\x81\nb\n",
            [(1, "あ"), (3, "J228"), (4, "b")],
        ),
        (
            "a.json",
            b'[{"text": "a"},\n5,\n{"text": "b"},\n{x',
            [(1, "a"), (2, "J205"), (3, "b"), (4, "J204")],
        ),
    ],
)
def test_reading_goes_on_behind_what_is_broken(
    tmp_path: Path, name: str, content: bytes, expected: list
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert read(path) == expected


def test_a_file_in_another_encoding_is_one_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("日本語です。\n京都です。\n".encode("cp932"))
    assert [found for _, found in read(path)] == ["J203"]
    assert read(path, encoding="cp932") == [(1, "日本語です。"), (2, "京都です。")]


def test_a_damaged_file_is_read_as_far_as_it_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "".join(f"{number}番の文です。\n" for number in range(50_000))
    whole, cut = tmp_path / "b.txt.gz", tmp_path / "a.txt.gz"
    whole.write_bytes(gzip.compress("京都。\n".encode()))
    cut.write_bytes(gzip.compress(text.encode())[:-4000])
    found = entries(cut, whole)
    assert found[0].fields["text"] == "0番の文です。"
    [fault] = [entry for entry in found if entry.reason is not None]
    assert "[J216]" in (fault.reason or "")
    assert fault.line == found.index(fault) + 1 > 10_000
    assert found[-1].fields["text"] == "京都。"
    assert "[JW450]" in caplog.text


def test_a_file_of_nothing_readable_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{\n" * 20_000)
    found = entries(path)
    assert len(found) == 10_001
    assert "[J451]" in (found[-1].reason or "")


def test_a_folder_is_its_files(tmp_path: Path) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    for name in ("b/2.txt", "a.txt", "z.csv.gz", "readme.md"):
        (tmp_path / "in" / name).write_text("x")
    found = find_inputs([tmp_path / "in"], "auto")
    assert [path.relative_to(tmp_path / "in").as_posix() for path in found] == [
        "a.txt",
        "b/2.txt",
        "z.csv.gz",
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="J450"):
        find_inputs([tmp_path / "empty"], "auto")
    with pytest.raises(DataError, match="J201"):
        find_inputs([tmp_path / "none"], "auto")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="J452"):
        find_inputs([tmp_path / "pipe"], "text")


def test_batches_are_the_same_wherever_a_run_begins(tmp_path: Path) -> None:
    for name, count in (("a", 70), ("b", 1), ("c", 555)):
        lines = [f"{i}{'あ' * (i % 7 * 500)}\n" for i in range(count)]
        lines[count // 2] = "\n"
        (tmp_path / f"{name}.txt").write_text("".join(lines), encoding="utf-8")
    source = Source(find_inputs([tmp_path], "auto"))
    batches = list(_batches(source, Done(), 100))
    assert sum(tag.entries for tag, _ in batches) == 69 + 0 + 554
    assert {tag.shard for tag, _ in batches} == set(range(7))
    ends = {tag.shard: tag for tag, _ in batches}
    for shard in range(6):
        done = Done(shard + 1, 100, 100, ends[shard].file, ends[shard].number)
        assert list(_batches(source, done, 100)) == [
            batch for batch in batches if batch[0].shard > shard
        ]
