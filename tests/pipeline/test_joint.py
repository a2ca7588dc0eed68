"""configs/joint.cfg: one encoder for entities and categories, on documents of which each carries
one kind of annotation only.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config
from thinc.api import Adam

from ..conftest import SENTENCES

CONFIG = Path(__file__).parents[2] / "configs" / "joint.cfg"


def with_categories(nlp: Language) -> list[Doc]:
    docs = [nlp.make_doc(sentence) for sentence in SENTENCES]
    for i, doc in enumerate(docs):
        doc.cats = {"A": float(i % 2 == 0), "B": float(i % 2)}
    return docs


@pytest.fixture
def corpus(ner_examples: Callable, japanese: Language, tmp_path: Path) -> Path:
    """A folder with two DocBins: the sentences with their entities, and the same sentences with
    their categories.
    """
    (tmp_path / "corpus").mkdir()
    DocBin(docs=[eg.reference for eg in ner_examples(japanese)]).to_disk(
        tmp_path / "corpus" / "entities.spacy"
    )
    DocBin(docs=with_categories(japanese), store_user_data=True).to_disk(
        tmp_path / "corpus" / "categories.spacy"
    )
    return tmp_path / "corpus"


@pytest.fixture
def make_joint(corpus: Path, checkpoint: Callable) -> Callable[..., Language]:
    def make(**overrides: object) -> Language:
        paths = {
            "paths.train": str(corpus),
            "paths.dev": str(corpus),
            "paths.encoder": str(checkpoint("bert-fast")),
        }
        config = load_config(
            CONFIG, overrides={**paths, "components.transformer.model.overlap": 8, **overrides}
        )
        # A tiny encoder learns at a rate that would ruin a real one.
        config["training"]["optimizer"]["learn_rate"] = 4e-3
        return init_nlp(config)

    return make


def update(nlp: Language, references: list[Doc], optimizer: Adam) -> None:
    nlp.update([Example(nlp.make_doc(doc.text), doc) for doc in references], sgd=optimizer)


def weights(nlp: Language, name: str) -> np.ndarray:
    return nlp.get_pipe(name).model.get_ref("output_layer").get_param("W").copy()


def test_both_are_learned_and_scored(make_joint: Callable, corpus: Path, tmp_path: Path) -> None:
    nlp = make_joint(**{"training.max_steps": 60, "training.eval_frequency": 60})
    (tmp_path / "out").mkdir()
    train(nlp, tmp_path / "out", use_gpu=-1)
    nlp = spacy.load(tmp_path / "out" / "model-best")
    scores = nlp.evaluate(list(spacy.training.Corpus(corpus)(nlp)))
    assert scores["ents_f"] > 0.95
    assert scores["cats_macro_f"] > 0.95
    # Each document has both, though none had in training.
    for doc in nlp.pipe(SENTENCES[1:4]):
        assert doc.ents
        assert sum(doc.cats.values()) == pytest.approx(1.0, abs=1e-5)


def test_what_is_missing_teaches_nothing(make_joint: Callable, ner_examples: Callable) -> None:
    nlp = make_joint()
    entities = [eg.reference for eg in ner_examples(nlp)]
    for _ in range(3):
        update(nlp, entities + with_categories(nlp), Adam(1e-3))
    ner, textcat = weights(nlp, "ner"), weights(nlp, "textcat")
    # A new optimizer each time: without momentum, no gradient is no step.
    update(nlp, with_categories(nlp), Adam(1e-3))
    np.testing.assert_array_equal(weights(nlp, "ner"), ner)
    assert not np.array_equal(weights(nlp, "textcat"), textcat)
    textcat = weights(nlp, "textcat")
    update(nlp, entities, Adam(1e-3))
    np.testing.assert_array_equal(weights(nlp, "textcat"), textcat)
    assert not np.array_equal(weights(nlp, "ner"), ner)


def test_a_document_is_not_scored_for_what_its_annotation_leaves_open(
    make_joint: Callable, ner_examples: Callable
) -> None:
    nlp = make_joint()
    optimizer = Adam(4e-3)
    for _ in range(12):
        update(nlp, [eg.reference for eg in ner_examples(nlp)] + with_categories(nlp), optimizer)
    entities = [Example(nlp.make_doc(eg.text), eg.reference) for eg in ner_examples(nlp)]
    categories = [Example(nlp.make_doc(doc.text), doc) for doc in with_categories(nlp)]
    together = nlp.evaluate(entities + categories)
    assert together["ents_per_type"] == nlp.evaluate(entities)["ents_per_type"]
    apart = nlp.evaluate(categories)
    assert together["cats_f_per_type"] == apart["cats_f_per_type"]
    assert together["cats_ece"] == pytest.approx(apart["cats_ece"])
