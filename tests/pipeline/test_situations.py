"""What people do with a pipeline beside training and applying it: none of it may end silently wrong
or without a code."""

import random
from typing import Any

import numpy as np
import pytest
from spacy.language import Language
from spacy.training import Example

from ..conftest import SENTENCES, listener, stock_listener
from .conftest import MakeNLP, changed, tagged, tagger, train, transformer, weights


def stock_heads(tok2vec: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Components of spaCy that take token vectors."""
    reduce = {"@layers": "reduce_mean.v1"}
    scorer = {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None}
    linear = {"@architectures": "spacy.TextCatReduce.v1", "use_reduce_mean": True}
    linear |= {"use_reduce_first": False, "use_reduce_last": False, "use_reduce_max": False}
    spans = {"@architectures": "spacy.SpanCategorizer.v1", "reducer": reduce, "scorer": scorer}
    finder = {"@architectures": "spacy.SpanFinder.v1", "scorer": scorer | {"nO": 2}}
    tags = {"@architectures": "spacy.Tagger.v2"}
    return [
        ("tagger", "tagger", {"model": {**tags, "tok2vec": tok2vec}}),
        (
            "textcat",
            "textcat",
            {"model": {**linear, "exclusive_classes": True, "tok2vec": tok2vec}},
        ),
        ("spancat", "spancat", {"model": {**spans, "tok2vec": tok2vec}}),
        ("span_finder", "span_finder", {"model": {**finder, "tok2vec": tok2vec}}),
    ]


OURS = [("ner", "jbert_ner", {"model": {"tok2vec": listener()}})]


@pytest.fixture(params=["ours", "stock"])
def every_head(request: pytest.FixtureRequest, make_nlp: MakeNLP) -> Language:
    tok2vec = listener() if request.param == "ours" else stock_listener()
    return make_nlp([*stock_heads(tok2vec), *OURS], tagged)


def is_stock(nlp: Language) -> bool:
    tok2vec = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    return tok2vec["@architectures"].startswith("spacy-transformers.")


def blank_examples(nlp: Language, *texts: str) -> list[Example]:
    return [Example.from_dict(nlp.make_doc(text), {}) for text in texts]


@pytest.mark.parametrize("texts", [("",), ("", ""), (" ",), ("\n　", ""), ("", SENTENCES[0], " ")])
def test_nothing_to_read_in_training(every_head: Language, texts: tuple[str, ...]) -> None:
    nlp = every_head
    if not any(texts) and is_stock(nlp):
        nlp.remove_pipe("span_finder")
    optimizer = nlp.resume_training()
    for sgd in (optimizer, False):
        losses = nlp.update(blank_examples(nlp, *texts), sgd=sgd)
        assert all(np.isfinite(loss) for loss in losses.values())
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    before = weights(nlp)
    train(nlp, tagged(nlp), 2)
    assert changed(before, weights(nlp))
    assert [doc.text for doc in nlp.pipe(texts)] == list(texts)


def test_stock_pooling_of_nothing(make_nlp: MakeNLP) -> None:
    nlp = make_nlp(stock_heads(stock_listener())[-1:], tagged)
    with pytest.raises(ValueError, match="J094"):
        nlp.update(blank_examples(nlp, ""))
    with pytest.raises(ValueError, match="J094"):
        nlp("")


@pytest.mark.parametrize("order", [0, 1])
def test_rehearsal_is_refused_with_a_code(
    every_head: Language, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = every_head
    nlp.resume_training()
    monkeypatch.setattr(random, "shuffle", lambda pipes: pipes.reverse() if order else None)
    with pytest.raises((NotImplementedError, ValueError), match=r"J014|J092"):
        nlp.rehearse(tagged(nlp))
    # It leaves nothing behind.
    train(nlp, tagged(nlp), 1)


def test_heads_without_a_transformer_are_refused_with_a_code(every_head: Language) -> None:
    nlp = every_head
    with pytest.raises(ValueError, match="J092"):
        nlp.update(tagged(nlp), exclude=["transformer"])
    nlp.update(tagged(nlp), exclude=["transformer"], annotates=["transformer"])


def test_other_documents_than_the_transformers(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    first, second = tagged(nlp)[:1], tagged(nlp)[1:2]
    transformer(nlp).update(first)
    with pytest.raises(ValueError, match="J093"):
        nlp.get_pipe("tagger").update(second)
