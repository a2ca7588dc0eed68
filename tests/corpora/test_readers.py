"""Files that are not what they seem: DataError or the right rows, nothing else."""

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import srsly
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin

from spacy_jbert.corpora import delimited, lines, readers
from spacy_jbert.corpora.docs import find_docbins, japanese_tokenizer, read_docbin
from spacy_jbert.errors import DataError
from spacy_jbert.pretraining.text import find_files, read_documents

VOCAB = japanese_tokenizer().vocab
TEXT = "吾輩は猫である。名前はまだ無い。"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fields(path: Path, **options: delimited.Quoting) -> list[dict]:
    return [row.fields for row in readers.read_rows(path, **options)]


def read(path: Path) -> None:
    list(lines.read_lines(path) if ".txt" in path.name else readers.read_rows(path))


# --- Encodings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp", "utf-16", "utf-16-le", "iso2022_jp"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.csv.gz"])
def test_other_encodings_are_read_by_name(tmp_path: Path, name: str, encoding: str) -> None:
    content = f"text\r\n{TEXT}\r\n" if ".csv" in name else json.dumps({"text": TEXT}) + "\n"
    data = content.encode(encoding)
    path = written(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data)
    assert [row.fields["text"] for row in readers.read_rows(path, encoding=encoding)] == [TEXT]


def test_utf_16_with_a_mark_is_read_as_it_is(tmp_path: Path) -> None:
    """Excel's "Unicode text"."""
    path = written(tmp_path / "a.tsv", f"text\tlabel\r\n{TEXT}\t良い\r\n".encode("utf-16"))
    assert [row.fields for row in readers.read_rows(path)] == [{"text": TEXT, "label": "良い"}]


@pytest.mark.parametrize(("encoding", "code"), [("cp932", "J254"), ("klingon", "J257")])
def test_a_wrong_encoding_is_refused(tmp_path: Path, encoding: str, code: str) -> None:
    path = written(tmp_path / "a.csv", f"text\n{TEXT}\n𠮷野家で鷗外\n".encode())
    with pytest.raises(DataError, match=code):
        list(readers.read_rows(path, encoding=encoding))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_tables_begin_where_they_begin(tmp_path: Path, mark: str) -> None:
    lines = ["", mark, f"text{mark}label", f"東京{mark}地名", ""]
    path = written(tmp_path / "a.csv", "\n".join(lines).encode())
    assert [row.fields for row in readers.read_rows(path)] == [{"text": "東京", "label": "地名"}]


@pytest.mark.parametrize("encoding", [None, "auto", "cp932"])
def test_lines_that_end_with_a_carriage_return(tmp_path: Path, encoding: str | None) -> None:
    content = f'text,label\r"{TEXT}",a\r二,b\r'.encode(encoding if encoding == "cp932" else "utf-8")
    rows = list(readers.read_rows(written(tmp_path / "a.csv", content), encoding=encoding))
    assert [row.fields["text"] for row in rows] == [TEXT, "二"]
    assert [row.line for row in rows] == [2, 3]


def test_white_space_of_any_length_is_stepped_over(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", "[" + " \n" * 3_000_000 + '{"text": "一"}]')
    assert fields(path) == [{"text": "一"}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt"])
@pytest.mark.parametrize(
    ("encoding", "guess", "code"),
    [
        ("iso2022_jp", "ISO-2022-JP", "J227"),
        ("iso2022_jp_ext", "ISO-2022-JP", "J227"),
        ("utf-7", "UTF-7", "J227"),
        ("utf-16-le", "UTF-16LE", "J2(03|27)"),
        ("utf-16-be", "UTF-16BE", "J2(03|27)"),
        ("utf-32", "UTF-32", "J2(03|27)"),
        ("utf-32-le", "UTF-32", "J2(03|27)"),
        ("cp932", "CP932", "J203"),
        ("euc_jp", "EUC-JP", "J203"),
    ],
)
def test_other_encodings_are_named(
    tmp_path: Path, name: str, encoding: str, guess: str, code: str
) -> None:
    content = {
        "a.json": json.dumps([{"text": TEXT}], ensure_ascii=False),
        "a.jsonl": json.dumps({"text": TEXT}, ensure_ascii=False),
    }.get(name, f"text\n{TEXT}\n")
    path = written(tmp_path / name, content.encode(encoding))
    with pytest.raises(DataError, match=rf"\[{code}\].*iconv -f {guess} "):
        read(path)


@pytest.mark.parametrize(
    "text", ["1+1=2", "C++ と +abc-", "a+bcdefgh-i", "\x1b[31m赤\x1b[0m", "+81-3"]
)
def test_what_only_looks_like_another_encoding_is_read(tmp_path: Path, text: str) -> None:
    assert list(lines.read_lines(written(tmp_path / "a.txt", text))) == [(1, text)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf_16_by_name_needs_no_mark(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path / "a.csv", f"text\n{TEXT}\n".encode(encoding))
    assert [row.fields for row in readers.read_rows(path, encoding="UTF-16")] == [{"text": TEXT}]


def test_odd_headers(tmp_path: Path) -> None:
    """Blank lines before it, spaces around names, columns without a name."""
    path = written(tmp_path / "a.csv", f"\n  \ntext, label,,\n{TEXT},a,,\n")
    assert fields(path) == [{"text": TEXT, "label": "a"}]


def test_a_table_may_be_called_txt(tmp_path: Path) -> None:
    row = {"text": TEXT, "label": "a"}
    line = json.dumps(row)
    contents = [f"text\tlabel\n{TEXT}\ta\n", f"\n{line}\n", f"[{line}]"]
    for content in contents:
        assert fields(written(tmp_path / "a.txt", content)) == [row]
        assert fields(written(tmp_path / "a", content)) == [row]


def test_a_record_is_measured_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    for count, fits in ((25, True), (40, False)):
        path = written(
            tmp_path / "a.json", json.dumps([{"text": "あ" * count}], ensure_ascii=False)
        )
        if fits:
            assert fields(path) == [{"text": "あ" * count}]
        else:
            with pytest.raises(DataError, match="J230"):
                fields(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_utf7_without_kana_is_named(tmp_path: Path, name: str) -> None:
    """No line says it by itself."""
    rows = [{"text": text} for text in ("東京", "大阪府", "京都市", "北海道")]
    content = {
        "a.csv": "text\n" + "".join(f"{row['text']}\n" for row in rows),
        "a.json": json.dumps(rows, ensure_ascii=False),
    }.get(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"J227.*UTF-7"):
        read(written(tmp_path / name, content.encode("utf-7")))


def test_plus_signs_are_no_utf7(tmp_path: Path) -> None:
    text = "".join(f"https://example.com/?q=abc+def+{n}xyz+bcde\n" for n in range(99))
    assert len(list(lines.read_lines(written(tmp_path / "a.txt", text)))) == 99


@pytest.mark.parametrize("name", ["a.txt", "a.json"])
@pytest.mark.parametrize(
    "damaged",
    [
        f"{TEXT}\n{TEXT}".encode()[:-1],
        f"{TEXT}\n{TEXT}".encode()[:-2],
        TEXT.encode()[:-1],
        "東".encode()[:2],
        TEXT.encode() + b"\n" + TEXT.encode("cp932"),
        TEXT.encode()[:9] + b"\xff" + TEXT.encode()[9:],
    ],
)
def test_damaged_utf8_is_not_taken_for_another_encoding(
    tmp_path: Path, name: str, damaged: bytes
) -> None:
    path = written(tmp_path / name, damaged if name == "a.txt" else b'[{"text": "' + damaged)
    with pytest.raises(DataError, match="J228"):
        read(path)


# --- Tables ---------------------------------------------------------------------------------------


def test_a_quote_that_begins_a_cell_swallows_no_rows(tmp_path: Path) -> None:
    rows = ['"甲" と言った\tx', '"乙\tx', "丙\ty", '丁"\ty', '"戊"\tz']
    path = written(tmp_path / "a.tsv", "text\tlabel\n" + "\n".join(rows) + "\n")
    assert [row["text"] for row in fields(path)] == [row.split("\t")[0] for row in rows]
    assert fields(path, quoting="none") == fields(path)
    with pytest.raises(DataError, match="J209"):
        fields(path, quoting="csv")


def test_a_cell_in_quotes_is_read_as_csv_unless_told_otherwise(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tsv", 'text\tlabel\n"一""二"\tx\n')
    assert fields(path) == [{"text": '一"二', "label": "x"}]
    assert fields(path, quoting="none") == [{"text": '"一""二"', "label": "x"}]
    table = written(tmp_path / "a.csv", 'text,label\n"一,x\n')
    assert fields(table, quoting="none") == [{"text": '"一', "label": "x"}]


@pytest.mark.parametrize("name", ["a.tsv.csv", "A.CSV", "a.tsv.csv.gz", "A.CSV.GZ", "a.Csv.Bz2"])
def test_the_last_suffix_tells_what_a_file_is(tmp_path: Path, name: str) -> None:
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(Path(name).suffix.lower(), bytes)
    assert fields(written(tmp_path / name, pack(b"a,b\n1\t2,3\n"))) == [{"a": "1\t2", "b": "3"}]


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize(
    "record",
    [
        '{"a": ' + "9" * 5000 + "}",
        '{"a": -' + "9" * 5000 + "}",
        '{"a": NaN}',
        '{"a": [-Infinity]}',
        '{"a": 1, "b": 2, "a": 3}',
        '{"x": [{"a": 1, "a": 1}]}',
        '{"a": ' + "[" * 100_000 + "}",
        '{"a": ' * 100_000,
        '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda value: str(value)[:12],
)
def test_json_that_is_none_is_refused(tmp_path: Path, record: str, array: bool) -> None:
    content = f'[{{"a": 1}},\n{record}]' if array else f'{{"a": 1}}\n{record}'
    with pytest.raises(DataError, match="J204") as error:
        fields(written(tmp_path / "a.json", content))
    assert error.value.line == 2


def test_values_of_any_depth_are_shown_in_errors(tmp_path: Path) -> None:
    for depth in (50, 200, 900):
        record = '{"a": ' * depth + '"x"' + "}" * depth
        (row,) = readers.read_rows(written(tmp_path / "a.jsonl", record))
        with pytest.raises(DataError, match="J207"):
            row.text("a")
        with pytest.raises(DataError, match="J206"):
            row.get("b")


def test_arrays_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"text": TEXT * (number % 7), "n": [number, -1.5e3]} for number in range(40)]
    whole = [
        json.dumps(rows, ensure_ascii=False),
        json.dumps(rows, ensure_ascii=False, indent=2),
        "\n\n [ \n" + " ,\n".join(json.dumps(row) for row in rows) + "]\n\n",
    ]
    for size in (1, 2, 7, 100):
        monkeypatch.setattr(lines, "PIECE", size)
        for content in whole:
            assert fields(written(tmp_path / "a.json", content)) == rows


# --- Size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize(
    ("name", "begin"),
    [("a.txt", b""), ("a.jsonl", b'{"a": "'), ("a.json", b'[1, {"a": "'), ("a.csv", b'a\n"')],
)
def test_a_line_has_an_end(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pack: Callable[[bytes], bytes],
    name: str,
    begin: bytes,
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10_000)
    monkeypatch.setattr(lines, "PIECE", 1_000)
    suffix = {gzip.compress: ".gz", lzma.compress: ".xz", bz2.compress: ".bz2"}.get(pack, "")
    path = written(tmp_path / f"{name}{suffix}", pack(begin + b"x" * 40_000))
    with pytest.raises(DataError, match=r"J230|J205"):
        read(path)


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    packer = lzma.LZMACompressor(preset=0)
    zeros = b"x" * 10_000_000
    packed = b"".join(packer.compress(zeros) for _ in range(60)) + packer.flush()
    for name in ("a.jsonl.xz", "a.csv.xz"):
        path = written(tmp_path / name, packed)
        program = (
            "import sys, resource; from pathlib import Path\n"
            "from spacy_jbert.corpora import readers\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try: list(readers.read_rows(Path(sys.argv[1])))\n"
            "except readers.DataError as error: print(error)\n"
            "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
        )
        message, megabytes = done.stdout.splitlines()
        assert "J230" in message
        assert int(megabytes) < 300


# --- Packed files and folders ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".BZ2"])
def test_packed_files_that_are_damaged(tmp_path: Path, suffix: str) -> None:
    pack = {".gz": gzip.compress, ".xz": lzma.compress}.get(suffix, bz2.compress)
    whole = pack(b'{"a": 1}\n' * 999)
    for damaged in (whole[:-9], b"not packed", whole[:9] + b"\x00" * 9 + whole[18:]):
        with pytest.raises(DataError, match="J216"):
            fields(written(tmp_path / f"a.jsonl{suffix}", damaged))
    with pytest.raises(DataError, match="J202"):
        fields(written(tmp_path / f"a.jsonl{suffix}", pack(b"")))


@pytest.mark.parametrize("suffix", sorted(lines.PACKED_OTHERWISE))
def test_other_ways_of_packing_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match="J231"):
        fields(written(tmp_path / f"a.jsonl{suffix}", b"\x28\xb5\x2f\xfd"))


def test_a_folder_is_read_whole_or_says_what_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "A.TXT", "一\n")
    written(tmp_path / "b.txt.bz2", bz2.compress("二\n".encode()))
    written(tmp_path / "C.JSONL.GZ", gzip.compress('{"text": "三"}\n'.encode()))
    written(tmp_path / "d.txt.zip", b"?")
    files = find_files(str(tmp_path))
    assert [line.strip() for document in read_documents(files) for line in document] == [
        "一",
        "三",
        "二",
    ]
    assert "[JW213] 1 " in caplog.text
    DocBin().to_disk(tmp_path / "DEV.SPACY")
    assert [path.name for path in find_docbins(tmp_path)] == ["DEV.SPACY"]


# --- DocBins --------------------------------------------------------------------------------------


def docbin(**parts: object) -> bytes:
    """A DocBin with some of its parts replaced."""
    docs = [Doc(VOCAB, words=["東京", "へ"], ents=["B-X", "O"]) for _ in range(2)]
    for doc in docs:
        doc.cats = {"a": 1.0}
    whole = srsly.msgpack_loads(zlib.decompress(DocBin(docs=docs).to_bytes()))
    return zlib.compress(srsly.msgpack_dumps(whole | parts))


@pytest.mark.parametrize("value", ["x", None, float("nan"), float("inf"), -0.1, 1.1, 2, [1], {}])
def test_categories_have_values_from_0_to_1(tmp_path: Path, value: object) -> None:
    path = written(tmp_path / "a.spacy", docbin(cats=[{"a": 1.0}, {"a": value}]))
    with pytest.raises(DataError, match="J232"):
        read_docbin(path, VOCAB)


@pytest.mark.parametrize(
    "parts",
    [
        {"lengths": b"\x01\x00\x00\x00\x02\x00\x00\x00"},
        {"lengths": b"\x02\x00\x00\x00"},
        {"lengths": b"\xff\xff\xff\xff\x05\x00\x00\x00"},
        {"lengths": b"\x02\x00\x00"},
        {"spaces": b"\x01"},
        {"tokens": b""},
        {"cats": [{}]},
        {"cats": [{}, 1]},
        {"cats": [{}, {1: 1.0}]},
        {"strings": []},
        {"attrs": []},
        {"flags": 1},
    ],
    ids=str,
)
def test_parts_of_a_docbin_have_to_agree(tmp_path: Path, parts: dict) -> None:
    path = written(tmp_path / "a.spacy", docbin(**parts))
    vocab = type(VOCAB)()
    with pytest.raises(DataError, match="J224"):
        read_docbin(path, vocab)


def test_a_small_docbin_does_not_fill_the_memory(tmp_path: Path) -> None:
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(bytes(10_000_000)) for _ in range(40)) + packer.flush()
    with pytest.raises(DataError, match="J224"):
        read_docbin(written(tmp_path / "a.spacy", packed), VOCAB)


# --- Fuzz -----------------------------------------------------------------------------------------

ROWS = [{"text": TEXT, "label": "a"}, {"text": '二\n"行"', "label": "b"}]
FILES = {
    ".jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode(),
    ".json": json.dumps(ROWS, ensure_ascii=False, indent=1).encode(),
    ".csv": f'text,label\n{TEXT},a\n"二\n""行""",b\n'.encode(),
    ".tsv": f'text\tlabel\n{TEXT}\ta\n"二\tb\n'.encode(),
    ".spacy": docbin(),
}
PACKS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    kind = draw(st.sampled_from(sorted(FILES)))
    pack = "" if kind == ".spacy" else draw(st.sampled_from(sorted(PACKS)))
    content = FILES[kind]
    if draw(st.booleans()):
        content = draw(_changed(content))
    content = PACKS[pack](content)
    return kind + pack, draw(_changed(content))


def _changed(content: bytes) -> st.SearchStrategy[bytes]:
    places = st.integers(0, max(len(content) - 1, 0))

    def flip(place: int, bit: int) -> bytes:
        changed = bytearray(content or b"\0")
        changed[place] ^= 1 << bit
        return bytes(changed)

    return st.one_of(
        st.binary(max_size=200),
        places.map(lambda place: content[:place]),
        places.map(lambda place: content[place:]),
        st.builds(flip, places, st.integers(0, 7)),
        st.builds(lambda at, new: content[:at] + new + content[at:], places, st.binary(max_size=9)),
    )


def read_anything(folder: Path, case: tuple[str, bytes]) -> None:
    suffix, content = case
    path = written(folder / f"fuzzed{suffix}", content)
    # Any other exception fails the test.
    with suppress(DataError):
        if suffix == ".spacy":
            read_docbin(path, type(VOCAB)())
        else:
            fields(path)


SUPPRESSED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=150, deadline=None, suppress_health_check=SUPPRESSED)
@given(damaged())
def test_damage_is_coded(tmp_path: Path, case: tuple[str, bytes]) -> None:
    read_anything(tmp_path, case)


@pytest.mark.slow
@settings(max_examples=6_000, deadline=None, suppress_health_check=SUPPRESSED)
@given(damaged())
def test_much_damage_is_coded(tmp_path: Path, case: tuple[str, bytes]) -> None:
    read_anything(tmp_path, case)
