"""`jbert_ner` with misaligned = "split": entities that begin or end inside a token are learned,
found, and cut it.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example
from thinc.api import Adam

from spacy_jbert.models.biluo import tag_names
from spacy_jbert.pipeline.ner import JBertNER
from spacy_jbert.types import TagScores
from spacy_jbert.wordpieces.alignment import token_offsets

from ..conftest import SENTENCES, listener, stock_listener
from .conftest import scores, tagged, tagger

DECODERS = ("softmax", "crf")
# Whole tokens; a token's beginning, end and middle; from inside one token to the end of another, or
# into another; two in one.
NAMES = {
    "田中": "PERSON",
    "東京": "GPE",
    "図": "ORG",
    "古屋": "GPE",
    "ピュータ": "ORG",
    "阪の桜": "GPE",
    "学を勉": "ORG",
    "自": "PERSON",
}
NAMES |= {"車": "ORG"}
OWN, STOCK = tagger(listener(), "own"), tagger(stock_listener(), "stock")
STOCK[2]["overwrite"] = True  # the tokenizer has tagged before


def head(
    decoder: str = "softmax", name: str = "ner", **settings: Any
) -> tuple[str, str, dict[str, Any]]:
    model = {
        "@architectures": "spacy-jbert.TokenClassifier.v1",
        "decoder": decoder,
        "tok2vec": listener(pooling="units"),
    }
    return name, "jbert_ner", {"model": model, "misaligned": "split", **settings}


def gold(text: str) -> list[tuple[int, int, str]]:
    found = [
        (*match.span(), label) for name, label in NAMES.items() for match in re.finditer(name, text)
    ]
    return sorted(found)


def example(nlp: Language, text: str) -> Example:
    """Annotated by character."""
    reference = Doc(
        nlp.vocab,
        words=list(text),
        spaces=[False] * len(text),
        tags=["mark" if c in "。、" else "word" for c in text],
    )
    reference.set_ents(
        [Span(reference, start, end, label=label) for start, end, label in gold(text)]
    )
    return Example(nlp.make_doc(text), reference)


def examples(nlp: Language) -> list[Example]:
    return [example(nlp, text) for text in SENTENCES]


def found(doc: Doc) -> list[tuple[int, int, str]]:
    return [(ent.start_char, ent.end_char, ent.label_) for ent in doc.ents]


def train(nlp: Language, batch: list[Example], steps: int) -> None:
    optimizer = Adam(5e-3, grad_clip=1.0)
    for _ in range(steps):
        # As `spacy train` does it.
        nlp.update([Example(nlp.make_doc(eg.text), eg.reference) for eg in batch], sgd=False)
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)


def component(nlp: Language) -> JBertNER:
    pipe = nlp.get_pipe("ner")
    assert isinstance(pipe, JBertNER)
    return pipe


@pytest.fixture
def make_split(checkpoint: Callable[[str], Path]) -> Callable[..., Language]:
    return make_split_of(checkpoint)


def make_split_of(checkpoint: Callable[[str], Path]) -> Callable[..., Language]:
    """A pipeline with heads behind a tiny transformer, initialised on the sentences."""

    def make(
        *heads: tuple[str, str, dict[str, Any]],
        family: str = "bert-fast",
        split_mode: str = "A",
        **settings: Any,
    ) -> Language:
        tokenizer = {"@tokenizers": "spacy-jbert.SudachiTokenizer.v1", "split_mode": split_mode}
        nlp = spacy.blank("ja", config={"nlp": {"tokenizer": tokenizer}})
        nlp.add_pipe(
            "jbert_transformer", name="transformer", config={"model": {"overlap": 8, **settings}}
        )
        for name, factory, config in heads:
            nlp.add_pipe(factory, name=name, config=config)
        loader = {
            "@misc": "spacy-jbert.HFEncoder.v1",
            "name": str(checkpoint(family)),
            "hidden_dropout": 0.0,
        }
        nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
        nlp.initialize(lambda: [*examples(nlp), *tagged(nlp)] if len(heads) > 1 else examples(nlp))
        return nlp

    return make


@pytest.fixture(scope="module")
def overfitted(checkpoint: Callable[[str], Path]) -> Callable[[str], Language]:
    @cache
    def make(decoder: str) -> Language:
        nlp = make_split_of(checkpoint)(head(decoder, candidates_key="may_be"), OWN, STOCK)
        train(nlp, examples(nlp), 100)
        return nlp

    return make


def test_units_are_needed() -> None:
    """What the tests are about: these names aren't tokens."""
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    inside = {
        text[start:end]
        for text in SENTENCES
        for start, end, _ in gold(text)
        if nlp.make_doc(text).char_span(start, end) is None
    }
    assert inside == set(NAMES) - {"田中", "東京"}


@pytest.mark.parametrize("decoder", DECODERS)
def test_overfitting_and_storage(
    decoder: str, overfitted: Callable[[str], Language], tmp_path: Path
) -> None:
    nlp = overfitted(decoder)
    docs = [nlp(text) for text in SENTENCES]
    assert [found(doc) for doc in docs] == [gold(text) for text in SENTENCES]
    for doc, text in zip(docs, SENTENCES, strict=True):
        assert doc.text == text
        assert all(0.5 < ent._.score <= 1.0 for ent in doc.ents)
        # Tokens are as they were but for these borders.
        borders = {border for start, end, _ in gold(text) for border in (start, end)}
        before, after = (set(token_offsets(of)[1].tolist()) for of in (nlp.make_doc(text), doc))
        assert after == before | borders - {0}
        # Behind it, each token has vectors and is tagged.
        assert (
            len(doc._.trf_data.align.lengths)
            == len(doc)
            == len(scores(nlp, text, "own"))
            == len(scores(nlp, text, "stock"))
        )
        assert doc._.trf_data.align.lengths.all()
        assert [token.tag_ for token in doc] == [
            "mark" if token.text in "。、" else "word" for token in doc
        ]
        assert {ent.text for ent in doc.ents} <= {span.text for span in doc.spans["may_be"]}
    assert nlp.evaluate(examples(nlp))["ents_f"] == 1.0
    texts = [*SENTENCES, "", " ", "図書館の自動車\n", "".join(SENTENCES)]
    called = [nlp(text).to_json() for text in texts]
    nlp.to_disk(tmp_path)
    again = spacy.load(tmp_path)
    assert component(again).misaligned == "split"
    assert [doc.to_json() for doc in nlp.pipe(texts)] == called
    assert [doc.to_json() for doc in again.pipe(texts, batch_size=3)] == called
    # Annotating what is annotated already finds nothing else.
    assert [found(nlp(doc)) for doc in docs] == [gold(text) for text in SENTENCES]


@pytest.mark.parametrize("decoder", DECODERS)
def test_vectors_of_parts(decoder: str, overfitted: Callable[[str], Language]) -> None:
    """After splitting, a token's vectors are those of the wordpieces that share a character with
    it.
    """
    nlp = overfitted(decoder)
    for text in SENTENCES:
        doc = nlp(text)
        data = doc._.trf_data
        offsets = data.model_output["offsets"]
        for token, rows in zip(doc, data.align, strict=True):
            shared = [
                i
                for i, (start, end) in enumerate(offsets)
                if start < token.idx + len(token) and token.idx < end
            ]
            assert rows.dataXd.reshape(-1).tolist() == shared


def test_training_splits_nothing(overfitted: Callable[[str], Language]) -> None:
    """What other components learn in the same batch stays as it is."""
    nlp = overfitted("softmax")
    batch = examples(nlp)
    nlp.update(batch, sgd=False)
    assert [[token.text for token in eg.predicted] for eg in batch] == [
        [token.text for token in nlp.make_doc(text)] for text in SENTENCES
    ]


def test_split_mode_c(make_split: Callable[..., Language]) -> None:
    """The finer cuts that the tokenizer knows belong to the tokens."""
    nlp = make_split(head("crf"), split_mode="C")
    train(nlp, examples(nlp), 60)
    docs = [nlp(text) for text in SENTENCES]
    assert [found(doc) for doc in docs] == [gold(text) for text in SENTENCES]
    known = 0
    for doc in docs:
        whole = nlp.make_doc(doc.text)
        expected = {
            (token.idx, token.text): of_token
            for token, of_token in zip(whole, whole.user_data["sub_tokens"], strict=True)
        }
        for token, of_token in zip(doc, doc.user_data["sub_tokens"], strict=True):
            assert of_token == expected.get((token.idx, token.text))
            known += of_token is not None
    assert known > 5


def test_across_windows(make_split: Callable[..., Language]) -> None:
    """Entities that begin and end inside tokens, one of them longer than a window."""
    nlp = make_split(head("crf"), window=16, overlap=4)
    text = "".join(SENTENCES[:8])
    long = (text.index("友人"), text.index("名古屋") + 1)

    def batch() -> list[Example]:
        eg = example(nlp, text)
        spans = [ent for ent in eg.reference.ents if ent.end <= long[0] + 1 or ent.start >= long[1]]
        eg.reference.set_ents([*spans, Span(eg.reference, long[0] + 1, long[1], label="ORG")])
        return [eg]

    train(nlp, batch(), 100)
    doc = nlp(text)
    data = doc._.trf_data
    span = doc.char_span(long[0] + 1, long[1])
    rows = data.align[span.start : span.end].dataXd.reshape(-1)
    assert len(np.unique(data.wordpieces.token_type_ids[0][rows])) > 2
    assert (long[0] + 1, long[1], "ORG") in found(doc)
    assert found(doc) == found(batch()[0].reference)


@pytest.mark.parametrize("family", ["mecab-unidic", "xlm-roberta", "llama", "modernbert"])
def test_families(family: str, make_split: Callable[..., Language]) -> None:
    """Pieces that end inside of characters, several that share one, one of several tokens: all
    entities that pieces can express.
    """
    nlp = make_split(head(), family=family)
    train(nlp, examples(nlp), 3)
    ner = component(nlp)
    ner.model.get_ref("output_layer").set_param(
        "b", np.array([9.0 * (tag == "U-GPE") for tag in tag_names(ner.labels)], dtype="f")
    )
    for doc in nlp.pipe([*SENTENCES, "㍿ｶﾞｷﾞｸﾞ 𠮷野家か\u3099"]):
        # Every unit is an entity of its own.
        ends = [ent.end_char for ent in doc.ents]
        assert len(ends) >= len([token for token in doc if not token.is_space])
        assert all(left < right for left, right in pairwise(ends))


def test_an_encoder_of_its_own(make_split: Callable[..., Language], tmp_path: Path) -> None:
    nlp = make_split(head("crf"))
    train(nlp, examples(nlp), 60)
    expected = [found(nlp(text)) for text in SENTENCES]
    nlp.replace_listeners("transformer", "ner", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    assert [found(doc) for doc in nlp.pipe(SENTENCES)] == expected
    nlp.to_disk(tmp_path)
    assert [found(doc) for doc in spacy.load(tmp_path).pipe(SENTENCES)] == expected
    nlp.update(examples(nlp), sgd=Adam(1e-4))


def test_two_of_them(make_split: Callable[..., Language]) -> None:
    """The second one sees tokens that the first has split, and leaves its entities."""
    nlp = make_split(head(), head("crf", name="second"))
    train(nlp, examples(nlp), 60)
    with nlp.select_pipes(disable=["second"]):
        alone = [found(doc) for doc in nlp.pipe(SENTENCES)]
    assert (
        alone == [found(doc) for doc in nlp.pipe(SENTENCES)] == [gold(text) for text in SENTENCES]
    )


def test_what_is_there_stays(overfitted: Callable[[str], Language]) -> None:
    nlp = overfitted("crf")
    text = "田中さんは昨日、東京で新しい図書館を見学しました。"
    doc = nlp.make_doc(text)
    books = doc.char_span(text.index("図書"), text.index("図書") + 2, label="OTHER")
    doc.set_ents([books], blocked=[doc[0:1]])
    doc = nlp(doc)
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("東京", "GPE"), ("図書", "OTHER")]
    assert doc[0].ent_iob == 3


def test_calibration(overfitted: Callable[[str], Language]) -> None:
    """Entities are found again among the units of a Doc that was split for them."""
    nlp = overfitted("softmax")
    ner = component(nlp)
    batch = examples(nlp)
    for eg, doc in zip(batch, nlp.pipe(eg.predicted for eg in batch), strict=True):
        eg.predicted = doc
    sure = [ent._.score for eg in batch for ent in eg.predicted.ents]
    ner.calibrate([ner.calibration_data(batch[:3]), ner.calibration_data(batch[3:])])
    try:
        assert ner.cfg["temperature"] != 1.0
        again = [ent._.score for doc in nlp.pipe(SENTENCES) for ent in doc.ents]
        order = np.argsort(sure)
        assert np.corrcoef(np.array(sure)[order], np.array(again)[order])[0, 1] > 0.5
    finally:
        ner.cfg["temperature"] = 1.0


def test_what_units_cannot_express(
    make_split: Callable[..., Language], caplog: pytest.LogCaptureFixture
) -> None:
    """Counted at the beginning; said once, and left out of the loss, where even wordpieces are too
    long.
    """
    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        nlp = make_split(head())
    (message,) = [
        record.getMessage() for record in caplog.records if "JW051" in record.getMessage()
    ]
    assert "9 of 11" in message
    text = "この映画"  # この is one piece
    reference = Doc(nlp.vocab, words=list(text), spaces=[False] * 4)
    reference.set_ents([Span(reference, 0, 1, label="GPE"), Span(reference, 3, 4, label="ORG")])
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="spacy_jbert"):
        for _ in range(2):
            nlp.update([Example(nlp.make_doc(text), reference)], sgd=False)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "JW052" in message
    assert "'こ'" in message
    ner = component(nlp)
    rows = np.zeros((3, len(tag_names(ner.labels))), dtype="f")
    _, gradient = ner.get_loss(
        [Example(nlp.make_doc(text), reference)],
        TagScores([rows], None, [np.array([2, 3, 4], dtype=np.int32)]),
    )
    assert gradient.tokens[0].any(axis=1).tolist() == [False, True, True]
    assert gradient.tokens[0][2].argmin() == tag_names(ner.labels).index("U-ORG")


def test_incorrect_spans(make_split: Callable[..., Language]) -> None:
    nlp = make_split(
        head(incorrect_spans_key="wrong", candidates_key="may_be", candidates_threshold=0.9)
    )
    text = "この映画"

    def wrong(start: int) -> Example:
        reference = Doc(nlp.vocab, words=list(text), spaces=[False] * 4)
        reference.set_ents([], default="missing")
        reference.spans["wrong"] = [Span(reference, start, start + 1, label="GPE")]
        return Example(nlp.make_doc(text), reference)

    assert nlp.update([wrong(3)], sgd=False)["ner"] > 0.0
    assert nlp.update([wrong(0)], sgd=False)["ner"] == 0.0


def test_no_vectors_of_ours(make_split: Callable[..., Language]) -> None:
    """Without a transformer, tokens are the units."""
    nlp = make_split(head())
    with nlp.select_pipes(disable=["transformer"]):
        assert [token.text for token in nlp(SENTENCES[1])] == [
            token.text for token in nlp.make_doc(SENTENCES[1])
        ]


def test_settings_that_do_not_fit(make_split: Callable[..., Language]) -> None:
    for misaligned, pooling in (("split", "mean"), ("count", "units"), ("expand", "units")):
        name, factory, config = head()
        config["misaligned"], config["model"]["tok2vec"] = misaligned, listener(pooling=pooling)
        with pytest.raises(ValueError, match="J052"):
            make_split((name, factory, config))
    nlp = make_split(head())
    nlp.config["training"]["annotating_components"] = ["ner"]
    with pytest.raises(ValueError, match="J053"):
        nlp.initialize(lambda: examples(nlp))
