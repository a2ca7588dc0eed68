"""What the tests of pipelines share: something to learn, a few steps of it, and what came out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Adam

from spacy_jbert.pipeline.transformer import JBertTransformer

from ..conftest import SENTENCES

MakeNLP = Callable[..., Language]
LONG = "".join(SENTENCES)  # several windows of 64 pieces


@pytest.fixture
def bare_llama(checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    """A checkpoint that puts no special piece before or behind a text."""
    folder = Path(shutil.copytree(checkpoint("llama"), tmp_path / "llama"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def vectors(doc: Doc) -> np.ndarray:
    return doc._.trf_data.model_output.last_hidden_state[0]


def transformer(nlp: Language, name: str = "transformer") -> JBertTransformer:
    pipe = nlp.get_pipe(name)
    assert isinstance(pipe, JBertTransformer)
    return pipe


def tagged(nlp: Language) -> list[Example]:
    """Something to learn for each stock head, made up from the sentences."""
    examples = []
    for sentence in SENTENCES[:8]:
        doc = nlp.make_doc(sentence)
        n = len(doc)
        gold = Doc(
            nlp.vocab,
            words=[token.text for token in doc],
            spaces=[bool(token.whitespace_) for token in doc],
            tags=["mark" if token.is_punct else "word" for token in doc],
            heads=[min(i + 1, n - 1) for i in range(n)],
            deps=["ROOT" if i == n - 1 else "dep" for i in range(n)],
            ents=["B-X" if i == 0 else "O" for i in range(n)],
        )
        gold.cats = {"long": float(n > 15), "short": float(n <= 15)}
        gold.spans["sc"] = [gold[0:1].char_span(0, len(gold[0].text), label="X")]
        examples.append(Example(doc, gold))
    return examples


def train(
    nlp: Language, examples: list[Example], steps: int = 3, **settings: Any
) -> dict[str, float]:
    optimizer = Adam(1e-3, L2=0.01, grad_clip=1.0)
    losses: dict[str, float] = {}
    for _ in range(steps):
        losses = {}
        # As `spacy train` does it. With an optimizer, nlp.update would step the encoder before its
        # gradient has come back from the heads.
        nlp.update(
            [Example(nlp.make_doc(eg.text), eg.reference) for eg in examples],
            sgd=False,
            losses=losses,
            **settings,
        )
        for name, pipe in nlp.pipeline:
            if name not in settings.get("exclude", ()):
                pipe.finish_update(optimizer)
    return losses


def weights(nlp: Language, name: str = "transformer") -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in transformer(nlp, name).encoder.model.parameters()]


def changed(before: list[torch.Tensor], after: list[torch.Tensor]) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def tagger(tok2vec: dict[str, Any], name: str = "tagger") -> tuple[str, str, dict[str, Any]]:
    return name, "tagger", {"model": {"@architectures": "spacy.Tagger.v2", "tok2vec": tok2vec}}


def scores(nlp: Language, text: str, name: str = "tagger") -> np.ndarray:
    """The head's own output, which shows more than its labels."""
    doc = nlp(text)
    return nlp.get_pipe(name).model.predict([doc])[0]
