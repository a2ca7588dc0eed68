"""The report on what a pipeline gets wrong."""

import spacy
from spacy.tokens import Doc, Span

from spacy_jbert.evaluation import category_mistakes, entity_mistakes, evaluate, html_report

WORDS = ["田中", "さん", "は", "東京", "都", "の", "日本", "放送", "で", "働く"]


def annotated(*entities: tuple[int, int, str]) -> Doc:
    doc = Doc(spacy.blank("ja").vocab, words=WORDS, spaces=[False] * len(WORDS))
    doc.ents = [Span(doc, start, end, label) for start, end, label in entities]
    return doc


def test_each_kind_of_mistake_once() -> None:
    gold = annotated((0, 1, "人名"), (3, 5, "地名"), (6, 8, "組織名"))
    predicted = annotated((0, 1, "組織名"), (3, 4, "地名"), (9, 10, "人名"))
    found = [(mistake.kind, mistake.gold, mistake.predicted) for mistake in entity_mistakes(gold, predicted)]
    assert found == [
        ("wrong type", "田中 (人名)", "田中 (組織名)"),
        ("wrong border", "東京都 (地名)", "東京 (地名)"),
        ("missed", "日本放送 (組織名)", ""),
        ("invented", "", "働く (人名)"),
    ]
    assert entity_mistakes(gold, gold) == []


def test_borders_are_compared_by_character() -> None:
    gold = annotated((3, 5, "地名"))
    other = Doc(gold.vocab, words=["田中さんは", "東京都", "の日本放送で働く"], spaces=[False] * 3)
    other.ents = [Span(other, 1, 2, "地名")]
    assert entity_mistakes(gold, other) == []


def test_categories_exclusive_and_not() -> None:
    gold, predicted = annotated(), annotated()
    gold.cats, predicted.cats = {"a": 1.0, "b": 0.0}, {"a": 0.3, "b": 0.7}
    (mistake,) = category_mistakes(gold, predicted)
    assert (mistake.gold, mistake.predicted, mistake.confidence) == ("a", "b", 0.7)
    gold.cats, predicted.cats = {"a": 1.0, "b": 1.0}, {"a": 0.9, "b": 0.8}
    assert category_mistakes(gold, predicted) == []
    predicted.cats = {"a": 0.9, "b": 0.2}
    assert category_mistakes(gold, predicted)[0].predicted == "a"


def test_a_pipeline_is_run_and_its_mistakes_shown() -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "人名", "pattern": "田中"}])
    gold = annotated((0, 1, "人名"), (3, 5, "<地名>"))
    scores, mistakes = evaluate(nlp, [gold])
    assert scores["ents_p"] == 1.0
    assert scores["ents_r"] == 0.5
    assert [mistake.kind for mistake in mistakes] == ["missed"]
    page = html_report("試験", scores, mistakes)
    assert "<mark>東京都</mark>" in page
    assert "&lt;地名&gt;" in page
    assert "\\u" not in page
