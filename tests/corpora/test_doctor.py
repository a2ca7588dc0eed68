"""What is wrong with annotated documents."""

from collections.abc import Sequence

import pytest
from spacy.tokens import Doc

from spacy_jbert.corpora.docs import japanese_tokenizer, make_doc
from spacy_jbert.corpora.doctor import Finding, examine


@pytest.fixture(scope="module")
def build():
    tokenizer = japanese_tokenizer()

    def build(text: str, *entities: tuple[str, str], cat: str = "", **user_data: str) -> Doc:
        places = [
            (text.index(name), text.index(name) + len(name), label) for name, label in entities
        ]
        doc = make_doc(tokenizer, text, sorted(places))
        doc.cats = {cat: 1.0} if cat else {}
        doc.user_data |= user_data
        return doc

    return build


def found(kind: str, **parts: Sequence[Doc]) -> list[Finding]:
    return [one for one in examine(parts) if one.kind == kind]


def test_contradictions(build) -> None:
    docs = [
        build("東京に行く。", ("東京", "地名"), id="a"),
        build("東京 に行く。", id="b"),
        build("東京に行く。", ("東京", "地名")),
        build("大阪に行く。", cat="旅"),
        build("大阪に行く。", cat="食"),
        build("奈良に行く。", cat="旅"),
        build("奈良に行く。"),
    ]
    first, second, *more = found("contradiction", data=docs)
    assert first.records == [("data", "a"), ("data", "b"), ("data", "3")]
    assert first.detail == "東京 地名 ×2 / – ×1"
    # A text that has no categories says nothing against one that has.
    assert (second.detail, more) == ("旅 ×1 / 食 ×1", [])


def test_leaks(build) -> None:
    train = [build("東京。", id="a"), build("大阪。", group="g")]
    dev = [build("ﾄｳｷｮｳ。"), build("東京 。", id="b"), build("奈良。", group="g")]
    texts = found("leak", train=train, dev=dev)
    assert [(one.what, one.records) for one in texts] == [
        ("東京。", [("train", "a"), ("dev", "b")]),
        ("group g", [("train", "2"), ("dev", "3")]),
    ]
    assert not found("leak", train=[*train, *dev])


def test_rare_labels(build) -> None:
    train = [build(f"第{n}回。", cat="多") for n in range(6)] + [build("一つ。", cat="少")]
    dev = [build(f"第{n}話。", cat="無") for n in range(6)]
    rare = {one.what: one for one in found("rare label", train=train, dev=dev)}
    assert set(rare) == {"少", "無"}
    assert rare["少"].records == [("train", "7")]
    assert "none in train" in rare["無"].detail
    assert {one.what for one in found("rare label", data=[*train, *dev])} == {"少"}


def test_borders(build) -> None:
    docs = [
        build("東京都に住む。", ("東京都", "地名")),
        build("東京都は広い。", ("東京", "地名")),
        # Another string, and another label.
        build("東京は広い。", ("東京", "地名")),
        build("大阪府は広い。", ("大阪", "地名")),
        build("大阪府が決めた。", ("大阪府", "組織")),
    ]
    (one,) = found("borders", data=docs)
    assert (one.what, one.records) == ("東京都", [("data", "2"), ("data", "1")])


def test_not_annotated(build) -> None:
    often = [build(f"京都の{n}番。", ("京都", "地名")) for n in range(4)]
    docs = [
        *often,
        build("京都へ行く。"),
        # Part of another word, or of another entity.
        build("東京都の話。"),
        build("京都大学の話。", ("京都大学", "組織")),
    ]
    (one,) = found("not annotated", data=docs)
    assert (one.what, one.records) == ("京都", [("data", "5")])
    # What is as often free as not isn't a name.
    free = [build(f"京都へ{n}度行く。") for n in range(4)]
    assert not found("not annotated", data=[*often, *free])


def test_nothing(build) -> None:
    docs = [build(f"{n}番の東京です。", ("東京", "地名"), cat="a") for n in range(6)]
    assert examine({"train": docs}) == []
    assert examine({}) == []
