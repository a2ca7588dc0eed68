import gzip
import json
import lzma
from collections import Counter
from pathlib import Path

import pytest

from spacy_jbert.errors import DataError
from spacy_jbert.pretraining.text import Cleaning, clean, find_files, read_documents, split_sentences

FIRST = "一つ目の文書の一行目です。"
SECOND = "二行目もこの文書のものです。"
THIRD = "空行のあとは別の文書です。"


def test_blank_lines_and_ends_of_files_separate_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{FIRST}\n{SECOND}\n\n\n{THIRD}", encoding="utf-8")
    (tmp_path / "b.txt").write_text(FIRST, encoding="utf-8")
    documents = [[line.strip() for line in document] for document in read_documents(find_files(str(tmp_path)))]
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
    assert list(clean(lines, Cleaning(), counts)) == [[FIRST]]
    assert counts == {
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
    assert list(clean([[line]], Cleaning(), Counter())) == [[line]]
    assert list(clean([[line]], Cleaning(normalization="NFKC"), Counter())) == [["ガギグは株式会社の商品だそうです"]]


def test_sentences_end_behind_closing_brackets() -> None:
    assert split_sentences("彼は「行く。」と言った。本当に？！ そう（です。）終わり") == [
        "彼は「行く。」",
        "と言った。",
        "本当に？！",
        "そう（です。）",
        "終わり",
    ]


def test_no_sentence_is_too_long_for_sudachi() -> None:
    sentences = split_sentences("ー" * 100_000)
    assert "".join(sentences) == "ー" * 100_000
    assert max(len(sentence.encode()) for sentence in sentences) < 49_149


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\[J101\].*nowhere"):
        find_files(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"\[J101\].*no .txt"):
        find_files(str(tmp_path))
    broken = tmp_path / "a.jsonl"
    broken.write_text('{"text": "一行目です。"}\n{"text": ', encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl, line 2"):
        list(read_documents([broken]))
