"""Summaries: which sentences, in which order, and always the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.language import Language
from spacy.tokens import Doc

from spacy_jbert.pipeline.summary import choose, sentences

from ..conftest import SENTENCES
from ..search.test_index import make


@pytest.fixture(scope="module")
def nlp(checkpoint: Callable[[str], Path]) -> Language:
    return make(checkpoint("bert-fast"))


def test_the_most_central_comes_first_and_repetition_does_not() -> None:
    middle, near, away = [1.0, 0.0, 0.0], [0.95, 0.05, 0.0], [0.5, 0.0, 0.8]
    vectors = np.array([away, middle, middle, near], dtype=np.float32)
    assert choose(vectors, 1, 0.3) == [1]
    assert choose(vectors, 2, 0.0) == [1, 2]
    assert choose(vectors, 2, 0.9) == [1, 0]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 15))
@settings(max_examples=30, deadline=None)
def test_as_many_as_wanted_and_each_once(seed: int, count: int, n: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    chosen = choose(vectors, n, 0.3)
    assert len(chosen) == len(set(chosen)) == min(n, count)
    assert chosen == choose(vectors + np.float32(1e-9), n, 0.3)


def test_order_of_the_text(nlp: Language) -> None:
    text = "".join(SENTENCES)
    chosen = nlp(text)._.summary(4)
    assert len(chosen) == 4
    assert [span.start for span in chosen] == sorted(span.start for span in chosen)
    assert all(span.text in SENTENCES for span in chosen)
    assert [span.text for span in chosen] == [span.text for span in nlp(text)._.summary(4)]


def test_sentences(japanese: Language) -> None:
    doc = japanese("「もう帰ろう。」と言った。雨だ！\n傘を持つ")
    found = [span.text for span in sentences(doc)]
    assert "".join(found) == doc.text
    assert found[-1] == "傘を持つ"
    # Said in a sentence, and not one of its own.
    assert found[0] == "「もう帰ろう。」と言った。"
    alone = [span.text for span in sentences(japanese("「雨だ。」「傘がない。」走ろう。"))]
    assert alone == ["「雨だ。」", "「傘がない。」", "走ろう。"]
    nlp = spacy.blank("ja")
    own = Doc(nlp.vocab, words=["一。", "二", "三"], sent_starts=[True, False, True])
    assert [span.text for span in sentences(own)] == ["一。 二", "三"]


def test_headings_are_left_out(nlp: Language) -> None:
    doc = nlp("概要\n" + SENTENCES[1] + "\n歴史\n" + SENTENCES[3])
    assert [span.text.strip() for span in doc._.summary(4)] == [SENTENCES[1], SENTENCES[3]]
    assert [span.text for span in nlp("短い。")._.summary(2)] == ["短い。"]
    assert nlp("")._.summary() == nlp(" ")._.summary() == []


def test_what_it_needs(nlp: Language, checkpoint: Callable[[str], Path]) -> None:
    doc = nlp(SENTENCES[0])
    for wrong in ({"n": 0}, {"n": 1.5}, {"n": "2"}, {"redundancy": 1.5}):
        with pytest.raises(ValueError, match="J517"):
            doc._.summary(**wrong)
    with pytest.raises(ValueError, match="J518"):
        make(checkpoint("bert-fast"), tokens=False)(SENTENCES[0])._.summary()
