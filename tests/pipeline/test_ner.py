"""`jbert_ner`: learning, decoding, confidence, labels, storage, what it says about data it can't
learn from.
"""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy import displacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from thinc.api import Adam, Model, fix_random_seed

from spacy_jbert.evaluation.scorers import score_ner
from spacy_jbert.models.biluo import tag_names
from spacy_jbert.pipeline.ner import JBertNER
from spacy_jbert.types import TagScores

from ..conftest import ENTITIES, SENTENCES, listener

MakeNLP = Callable[..., Language]
NER = [("ner", "jbert_ner", {})]
DECODERS = ("softmax", "crf")


def head(decoder: str = "softmax", **settings: Any) -> list[tuple[str, str, dict[str, Any]]]:
    model = {
        "@architectures": "spacy-jbert.TokenClassifier.v1",
        "decoder": decoder,
        "tok2vec": listener(),
    }
    return [("ner", "jbert_ner", {"model": model, **settings})]


# Token vectors for tests of the head alone.
CNN = {
    "@architectures": "spacy.HashEmbedCNN.v2",
    "width": 32,
    "depth": 1,
    "embed_size": 500,
    "window_size": 1,
    "maxout_pieces": 2,
}
CNN |= {"subword_features": False, "pretrained_vectors": None}


def tiny(
    examples: Callable[[Language], list[Example]], decoder: str = "softmax", **settings: Any
) -> Language:
    """A pipeline of the head alone, initialised."""
    fix_random_seed(0)
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    for name, factory, config in head(decoder, **settings):
        config["model"]["tok2vec"] = CNN
        nlp.add_pipe(factory, name=name, config=config)
    nlp.initialize(lambda: examples(nlp))
    return nlp


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
        nlp.update(examples, sgd=optimizer, losses=losses)
    return losses


@pytest.fixture(scope="module")
def overfitted(checkpoint: Callable, ner_examples: Callable) -> Callable[[str], Language]:
    """Knows the names in the sentences by heart."""

    @cache
    def make(decoder: str) -> Language:
        nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
        nlp.add_pipe("jbert_transformer", name="transformer", config={"model": {"overlap": 8}})
        for name, factory, config in head(decoder):
            nlp.add_pipe(factory, name=name, config=config)
        loader = {
            "@misc": "spacy-jbert.HFEncoder.v1",
            "name": str(checkpoint("bert-fast")),
            "hidden_dropout": 0.0,
        }
        nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
        nlp.initialize(lambda: ner_examples(nlp))
        losses = train(nlp, ner_examples(nlp), 60)
        assert all(type(loss) is float for loss in losses.values())
        assert losses["ner"] < 10.0
        return nlp

    return make


@pytest.fixture(scope="module")
def trained(overfitted: Callable[[str], Language]) -> Language:
    return overfitted("softmax")


@pytest.mark.parametrize("decoder", DECODERS)
def test_overfitting_and_storage(
    decoder: str, overfitted: Callable[[str], Language], ner_examples: Callable, tmp_path: Path
) -> None:
    trained = overfitted(decoder)
    scores = trained.evaluate(ner_examples(trained))
    assert scores["ents_f"] == 1.0
    assert {type_: of["f"] for type_, of in scores["ents_per_type"].items()} == {
        "GPE": 1.0,
        "ORG": 1.0,
        "PERSON": 1.0,
    }
    assert 0.0 < scores["ents_ece"] < 0.2
    trained.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert again.get_pipe("ner").labels == ("GPE", "ORG", "PERSON")
    texts = [*SENTENCES, "", " ", "田中と鈴木と京都", "".join(SENTENCES)]
    called = [entities(trained(text)) for text in texts]
    assert sum(map(len, called)) >= len(ENTITIES)
    assert [entities(doc) for doc in trained.pipe(texts)] == called
    assert [
        entities(doc) for doc, _ in trained.pipe(zip(texts, texts, strict=True), as_tuples=True)
    ] == called
    assert [entities(again(text)) for text in texts] == called
    assert [entities(doc) for doc in again.pipe(texts, batch_size=3)] == called
    blank = spacy.blank("ja").from_config(trained.config).from_bytes(trained.to_bytes())
    assert [entities(blank(text)) for text in texts] == called
    # What was learned about transitions is kept too.
    learned = [
        component(nlp).model.predict([nlp("東京")]).transitions for nlp in (trained, again, blank)
    ]
    assert (
        all(np.array_equal(table, learned[0]) for table in learned)
        if decoder == "crf"
        else learned == [None] * 3
    )
    assert decoder == "softmax" or learned[0].any()


def test_long_documents_have_the_entities_of_their_parts(trained: Language) -> None:
    found = {ent.text for ent in trained("".join(SENTENCES)).ents}
    assert len(found & set(ENTITIES)) >= 0.5 * len(ENTITIES)


def test_confidence(trained: Language) -> None:
    doc = trained(SENTENCES[1])
    assert doc.ents
    for ent in doc.ents:
        assert 0.5 < ent._.score <= 1.0
        assert type(ent._.score) is float
    assert Span(doc, len(doc) - 1, len(doc), label="GPE")._.score is None
    assert 'class="entity"' in displacy.render(doc, style="ent")


def test_confidence_belongs_to_the_label(trained: Language) -> None:
    """spaCy keeps it by characters, so another component's entity of the same characters would
    inherit it.
    """
    doc = trained(SENTENCES[1])
    first = doc.ents[0]
    doc.set_ents([Span(doc, first.start, first.end, label="OTHER")], default="unmodified")
    assert doc.ents[0]._.score is None
    assert first._.score is None
    doc.ents[0]._.score = 0.25
    assert doc.ents[0]._.score == 0.25


def test_confidence_is_kept(trained: Language) -> None:
    docs = list(trained.pipe(SENTENCES))
    bin_ = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(bin_).get_docs(trained.vocab), strict=True):
        assert entities(again) == entities(doc)
        assert entities(Doc(trained.vocab).from_bytes(doc.to_bytes())) == entities(doc)
        if doc.ents:
            json = doc.to_json(underscore=["jbert_score"])
            written = {
                (row["start"], row["end"]): row["value"]
                for row in json["underscore_span"]["jbert_score"]
            }
            assert written == {
                (ent.start_char, ent.end_char): [ent.label_, ent._.score] for ent in doc.ents
            }
            assert entities(Doc(trained.vocab).from_json(json)) == entities(doc)


def test_entities_that_are_there_stay(trained: Language) -> None:
    """As with the stock `ner`: what a rule or another component has set is kept, blocked tokens are
    free.
    """
    text = "田中さんは昨日、東京で新しい図書館を見学しました。"
    free = trained(text)
    person, place = free.ents
    doc = trained.make_doc(text)
    kept = doc.char_span(person.start_char, person.end_char + 2, label="OTHER")
    doc.set_ents([kept], blocked=[doc[place.start : place.end]], default="missing")
    doc = trained(doc)
    assert [(ent.text, ent.label_, ent._.score) for ent in doc.ents] == [
        ("田中さん", "OTHER", None)
    ]
    assert [token.ent_iob for token in doc[place.start : place.end]] == [3] * len(place)
    assert not any(token.ent_iob == 0 for token in doc)
    # Elsewhere everything is found.
    doc = trained.make_doc(text)
    doc.set_ents([Span(doc, len(doc) - 2, len(doc), label="OTHER")])
    assert [ent.label_ for ent in trained(doc).ents] == ["PERSON", "GPE", "OTHER"]


def test_candidates(ner_examples: Callable) -> None:
    nlp = tiny(ner_examples, "crf", candidates_key="may_be", candidates_threshold=0.01)
    train(nlp, ner_examples(nlp), 6)
    docs = list(nlp.pipe([*SENTENCES, ""]))
    assert all("may_be" in doc.spans for doc in docs)
    assert sum(len(doc.spans["may_be"]) for doc in docs) > sum(len(doc.ents) for doc in docs) > 0
    for doc in docs:
        found = dict(
            zip(
                map(tuple_of, doc.spans["may_be"]), doc.spans["may_be"].attrs["scores"], strict=True
            )
        )
        assert all(0.0099 < score <= 1.0 for score in found.values())
        for ent in doc.ents:
            assert found[tuple_of(ent)] == pytest.approx(ent._.score, abs=1e-5)
        (again,) = DocBin().from_bytes(DocBin(docs=[doc]).to_bytes()).get_docs(nlp.vocab)
        assert list(map(tuple_of, again.spans["may_be"])) == list(found)
        assert again.spans["may_be"].attrs["scores"].tolist() == list(found.values())


def tuple_of(span: Span) -> tuple[int, int, str]:
    return span.start, span.end, span.label_


def test_several_processes(trained: Language) -> None:
    expected = [entities(doc) for doc in trained.pipe(SENTENCES)]
    assert [entities(doc) for doc in trained.pipe(SENTENCES, n_process=2, batch_size=5)] == expected


def test_no_entity_begins_or_ends_with_white_space(
    make_nlp: MakeNLP, ner_examples: Callable
) -> None:
    nlp = make_nlp(NER, ner_examples)
    output = component(nlp).model.get_ref("output_layer")
    tags = tag_names(component(nlp).labels)
    output.set_param("b", np.array([4.0 if tag == "U-GPE" else 0.0 for tag in tags], dtype="f"))
    assert not nlp(" ").ents
    assert not nlp("\n\n\u3000").ents
    assert [ent.text for ent in nlp("東京\n大阪").ents] == ["東京", "大阪"]
    output.set_param(
        "b", np.array([4.0 if tag[1:] in ("-GPE",) else 0.0 for tag in tags], dtype="f")
    )
    for doc in nlp.pipe(["東京\n大阪", "\n東京 ", " \n"]):
        assert all(not ent[0].is_space and not ent[-1].is_space for ent in doc.ents)


@pytest.mark.parametrize("texts", [[], [""], ["", " "], [" "], ["\n\n"]])
def test_nothing_to_find(texts: list[str], trained: Language) -> None:
    assert [doc.ents for doc in trained.pipe(texts)] == [()] * len(texts)
    examples = [Example(trained.make_doc(text), trained.make_doc(text)) for text in texts]
    if texts:
        trained.update(examples, sgd=None)


def random_scores(ner: JBertNER, examples: list[Example], seed: int = 0) -> TagScores:
    rng = np.random.default_rng(seed)
    width = 1 + len(ner.labels)
    tokens = [rng.normal(0, 1, (len(eg.predicted), len(tag_names(ner.labels)))) for eg in examples]
    crf = "T" in ner.model.get_ref("transitions").param_names
    return TagScores(tokens, rng.normal(0, 1, (width, width)) if crf else None)


def mark_incorrect(doc: Doc, start: int, end: int, label: str) -> None:
    doc.spans["wrong"] = [Span(doc, start, end, label=label)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_gradient_is_the_difference_quotient(decoder: str, ner_examples: Callable) -> None:
    nlp = tiny(ner_examples, decoder, incorrect_spans_key="wrong")
    ner = component(nlp)
    examples = ner_examples(nlp)[1:4]
    # One token of which nothing is known, and spans that are known to be no entities.
    examples[0].reference.set_ents([], missing=[examples[0].reference[0:1]], default="unmodified")
    mark_incorrect(examples[1].reference, 3, 5, "PERSON")
    mark_incorrect(examples[2].reference, 6, 7, "ORG")
    scores = random_scores(ner, examples)
    _, gradients = ner.get_loss(examples, scores)
    rng = np.random.default_rng(1)
    arrays = [*scores.tokens, scores.transitions] if decoder == "crf" else scores.tokens
    for array, gradient in zip(
        arrays, [*gradients.tokens, gradients.transitions], strict=decoder == "crf"
    ):
        for _ in range(12):
            at = rng.integers(0, array.shape[0]), rng.integers(0, array.shape[1])
            losses, value = [], array[at]
            for step in (1e-4, -1e-4):
                array[at] = value + step
                losses.append(ner.get_loss(examples, scores)[0])
            array[at] = value
            assert (losses[0] - losses[1]) / 2e-4 == pytest.approx(gradient[at], abs=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_missing_annotation_teaches_nothing(decoder: str, ner_examples: Callable) -> None:
    nlp = tiny(ner_examples, decoder)
    ner = component(nlp)
    doc = nlp.make_doc(SENTENCES[1])
    nothing, partly, none = (
        Example(doc, doc.copy()),
        Example(doc, doc.copy()),
        Example(doc, doc.copy()),
    )
    partly.reference.set_ents([Span(partly.reference, 0, 1, label="PERSON")], default="missing")
    none.reference.set_ents([])
    scores = random_scores(ner, [nothing, partly, none])
    _, gradient = ner.get_loss([nothing, partly, none], scores)
    of_nothing, of_partly, of_none = gradient.tokens
    assert not of_nothing.any()
    assert of_partly[0].any()
    if decoder == "softmax":
        assert not of_partly[1:].any()
    else:
        # The sequence knows more: an entity that ended can't go on. From there on it knows nothing.
        assert np.abs(of_partly[1]).max() > 10 * np.abs(of_partly[-1]).max()
    assert of_none.any(axis=1).all()
    loss, alone = ner.get_loss([nothing], TagScores(scores.tokens[:1], scores.transitions))
    assert loss == 0.0
    assert not alone.tokens[0].any()
    assert alone.transitions is None or not alone.transitions.any()
    assert nlp.update([nothing], sgd=Adam(1e-3))["ner"] == 0.0


@pytest.mark.parametrize("decoder", DECODERS)
def test_learns_from_partial_annotation(decoder: str, ner_examples: Callable) -> None:
    """Each text names one entity and says nothing of the others, which must not become O."""

    def partial(nlp: Language) -> list[Example]:
        examples = []
        for eg in ner_examples(nlp):
            for ent in eg.reference.ents or [None]:
                doc = nlp.make_doc(eg.text)
                others = [
                    Span(doc, other.start, other.end) for other in eg.reference.ents if other != ent
                ]
                doc.set_ents(
                    [Span(doc, ent.start, ent.end, label=ent.label)] if ent is not None else [],
                    missing=others,
                )
                examples.append(Example(nlp.make_doc(eg.text), doc))
        return examples

    nlp = tiny(partial, decoder)
    train(nlp, partial(nlp), 50)
    assert nlp.evaluate(ner_examples(nlp))["ents_r"] > 0.9


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_batch_is_the_mean_of_its_parts(decoder: str, ner_examples: Callable) -> None:
    nlp = tiny(ner_examples, decoder)
    examples = ner_examples(nlp)

    def gradients(batch: list[Example]) -> tuple[dict, float]:
        losses = nlp.update(batch, sgd=False)
        layers = [component(nlp).model.get_ref(name) for name in ("output_layer", "transitions")]
        found = {name: layer.get_grad(name).copy() for layer in layers for name in layer.grad_names}
        component(nlp).finish_update(Adam(0.0))
        return found, losses["ner"]

    together, loss = gradients(examples)
    batches = examples[:3], examples[3:4], examples[4:]
    parts = [gradients(batch) for batch in batches]
    weights = [sum(len(eg.reference) for eg in batch) for batch in batches]
    assert loss == pytest.approx(np.average([of for _, of in parts], weights=weights), rel=1e-4)
    assert set(together) == ({"W", "b", "T"} if decoder == "crf" else {"W", "b"})
    for name, gradient in together.items():
        mean = np.average([found[name] for found, _ in parts], axis=0, weights=weights)
        assert mean == pytest.approx(gradient, rel=1e-3, abs=1e-3 * float(np.abs(gradient).max()))


@pytest.mark.parametrize("decoder", DECODERS)
def test_incorrect_spans(decoder: str, ner_examples: Callable) -> None:
    """Only told that a span is no PERSON, it learns just that: its probability falls, another
    border's or label's doesn't have to.
    """
    settings = {
        "incorrect_spans_key": "wrong",
        "candidates_key": "may_be",
        "candidates_threshold": 1e-6,
    }
    nlp = tiny(ner_examples, decoder, **settings)
    train(nlp, ner_examples(nlp), 40)
    text = "田中さんは京都へ行く。"
    assert entities(nlp(text))[0][:2] == ("田中", "PERSON")

    def example() -> Example:
        doc = nlp.make_doc(text)
        doc.set_ents([], default="missing")
        mark_incorrect(doc, 0, 1, "PERSON")
        return Example(nlp.make_doc(text), doc)

    optimizer = Adam(2e-3)
    losses = [nlp.update([example()], sgd=optimizer)["ner"] for _ in range(20)]
    assert losses[0] > 0.5 > 0.1 > losses[-1]
    doc = nlp(text)
    group = doc.spans["may_be"]
    found = dict(zip(map(tuple_of, group), group.attrs["scores"].tolist(), strict=True))
    assert found.get((0, 1, "PERSON"), 0.0) < 0.1
    # A label that it doesn't know is nothing that it could predict; a contradiction is an error.
    doc = example().reference
    mark_incorrect(doc, 0, 1, "ANIMAL")
    assert nlp.update([Example(nlp.make_doc(text), doc)])["ner"] == 0.0
    doc.set_ents([Span(doc, 0, 1, label="PERSON")])
    mark_incorrect(doc, 0, 1, "PERSON")
    with pytest.raises(ValueError, match="J051"):
        nlp.update([Example(nlp.make_doc(text), doc)])


@pytest.mark.parametrize("decoder", DECODERS)
def test_entities_across_windows(decoder: str, make_nlp: MakeNLP) -> None:
    """An entity longer than a window, one across a border, and short ones beside them."""
    long = "株式会社" + "東西南北中央総合研究開発技術" * 3
    text = f"昨日{long}が東京で田中に会った。" * 2

    def examples(nlp: Language) -> list[Example]:
        doc = nlp.make_doc(text)
        half = len(text) // 2
        spans = []
        for offset in (0, half):
            for name, label in ((long, "ORG"), ("東京", "GPE"), ("田中", "PERSON")):
                start = text.index(name, offset)
                spans.append(doc.char_span(start, start + len(name), label=label))
        doc.set_ents(spans)
        return [Example(nlp.make_doc(text), doc)]

    nlp = make_nlp(head(decoder), examples, window=16, overlap=4)
    data = nlp.get_pipe("transformer").predict([nlp.make_doc(text)]).doc_data[0]
    assert len(np.unique(data.wordpieces.token_type_ids)) > 4
    assert len(nlp.make_doc(long)) > 16
    (start, end), *_ = ((ent.start, ent.end) for ent in examples(nlp)[0].reference.ents)
    rows = data.align[start:end].dataXd.reshape(-1)
    assert len(np.unique(data.wordpieces.token_type_ids[0][rows])) > 2
    train(nlp, examples(nlp), 80)
    assert nlp.evaluate(examples(nlp))["ents_f"] == 1.0


def test_misaligned_entities_are_counted_and_left_out(
    make_nlp: MakeNLP, ner_examples: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    def examples(nlp: Language) -> list[Example]:
        text = "東京都で会う。"
        reference = Doc(nlp.vocab, words=list(text), spaces=[False] * len(text))
        reference.set_ents([Span(reference, 0, 1, label="GPE"), Span(reference, 4, 5, label="GPE")])
        predicted = Doc(nlp.vocab, words=["東京", "都", "で", "会", "う", "。"], spaces=[False] * 6)
        return [*ner_examples(nlp), Example(predicted, reference)]

    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        nlp = make_nlp(NER, examples)
    (message,) = [
        record.getMessage() for record in caplog.records if "JW001" in record.getMessage()
    ]
    assert "1 of" in message
    assert "東" in message
    ner, example = component(nlp), examples(nlp)[-1]
    scores = np.zeros((6, len(tag_names(ner.labels))), dtype="f")
    _, gradient = ner.get_loss([example], TagScores([scores], None))
    assert gradient.tokens[0].any(axis=1).tolist() == [False, True, True, True, True, True]


@pytest.mark.parametrize("decoder", DECODERS)
def test_misaligned_entities_expanded(decoder: str, caplog: pytest.LogCaptureFixture) -> None:
    """What covers an entity is learned, unless two entities share a token."""
    text = "東京都と京都府で会う。"

    def examples(nlp: Language) -> list[Example]:
        reference = Doc(nlp.vocab, words=list(text), spaces=[False] * len(text))
        of = [(1, 2), (4, 6), (6, 7)]
        reference.set_ents([Span(reference, start, end, label="GPE") for start, end in of])
        predicted = Doc(
            nlp.vocab,
            words=["東京", "都", "と", "京", "都府", "で", "会う", "。"],
            spaces=[False] * 8,
        )
        return [Example(predicted, reference)]

    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        nlp = tiny(examples, decoder, misaligned="expand")
    (message,) = [
        record.getMessage() for record in caplog.records if "JW050" in record.getMessage()
    ]
    assert "3 of 3" in message
    ner, optimizer = component(nlp), Adam(5e-3)
    for _ in range(40):
        nlp.update(examples(nlp), sgd=optimizer)
    found = {ent.text for ent in nlp(examples(nlp)[0].predicted).ents}
    assert "東京" in found
    assert "京都府" in found
    with pytest.raises(ValueError, match="J040"):
        tiny(examples, misaligned="shrink")
    with pytest.raises(ValueError, match="J050"):
        tiny(examples, candidates_threshold=0.0)
    with pytest.raises(ValueError, match="J040"):
        tiny(examples, "beam")
    assert ner.misaligned == "expand"


def test_labels_from_the_config(make_nlp: MakeNLP, ner_examples: Callable) -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("jbert_ner", name="ner", config={"model": {"tok2vec": CNN}})
    nlp.config["initialize"]["components"]["ner"] = {"labels": ["ZZ", "PERSON"]}
    nlp.initialize(lambda: ner_examples(nlp))
    assert component(nlp).labels == ("ZZ", "PERSON")
    assert component(nlp).label_data == ["ZZ", "PERSON"]
    assert component(nlp).model.get_ref("output_layer").get_dim("nO") == 9
    # A second time with what `spacy init labels` writes changes nothing.
    nlp.initialize(lambda: ner_examples(nlp))
    assert component(nlp).labels == ("ZZ", "PERSON")


def test_any_tok2vec_will_do(ner_examples: Callable) -> None:
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("jbert_ner", name="ner", config={"model": {"tok2vec": CNN}})
    nlp.initialize(lambda: ner_examples(nlp))
    assert train(nlp, ner_examples(nlp), 60)["ner"] < 0.3


def test_init_labels(make_nlp: MakeNLP, ner_examples: Callable, tmp_path: Path) -> None:
    """What `spacy init labels` writes is read back by [initialize.components.ner.labels]."""
    import srsly

    nlp = make_nlp(NER, ner_examples)
    srsly.write_json(tmp_path / "ner.json", component(nlp).label_data)
    reader = {"@readers": "spacy.read_labels.v1", "path": str(tmp_path / "ner.json")}
    other = spacy.blank("ja")
    other.add_pipe("jbert_ner", name="ner", config={"model": {"tok2vec": CNN}})
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


@pytest.mark.parametrize("decoder", DECODERS)
def test_label_added_to_a_trained_pipe(
    decoder: str, ner_examples: Callable, tmp_path: Path
) -> None:
    nlp = tiny(ner_examples, decoder)
    optimizer = Adam(5e-3, grad_clip=1.0)
    examples = ner_examples(nlp)
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    before = [entities(doc) for doc in nlp.pipe(SENTENCES)]
    assert sum(map(len, before)) > 8
    assert component(nlp).add_label("ANIMAL") == 1
    assert component(nlp).labels == ("GPE", "ORG", "PERSON", "ANIMAL")
    assert [entities(doc) for doc in nlp.pipe(SENTENCES)] == before
    nlp.to_disk(tmp_path / "grown")
    assert [entities(doc) for doc in spacy.load(tmp_path / "grown").pipe(SENTENCES)] == before

    for eg in examples:
        for animal in ("猫", "犬"):
            if (at := eg.text.find(animal)) >= 0:
                eg.reference.set_ents(
                    [eg.reference.char_span(at, at + 1, label="ANIMAL")], default="unmodified"
                )
    # With the same optimizer, whose moments are of the smaller layers.
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    scores = nlp.evaluate(examples)
    assert scores["ents_per_type"]["ANIMAL"]["f"] == 1.0
    assert scores["ents_f"] > 0.9
    nlp.to_disk(tmp_path / "trained")
    again = spacy.load(tmp_path / "trained")
    assert [entities(doc) for doc in again.pipe(SENTENCES)] == [
        entities(doc) for doc in nlp.pipe(SENTENCES)
    ]


@pytest.mark.parametrize("decoder", DECODERS)
def test_calibration(decoder: str, ner_examples: Callable, tmp_path: Path) -> None:
    """Too sure of itself on data where a third of what it says is wrong; the temperature is fitted,
    stored, and moves no entity.
    """
    nlp = tiny(ner_examples, decoder)
    train(nlp, ner_examples(nlp), 50)
    output = component(nlp).model.get_ref("output_layer")
    for name in ("W", "b"):
        output.set_param(name, output.get_param(name) * 3.0)

    def held_out() -> list[Example]:
        examples = ner_examples(nlp)
        for eg in examples[::3]:
            eg.reference.set_ents(
                [Span(eg.reference, ent.start, ent.end, label="ORG") for ent in eg.reference.ents]
            )
        for eg in examples[1::7]:
            eg.reference.set_ents([], default="missing")
        return examples

    before = nlp.evaluate(held_out())
    found = [[ent[:2] for ent in entities(doc)] for doc in nlp.pipe(SENTENCES)]
    calibrate = spacy.registry.callbacks.get("spacy-jbert.calibrate.v1")(lambda nlp: held_out())
    calibrate(nlp)
    assert component(nlp).cfg["temperature"] > 1.5
    after = nlp.evaluate(held_out())
    assert after["ents_ece"] != before["ents_ece"]
    assert after["ents_f"] == before["ents_f"]
    assert [[ent[:2] for ent in entities(doc)] for doc in nlp.pipe(SENTENCES)] == found
    # A second time changes nothing: what is fitted are the scores before any temperature.
    temperature = component(nlp).cfg["temperature"]
    calibrate(nlp)
    assert component(nlp).cfg["temperature"] == pytest.approx(temperature, rel=1e-2)
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert [entities(doc) for doc in again.pipe(SENTENCES)] == [
        entities(doc) for doc in nlp.pipe(SENTENCES)
    ]
    # Nothing to learn from leaves it as it is.
    nothing = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in SENTENCES]
    component(nlp).calibrate([component(nlp).calibration_data(nothing)])
    assert component(nlp).cfg["temperature"] == pytest.approx(temperature, rel=1e-2)


def test_temperature_undoes_overconfidence(japanese: Language) -> None:
    """2,000 texts of one token whose label is drawn from known probabilities, and a model that says
    three times their logits.
    """
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (2000, 9))
    logits[:, [1, 2, 3, 5, 6, 7]] = -np.inf
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    tags = [rng.choice(9, p=row) for row in chances]
    finite = np.maximum(logits, -20.0)

    def forward(model: Model, docs: list[Doc], is_train: bool) -> tuple[TagScores, None]:
        return TagScores([3.0 * finite[[doc.user_data["n"]]] for doc in docs], None), None

    ner = JBertNER(japanese.vocab, Model("sure", forward))
    ner.cfg["labels"] = ["X", "Y"]

    def predicted() -> list[Example]:
        examples = []
        for n, tag in enumerate(tags):
            doc, gold = (Doc(japanese.vocab, words=["猫"]) for _ in range(2))
            doc.user_data["n"] = n
            gold.set_ents([Span(gold, 0, 1, label="XY"[(tag - 1) // 4])] if tag else [])
            examples.append(Example(doc, gold))
        docs = [eg.predicted for eg in examples]
        ner.set_annotations(docs, ner.predict(docs))
        return examples

    examples = predicted()
    before = score_ner(examples)
    ner.calibrate([ner.calibration_data(examples)])
    assert ner.cfg["temperature"] == pytest.approx(3.0, rel=0.15)
    after = score_ner(predicted())
    assert before["ents_ece"] > 0.15
    assert after["ents_ece"] < 0.06
    assert after["ents_f"] == before["ents_f"]


def test_calibration_error(japanese: Language) -> None:
    """Of four entities said with 0.9, two are right; one stands where the annotation says nothing,
    one has no confidence.
    """
    words = ["あ", "い", "う", "え", "お", "か"]
    gold, predicted = (Doc(japanese.vocab, words=words, spaces=[False] * 6) for _ in range(2))
    gold.set_ents(
        [Span(gold, 0, 1, label="X"), Span(gold, 1, 2, label="X"), Span(gold, 2, 3, label="X")],
        missing=[gold[4:5]],
    )
    predicted.set_ents([Span(predicted, i, i + 1, label="Y" if i == 2 else "X") for i in range(6)])
    for ent in predicted.ents[:5]:
        ent._.score = 0.9
    scores = score_ner([Example(predicted, gold)])
    assert scores["ents_ece"] == pytest.approx(0.4)
    assert scores["ents_p"] == pytest.approx(2 / 5)
    assert score_ner([Example(gold, gold)])["ents_ece"] is None


def test_what_it_refuses(make_nlp: MakeNLP, trained: Language) -> None:
    with pytest.raises(NotImplementedError, match="J014"):
        component(trained).rehearse([])
    with pytest.raises(ValueError, match=r"J013.*'ner'"):
        make_nlp(NER, lambda nlp: [Example(nlp.make_doc("東京"), nlp.make_doc("東京"))])


def test_unknown_labels_in_evaluation(
    trained: Language, ner_examples: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    examples = ner_examples(trained)
    doc = examples[0].reference
    doc.set_ents([Span(doc, 0, 1, label="ANIMAL")])
    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        scores = trained.evaluate(examples)
        trained.evaluate(examples)
    assert scores["ents_per_type"]["ANIMAL"]["f"] == 0.0
    assert 0.9 < scores["ents_f"] < 1.0
    (message,) = [
        record.getMessage() for record in caplog.records if "JW002" in record.getMessage()
    ]
    assert "'ANIMAL'" in message
    # Nor does training on it break.
    losses: dict[str, float] = {}
    trained.update(examples, sgd=None, losses=losses)
    assert np.isfinite(losses["ner"])


@pytest.mark.parametrize("decoder", DECODERS)
def test_sourced_and_trained_on(
    decoder: str, overfitted: Callable[[str], Language], ner_examples: Callable, tmp_path: Path
) -> None:
    trained = overfitted(decoder)
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("transformer", source=trained)
    nlp.add_pipe("ner", source=trained)
    optimizer: Any = nlp.resume_training()
    nlp.update(ner_examples(nlp)[:2], sgd=optimizer)
    nlp.to_disk(tmp_path)
    assert [doc.to_json() for doc in spacy.load(tmp_path).pipe(SENTENCES)] == [
        doc.to_json() for doc in nlp.pipe(SENTENCES)
    ]
    # Frozen, it stays as it is while the transformer moves.
    weights = component(nlp).model.to_bytes()
    nlp.update(ner_examples(nlp)[:2], sgd=optimizer, exclude=["ner"])
    assert component(nlp).model.to_bytes() == weights


def test_settings_are_kept(ner_examples: Callable, tmp_path: Path) -> None:
    settings = {
        "incorrect_spans_key": "wrong",
        "misaligned": "expand",
        "candidates_key": "may_be",
        "candidates_threshold": 0.2,
    }
    tiny(ner_examples, "crf", **settings).to_disk(tmp_path)
    again = component(spacy.load(tmp_path))
    assert {name: getattr(again, name) for name in settings} == settings
    assert again.model.get_ref("transitions").has_param("T")


@pytest.mark.parametrize("space", ["\n", " ", "\u3000", "\t"])
@pytest.mark.parametrize("place", ["before", "behind", "alone"])
def test_white_space_at_the_ends_is_counted(
    space: str, place: str, ner_examples: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    def examples(nlp: Language) -> list[Example]:
        name = {"before": f"{space}田中", "behind": f"田中{space}", "alone": space}[place]
        words = [word for word in ("は", *name.partition(space), "が") if word]
        doc = Doc(nlp.vocab, words=words, spaces=[False] * len(words))
        doc.set_ents([Span(doc, 1, len(words) - 1, label="PERSON")])
        return [*ner_examples(nlp), Example(Doc(nlp.vocab, words=words), doc)]

    def plain(nlp: Language) -> list[Example]:
        return ner_examples(nlp)

    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        tiny(plain)
        assert "JW054" not in caplog.text
        tiny(examples)
    (message,) = [
        record.getMessage() for record in caplog.records if "JW054" in record.getMessage()
    ]
    assert "1 of " in message


@pytest.mark.parametrize("decoder", DECODERS)
def test_empty_texts_alone_and_in_a_batch(
    decoder: str, overfitted: Callable[[str], Language]
) -> None:
    nlp = overfitted(decoder)
    for texts in (
        ["", ""],
        ["", SENTENCES[0]],
        [SENTENCES[0], "", SENTENCES[1]],
        [" ", "", "\u3000\n", SENTENCES[0]],
        [" ", "\n"],
    ):
        together = [entities(doc) for doc in nlp.pipe(texts)]
        assert together == [entities(nlp(text)) for text in texts]
        assert [found for found, text in zip(together, texts, strict=True) if not text.strip()] == [
            [] for text in texts if not text.strip()
        ]
