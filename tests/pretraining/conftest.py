"""A few dozen Japanese sentences, a vocabulary and a tiny encoder trained on nothing but them."""

from copy import deepcopy
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import spacy
import torch
from spacy.language import Language

from spacy_jbert.encoder.checkpoint import Encoder
from spacy_jbert.encoder.loaders import new_encoder
from spacy_jbert.pretraining.vocabulary import trained_vocabulary
from spacy_jbert.wordpieces.segmentation import make_segmenter

PLACES = ["東京", "京都", "大阪", "札幌市", "名古屋"]
PEOPLE = ["田中さん", "鈴木先生", "山田社長", "私の友人"]
DEEDS = [
    "は昨日、{}で新しい図書館を見学しました。",
    "が来週{}へ出張すると聞いて驚いた。",
    "によると、{}の桜はもう満開だそうだ。",
]


@pytest.fixture(scope="session")
def documents() -> list[list[str]]:
    """Twelve documents of five sentences, each sentence there once."""
    return [
        [person + deed.format(place) for place in PLACES] for person, deed in product(PEOPLE, DEEDS)
    ]


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]]) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join("\n".join(document) for document in documents), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def nlp() -> Language:
    return spacy.blank("ja")


@pytest.fixture(scope="session")
def tokenizer(nlp: Language, text: Path) -> Any:
    return trained_vocabulary(str(text), size=512)(nlp)


@pytest.fixture
def encoder(nlp: Language, tokenizer: Any) -> Encoder:
    torch.manual_seed(0)
    return new_encoder(lambda nlp: deepcopy(tokenizer), layers=2, width=32, heads=2, max_pieces=64)(
        nlp
    )


@pytest.fixture
def pipe(encoder: Encoder) -> SimpleNamespace:
    """What pretraining wants of a transformer component."""
    return SimpleNamespace(encoder=encoder, segmenter=make_segmenter(encoder.tokenizer))
