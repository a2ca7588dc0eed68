"""`jbert_companies`: entities linked to a table."""

import logging
import pickle
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc

from spacy_jbert.pipeline.companies import EXTENSION, Companies

CSV = """code,name,sector,aliases
1,株式会社ミナト精機,機械,MINATO;コハク
2,日本電気株式会社,電気機器,NEC;コハク
"""
PATTERNS = [
    {"label": "組織名", "pattern": [{"TEXT": "日本"}, {"TEXT": "電気"}, {"TEXT": "硝子"}]},
    {"label": "組織名", "pattern": [{"TEXT": "東"}, {"TEXT": "NEC"}]},
    {"label": "組織名", "pattern": [{"TEXT": "NEC"}, {"TEXT": "の"}, {"TEXT": "社長"}]},
    {"label": "地名", "pattern": "東京"},
    {"label": "組織名", "pattern": "ミナト"},
]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "companies.csv"
    file.write_text(CSV, encoding="utf-8")
    return file


@pytest.fixture
def nlp(table: Path) -> Language:
    nlp = spacy.blank("ja")
    nlp.add_pipe("entity_ruler").add_patterns(PATTERNS)
    nlp.add_pipe("jbert_companies")
    nlp.config["initialize"]["components"]["jbert_companies"] = {"table": str(table)}
    nlp.initialize()
    nlp.get_pipe("entity_ruler").add_patterns(PATTERNS)
    return nlp


def said(doc: Doc) -> list[tuple[str, str, str]]:
    return [(ent.text, ent.label_, ent.kb_id_) for ent in doc.ents]


def test_names_become_entities_with_a_code(nlp: Language) -> None:
    doc = nlp("㈱ミナト精機と東京のNECは")
    assert said(doc) == [
        ("㈱ミナト精機", "組織名", "1"),
        ("東京", "地名", ""),
        ("NEC", "組織名", "2"),
    ]
    assert doc._.get(EXTENSION) == [(0, 6, ("1",)), (10, 13, ("2",))]


def test_a_longer_entity_is_another_company(nlp: Language) -> None:
    assert said(nlp("日本電気硝子は")) == [("日本電気硝子", "組織名", "")]
    assert said(nlp("東NECは")) == [("東NEC", "組織名", "")]
    assert said(nlp("NECの社長は")) == [("NECの社長", "組織名", "2")]
    assert said(nlp("日本電気は")) == [("日本電気", "組織名", "2")]


def test_an_ambiguous_alias_isnt_linked(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipe = Companies("companies", label="組織名", labels=["組織名"])
    with caplog.at_level(logging.WARNING):
        pipe.initialize(table=table)
    assert "JW560" in caplog.text
    nlp = spacy.blank("ja")
    assert said(pipe(nlp("コハクは"))) == [("コハク", "組織名", "")]
    assert said(pipe(nlp("コハク（NEC）"))) == [("コハク", "組織名", "2"), ("NEC", "組織名", "2")]


def test_it_is_saved_with_its_table(nlp: Language, tmp_path: Path) -> None:
    text = "コハク、株式会社ミナト精機、NEC"
    before = said(nlp(text))
    nlp.to_disk(tmp_path / "pipeline")
    others = [spacy.load(tmp_path / "pipeline"), pickle.loads(pickle.dumps(nlp))]
    others.append(spacy.blank("ja").from_bytes(spacy.blank("ja").to_bytes()))
    others[-1].add_pipe("jbert_companies", source=nlp)
    for other in others[:2]:
        assert said(other(text)) == before
    assert [code for _, _, code in said(others[-1](text))] == [code for _, _, code in before]
    pipe = nlp.get_pipe("jbert_companies")
    new = Companies("other", label="組織名", labels=[]).from_bytes(pipe.to_bytes())
    assert new.index.companies == pipe.index.companies


def test_without_a_table_it_says_so(nlp: Language, tmp_path: Path) -> None:
    blank = spacy.blank("ja")
    pipe = blank.add_pipe("jbert_companies")
    with pytest.raises(ValueError, match="J565"):
        blank("NEC")
    with pytest.raises(ValueError, match="J565"):
        blank.initialize()
    with pytest.raises(ValueError, match="J091"):
        pipe.from_disk(tmp_path / "nothing")
    with pytest.raises(ValueError, match="J091"):
        pipe.from_bytes(b'[{"code": 1}]')


def test_docs_go_to_other_processes(nlp: Language) -> None:
    doc = nlp("㈱ミナト精機とNEC")
    again = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert said(again) == said(doc)
    assert [tuple(codes) for _, _, codes in again._.get(EXTENSION)] == [("1",), ("2",)]


def test_mentions_are_the_same_from_other_processes_and_files(nlp: Language) -> None:
    texts = ["NECは", "コハクとNEC", "なし"]
    here = [doc._.jbert_companies for doc in nlp.pipe(texts)]
    there = [doc._.jbert_companies for doc in nlp.pipe(texts, n_process=2)]
    read = [Doc(nlp.vocab).from_bytes(doc.to_bytes()) for doc in nlp.pipe(texts)]
    assert here == there == [doc._.jbert_companies for doc in read]
    assert here[0] == [(0, 3, ("2",))]
    assert {codes for mentions in there for *_, codes in mentions} == {("2",)}
    assert nlp.make_doc("NEC")._.jbert_companies is None
