"""A tiny teacher of entities and categories, and raw text for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from spacy.language import Language
from spacy.training import Example

from ..conftest import SENTENCES, listener
from ..pipeline.conftest import train

TEXTCAT = {
    "@architectures": "spacy-jbert.PooledTextCat.v1",
    "exclusive_classes": True,
    "tok2vec": listener(),
}


def heads(decoder: str = "crf") -> list[tuple[str, str, dict[str, Any]]]:
    tagger = {
        "@architectures": "spacy-jbert.TokenClassifier.v1",
        "decoder": decoder,
        "tok2vec": listener(),
    }
    return [
        ("ner", "jbert_ner", {"model": tagger}),
        ("textcat", "jbert_textcat", {"model": TEXTCAT}),
    ]


@pytest.fixture
def both(ner_examples: Callable) -> Callable[[Language], list[Example]]:
    """The sentences with their names, and whether they have some."""

    def make(nlp: Language) -> list[Example]:
        examples: list[Example] = ner_examples(nlp)
        for eg in examples:
            named = float(bool(eg.reference.ents))
            eg.reference.cats = {"named": named, "other": 1.0 - named}
        return examples

    return make


@pytest.fixture
def teacher(make_nlp: Callable, both: Callable, tmp_path: Path) -> Path:
    nlp = make_nlp(heads(), both)
    train(nlp, both(nlp), steps=25)
    nlp.to_disk(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.txt"
    path.write_text("\n".join(SENTENCES * 2) + "\n短い。\n", encoding="utf-8")
    return path
