"""The converters, run as the functions they are; then the command, and the real corpora."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span

from spacy_jbert.corpora.combine import combine
from spacy_jbert.corpora.docbins import convert_docbin
from spacy_jbert.corpora.docs import japanese_tokenizer, labels_of
from spacy_jbert.corpora.iob import convert_iob, looks_tagged, read_sentences
from spacy_jbert.corpora.iob import make_doc as tagged_doc
from spacy_jbert.corpora.readers import Row
from spacy_jbert.corpora.records import convert_records, tagged
from spacy_jbert.corpora.splits import SPLITS, write_splits
from spacy_jbert.corpora.values import Notes
from spacy_jbert.errors import DataError, Warnings
from spacy_jbert.pretraining.running_text import convert_text

from ..corpora.test_readers import damaged

COMMAND = [sys.executable, "-m", "spacy", "jbert", "convert"]
CORPORA = Path(__file__).parents[3] / "shared" / "corpora"
VOCAB = japanese_tokenizer().vocab


convert_spans = partial(convert_records, task="ner")


def convert_textcat(*sources: Path, multi_label: bool = False, **settings: Any) -> None:
    task = "textcat_multilabel" if multi_label else "textcat"
    convert_records(*sources, task=task, **settings)


def docs_in(folder: Path, split: str = "train") -> list[Doc]:
    return list(DocBin().from_disk(folder / f"{split}.spacy").get_docs(VOCAB))


def entities(doc: Doc) -> list[tuple[str, str]]:
    return [(entity.text, entity.label_) for entity in doc.ents]


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
    )
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


# --- Spans ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"entities": [{"name": "東京", "span": [1, 3], "type": "地名"}]},
        {"entities": [[1, 3, "地名"]]},
        {"labels": [[1, 3, "地名"]]},
        {"label": [[1, 3, "地名"]]},
        {"entities": [{"start": 1, "end": 3, "label": "地名"}]},
        {"entities": [{"start_offset": 1, "end_offset": 3, "label": "地名", "id": 7}]},
    ],
)
def test_spans_in_each_form(tmp_path: Path, out: Path, row: dict) -> None:
    convert_spans(
        out=out,
        train=jsonl(
            tmp_path / "a.jsonl",
            {"text": "　東京都  ", **row},
            {"text": "無し", **{key: [] for key in row}},
        ),
    )
    docs = docs_in(out)
    assert [doc.text for doc in docs] == ["　東京都  ", "無し"]
    assert [entities(doc) for doc in docs] == [[("東京", "地名")], []]
    assert [path.name for path in out.iterdir()] == ["train.spacy"]


@pytest.mark.parametrize(
    ("entity", "code"),
    [
        ([0, 3, "X"], "J211"),
        ([-1, 1, "X"], "J211"),
        ([1, 1, "X"], "J211"),
        ([2, 1, "X"], "J211"),
        ([0.0, 1, "X"], "J211"),
        (["0", 1, "X"], "J211"),
        ([False, True, "X"], "J211"),
        ([0, 1, ""], "J214"),
        ([0, 1, "　"], "J214"),
        ([0, 1, None], "J214"),
        ([0, 1], "J210"),
        ("X", "J210"),
        (1, "J210"),
        ({"begin": 0, "end": 1, "label": "X"}, "J210"),
        ({"start": 0, "end": 1}, "J210"),
        ({"span": [0], "type": "X"}, "J210"),
        ({"span": [0, 2], "type": "X", "name": "京都"}, "J212"),
    ],
)
def test_impossible_spans_are_refused(tmp_path: Path, out: Path, entity: Any, code: str) -> None:
    path = jsonl(
        tmp_path / "a.jsonl",
        {"text": "東京", "entities": [[0, 2, "X"]]},
        {"text": "東京", "entities": [entity]},
    )
    with pytest.raises(DataError, match=code) as error:
        convert_spans(out=out, train=path)
    assert error.value.line == 2
    assert not out.exists()


@pytest.mark.parametrize(
    "spans", [[[0, 3, "X"], [2, 4, "Y"]], [[1, 2, "Y"], [0, 4, "X"]], [[0, 4, "X"], [0, 4, "Y"]]]
)
def test_overlaps(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], spans: list
) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": "東京都内", "entities": spans})
    with pytest.raises(DataError, match=r"line 1.*J213"):
        convert_spans(out=out, train=path)
    convert_spans(out=out, train=path, overlaps="longest")
    assert [entity.label_ for entity in docs_in(out)[0].ents] == ["X"]
    assert "[JW204] 1 " in capsys.readouterr().err


def test_empty_texts_are_skipped_and_counted(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"text": text, "entities": [[0, 1, "X"]] if text else []}
        for text in ("一", "", "　\n", "二")
    ]
    convert_spans(out=out, train=jsonl(tmp_path / "a.jsonl", *rows))
    assert [doc.text for doc in docs_in(out)] == ["一", "二"]
    assert "[JW203] 2 " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "code"),
    [({"sentence": "一", "entities": []}, "J206.*sentence, entities"), ({"text": "一", "ents": []}, "J206.*text, ents"),
     ({"text": "一", "entities": None}, "J207"), ({"text": None, "entities": []}, "J207"), ({"text": "一", "entities": []}, "J217")],
)  # fmt: skip
def test_wrong_fields_are_refused(tmp_path: Path, out: Path, row: dict, code: str) -> None:
    with pytest.raises(DataError, match=code):
        convert_spans(out=out, train=jsonl(tmp_path / "a.jsonl", row))


def test_nothing_is_written_when_the_last_file_is_bad(tmp_path: Path, out: Path) -> None:
    good = jsonl(tmp_path / "a.jsonl", {"text": "東京", "entities": [[0, 2, "X"]]})
    with pytest.raises(DataError, match="J201"):
        convert_spans(out=out, train=good, dev=good, test=tmp_path / "missing.jsonl")
    assert not out.exists()


def test_split_by_a_field(tmp_path: Path, out: Path) -> None:
    rows = [
        {"text": split, "entities": [[0, 1, "X"]], "set": split}
        for split in ("test", "validation", "train", "train")
    ]
    convert_spans(jsonl(tmp_path / "a.jsonl", *rows), out=out, split_field="set")
    assert {split: len(docs_in(out, split)) for split in SPLITS} == {
        "train": 2,
        "dev": 1,
        "test": 1,
    }
    with pytest.raises(DataError, match=r"line 1.*J220.*'rest'"):
        convert_spans(
            jsonl(tmp_path / "a.jsonl", rows[0] | {"set": "rest"}), out=out, split_field="set"
        )


# --- IOB ------------------------------------------------------------------------------------------


def iob(tmp_path: Path, out: Path, text: str, **options: Any) -> list[Doc]:
    path = tmp_path / "a.bio"
    path.write_text(text, encoding="utf-8", newline="")
    convert_iob(out=out, train=path, **options)
    return docs_in(out)


@pytest.mark.parametrize(
    "text",
    [
        "# id = 1\n東京\tB-X\n都\tI-X\n#\tO\n",
        "東京 B-X\r\n都  I-X\r\n# O\r\n\r\n",
        "東京,B-X\n都,I-X\n#,O\n",
        "\n\ufeff東京\tB-X\n都\tI-X\n#\tO"[2:],
    ],
)
def test_delimiters_and_comments(tmp_path: Path, out: Path, text: str) -> None:
    (doc,) = iob(tmp_path, out, text)
    assert [token.text for token in doc] == ["東京", "都", "#"]
    assert entities(doc) == [("東京都", "X")]


def test_a_comma_or_a_quote_can_be_the_token(tmp_path: Path, out: Path) -> None:
    (doc,) = iob(tmp_path, out, '一,B-X\n,,O\n",",O\n1,000,B-Y\n"2,000",B-Y\n",O\n"""",O\n二,O\n')
    assert [token.text for token in doc] == ["一", ",", ",", "1,000", "2,000", '"', '"', "二"]
    assert entities(doc) == [("一", "X"), ("1,000", "Y"), ("2,000", "Y")]


def test_columns_in_any_order(tmp_path: Path, out: Path) -> None:
    (doc,) = iob(tmp_path, out, "1,B-X,名詞,東京\n2,O,記号,,\n", token_column=-1, tag_column=1)
    assert ([token.text for token in doc], entities(doc)) == (["東京", ","], [("東京", "X")])


def test_a_full_width_space_can_be_the_token(tmp_path: Path, out: Path) -> None:
    for delimiter in ("\t", " "):
        (doc,) = iob(tmp_path, out, f"東京{delimiter}B-X\n　{delimiter}O\n都{delimiter}O\n")
        assert doc.text == "東京　都"


@pytest.mark.parametrize(
    "tags",
    [
        "B-X I-X O B-X B-X I-X I-X",
        "B-X L-X O U-X B-X I-X L-X",
        "B-X E-X O S-X B-X I-X E-X",
        "I-X I-X O I-X B-X I-X I-X",
    ],
)
def test_tag_schemes(tmp_path: Path, out: Path, tags: str) -> None:
    (doc,) = iob(
        tmp_path, out, "".join(f"{number}\t{tag}\n" for number, tag in enumerate(tags.split()))
    )
    assert [entity.text for entity in doc.ents] == ["01", "3", "456"]


def test_stray_i_tags_are_repaired_and_counted(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = iob(tmp_path, out, "一\tI-X\n二\tI-X\n三\tI-Y\n四\tO\n五\tI-Y\n\n六\tI-Y\n")
    assert [entities(doc) for doc in docs] == [
        [("一二", "X"), ("三", "Y"), ("五", "Y")],
        [("六", "Y")],
    ]
    assert "[JW205] 4 " in capsys.readouterr().err


def test_sentences_are_joined(tmp_path: Path, out: Path) -> None:
    text = "一\tB-X\n二\tO\n\n\n三\tO\n \t\n四\tO\n-DOCSTART-\tO\n\n五\tO\n"
    docs = iob(tmp_path, out, text, sentences_per_doc=2)
    assert [[sentence.text for sentence in doc.sents] for doc in docs] == [
        ["一二", "三"],
        ["四"],
        ["五"],
    ]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("一\tB-X\n二\tX-Y\n", "J222", 2),
        ("一\tB-X\n二\tB-\n", "J222", 2),
        ("一\tB-X\n二\tb-X\n", "J222", 2),
        ("word\ttag\n一\tB-X\n", "J222", 1),
        ("一\tB-X\n二\n三\tO\n", "J223", 2),
        ("一\tB-X\n\tO\n", "J223", 2),
        ("一\tB-X\n二\tx\tO\n三\tO\n", "J223", 2),
        ("一,B-X\n二\n三,O\n", "J223", 2),
        ("一\n二\n", "J22[23]", None),
        ("一\tO\n", "J217", None),
        ("\n\n", "J219", None),
    ],
)
def test_impossible_tags_are_refused(
    tmp_path: Path, out: Path, text: str, code: str, line: int | None
) -> None:
    with pytest.raises(DataError, match=code) as error:
        iob(tmp_path, out, text)
    assert line in (error.value.line, None)


def test_a_column_that_is_not_there(tmp_path: Path, out: Path) -> None:
    with pytest.raises(DataError, match="J223"):
        iob(tmp_path, out, "一\tB-X\n", tag_column=2)


# --- DocBin ---------------------------------------------------------------------------------------


def test_tokens_sentences_and_entities_of_a_docbin_are_kept(tmp_path: Path, out: Path) -> None:
    doc = Doc(VOCAB, words=["New", "York", "は", "。", "次"], spaces=[True, False, False, True, False], sent_starts=[1, 0, 0, 0, 1],
              ents=["B-X", "I-X", "O", "O", "O"], tags=["a"] * 5)  # fmt: skip
    DocBin(docs=[doc], store_user_data=True).to_disk(tmp_path / "a.spacy")
    convert_docbin(out=out, train=tmp_path / "a.spacy")
    (kept,) = docs_in(out)
    assert kept.text == doc.text
    assert [sentence.text for sentence in kept.sents] == ["New Yorkは。", "次"]
    assert entities(kept) == [("New York", "X")]
    assert not kept.has_annotation("TAG")


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-9],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"not a DocBin",
        lambda raw: b"x\x9c" + raw[5:],
    ],
)
def test_what_is_no_docbin_is_refused(tmp_path: Path, out: Path, damage: Any) -> None:
    raw = DocBin(docs=[Doc(VOCAB, words=["一"], ents=["B-X"])] * 9).to_bytes()
    (tmp_path / "a.spacy").write_bytes(damage(raw))
    with pytest.raises(DataError, match="J224"):
        convert_docbin(out=out, train=tmp_path / "a.spacy")
    (tmp_path / "a.spacy").rename(tmp_path / "dev.spacy")
    with pytest.raises(DataError, match="J224"):
        combine([tmp_path], out=out)
    assert not out.exists()


# --- Categories -----------------------------------------------------------------------------------


def test_one_label(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        ("風呂が広い", "風呂", "train"),
        ("部屋", ["部屋"], "train"),
        ("除く", "a::b", "train"),
        (" ", "風呂", "dev"),
        ("部屋", 3, "dev"),
    ]
    rows = [
        {"u": [{"t": text}], "m": {"l": label}, "purpose": split} for text, label, split in found
    ]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    convert_textcat(
        path,
        out=out,
        text_field="u.0.t",
        label_field="m.l",
        split_field="purpose",
        exclude_label_containing="::",
    )
    assert [doc.cats for doc in docs_in(out)] == [
        {"3": 0.0, "部屋": 0.0, "風呂": 1.0},
        {"3": 0.0, "部屋": 1.0, "風呂": 0.0},
    ]
    assert [doc.cats for doc in docs_in(out, "dev")] == [{"3": 1.0, "部屋": 0.0, "風呂": 0.0}]
    warnings = capsys.readouterr().err
    assert all(
        warning in warnings for warning in ("[JW201] 1 ", "[JW202] 1 ", "[JW203] 1 ", "[JW206] 1 ")
    )


def test_several_labels_in_a_table(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\n一\ta|b \n二\t\n三\tb\n", encoding="utf-8")
    convert_textcat(out=out, train=path, multi_label=True, separator="|")
    assert [doc.cats for doc in docs_in(out)] == [
        {"a": 1.0, "b": 1.0},
        {"a": 0.0, "b": 0.0},
        {"a": 0.0, "b": 1.0},
    ]


@pytest.mark.parametrize(
    ("value", "code", "options"),
    [("", "J214", {}), (None, "J214", {}), (1.5, "J214", {}), (["a", "b"], "J225", {}), ([], "J225", {}), ({"a": 1}, "J214", {}),
     (["a", ""], "J214", {"multi_label": True}), ([], "J217", {"multi_label": True}), ("a", "J206.*text, label", {"label_field": "l"})],
)  # fmt: skip
def test_impossible_labels_are_refused(
    tmp_path: Path, out: Path, value: Any, code: str, options: dict
) -> None:
    with pytest.raises(DataError, match=code):
        convert_textcat(
            out=out, train=jsonl(tmp_path / "a.jsonl", {"text": "一", "label": value}), **options
        )


# --- Text -----------------------------------------------------------------------------------------


def test_text_is_cleaned(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text(
        "\ufeff\n 一。二。 \r\n\x00\n三\u200b\n\n　\n\nか\u3099\t四", encoding="utf-8", newline=""
    )
    lines = jsonl(tmp_path / "b.jsonl", {"text": "五。\n\n「六。」七。八"}, {"text": ""})
    convert_text([plain, lines], out=out)
    assert (
        out.read_text(encoding="utf-8") == "一。二。\n三\n\nか\u3099\t四\n\n五。\n「六。」七。八\n"
    )
    assert "3 documents, 5 lines, 18 characters" in capsys.readouterr().out
    convert_text([lines], out=out, sentences=True, min_characters=2)
    assert out.read_text(encoding="utf-8") == "五。\n「六。」七。\n"


# --- Combining ------------------------------------------------------------------------------------


def write(folder: Path, **splits: list[Doc]) -> Path:
    write_splits(folder, splits)
    return folder


def with_entities(*words: str, tags: list[str] | None = None) -> Doc:
    return Doc(
        VOCAB, words=list(words), spaces=[False] * len(words), ents=tags or ["O"] * len(words)
    )


def with_categories(text: str, **cats: float) -> Doc:
    doc = Doc(VOCAB, words=[text], spaces=[False])
    doc.cats = cats
    return doc


def test_annotation_meets_on_the_same_text(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ner = write(
        tmp_path / "ner",
        train=[with_entities("東京", "へ", tags=["B-地名", "O"]), with_entities("無い")],
        dev=[with_entities("一")],
    )
    topic = write(
        tmp_path / "topic",
        train=[with_categories("別", a=1.0, b=0.0), with_categories("東京へ", a=0.0, b=1.0)],
    )
    for order in ([ner, topic], [topic, ner]):
        combine(order, out=out)
        docs = {doc.text: doc for doc in docs_in(out)}
        assert sorted(docs) == sorted(["東京へ", "無い", "別"])
        assert len(docs_in(out)) == 3
        assert entities(docs["東京へ"]) == [("東京", "地名")]
        assert docs["東京へ"].cats == {"a": 0.0, "b": 1.0}
        assert docs["無い"].has_annotation("ENT_IOB")
        assert docs["無い"].cats == {}
        assert not docs["別"].has_annotation("ENT_IOB")
        assert docs["別"].cats == {"a": 1.0, "b": 0.0}
        assert [doc.text for doc in docs_in(out, "dev")] == ["一"]


def test_nothing_is_dropped(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same text with entities twice, or with categories twice, stays two documents; a text in
    two splits is told of.
    """
    first = write(
        tmp_path / "a",
        train=[with_entities("東京", tags=["B-地名"])],
        dev=[with_categories("東京", a=1.0)],
    )
    second = write(
        tmp_path / "b",
        train=[
            with_entities("東京", tags=["B-組織名"]),
            with_categories("桜", a=1.0),
            with_categories("桜", b=1.0),
        ],
    )
    combine([first, second], out=out)
    assert sorted(entities(doc)[0][1] for doc in docs_in(out) if doc.ents) == ["地名", "組織名"]
    assert [doc.cats for doc in docs_in(out) if doc.cats] == [{"a": 1.0}, {"b": 1.0}]
    assert "[JW202] 1 " in capsys.readouterr().err


def test_a_folder_without_corpus_is_refused(tmp_path: Path, out: Path) -> None:
    with pytest.raises(DataError, match="J201"):
        combine(
            [
                write(tmp_path / "a", train=[with_entities("東京", tags=["B-地名"])]),
                tmp_path / "misspelt",
            ],
            out=out,
        )


# --- White space at the ends of entities and labels ------------------------------------------------

BLANKS = [" ", "\n", "\r\n", "\t", "　", "\u00a0", "\u2028", "\u200b", "\ufeff", "\u2060", " 　\n"]


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_white_space_at_an_entitys_ends_is_left_out(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], blank: str
) -> None:
    text = f"次は{blank}札幌ドーム{blank}です。{blank}"
    ends = [2, 2 + len(blank), 7 + len(blank), 7 + 2 * len(blank)]
    rows = [
        {"text": text, "entities": [[ends[0], ends[3], "施設名"]]},
        {"text": text + "一", "entities": [[ends[1], ends[3], "施設名"], [0, 2, "X"]]},
        {"text": text + "二", "entities": [[ends[0], ends[2], "施設名"], [ends[2], ends[3], "X"]]},
        {"text": blank, "entities": [[0, len(blank), "X"]]},
    ]
    convert_spans(out=out, train=jsonl(tmp_path / "a.jsonl", *rows))
    found = [entities(doc) for doc in docs_in(out)]
    only = [("札幌ドーム", "施設名")]
    assert found[:3] == [only, [("次は", "X"), *only], only]
    warnings = capsys.readouterr().err
    assert "[JW207] 3 " in warnings
    assert "[JW208] 2 " in warnings


@pytest.mark.parametrize("blank", ["　", "\u00a0", "\u200b", "　　"], ids=ascii)
def test_white_space_tokens_at_an_entitys_ends(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], blank: str
) -> None:
    tags = f"{blank}\tB-X\n札幌\tI-X\nドーム{blank}\tI-X\n{blank}\tI-X\n。\tO\n{blank}\tB-Y\n"
    (doc,) = iob(tmp_path, out, tags)
    assert entities(doc) == [("札幌ドーム", "X")]
    assert doc.text == f"{blank}札幌ドーム{blank}{blank}。{blank}"
    warnings = capsys.readouterr().err
    assert "[JW207] 1 " in warnings
    assert "[JW208] 1 " in warnings


@pytest.mark.parametrize("blank", ["\n", " ", "　", "\u200b"], ids=ascii)
@pytest.mark.parametrize("combined", [False, True])
def test_white_space_in_docbins(
    tmp_path: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    blank: str,
    combined: bool,
) -> None:
    words = [blank, "札幌", "ドーム" + blank, blank, "。", blank]
    doc = Doc(VOCAB, words=words, spaces=[False] * 6)
    doc.set_ents([Span(doc, 0, 4, "X "), Span(doc, 5, 6, "Y")], default="missing")
    doc.cats = {"a\n": 1.0, "a": 0.0}
    folder = write(tmp_path / "in", train=[doc])
    if combined:
        combine([folder], out=out)
    else:
        convert_docbin(out=out, train=folder / "train.spacy")
    (kept,) = docs_in(out)
    assert kept.text == doc.text
    assert entities(kept) == [("札幌ドーム", "X")]
    assert kept.cats == {"a": 1.0}
    iobs = {token.text: token.ent_iob_ for token in kept}
    assert iobs["。"] == ""
    assert iobs[blank] == "O"
    warnings = capsys.readouterr().err
    assert all(
        f"[JW{number}] {count} " in warnings for number, count in ((207, 1), (208, 1), (209, 2))
    )


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
def test_labels_are_trimmed_and_counted(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], blank: str
) -> None:
    rows = [
        {"text": f"文{number}", "label": label}
        for number, label in enumerate(["pos", f"pos{blank}", f"{blank}pos", "neg"])
    ]
    convert_textcat(out=out, train=jsonl(tmp_path / "a.jsonl", *rows))
    assert [doc.cats for doc in docs_in(out)] == [{"neg": 0.0, "pos": 1.0}] * 3 + [
        {"neg": 1.0, "pos": 0.0}
    ]
    assert "[JW209] 2 " in capsys.readouterr().err


@pytest.mark.parametrize(
    "char", ["\n", "\t", "\0", "\r", "\x1b", "\x7f", "\u2028", "\u200b", "\u202e"], ids=ascii
)
def test_labels_that_cannot_be_seen_are_refused(tmp_path: Path, out: Path, char: str) -> None:
    label = f"a{char}b"
    with pytest.raises(DataError, match="J229"):
        convert_textcat(out=out, train=jsonl(tmp_path / "a.jsonl", {"text": "一", "label": label}))
    entity = {"text": "東京", "entities": [[0, 2, label]]}
    with pytest.raises(DataError, match="J229"):
        convert_spans(out=out, train=jsonl(tmp_path / "a.jsonl", entity))
    doc = Doc(VOCAB, words=["東京"])
    doc.set_ents([Span(doc, 0, 1, label)])
    folder = write(tmp_path / "in", train=[doc])
    with pytest.raises(DataError, match="J229"):
        convert_docbin(out=out, train=folder / "train.spacy")
    with pytest.raises(DataError, match="J229"):
        combine([write(tmp_path / "in", train=[with_categories("東京", **{label: 1.0})])], out=out)
    assert not out.exists()


def test_what_contradicts_or_looks_alike_is_told(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [("一", "pos"), ("一", "neg"), ("二", "pos"), ("二", "pos"), ("三", "ＰＯＳ")]
    rows = [{"text": text, "label": label} for text, label in labels]
    convert_textcat(out=out, train=jsonl(tmp_path / "a.jsonl", *rows))
    warnings = capsys.readouterr().err
    assert "[JW211] 1 " in warnings
    assert "一 (neg / pos)" in warnings
    assert "pos / ＰＯＳ" in warnings.split("[JW210]")[1]
    spans = [{"text": "東京", "entities": found} for found in ([[0, 2, "X"]], [[0, 2, "Y"]], [])]
    convert_spans(out=out, train=jsonl(tmp_path / "a.jsonl", *spans, *spans))
    warnings = capsys.readouterr().err
    assert "[JW211] 1 " in warnings
    assert "[JW210]" not in warnings


def test_quoting_is_an_option(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"一"\tx\n二\ty\n', encoding="utf-8")
    for quoting, text in (("auto", "一"), ("csv", "一"), ("none", '"一"')):
        convert_textcat(out=out, train=path, quoting=quoting)
        assert docs_in(out)[0].text == text


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(damaged())
def test_damage_leaves_nothing_half_written(tmp_path: Path, case: tuple[str, bytes]) -> None:
    suffix, content = case
    source = tmp_path / f"fuzzed{suffix}"
    source.write_bytes(content)
    out = tmp_path / "fuzzed"
    shutil.rmtree(out, ignore_errors=True)
    convert = convert_docbin if suffix == ".spacy" else convert_textcat
    try:
        convert(out=out, train=source)
    except DataError:
        assert not out.exists()
    else:
        assert [path.name for path in out.iterdir()] == ["train.spacy"]
        assert docs_in(out)


# --- Writing --------------------------------------------------------------------------------------


def test_other_splits_leave_no_old_one(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = out / "into" / "new" / "folders"
    rows = [{"text": f"文{number}", "entities": [[0, 1, "X"]]} for number in range(10)]
    source = jsonl(tmp_path / "a.jsonl", *rows)
    convert_spans(source, out=out, split="60/20/20")
    convert_spans(source, out=out, split="80/20/0")
    assert {path.name for path in out.glob("*.spacy")} == {"train.spacy", "dev.spacy"}
    assert (out / "test.spacy.old").exists()
    assert "[JW212]" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["a.jsonl", "a.jsonl/in"])
def test_a_file_is_no_folder(tmp_path: Path, place: str) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"text": "東京", "entities": [[0, 2, "X"]]})
    with pytest.raises(DataError, match="J233"):
        convert_spans(out=tmp_path / place, train=source)
    with pytest.raises(DataError, match="J233"):
        convert_text([source], out=source / "in" / "text.txt")
    assert source.is_file()


@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_terminals_of_other_encodings(tmp_path: Path, out: Path, encoding: str) -> None:
    """Neither what is shown nor an error over it ends a script, and its exit code is right."""
    rows = [
        {"text": f"🍣の한국{number}", "entities": [[0, 3, "한국🍣"]], "label": f"👍{number % 2}"}
        for number in range(10)
    ]
    source = jsonl(tmp_path / "한국.jsonl", *rows)
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}

    def ended(task: str, *arguments: object) -> tuple[int, str]:
        command = [*COMMAND, "--task", task, *arguments]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        return done.returncode, done.stderr.decode(encoding)

    status, errors = ended("ner", source, "--out", out / "spans한")
    assert (status, "Traceback" in errors) == (0, False)
    assert docs_in(out / "spans한")
    status, errors = ended("text", source, "--out", out / "한.txt")
    assert (status, "Traceback" in errors) == (0, False)
    status, errors = ended("ner", source, "--out", out, "--text-field", "한국")
    assert (status, "[J206]" in errors, "Traceback" in errors) == (1, True, False)


# --- Exports, maps, groups ------------------------------------------------------------------------


def label_studio(text: str, *regions: tuple[int, int, str, str]) -> dict[str, Any]:
    result = [
        {"type": "labels", "value": {"start": start, "end": end, "text": held, "labels": [label]}}
        for start, end, held, label in regions
    ]
    return {"id": 1, "data": {"text": text}, "annotations": [{"id": 1, "result": result}]}


def test_exports_are_known_by_their_fields(tmp_path: Path, out: Path) -> None:
    tasks = [label_studio(f"{n}京都へ", (1, 3, "京都", "地名")) for n in range(10)]
    path = tmp_path / "project-1.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    convert_spans(path, out=out)
    assert {entity for doc in docs_in(out) for entity in entities(doc)} == {("京都", "地名")}
    spans = [{"start": 1, "end": 3, "label": "地名"}]
    tasks = [
        {"text": f"{n}京都", "spans": spans, "answer": "accept", "_input_hash": n}
        for n in range(10)
    ]
    convert_spans(jsonl(tmp_path / "db-out.jsonl", *tasks), out=out)
    assert {entity for doc in docs_in(out) for entity in entities(doc)} == {("京都", "地名")}


def test_categories_of_a_tool(tmp_path: Path, out: Path) -> None:
    tasks = [
        {"text": f"文{n}", "_input_hash": n, "answer": "accept", "accept": [n % 2],
         "options": [{"id": 0, "text": "偶数"}, {"id": 1, "text": "奇数"}]}
        for n in range(10)
    ]  # fmt: skip
    convert_textcat(jsonl(tmp_path / "a.jsonl", *tasks), out=out, split="100/0/0")
    assert all(doc.cats["奇数"] == int(doc.text[1]) % 2 for doc in docs_in(out))


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_map_renames_merges_and_drops(tmp_path: Path, out: Path, suffix: str) -> None:
    labels = tmp_path / f"map.{suffix}"
    renamed = {"PER": "人名", "PERSON": "人名", "X": ""}
    table = "old,new\n" + "".join(f"{old},{new}\n" for old, new in renamed.items())
    labels.write_text(json.dumps(renamed) if suffix == "json" else table, encoding="utf-8")
    rows = [[[0, 2, "PER"]], [[0, 2, "PERSON"]], [[0, 2, "X"], [2, 3, "地名"]]]
    path = jsonl(
        tmp_path / "a.jsonl", *({"text": f"田中{n}", "entities": e} for n, e in enumerate(rows))
    )
    convert_spans(out=out, train=path, label_map=labels)
    found = [label for doc in docs_in(out) for _, label in entities(doc)]
    assert found == ["人名", "人名", "地名"]


@pytest.mark.parametrize("content", ["[1]", '{"a": 1}', "a,b,c\n1,2,3\n1,2,3\n"])
def test_odd_maps_are_refused(tmp_path: Path, out: Path, content: str) -> None:
    labels = tmp_path / ("map.csv" if "," in content else "map.json")
    labels.write_text(content, encoding="utf-8")
    path = jsonl(tmp_path / "a.jsonl", {"text": "田中", "entities": [[0, 2, "PER"]]})
    with pytest.raises(DataError, match=r"J2(04|05|56)"):
        convert_spans(out=out, train=path, label_map=labels)


def test_unlabelled_records_are_refused_or_left_out(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": f"文{n}", "label": "a" if n else None} for n in range(4)]
    path = jsonl(tmp_path / "a.jsonl", *rows)
    with pytest.raises(DataError, match=r"line 1: \[J214\]"):
        convert_textcat(out=out, train=path)
    convert_textcat(out=out, train=path, skip_unlabelled=True)
    assert len(docs_in(out)) == 3
    assert "[JW256] 1 " in capsys.readouterr().err


def test_an_entity_that_stands_there_twice_is_one(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": "田中", "entities": [[0, 2, "人名"]] * 2})
    convert_spans(out=out, train=path)
    assert [entities(doc) for doc in docs_in(out)] == [[("田中", "人名")]]
    assert "[JW258] 1 " in capsys.readouterr().err


def test_a_group_stays_in_one_part(tmp_path: Path, out: Path) -> None:
    rows = [{"text": f"文{n}", "label": "ab"[n % 2], "article": n // 10} for n in range(200)]
    convert_textcat(jsonl(tmp_path / "a.jsonl", *rows), out=out, group_field="article")
    articles = [{int(doc.text[1:]) // 10 for doc in docs_in(out, part)} for part in SPLITS]
    assert sum(map(len, articles)) == len(set().union(*articles)) == 20


def test_entities_and_a_label_of_one_record(tmp_path: Path, out: Path) -> None:
    rows = [
        {"text": f"京都{n}", "entities": [[0, 2, "地名"]], "label": "ab"[n % 2]} for n in range(10)
    ]
    convert_records(jsonl(tmp_path / "a.jsonl", *rows), out=out, task="joint", split="100/0/0")
    for doc in docs_in(out):
        assert entities(doc) == [("京都", "地名")]
        assert doc.cats == {"a": 1.0 - int(doc.text[2]) % 2, "b": int(doc.text[2]) % 2}


def test_tokens_with_tags_in_records(tmp_path: Path, out: Path) -> None:
    row = {
        "tokens": ["私", "は", "東京", "都", "へ"],
        "ner_tags": ["O", "O", "B-地名", "I-地名", "O"],
    }
    convert_spans(out=out, train=jsonl(tmp_path / "a.jsonl", row))
    assert [entities(doc) for doc in docs_in(out)] == [[("東京都", "地名")]]
    row["ner_tags"].pop()
    with pytest.raises(DataError, match="J207"):
        convert_spans(out=out, train=jsonl(tmp_path / "a.jsonl", row))


@given(
    st.lists(
        st.sampled_from(["O", "B-x", "I-x", "L-x", "U-x", "I-y", "B-y", "E-y", "S-x", "M-x"]),
        min_size=1,
        max_size=9,
    )
)
def test_tags_mean_the_same_in_records_and_in_files(tags: list[str]) -> None:
    tokens = [f"語{n}" for n in range(len(tags))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bio"
        lines = (f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
        path.write_text("".join(lines), encoding="utf-8")
        in_files, in_records = Notes(), Notes()
        (sentence,) = read_sentences(path, "tab", 0, -1, in_files)
        doc = tagged_doc(VOCAB, [sentence])
        row = Row({"tokens": tokens, "ner_tags": tags}, path, 1)
        record = tagged(row, in_records)
    spans = [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]
    assert (record.text, record.entities) == (doc.text, spans)
    assert in_records[Warnings.JW205] == in_files[Warnings.JW205]


def test_what_is_converted_is_not_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("東京へ行く。\n", encoding="utf-8")
    with pytest.raises(DataError, match="J260"):
        convert_text([source], out=source)
    assert source.read_text(encoding="utf-8") == "東京へ行く。\n"


@pytest.mark.parametrize("extra", ["", "old,new\n"])
def test_a_table_of_labels_needs_no_header(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str], extra: str
) -> None:
    labels = tmp_path / "map.csv"
    labels.write_text(f"{extra}PER,人名\nLOK,地名\nX,\n", encoding="utf-8")
    (tmp_path / "a.bio").write_text("田中\tB-PER\n東京\tB-LOC\n他\tB-X\n", encoding="utf-8")
    convert_iob(out=out, train=tmp_path / "a.bio", label_map=labels)
    assert [entities(doc) for doc in docs_in(out)] == [[("田中", "人名"), ("東京", "LOC")]]
    warnings = capsys.readouterr().err
    assert "[JW257] 1 " in warnings
    assert "LOK" in warnings.split("[JW261]")[1]
    assert "old" not in warnings


def test_labels_of_docbins_are_mapped_and_chosen(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "map.json"
    labels.write_text(json.dumps({"a": "c", "b": "c", "X": None, "d": ""}), encoding="utf-8")
    docs = [with_categories("一", a=0.0, b=1.0), with_categories("二", d=1.0), with_entities("三")]
    source = write(tmp_path / "in", train=docs) / "train.spacy"
    convert_docbin(out=out, train=source, label_map=labels, skip_unlabelled=True)
    assert [(doc.text, doc.cats) for doc in docs_in(out)] == [("一", {"c": 1.0})]
    warnings = capsys.readouterr().err
    assert "[JW256] 2 " in warnings
    assert "[JW257] 1 " in warnings


def test_unlabelled_records_may_lack_the_field(tmp_path: Path, out: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"text": "文"}, {"text": "京都", "label": [[0, 2, "X"]]})
    with pytest.raises(DataError, match=r"line 1: \[J206\]"):
        convert_spans(out=out, train=path)
    convert_spans(out=out, train=path, skip_unlabelled=True)
    assert [doc.text for doc in docs_in(out)] == ["京都"]
    path = jsonl(tmp_path / "a.jsonl", {"text": "文"}, {"text": "京都", "label": "a"})
    convert_textcat(out=out, train=path, skip_unlabelled=True)
    assert [doc.text for doc in docs_in(out)] == ["京都"]


def test_what_a_joint_record_lacks_stays_unknown(tmp_path: Path, out: Path) -> None:
    rows = [
        {"text": "東京へ", "entities": [[0, 2, "地名"]], "label": "旅"},
        {"text": "無し", "entities": [], "label": ["食"]},
        {"text": "大阪", "entities": [[0, 2, "地名"]]},
        {"text": "寿司", "entities": None, "label": "食"},
    ]
    convert_records(out=out, train=jsonl(tmp_path / "a.jsonl", *rows), task="joint")
    docs = docs_in(out)
    assert [doc.has_annotation("ENT_IOB") for doc in docs] == [True, True, True, False]
    assert [doc.cats for doc in docs] == [
        {"旅": 1.0, "食": 0.0},
        {"旅": 0.0, "食": 1.0},
        {},
        {"旅": 0.0, "食": 1.0},
    ]


def test_corpora_shared_out_differently_are_combined_without_a_leak(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["一", "二", "三", "四"]
    ner = [with_entities(word, tags=["B-X"]) for word in words]
    topic = [with_categories(word, a=1.0) for word in words]
    first = write(tmp_path / "a", train=ner[:2], dev=ner[2:])
    second = write(tmp_path / "b", train=topic[1:3], dev=[topic[0], topic[3]])
    combine([first, second], out=out)
    assert [[doc.text for doc in docs_in(out, part)] for part in ("train", "dev")] == [
        words[:2],
        words[2:],
    ]
    assert all(doc.cats and doc.ents for part in ("train", "dev") for doc in docs_in(out, part))
    warnings = capsys.readouterr().err
    assert "[JW260] 2 " in warnings
    assert "[JW202]" not in warnings


def test_annotation_as_json_in_cells(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,entities\n東京へ,"[[0, 2, ""地名""]]"\n無し,\n', encoding="utf-8")
    convert_spans(out=out, train=path)
    assert [entities(doc) for doc in docs_in(out)] == [[("東京", "地名")], []]
    path.write_text(
        'text,label\n一,"[""a"", ""b""]"\n二,"a, b"\n四,"[\'a\', \'b\']"\n三,[\n', encoding="utf-8"
    )
    convert_textcat(out=out, train=path, multi_label=True)
    found = [sorted(label for label, value in doc.cats.items() if value) for doc in docs_in(out)]
    assert found == [["a", "b"], ["a", "b"], ["a", "b"], ["["]]
    path = jsonl(tmp_path / "a.jsonl", {"text": "一", "label": {"a": 1, "b": 0, "c": True}})
    convert_textcat(out=out, train=path, multi_label=True)
    assert [doc.cats for doc in docs_in(out)] == [{"a": 1.0, "c": 1.0}]


def test_records_of_no_group_are_no_group(tmp_path: Path, out: Path) -> None:
    rows = [{"text": f"文{n}", "label": "a", "article": None} for n in range(20)]
    convert_textcat(jsonl(tmp_path / "a.jsonl", *rows), out=out, group_field="article")
    assert [len(docs_in(out, part)) for part in SPLITS] == [16, 2, 2]


def test_sources_are_never_replaced(tmp_path: Path) -> None:
    docs = [with_entities(f"{number}", tags=["B-X"]) for number in range(30)]
    folder = write(tmp_path / "a", train=docs)
    before = (folder / "train.spacy").read_bytes()
    (tmp_path / "link").symlink_to(folder)
    for source in (folder / "train.spacy", tmp_path / "link" / "train.spacy"):
        with pytest.raises(DataError, match="J260"):
            convert_docbin(source, out=folder)
        with pytest.raises(DataError, match="J260"):
            convert_docbin(out=folder, train=source)
    with pytest.raises(DataError, match="J260"):
        combine([folder], out=tmp_path / "link")
    assert (folder / "train.spacy").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["train.spacy"]


def test_a_link_to_nothing_is_no_folder(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"text": "東京", "entities": [[0, 2, "X"]]})
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="J233"):
        convert_spans(out=tmp_path / "link", train=source)


def test_a_full_disk_is_told(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = jsonl(tmp_path / "a.jsonl", {"text": "東京", "entities": [[0, 2, "X"]]})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(DocBin, "to_disk", full)
    with pytest.raises(DataError, match="J261"):
        convert_spans(out=out, train=source)
    assert not list(out.iterdir())


def test_a_folder_is_no_file(tmp_path: Path, out: Path) -> None:
    with pytest.raises(DataError, match="J261"):
        convert_iob(out=out, train=tmp_path)


def test_white_space_behind_a_tag_is_counted(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (doc,) = iob(tmp_path, out, "東京\tB-X \n都\tI-X\nへ\tO \n")
    assert entities(doc) == [("東京都", "X")]
    assert "[JW209] 1 " in capsys.readouterr().err


def test_tags_may_come_first(tmp_path: Path, out: Path) -> None:
    (doc,) = iob(tmp_path, out, "B-X\t東京\nI-X\t都\nO\tO\n")
    assert entities(doc) == [("東京都", "X")]
    assert looks_tagged(tmp_path / "a.bio")
    (tmp_path / "a.txt").write_text("一 二 三 四 B-X\n五 O\n", encoding="utf-8")
    assert looks_tagged(tmp_path / "a.txt")
    (doc,) = iob(tmp_path, out, "O\tB-X\nO\tO\n")
    assert entities(doc) == [("O", "X")]


def test_splits_of_a_saved_dataset_are_kept(tmp_path: Path, out: Path) -> None:
    names = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["負", "正"])}
    )
    parts = {
        part: datasets.Dataset.from_dict({"text": [f"{part}{n}" for n in range(4)], "label": [0, 1, 0, 1]}, names)
        for part in ("train", "validation", "test")
    }  # fmt: skip
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    convert_textcat(tmp_path / "saved", out=out)
    assert [docs_in(out, part)[3].text for part in SPLITS] == ["train3", "validation3", "test3"]
    assert docs_in(out)[1].cats == {"正": 1.0, "負": 0.0}


def test_running_text_in_other_encodings(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.txt").write_bytes("東京へ行く。\n".encode("cp932"))
    with pytest.raises(DataError, match="J203"):
        convert_text([tmp_path / "a.txt"], out=out)
    convert_text([tmp_path / "a.txt"], out=out, encoding="cp932")
    assert out.read_text(encoding="utf-8") == "東京へ行く。\n"


# --- The command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "task", "train"),
    [
        ("a.csv", "text,label\n駅から近い,立地\n部屋が広い,部屋\n", "textcat", "駅から近い"),
        ("a.bio", "私\tO\n東京\tB-地名\n\n", "ner", "私東京"),
        ("tagged.txt", "私 O\n東京 B-地名\n\n", "ner", "私東京"),
    ],
)
def test_the_command_finds_out_what_it_is_given(
    tmp_path: Path, out: Path, name: str, content: str, task: str, train: str
) -> None:
    (tmp_path / name).write_bytes(content.encode("cp932"))
    command = [*COMMAND, "--train", tmp_path / name, "--task", task, "--out", out]
    done = subprocess.run([*command, "--encoding", "cp932"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert docs_in(out)[0].text == train
    # What was converted is converted again, and two such folders are combined.
    command = [*COMMAND, out, "--task", task, "--out", tmp_path / "again"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert docs_in(tmp_path / "again")[0].text == train


@pytest.mark.parametrize("task", ["ner", "joint"])
@pytest.mark.parametrize("options", [[], ["--format", "folders"]])
def test_a_folder_of_texts_has_no_entities(
    tmp_path: Path, out: Path, task: str, options: list[str]
) -> None:
    (tmp_path / "texts" / "旅").mkdir(parents=True)
    (tmp_path / "texts" / "旅" / "a.txt").write_text("東京へ行く。", encoding="utf-8")
    command = [*COMMAND, tmp_path / "texts", "--task", task, "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "[J259]" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "options", [["--format", "csv"], ["--train", "x.txt"], ["--label-map", "x"]]
)
def test_running_text_takes_no_options_of_records(
    tmp_path: Path, out: Path, options: list[str]
) -> None:
    (tmp_path / "a.txt").write_text("東京へ行く。\n", encoding="utf-8")
    command = [*COMMAND, tmp_path / "a.txt", "--task", "text", "--out", out / "x.txt", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "[J265]" in done.stderr, options[0] in done.stderr) == (1, True, True)
    assert not out.exists()


@pytest.mark.parametrize(
    "rows",
    [
        ["田中 B-PER 名詞", "が O 助詞", "東京 B-LOC 名詞"],
        ["B-PER 田中 名詞", "O が 助詞", "B-LOC 東京 名詞"],
        ["田中 名詞 B-PER _", "が 助詞 O _", "東京 名詞 B-LOC _"],
    ],
)
def test_the_column_of_the_tags_is_found(tmp_path: Path, out: Path, rows: list[str]) -> None:
    lines = "\n".join(row.replace(" ", "\t") for row in rows)
    (tmp_path / "a.bio").write_text(lines + "\n", encoding="utf-8")
    convert_iob(out=out, train=tmp_path / "a.bio")
    assert [entities(doc) for doc in docs_in(out)] == [[("田中", "PER"), ("東京", "LOC")]]


@pytest.mark.parametrize("own", ["cp932", "utf-8"])
@pytest.mark.parametrize("name", ["map.csv", "map.json"])
def test_a_label_map_may_be_encoded_as_the_data(
    tmp_path: Path, out: Path, own: str, name: str
) -> None:
    pairs = json.dumps({"人": "人名"}, ensure_ascii=False) if "json" in name else "人,人名\n"
    (tmp_path / name).write_text(pairs, encoding=own)
    (tmp_path / "a.bio").write_text("田中\tB-人\n", encoding="cp932")
    convert_iob(out=out, train=tmp_path / "a.bio", label_map=tmp_path / name, encoding="cp932")
    assert [entities(doc) for doc in docs_in(out)] == [[("田中", "人名")]]


def test_tagged_tokens_have_no_topics(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.bio").write_text("私\tO\n", encoding="utf-8")
    command = [*COMMAND, tmp_path / "a.bio", "--task", "textcat", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "[J259]" in done.stderr) == (1, True)


def test_an_error_is_one_line_without_traceback(tmp_path: Path, out: Path) -> None:
    command = [*COMMAND, tmp_path / "missing.jsonl", "--task", "ner", "--out", out]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "missing.jsonl: [J201]" in result.stderr


# --- The real corpora -----------------------------------------------------------------------------

real = pytest.mark.skipif(not CORPORA.exists(), reason="the real corpora are not in ../shared")


def entity_counts(folder: Path) -> dict[str, int]:
    return {split: sum(len(doc.ents) for doc in docs_in(folder, split)) for split in SPLITS}


@real
@pytest.mark.shared
def test_stockmark(out: Path) -> None:
    source = CORPORA / "stockmark_ner" / "ner.json"
    convert_spans(source, out=out, shuffle="plain")
    assert entity_counts(out) == {"train": 10_607, "dev": 1_245, "test": 1_333}
    texts = {row["text"]: row["entities"] for row in json.loads(source.read_text(encoding="utf-8"))}
    for split, count in {"train": 4_274, "dev": 534, "test": 535}.items():
        docs = docs_in(out, split)
        assert len(docs) == count
        for doc in docs:
            expected = sorted((*entity["span"], entity["type"]) for entity in texts[doc.text])
            assert [
                (entity.start_char, entity.end_char, entity.label_) for entity in doc.ents
            ] == expected


@real
@pytest.mark.shared
def test_gsd_from_both_formats(out: Path) -> None:
    folder = CORPORA / "ud_japanese_gsd_ne"
    convert_docbin(
        out=out / "a", **{split: folder / f"ja_gsd-ud-{split}.ne.spacy" for split in SPLITS}
    )
    convert_iob(
        out=out / "b",
        sentences_per_doc=10,
        **{split: folder / f"{split}.bio" for split in SPLITS},
    )
    assert (
        entity_counts(out / "a")
        == entity_counts(out / "b")
        == {"train": 10_924, "dev": 795, "test": 609}
    )
    for split in SPLITS:
        first, second = docs_in(out / "a", split), docs_in(out / "b", split)
        assert [[token.text for token in doc] for doc in first] == [
            [token.text for token in doc] for doc in second
        ]
        assert [[token.is_sent_start for token in doc] for doc in first] == [
            [token.is_sent_start for token in doc] for doc in second
        ]


@real
@pytest.mark.shared
def test_asdc(out: Path) -> None:
    source = CORPORA / "asdc" / "topic.L1.1turn.VanillaUtterances.jsonl"
    options = {
        "text_field": "utterances.0.text",
        "label_field": "meta.topic",
        "split_field": "purpose",
    }
    convert_textcat(source, out=out, exclude_label_containing="::", **options)
    assert {split: len(docs_in(out, split)) for split in SPLITS} == {
        "train": 13_621,
        "dev": 1_682,
        "test": 1_691,
    }
    assert all(len(doc.cats) == 11 and sum(doc.cats.values()) == 1 for doc in docs_in(out, "dev"))


@real
@pytest.mark.shared
def test_commonsense_morality(out: Path) -> None:
    folder = CORPORA / "commonsense_morality"
    convert_textcat(
        out=out, text_field="sent", dev=folder / "data_val.csv", test=folder / "data_test.csv"
    )
    found = {
        split: Counter(label for doc in docs_in(out, split) for label in labels_of(doc))
        for split in ("dev", "test")
    }
    assert found == {"dev": {"0": 1_058, "1": 938}, "test": {"0": 2_124, "1": 1_868}}
