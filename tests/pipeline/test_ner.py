"""`jbert_ner`: learning, decoding, confidence, labels, storage, what it says about data it can't learn from."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_jbert.models.biluo import tag_names
from spacy_jbert.pipeline.ner import JBertNER

from ..conftest import ENTITIES, SENTENCES

MakeNLP = Callable[..., Language]
NER = [("ner", "jbert_ner", {})]


def component(nlp: Language) -> JBertNER:
    pipe = nlp.get_pipe("ner")
    assert isinstance(pipe, JBertNER)
    return pipe


def entities(doc: Doc) -> list[tuple[str, str, float]]:
    return [(ent.text, ent.label_, round(ent._.score, 4)) for ent in doc.ents]


def train(nlp: Language, examples: list[Example], steps: int) -> dict[str, float]:
    optimizer = Adam(5e-3, grad_clip=1.0)
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = {}
        nlp.update([Example(nlp.make_doc(eg.text), eg.reference) for eg in examples], sgd=optimizer, losses=losses)
    return losses


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable, ner_examples: Callable) -> Language:
    """Knows the names in the sentences by heart."""
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("jbert_transformer", name="transformer", config={"model": {"overlap": 8}})
    nlp.add_pipe("jbert_ner", name="ner")
    loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(checkpoint("bert-fast")), "hidden_dropout": 0.0}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
    nlp.initialize(lambda: ner_examples(nlp))
    losses = train(nlp, ner_examples(nlp), 60)
    assert all(type(loss) is float for loss in losses.values())
    assert losses["ner"] < 0.05
    return nlp


def test_overfitting_and_storage(trained: Language, ner_examples: Callable, tmp_path: Path) -> None:
    assert trained.evaluate(ner_examples(trained))["ents_f"] == 1.0
    trained.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again.get_pipe("ner").labels == ("GPE", "ORG", "PERSON")
    texts = [*SENTENCES, "", " ", "田中と鈴木と京都", "".join(SENTENCES)]
    called = [entities(trained(text)) for text in texts]
    assert sum(map(len, called)) >= len(ENTITIES)
    assert [entities(doc) for doc in trained.pipe(texts)] == called
    assert [entities(again(text)) for text in texts] == called
    assert [entities(doc) for doc in again.pipe(texts, batch_size=3)] == called
    blank = spacy.blank("ja").from_config(trained.config).from_bytes(trained.to_bytes())
    assert [entities(blank(text)) for text in texts] == called


def test_long_documents_have_the_entities_of_their_parts(trained: Language) -> None:
    found = {ent.text for ent in trained("".join(SENTENCES)).ents}
    assert len(found & set(ENTITIES)) >= 0.5 * len(ENTITIES)


def test_confidence(trained: Language) -> None:
    doc = trained(SENTENCES[1])
    assert doc.ents
    for ent in doc.ents:
        assert 0.5 < ent._.score <= 1.0
        assert type(ent._.score) is float
    doc.set_ents([Span(doc, 0, 1, label="OTHER")], default="unmodified")
    assert [ent._.score is None for ent in doc.ents if ent.label_ == "OTHER"] in ([True], [False])
    assert Span(doc, len(doc) - 1, len(doc), label="GPE")._.score is None


def test_confidence_is_kept(trained: Language) -> None:
    docs = list(trained.pipe(SENTENCES))
    bin_ = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(bin_).get_docs(trained.vocab), strict=True):
        assert entities(again) == entities(doc)
        assert entities(Doc(trained.vocab).from_bytes(doc.to_bytes())) == entities(doc)


def test_several_processes(trained: Language) -> None:
    expected = [entities(doc) for doc in trained.pipe(SENTENCES)]
    assert [entities(doc) for doc in trained.pipe(SENTENCES, n_process=2, batch_size=5)] == expected


def test_no_entity_begins_or_ends_with_white_space(make_nlp: MakeNLP, ner_examples: Callable) -> None:
    nlp = make_nlp(NER, ner_examples)
    output = component(nlp).model.get_ref("output_layer")
    tags = tag_names(component(nlp).labels)
    output.set_param("b", np.array([4.0 if tag == "U-GPE" else 0.0 for tag in tags], dtype="f"))
    assert not nlp(" ").ents
    assert not nlp("\n\n\u3000").ents
    assert [ent.text for ent in nlp("東京\n大阪").ents] == ["東京", "大阪"]
    output.set_param("b", np.array([4.0 if tag[1:] in ("-GPE",) else 0.0 for tag in tags], dtype="f"))
    for doc in nlp.pipe(["東京\n大阪", "\n東京 ", " \n"]):
        assert all(not ent[0].is_space and not ent[-1].is_space for ent in doc.ents)


@pytest.mark.parametrize("texts", [[], [""], ["", " "], [" "], ["\n\n"]])
def test_nothing_to_find(texts: list[str], trained: Language) -> None:
    assert [doc.ents for doc in trained.pipe(texts)] == [()] * len(texts)
    examples = [Example(trained.make_doc(text), trained.make_doc(text)) for text in texts]
    if texts:
        trained.update(examples, sgd=None)


def test_gradient_is_the_difference_quotient(make_nlp: MakeNLP, ner_examples: Callable) -> None:
    nlp = make_nlp(NER, ner_examples)
    ner = component(nlp)
    examples = ner_examples(nlp)[1:4]
    # One token of which nothing is known.
    examples[0].reference.set_ents([], missing=[examples[0].reference[0:1]], default="unmodified")
    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 1, (len(eg.predicted), len(tag_names(ner.labels)))) for eg in examples]
    _, gradients = ner.get_loss(examples, scores)
    for doc, (doc_scores, gradient) in enumerate(zip(scores, gradients, strict=True)):
        for _ in range(12):
            at = rng.integers(0, doc_scores.shape[0]), rng.integers(0, doc_scores.shape[1])
            losses = []
            for step in (1e-4, -1e-4):
                moved = [array.copy() for array in scores]
                moved[doc][at] += step
                losses.append(ner.get_loss(examples, moved)[0])
            assert (losses[0] - losses[1]) / 2e-4 == pytest.approx(gradient[at], abs=1e-5)


def test_missing_annotation_teaches_nothing(make_nlp: MakeNLP, ner_examples: Callable) -> None:
    nlp = make_nlp(NER, ner_examples)
    ner = component(nlp)
    doc = nlp.make_doc(SENTENCES[1])
    nothing, partly, none = Example(doc, doc.copy()), Example(doc, doc.copy()), Example(doc, doc.copy())
    partly.reference.set_ents([Span(partly.reference, 0, 1, label="PERSON")], default="missing")
    none.reference.set_ents([])
    scores = [np.random.default_rng(0).normal(0, 1, (len(doc), len(tag_names(ner.labels)))).astype("f") for _ in range(3)]
    _, (of_nothing, of_partly, of_none) = ner.get_loss([nothing, partly, none], scores)
    assert not of_nothing.any()
    assert of_partly[0].any()
    assert not of_partly[1:].any()
    assert of_none.any(axis=1).all()
    loss, (alone,) = ner.get_loss([nothing], scores[:1])
    assert loss == 0.0
    assert not alone.any()
    assert nlp.update([nothing], sgd=Adam(1e-3))["ner"] == 0.0


def test_misaligned_entities_are_counted_and_left_out(make_nlp: MakeNLP, ner_examples: Callable, caplog: pytest.LogCaptureFixture) -> None:
    def examples(nlp: Language) -> list[Example]:
        text = "東京都で会う。"
        reference = Doc(nlp.vocab, words=list(text), spaces=[False] * len(text))
        reference.set_ents([Span(reference, 0, 1, label="GPE"), Span(reference, 4, 5, label="GPE")])
        predicted = Doc(nlp.vocab, words=["東京", "都", "で", "会", "う", "。"], spaces=[False] * 6)
        return [*ner_examples(nlp), Example(predicted, reference)]

    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        nlp = make_nlp(NER, examples)
    (message,) = [record.getMessage() for record in caplog.records if "JW001" in record.getMessage()]
    assert "1 of" in message
    assert "東" in message
    ner, example = component(nlp), examples(nlp)[-1]
    scores = np.zeros((6, len(tag_names(ner.labels))), dtype="f")
    _, (gradient,) = ner.get_loss([example], [scores])
    assert gradient.any(axis=1).tolist() == [False, True, True, True, True, True]


def test_labels_from_the_config(make_nlp: MakeNLP, ner_examples: Callable) -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("jbert_ner", name="ner", config={"model": {"tok2vec": {"@architectures": "spacy.HashEmbedCNN.v2", **CNN}}})
    nlp.config["initialize"]["components"]["ner"] = {"labels": ["ZZ", "PERSON"]}
    nlp.initialize(lambda: ner_examples(nlp))
    assert component(nlp).labels == ("ZZ", "PERSON")
    assert component(nlp).label_data == ["ZZ", "PERSON"]
    assert component(nlp).model.get_ref("output_layer").get_dim("nO") == 9
    # A second time with what `spacy init labels` writes changes nothing.
    nlp.initialize(lambda: ner_examples(nlp))
    assert component(nlp).labels == ("ZZ", "PERSON")


CNN = {
    "width": 8,
    "depth": 1,
    "embed_size": 50,
    "window_size": 1,
    "maxout_pieces": 1,
    "subword_features": False,
    "pretrained_vectors": None,
}


def test_any_tok2vec_will_do(ner_examples: Callable) -> None:
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("jbert_ner", name="ner", config={"model": {"tok2vec": {"@architectures": "spacy.HashEmbedCNN.v2", **CNN}}})
    nlp.initialize(lambda: ner_examples(nlp))
    assert train(nlp, ner_examples(nlp), 60)["ner"] < 0.3


def test_init_labels(make_nlp: MakeNLP, ner_examples: Callable, tmp_path: Path) -> None:
    """What `spacy init labels` writes is read back by [initialize.components.ner.labels]."""
    import srsly

    nlp = make_nlp(NER, ner_examples)
    srsly.write_json(tmp_path / "ner.json", component(nlp).label_data)
    reader = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "ner.json")}
    other = spacy.blank("ja")
    other.add_pipe("jbert_ner", name="ner", config={"model": {"tok2vec": {"@architectures": "spacy.HashEmbedCNN.v2", **CNN}}})
    other.config["initialize"]["components"]["ner"] = {"labels": reader}
    other.initialize(lambda: ner_examples(other)[:1])
    assert component(other).labels == component(nlp).labels


def test_add_label(make_nlp: MakeNLP, ner_examples: Callable) -> None:
    blank = spacy.blank("ja").add_pipe("jbert_ner")
    assert (blank.add_label("X"), blank.add_label("X"), blank.labels) == (1, 0, ("X",))
    for wrong in ("", 3, None):
        with pytest.raises(ValueError, match="J012"):
            blank.add_label(wrong)
    nlp = make_nlp(NER, ner_examples)
    assert component(nlp).add_label("GPE") == 0
    with pytest.raises(ValueError, match="J016"):
        component(nlp).add_label("NEW")


def test_what_it_refuses(make_nlp: MakeNLP, trained: Language) -> None:
    with pytest.raises(NotImplementedError, match="J014"):
        component(trained).rehearse([])
    with pytest.raises(ValueError, match=r"J013.*'ner'"):
        make_nlp(NER, lambda nlp: [Example(nlp.make_doc("東京"), nlp.make_doc("東京"))])


def test_unknown_labels_in_evaluation(trained: Language, ner_examples: Callable, caplog: pytest.LogCaptureFixture) -> None:
    examples = ner_examples(trained)
    doc = examples[0].reference
    doc.set_ents([Span(doc, 0, 1, label="ANIMAL")])
    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        scores = trained.evaluate(examples)
        trained.evaluate(examples)
    assert scores["ents_per_type"]["ANIMAL"]["f"] == 0.0
    assert 0.9 < scores["ents_f"] < 1.0
    (message,) = [record.getMessage() for record in caplog.records if "JW002" in record.getMessage()]
    assert "'ANIMAL'" in message
    # Nor does training on it break.
    losses: dict[str, float] = {}
    trained.update(examples, sgd=None, losses=losses)
    assert np.isfinite(losses["ner"])


def test_sourced_and_trained_on(trained: Language, ner_examples: Callable, tmp_path: Path) -> None:
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("transformer", source=trained)
    nlp.add_pipe("ner", source=trained)
    optimizer: Any = nlp.resume_training()
    nlp.update(ner_examples(nlp)[:2], sgd=optimizer)
    nlp.to_disk(tmp_path)
    assert [doc.to_json() for doc in spacy.load(tmp_path).pipe(SENTENCES)] == [doc.to_json() for doc in nlp.pipe(SENTENCES)]
