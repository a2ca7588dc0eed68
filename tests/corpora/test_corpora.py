"""Reading rows, building Docs that keep every entity, splitting, and writing all or nothing."""

import gzip
import json
import lzma
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin

from spacy_jbert.corpora.docs import Entity, japanese_tokenizer, make_doc
from spacy_jbert.corpora.readers import read_rows
from spacy_jbert.corpora.splits import read_splits, report, shared_out, write_splits
from spacy_jbert.corpora.values import Notes
from spacy_jbert.errors import DataError
from spacy_jbert.storage import replacing

TOKENIZER = japanese_tokenizer()


def entities_of(doc: Doc) -> list[Entity]:
    return [(entity.start_char, entity.end_char, entity.label_) for entity in doc.ents]


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fields(path: Path) -> list[dict]:
    return [row.fields for row in read_rows(path)]


# --- Docs -----------------------------------------------------------------------------------------

TEXT = st.text(
    st.one_of(
        st.sampled_from(" \t\n\r\u3000\u00a0東京都はCOVID19。！ｶﾞ…①㍻\u200b\u3099🍣"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


@st.composite
def text_with_entities(draw: st.DrawFn) -> tuple[str, list[Entity]]:
    text = draw(TEXT)
    borders = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pairs = (
        zip(borders[::2], borders[1::2], strict=False) if draw(st.booleans()) else pairwise(borders)
    )
    return text, [(start, end, draw(st.sampled_from(["人名", "LOC"]))) for start, end in pairs]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text_with_entities())
def test_every_entity_and_every_character_is_kept(case: tuple[str, list[Entity]]) -> None:
    text, entities = case
    doc = make_doc(TOKENIZER, text, entities)
    assert doc.text == text
    assert entities_of(doc) == entities
    (again,) = (
        DocBin()
        .from_bytes(DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=[doc]).to_bytes())
        .get_docs(TOKENIZER.vocab)
    )
    assert again.text == text
    assert entities_of(again) == entities


@given(TEXT)
@settings(max_examples=100, deadline=None)
def test_without_entities_the_tokens_are_the_tokenizers(text: str) -> None:
    assert [token.text_with_ws for token in make_doc(TOKENIZER, text)] == [
        token.text_with_ws for token in TOKENIZER(text)
    ]


def test_a_token_is_cut_where_an_entity_ends_in_it() -> None:
    doc = make_doc(TOKENIZER, "東京 都内で", [(0, 2, "地名"), (3, 4, "地名")])
    assert [token.text for token in doc] == ["東京", "都", "内", "で"]
    assert doc[0].whitespace_ == " "
    assert doc.user_data["cut"] == ["都 in 都内"]


def test_a_space_in_an_entity_becomes_a_token() -> None:
    doc = make_doc(TOKENIZER, "ab cd ", [(0, 3, "X"), (3, 6, "Y")])
    assert [token.text for token in doc] == ["ab", " ", "cd", " "]
    assert doc.user_data["cut"] == ["ab  in ab cd", "cd  in cd "]


@pytest.mark.parametrize(
    "text",
    ["長い文です。" * 9000, "あ" * 20000, "㍻" * 12000, "ﷺ㌖" * 9000, "🍣" * 20000],
    ids=lambda text: text[:6],
)
def test_texts_longer_than_sudachi_takes(text: str) -> None:
    doc = make_doc(TOKENIZER, text, [(0, 2, "X"), (len(text) - 1, len(text), "X")])
    assert doc.text == text
    assert len(doc.ents) == 2


def test_long_texts_are_cut_at_sentence_ends() -> None:
    tokens = [token.text for token in make_doc(TOKENIZER, "これは東京都の文です。" * 2000)]
    assert tokens == tokens[: len(tokens) // 2000] * 2000


def test_entities_are_unset_or_empty() -> None:
    assert not make_doc(TOKENIZER, "東京").has_annotation("ENT_IOB")
    assert make_doc(TOKENIZER, "東京", []).has_annotation("ENT_IOB")


# --- Reading --------------------------------------------------------------------------------------


def test_rows_of_each_format(tmp_path: Path) -> None:
    rows = [{"text": "一\u2028行\u0085", "n": "1"}, {"text": '二,"三"\n四', "n": "2"}]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert fields(written(tmp_path / "a.jsonl", lines + "\n\n")) == rows
    assert fields(written(tmp_path / "b.json", lines)) == rows
    assert fields(written(tmp_path / "c.json", json.dumps(rows, indent=1))) == rows
    assert fields(written(tmp_path / "d.jsonl.gz", gzip.compress(lines.encode()))) == rows
    assert fields(written(tmp_path / "e.jsonl.xz", lzma.compress(lines.encode()))) == rows
    assert (
        fields(written(tmp_path / "f.csv", 'text,n\n一\u2028行\u0085,1\n"二,""三""\n四",2\n'))
        == rows
    )
    assert (
        fields(written(tmp_path / "g.tsv", 'text\tn\n一\u2028行\u0085\t1\n"二,""三""\n四"\t2\n'))
        == rows
    )
    assert fields(written(tmp_path / "h.json", "[]")) == []


def test_rows_know_their_lines(tmp_path: Path) -> None:
    array = written(
        tmp_path / "a.json",
        '[\n {"text": "一"},\n\n {"text":\n "二"}, {"text": "三"},\n {"text": "四"}]',
    )
    assert [row.line for row in read_rows(array)] == [2, 4, 5, 6]
    table = written(tmp_path / "a.csv", 'text\n"一\n二"\n三\n')
    assert [row.line for row in read_rows(table)] == [2, 4]


def test_a_byte_order_mark_is_removed(tmp_path: Path) -> None:
    assert fields(written(tmp_path / "a.csv", "\ufefftext\n\ufeff一\n")) == [{"text": "\ufeff一"}]


def test_unicode_is_not_normalised(tmp_path: Path) -> None:
    text = "か\u3099ｶﾞ㍻①葛\U000e0100ﬁ\u00a0"
    assert fields(written(tmp_path / "a.jsonl", json.dumps({"text": text}))) == [{"text": text}]


@pytest.mark.parametrize(
    ("name", "content", "code", "line"),
    [
        ("a.jsonl", b"", "J202", None),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0), "J202", None),
        ("a.jsonl.gz", gzip.compress(b"{}\n" * 9999, mtime=0)[:-4], "J216", 10_000),
        ("a.jsonl.xz", b"not xz", "J216", 1),
        ("a.jsonl", '{"text": "一"}\n{"text": \n{"text": "三"}', "J204", 2),
        ("a.jsonl", '{"text": "一", "n": 1e400}\n', "J204", 1),
        ("a.json", '[{"text": "一"},\n{"text": "二"\n', "J204", 3),
        ("a.json", '[{"text": "一"}\n{"text": "二"}]', "J204", 2),
        ("a.json", '[{"text": "一"},\n', "J204", 2),
        ("a.json", '[{"text": "一"}]\nmore', "J204", 1),
        ("a.jsonl", "[" * 200_000, "J204", 1),
        ("a.jsonl", '{"text": "一"}\n[1]', "J205", 2),
        ("a.csv", "text,label\n一,1\n二\n", "J208", 3),
        ("a.csv", "text,label\n一,1,2\n", "J208", 2),
        ("a.csv", "text,text\n一,1\n", "J209", 1),
        ("a.csv", 'text,label\n一,1\n"二,1\n三,1', "J209", 3),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, name: str, content: str | bytes, code: str, line: int | None
) -> None:
    path = written(tmp_path / name, content)
    with pytest.raises(DataError, match=rf"\[{code}\]") as error:
        fields(path)
    assert (error.value.path, error.value.line) == (path, line)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="J201"):
        fields(tmp_path / "a.jsonl")


@pytest.mark.parametrize("text", ["東京", "ホテルのカタカナ、ひらがな。", "漢字①"])
@pytest.mark.parametrize(("encoding", "guess"), [("cp932", "CP932"), ("euc_jp", "EUC-JP")])
def test_other_encodings_are_named(tmp_path: Path, encoding: str, guess: str, text: str) -> None:
    path = written(tmp_path / "a.jsonl", f"{text}\n".encode(encoding, "ignore"))
    with pytest.raises(DataError, match=rf"J203.*iconv -f {guess} ") as error:
        fields(path)
    assert error.value.line == 1


def test_fields_are_found_by_dots(tmp_path: Path) -> None:
    (row,) = read_rows(
        written(
            tmp_path / "a.jsonl",
            '{"a": {"b": [{"c": "x"}]}, "a.b": "y", "n": 1, "half": "\\ud83d"}',
        )
    )
    assert row.text("a.b.0.c") == "x"
    assert row.text("a.b") == "y"
    with pytest.raises(DataError, match=r"J206.*'a.b.1.c'.* a.b.0.c, a.b, n, half"):
        row.text("a.b.1.c")
    with pytest.raises(DataError, match="J207"):
        row.text("n")
    with pytest.raises(DataError, match="J215"):
        row.text("half")


# --- Splits ---------------------------------------------------------------------------------------


def some_docs(count: int) -> list[Doc]:
    return [make_doc(TOKENIZER, f"{number}", [(0, 1, "X")]) for number in range(count)]


def test_the_shuffle_is_stockmarks() -> None:
    docs = some_docs(5343)
    splits = shared_out(docs, "80/10/10", 42, "plain")
    random.seed(42)
    random.shuffle(docs)
    assert splits == {"train": docs[:4274], "dev": docs[4274:4808], "test": docs[4808:]}


def test_a_split_of_nothing_is_left_out_and_an_empty_one_refused() -> None:
    splits = read_splits(lambda _: some_docs(10), Path("a"), {}, ratio="90/10/0", seed=0)
    assert {name: len(docs) for name, docs in splits.items()} == {"train": 9, "dev": 1}
    with pytest.raises(DataError, match=r"J219.*'test'"):
        read_splits(lambda _: some_docs(2), Path("a"), {}, ratio="80/10/10", seed=0)


@pytest.mark.parametrize("ratio", ["80/10", "80/20/10", "a/b/c", "-1/100/1", ""])
def test_other_ratios_are_refused(ratio: str) -> None:
    with pytest.raises(DataError, match="J218"):
        shared_out([], ratio, 0)


def test_one_file_or_a_file_for_each_split() -> None:
    for source, files in ((None, {"train": None}), (Path("a"), {"train": Path("b")})):
        with pytest.raises(DataError, match="J221"):
            read_splits(lambda _: [], source, files, ratio="80/10/10", seed=0)


# --- Writing --------------------------------------------------------------------------------------


def test_all_is_written_or_nothing(tmp_path: Path) -> None:
    def write(fail: bool) -> None:
        with replacing(tmp_path / "a" / "1", tmp_path / "a" / "2") as parts:
            parts[0].write_text("new")
            if fail:
                raise KeyError
            parts[1].write_text("new")

    with pytest.raises(KeyError):
        write(fail=True)
    assert list((tmp_path / "a").iterdir()) == []
    write(fail=False)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["1", "2"]


def test_the_report_counts_and_warns(capsys: pytest.CaptureFixture[str]) -> None:
    splits = {
        "train": some_docs(3),
        "dev": [*some_docs(1), make_doc(TOKENIZER, "都内", [(0, 1, "[地名]")])],
    }
    report(splits, Notes({"{count} somethings": 2, "{count} nothings": 0}))
    shown = capsys.readouterr()
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in shown.out.splitlines()
        if "│" in line
    ]
    assert rows == [
        ["documents", "3", "2"],
        ["tokens", "3", "3"],
        ["entities", "3", "2"],
        ["entities whose tokens were cut", "0", "1"],
        ["X", "3", "1"],
        ["[地名]", "0", "1"],
    ]
    assert "都 in 都内" in shown.out
    assert shown.err.splitlines()[0] == "2 somethings"
    assert [line[:7] for line in shown.err.splitlines()[1:]] == ["[JW201]", "[JW202]"]
    assert shown.err.splitlines()[1].endswith(": [地名]")


def test_what_is_set_aside_twice_is_kept_twice(tmp_path: Path) -> None:
    doc = japanese_tokenizer()("東京")
    for text in ("first", "second"):
        (tmp_path / "test.spacy").write_text(text, encoding="utf-8")
        write_splits(tmp_path, {"train": [doc]})
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("test.spacy*")}
    assert kept == {"test.spacy.old": b"first", "test.spacy.old1": b"second"}
