import gzip
import json
import lzma
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from spacy_jbert.corpora import lines
from spacy_jbert.errors import DataError
from spacy_jbert.pretraining.text import (
    Cleaning,
    Seen,
    clean,
    find_files,
    read_documents,
    split_sentences,
)

FIRST = "一つ目の文書の一行目です。"
SECOND = "二行目もこの文書のものです。"
THIRD = "空行のあとは別の文書です。"


def test_blank_lines_and_ends_of_files_separate_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{FIRST}\n{SECOND}\n\n\n{THIRD}", encoding="utf-8")
    (tmp_path / "b.txt").write_text(FIRST, encoding="utf-8")
    documents = [
        [line.strip() for line in document]
        for document in read_documents(find_files(str(tmp_path)))
    ]
    assert documents == [[FIRST, SECOND], [THIRD], [FIRST]]


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".xz", lzma)])
def test_packed_records(tmp_path: Path, suffix: str, module: object) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    with module.open(path, "wt", encoding="utf-8") as file:  # type: ignore[attr-defined]
        file.write(json.dumps({"text": f"{FIRST}\n{SECOND}"}) + "\n" + json.dumps({"text": THIRD}))
    assert list(read_documents(find_files(str(path)))) == [[FIRST, SECOND], [THIRD]]


def test_everything_dropped_is_counted() -> None:
    counts: Counter[str] = Counter()
    lines = [[FIRST, " ", "短い", "no Japanese in here at all", FIRST], ["短い"]]
    assert [document.lines for document in clean(lines, Cleaning(), counts)] == [[[FIRST]]]
    assert counts == {
        "characters read": 2 * len(FIRST) + 2 + 2 + 26,
        "characters": len(FIRST),
        "characters dropped: control": 0,
        "documents read": 2,
        "documents": 1,
        "documents dropped": 1,
        "lines read": 5,
        "lines dropped: short": 2,
        "lines dropped: not Japanese": 1,
        "lines dropped: repeated": 1,
        "sentences": 1,
    }


def test_normalization_is_a_setting() -> None:
    line = "ｶﾞｷﾞｸﾞは㍿の商品だそうです"
    assert next(clean([[line]], Cleaning(), Counter())).lines == [[line]]
    assert next(clean([[line]], Cleaning(normalization="NFKC"), Counter())).lines == [
        ["ガギグは株式会社の商品だそうです"]
    ]


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        (
            "彼は「行く。」と言った。本当に？！ そう（です。）終わり",
            ["彼は「行く。」と言った。", "本当に？！ ", "そう（です。）終わり"],
        ),
        ("（注。『二重。』も括弧。）続き。次", ["（注。『二重。』も括弧。）続き。", "次"]),
        ("すごい！！本当。。。ね", ["すごい！！", "本当。。。", "ね"]),
        ("「閉じない引用。次の文。その次。", ["「閉じない引用。", "次の文。", "その次。"]),
        ("開かない」括弧。次。", ["開かない」括弧。", "次。"]),
        ("（文末の括弧。）", ["（文末の括弧。）"]),
        ("円周率は3.14だ。Yahoo!で調べた。", ["円周率は3.14だ。", "Yahoo!で調べた。"]),
    ],
)
def test_sentences_end_outside_brackets(line: str, sentences: list[str]) -> None:
    assert split_sentences(line) == sentences


@given(st.text(alphabet="あ。！「」（）『』(　 a", max_size=60))
def test_sentences_make_up_the_line(text: str) -> None:
    line = text.strip()
    sentences = split_sentences(line)
    assert "".join(sentences) == line
    assert all(sentence.strip() for sentence in sentences)


def test_no_sentence_is_too_long_for_sudachi() -> None:
    sentences = split_sentences("ー" * 100_000)
    assert "".join(sentences) == "ー" * 100_000
    assert max(len(sentence.encode()) for sentence in sentences) < 49_149
    nested = "「" + "あ。" * 50_000
    document = next(clean([[nested]], Cleaning(), Counter()))
    assert "".join(sentence for line in document.lines for sentence in line) == nested
    assert max(sum(len(sentence.encode()) for sentence in line) for line in document.lines) < 49_149


def test_lines_are_seen_once() -> None:
    """The hash table against Python's own set, past several doublings."""
    lines = [str(number) for number in np.random.default_rng(0).integers(6000, size=10_000)]
    seen, expected = Seen(), set[str]()
    for line in lines:
        assert seen.add(line) == (line not in expected)
        expected.add(line)
    assert seen.table.nbytes <= 24 * len(expected)


def test_a_documents_key_is_that_of_its_text() -> None:
    keys = [
        document.key
        for document in clean([[FIRST, SECOND], [SECOND, THIRD], [FIRST]], Cleaning(), Counter())
    ]
    alone = next(clean([[SECOND, THIRD]], Cleaning(), Counter())).key
    assert keys[1] == alone  # though a line of it was dropped
    assert len(set(keys)) == 2


WIKI = """<doc id="5" url="https://ja.wikipedia.org/wiki?curid=5" title="一つ目 &amp; 二つ目">
一つ目 &amp; 二つ目

{first}

&lt;{second}&gt;

</doc>
<doc id="6" url="https://ja.wikipedia.org/wiki?curid=6" title="空の記事">
空の記事

</doc>
<doc id="10" url="https://ja.wikipedia.org/wiki?curid=10" title="三つ目">
三つ目

{third}

</doc>
"""


def test_wikiextractor(tmp_path: Path) -> None:
    (tmp_path / "AA").mkdir()
    (tmp_path / "AB").mkdir()
    (tmp_path / "AA" / "wiki_00").write_text(
        WIKI.format(first=FIRST, second=SECOND, third=THIRD), encoding="utf-8"
    )
    article = {
        "id": "5",
        "url": "https://ja.wikipedia.org",
        "title": "一つ目",
        "text": f"{FIRST}\n&lt;{SECOND}&gt;",
    }
    with gzip.open(tmp_path / "AB" / "wiki_01.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(article) + "\n" + json.dumps(article | {"text": THIRD}) + "\n")
    (tmp_path / "README").write_text("not a text\n", encoding="utf-8")
    documents = [
        [line.strip() for line in document]
        for document in read_documents(find_files(str(tmp_path)))
    ]
    assert documents == 2 * [[FIRST, f"<{SECOND}>"], [THIRD]]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"id": [1, 2], "body": [f"{FIRST}\n{SECOND}", THIRD]}), path)
    assert list(read_documents(find_files(str(tmp_path)), "body")) == [[FIRST, SECOND], [THIRD]]
    with pytest.raises(DataError, match=r"\[J206\].*id, body"):
        list(read_documents([path]))
    path.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"\[J101\].*a\.parquet"):
        list(read_documents([path]))


def test_control_characters_are_taken_out() -> None:
    counts: Counter[str] = Counter()
    assert next(
        clean([["\ufeff一つ目の\u200b文書\x00の一行目です。"]], Cleaning(), counts)
    ).lines == [[FIRST]]
    assert counts["characters dropped: control"] == 3


def test_errors_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"\[J101\].*nowhere"):
        find_files(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"\[J101\].*no .txt"):
        find_files(str(tmp_path))
    (tmp_path / "b.txt").write_text(FIRST, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: False)  # root may read everything
        with pytest.raises(ValueError, match=r"\[J101\].*b\.txt.*denied"):
            find_files(str(tmp_path))
    broken = tmp_path / "a.jsonl"
    broken.write_text('{"text": "一行目です。"}\n{"text": ', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2"):
        list(read_documents([broken]))


@pytest.mark.parametrize("name", ["a.txt", "a.txt.xz", "wiki_00", "wiki_00.xz", "a.jsonl.xz"])
def test_a_line_without_end_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is in memory: packed, a line of gigabytes is a file of kilobytes."""
    monkeypatch.setattr(lines, "LONGEST_LINE", 1000)
    content = b"\xe3\x81\x82" * 100_000
    content = content if "jsonl" not in name else b'{"text": "' + content + b'"}\n'
    path = tmp_path / name
    path.write_bytes(lzma.compress(content) if path.suffix == ".xz" else content)
    with pytest.raises(DataError, match=r"line 1: \[J230\]"):
        list(read_documents([path]))
