"""configs/ner.cfg and configs/textcat.cfg by spaCy's own training, on a tiny encoder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

from .conftest import SENTENCES

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("name", ["ner", "textcat"])
def test_config_trains_and_loads(
    name: str, checkpoint: Callable, ner_examples: Callable, japanese: Language, tmp_path: Path
) -> None:
    docs = [eg.reference for eg in ner_examples(japanese)]
    for i, doc in enumerate(docs):
        doc.cats = {"even": float(i % 2 == 0), "odd": float(i % 2)}
    DocBin(docs=docs).to_disk(tmp_path / "data.spacy")
    overrides = {
        "paths.train": str(tmp_path / "data.spacy"),
        "paths.dev": str(tmp_path / "data.spacy"),
        "paths.encoder": str(checkpoint("mecab-unidic")),
        "components.transformer.model.overlap": 8,
        "training.max_steps": 2,
        "training.eval_frequency": 1,
        "training.accumulate_gradient": 2,
    }
    config = load_config(
        CONFIGS / f"{name}.cfg",
        overrides={**overrides, "training.logger": {"@loggers": "spacy.ConsoleLogger.v1"}},
    )
    nlp = init_nlp(config)
    (tmp_path / "out").mkdir()
    train(nlp, tmp_path / "out", use_gpu=-1)
    loaded = spacy.load(tmp_path / "out" / "model-last")
    assert loaded.pipe_names == ["transformer", name]
    for doc in loaded.pipe(SENTENCES):
        assert name == "ner" or sum(doc.cats.values()) == pytest.approx(1.0, abs=1e-5)
    assert [doc.to_json() for doc in loaded.pipe(SENTENCES)] == [
        loaded(text).to_json() for text in SENTENCES
    ] or name == "textcat"
    assert loaded.meta["performance"]["transformer_loss"] >= 0.0
    # What is saved resolves each section by itself.
    optimizer = loaded.resume_training()
    examples = [Example(loaded.make_doc(doc.text), doc) for doc in docs[:4]]
    losses = loaded.update(examples, sgd=optimizer)
    assert losses[name] > 0.0
    assert loaded.create_optimizer() is not optimizer
