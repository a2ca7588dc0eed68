"""A table of companies, and their names in texts."""

import json
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_jbert.corpora.companies import Company, CompanyIndex, core_name, read_companies
from spacy_jbert.errors import DataError

TABLE = [
    Company("1", "株式会社ミナト精機", "機械", ("MINATO",)),
    Company("2", "ルーメン・ソフト株式会社", "", ("ルーメン",)),
    Company("3", "日本電気株式会社", "", ("NEC", "コハク")),
    Company("4", "日本電気硝子株式会社", "", ("コハク",)),
    Company("5", "データセンター株式会社"),
]


@pytest.fixture(scope="module")
def index() -> CompanyIndex:
    return CompanyIndex(TABLE)


def found(index: CompanyIndex, text: str) -> list[tuple[str, str]]:
    return [(text[m.start : m.end], "/".join(m.codes)) for m in index.find(text)]


@pytest.mark.parametrize(
    "name",
    [
        "㈱ミナト精機",
        "ミナト精機㈱",
        "（株）ミナト精機",
        "㍿ミナト精機",
        "ﾐﾅﾄ精機",
        "ミナト 精機 株式会社",
        "ミナト精機(株)",
        "㈱\u3000ミナト精機",
        "ＭＩＮＡＴＯ",
        "minato",
        "株式会社 Ｍｉｎａｔｏ",
    ],
)
def test_a_name_however_it_is_written(index: CompanyIndex, name: str) -> None:
    text = f"昨日、{name}は発表した。"
    assert found(index, text) == [(name, "1")]
    assert core_name(name) in {"ミナト精機", "minato"}


@pytest.mark.parametrize(
    "name", ["データセンタ―", "データセンタ－", "デ-タセンタ-", "ﾃﾞｰﾀｾﾝﾀｰ", "データ・センター"]
)
def test_long_vowels_hyphens_and_voiced_marks(index: CompanyIndex, name: str) -> None:
    assert found(index, f"（{name}）") == [(name, "5")]


def test_the_longest_name_wins(index: CompanyIndex) -> None:
    assert found(index, "日本電気硝子と日本電気") == [("日本電気硝子", "4"), ("日本電気", "3")]


def test_words_of_letters_and_katakana_are_not_cut(index: CompanyIndex) -> None:
    assert found(index, "CONNECT, NECは, ブルーメン、ルーメンス、ルーメン") == [
        ("NEC", "3"),
        ("ルーメン", "2"),
    ]


def test_a_form_belongs_to_one_name(index: CompanyIndex) -> None:
    text = "ルーメン・ソフト株式会社MINATO株式会社"
    assert found(index, text) == [("ルーメン・ソフト株式会社", "2"), ("MINATO株式会社", "1")]


def test_an_ambiguous_alias_is_told_and_settled_by_the_text(index: CompanyIndex) -> None:
    assert index.ambiguous == {"コハク": ("3", "4")}
    assert found(index, "コハクは") == [("コハク", "3/4")]
    assert found(index, "コハク（日本電気硝子）") == [("コハク", "4"), ("日本電気硝子", "4")]
    assert found(index, "コハク、NEC、日本電気硝子")[0] == ("コハク", "3/4")


@given(st.text(alphabet="ミナト精機㈱(株) 　NECnecｶﾞー-‐か\u3099・。A\n"))
def test_mentions_are_in_order_and_their_characters_the_name(text: str) -> None:
    index = CompanyIndex(TABLE)
    mentions = index.find(text)
    assert all(a.end <= b.start for a, b in pairwise(mentions))
    for mention in mentions:
        assert index.codes[core_name(text[mention.start : mention.end])] == mention.codes


def test_every_company_finds_its_own_names(index: CompanyIndex) -> None:
    for company in TABLE:
        for name in (company.name, unicodedata.normalize("NFKC", company.name)):
            assert [m.codes for m in index.find(name)] == [(company.code,)]


def test_a_table_is_read(tmp_path: Path) -> None:
    file = tmp_path / "companies.csv"
    file.write_text(
        "code,name,sector,aliases\n1,㈱ミナト精機,機械,MINATO；ﾐﾅﾄ|湊精機\n", encoding="utf-8"
    )
    assert read_companies(file) == [
        Company("1", "㈱ミナト精機", "機械", ("MINATO", "ﾐﾅﾄ", "湊精機"))
    ]


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        ("code,name\n1,ミナト\n1,アオバ\n", "J563", 3),
        ("code,name\n,ミナト\n", "J562", 2),
        ("code,name\n1,株式会社\n", "J562", 2),
        ("code,name,aliases\n1,ミナト,み\n", "J562", 2),
        ("code,title\n1,ミナト\n", "J206", 2),
        ("code,name\n", "J564", None),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, content: str, code: str, line: int) -> None:
    file = tmp_path / "companies.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=code) as error:
        read_companies(file)
    assert error.value.line == line


@pytest.mark.parametrize("text", ["ﾊﾞﾄﾖﾀが", "ﾊﾟﾄﾖﾀ", "バトヨタ", "ハ\u3099トヨタ", "トヨタハ\u3099"])
def test_katakana_goes_on_in_every_width(text: str) -> None:
    assert CompanyIndex([Company("1", "トヨタ")]).find(text) == []


@pytest.mark.parametrize("text", ["がトヨタは", "か\u3099トヨタは", "「ﾄﾖﾀ」", "ﾄﾖﾀが"])
def test_katakana_ends_where_another_kind_begins(text: str) -> None:
    assert len(CompanyIndex([Company("1", "トヨタ")]).find(text)) == 1


def test_a_table_in_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"code": 7203, "name": "トヨタ自動車", "aliases": ["TYT", "トヨタ"], "sector": None},
        {"code": "1", "name": "ミナト精機", "aliases": None},
        {"code": "2", "name": "コハク堂", "aliases": "コハク｜KHK；こはく"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    one, two, three = read_companies(path)
    assert one == Company("7203", "トヨタ自動車", "", ("TYT", "トヨタ"))
    assert two == Company("1", "ミナト精機")
    assert three.aliases == ("コハク", "KHK", "こはく")
