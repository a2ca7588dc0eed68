"""Each entry point resolves through spaCy's registry, can be called, and has its row in
docs/registry.md.
"""

import re
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import spacy
import spacy_transformers  # noqa: F401  (has the registry of annotation setters)
from spacy import registry
from thinc.api import Model

ENTRY_POINTS = [
    entry for entry in distribution("spacy-jbert").entry_points if entry.group.startswith("spacy_")
]
KINDS = {
    "spacy_factories": "factory",
    "spacy_architectures": "architecture",
    "spacy_misc": "misc",
    "spacy_callbacks": "callback",
}
KINDS |= {
    "spacy_tokenizers": "tokenizer",
    "spacy_readers": "reader",
    "spacy_cli": "command",
    "spacy_scorers": "scorer",
    "spacy_loggers": "logger",
    "spacy_annotation_setters": "setter",
}


def test_the_table_lists_them_all() -> None:
    table = (Path(__file__).parents[1] / "docs" / "registry.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| [^|]+ \| [^|]+ \|$", table, flags=re.MULTILINE)
    assert sorted(rows) == sorted((entry.name, KINDS[entry.group]) for entry in ENTRY_POINTS)


def tok2vec() -> Model:
    return registry.architectures.get("spacy-jbert.TransformerListener.v1")(pooling="first")


CALLS: dict[str, Callable[[Any], Any]] = {
    "spacy-jbert.SudachiTokenizer.v1": lambda build: build(
        split_mode="C", attributes="words", dict="core"
    ),
    "spacy-jbert.JapaneseTransformer.v1": lambda build: build(window=128, overlap=8),
    "spacy-jbert.Tok2VecTransformer.v1": lambda build: build(pooling="first"),
    "spacy-jbert.OnnxTransformer.v1": lambda build: build(),
    "spacy-jbert.Tok2VecOnnxTransformer.v1": lambda build: build(),
    "spacy-jbert.TransformerListener.v1": lambda build: build(pooling="cls"),
    "spacy-jbert.TokenClassifier.v1": lambda build: build(tok2vec(), decoder="crf", nO=5),
    "spacy-jbert.PooledTextCat.v1": lambda build: build(tok2vec(), exclusive_classes=True, nO=2),
    "spacy-jbert.SpanQA.v1": lambda build: build(window=128, overlap=32, max_question=32),
    "spacy-jbert.ImportedTagger.v1": lambda build: build(tok2vec(), tags=["O", "B-A", "I-A"]),
    "spacy-jbert.ImportedTextCat.v1": lambda build: build(tok2vec(), exclusive_classes=True, nO=2),
    "spacy-jbert.HFEncoder.v1": lambda build: build("some/model"),
    "spacy-jbert.NewEncoder.v1": lambda build: build("vocabulary", size="tiny"),
    "spacy-jbert.TrainedVocabulary.v1": lambda build: build(path="text", size=128),
    "spacy-jbert.portable.v1": lambda build: build(),
    "spacy-jbert.calibrate.v1": lambda build: build(corpus=lambda nlp: []),
    "spacy-jbert.resolved_optimizer.v1": lambda build: build(),
    "spacy-jbert.chain_callbacks.v1": lambda build: build(lambda nlp: nlp),
    "spacy-jbert.TensorBoardLogger.v1": lambda build: build(path="logs"),
    "spacy-jbert.MLflowLogger.v1": lambda build: build(uri="sqlite:///x.db"),
    "spacy-jbert.RecordLogger.v1": lambda build: build(path="run.json"),
    "spacy-jbert.ner_scorer.v1": lambda build: build(),
    "spacy-jbert.textcat_scorer.v1": lambda build: build(exclusive_classes=True),
    "spacy-jbert.qa_scorer.v1": lambda build: build(),
    "spacy-jbert.doc_vectors.v1": lambda build: build(pooling="cls"),
    "spacy-jbert.tune_pairs.v1": lambda build: build(path="pairs.jsonl", output="out"),
    "spacy-jbert.pretrain_mlm.v1": lambda build: build(path="text", output="out"),
    "spacy-jbert.pretrain_mlm.v2": lambda build: build(path="text", output="out"),
}


@pytest.mark.parametrize("entry", ENTRY_POINTS, ids=lambda entry: entry.name)
def test_each_resolves_and_can_be_called(entry: Any) -> None:
    if entry.group == "spacy_factories":
        nlp = spacy.blank("ja")
        assert nlp.add_pipe(entry.name).name == entry.name
        return
    if entry.group not in (
        "spacy_tokenizers",
        "spacy_architectures",
        "spacy_misc",
        "spacy_callbacks",
        "spacy_scorers",
        "spacy_loggers",
        "spacy_annotation_setters",
    ):
        assert callable(entry.load())
        return
    found = getattr(registry, entry.group.removeprefix("spacy_")).get(entry.name)
    assert found is entry.load()
    assert callable(CALLS[entry.name](found))
