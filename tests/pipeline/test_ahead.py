"""The next batch is launched before a batch is handed out, as `pipe` does where the encoder is on a
GPU.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from spacy.language import Language
from spacy.tokens import Doc

from spacy_jbert.pipeline.transformer import JBertTransformer

from ..conftest import SENTENCES
from .conftest import LONG, transformer, vectors

MakeNLP = Callable[..., Language]


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the encoder were on a GPU."""
    monkeypatch.setattr(JBertTransformer, "_n_ahead", 1)


def events(nlp: Language, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens in which order: L: a batch is launched, d: a document is handed out."""
    found: list[str] = []
    launch = JBertTransformer._launch

    def noted(self: JBertTransformer, docs: list[Doc]) -> Any:
        found.append("L")
        return launch(self, docs)

    monkeypatch.setattr(JBertTransformer, "_launch", noted)
    docs = [nlp.make_doc(text) for text in texts]
    for doc in transformer(nlp).pipe(docs, batch_size=2):
        assert doc._.trf_data is not None
        found.append("d")
    return found


def test_a_cpu_does_one_after_the_other(make_nlp: MakeNLP, monkeypatch: pytest.MonkeyPatch) -> None:
    found = events(make_nlp(), SENTENCES[:5], monkeypatch)
    assert "".join(found) == "LddLddLd"


@pytest.mark.usefixtures("ahead")
def test_a_gpu_has_the_next_batch_already(
    make_nlp: MakeNLP, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make_nlp()
    assert "".join(events(nlp, SENTENCES[:5], monkeypatch)) == "LLddLddd"
    assert not events(nlp, [], monkeypatch)
    assert "".join(events(nlp, SENTENCES[:1], monkeypatch)) == "Ld"


@pytest.mark.usefixtures("ahead")
def test_the_vectors_are_the_same(make_nlp: MakeNLP) -> None:
    nlp = make_nlp()
    texts = [*SENTENCES, "", LONG, " "]
    for doc, text in zip(nlp.pipe(texts, batch_size=3), texts, strict=True):
        assert doc.text == text
        assert np.allclose(vectors(doc), vectors(nlp(text)), atol=1e-5)


@pytest.mark.usefixtures("ahead")
def test_what_fails_reaches_the_error_handler_and_the_rest_stays_in_order(
    make_nlp: MakeNLP, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make_nlp()
    pipe = transformer(nlp)
    segment = pipe.segmenter
    collect = JBertTransformer._collect
    bad, worse = SENTENCES[3], SENTENCES[6]

    def fail_to_launch(docs: list[Doc]) -> Any:
        if any(doc.text == bad for doc in docs):
            raise ValueError("bad")
        return segment(docs)

    def fail_to_collect(self: JBertTransformer, launched: Any) -> Any:
        if any(doc.text == worse for doc in launched.docs):
            raise ValueError("worse")
        return collect(self, launched)

    monkeypatch.setattr(pipe._shim, "_segmenter", fail_to_launch)
    monkeypatch.setattr(JBertTransformer, "_collect", fail_to_collect)
    failed: list[tuple[str, str]] = []
    nlp.set_error_handler(lambda name, proc, docs, error: failed.append((docs[0].text, str(error))))
    texts = [doc.text for doc in nlp.pipe(SENTENCES, batch_size=4)]
    assert texts == [text for text in SENTENCES if text not in (bad, worse)]
    assert failed == [(bad, "bad"), (worse, "worse")]


def test_without_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    nlp = Language()
    nlp.add_pipe("jbert_transformer", name="transformer")
    with pytest.raises(ValueError, match="J001"):
        list(nlp.pipe(["a"]))
