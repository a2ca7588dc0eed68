"""A trained `jbert_ner` as transformers' own class loads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.training import Example
from transformers import AutoModelForTokenClassification

from spacy_jbert.exporting_hf import export_hf

from .conftest import SENTENCES, listener


@pytest.fixture
def trained(
    make_nlp: Callable[..., Language], ner_examples: Callable[[Language], list[Example]]
) -> Callable[..., Language]:
    def make(**settings: Any) -> Language:
        decoder = settings.pop("decoder", "crf")
        architecture = "spacy-jbert.TokenClassifier.v1"
        model = {"@architectures": architecture, "decoder": decoder, "tok2vec": listener()}
        nlp = make_nlp([("ner", "jbert_ner", {"model": model})], ner_examples, **settings)
        optimizer = nlp.resume_training()
        optimizer.learn_rate = 1e-3
        for _ in range(3):
            nlp.update(ner_examples(nlp), sgd=optimizer)
        return nlp

    return make


@pytest.mark.parametrize("family", ["bert-fast", "electra", "xlm-roberta", "deberta-v2", "albert"])
def test_its_logits_are_those_of_the_pipeline(
    family: str, trained: Callable[..., Language], tmp_path: Path
) -> None:
    nlp = trained(family=family)
    export_hf(nlp, tmp_path / "hf")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "hf").eval()
    ner = nlp.get_pipe("ner")
    for text in SENTENCES[:4]:
        doc = nlp.get_pipe("transformer")(nlp.make_doc(text))
        wanted = ner.model.predict([doc]).tokens[0]
        data = doc._.trf_data
        with torch.no_grad():
            ids = torch.from_numpy(data.wordpieces.input_ids.astype(np.int64))
            logits = model(ids).logits[0].numpy()
        ends = np.cumsum(data.align.lengths)
        rows = np.split(data.align.dataXd.reshape(-1), ends[:-1])
        found = np.stack([logits[row].mean(axis=0) for row in rows])
        assert np.allclose(found, wanted, atol=1e-5)
    assert model.config.id2label[0] == "O"
    assert set(model.config.label2id) >= {"B-PERSON", "U-GPE"}


def test_heads_are_found_by_what_they_are(trained: Callable[..., Language], tmp_path: Path) -> None:
    nlp = trained()
    nlp.add_pipe("merge_entities", name="textcat_view")
    nlp.rename_pipe("ner", "names")
    export_hf(nlp, tmp_path / "hf")
    assert AutoModelForTokenClassification.from_pretrained(tmp_path / "hf").config.id2label


def test_a_classifier_with_layers_of_its_own_is_refused(
    trained: Callable[..., Language], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"J430.*ModernBert"):
        export_hf(trained(family="modernbert"), tmp_path / "hf")
    assert not (tmp_path / "hf").exists()


def test_categories_are_refused(make_nlp: Callable[..., Language], tmp_path: Path) -> None:
    model = {
        "@architectures": "spacy-jbert.PooledTextCat.v1",
        "exclusive_classes": True,
        "tok2vec": listener(),
    }

    def examples(nlp: Language) -> list[Example]:
        cats = [{"偶": 1.0, "奇": 0.0}, {"偶": 0.0, "奇": 1.0}]
        docs = [nlp.make_doc(text) for text in SENTENCES[:2]]
        return [Example.from_dict(doc, {"cats": c}) for doc, c in zip(docs, cats, strict=True)]

    nlp = make_nlp([("textcat", "textcat", {"model": model})], examples)
    with pytest.raises(ValueError, match=r"J433.*textcat"):
        export_hf(nlp, tmp_path / "hf")
