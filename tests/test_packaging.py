"""What a saved pipeline says about the machine it was trained on: nothing."""

from pathlib import Path

import pytest
import spacy
from spacy.util import load_config

from spacy_jbert.packaging import portable

from .conftest import FAMILIES

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize(
    ("family", "needed"), [("bert-fast", []), ("mecab-ipadic", ["fugashi>=1.3", "ipadic>=1.0"])]
)
def test_no_path_stays_and_the_tokenizer_is_required(
    family: str, needed: list[str], checkpoint, tmp_path: Path
) -> None:
    assert family in FAMILIES
    folder = str(checkpoint(family))
    paths = {
        "paths.train": "/somewhere/train.spacy",
        "paths.dev": "/somewhere/dev.spacy",
        "paths.encoder": folder,
    }
    config = load_config(CONFIGS / "ner.cfg", overrides=paths)
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    from spacy_jbert.encoder.checkpoint import hf_encoder

    nlp.get_pipe("transformer").initialize(lambda: [], nlp=nlp, encoder=hf_encoder(folder))
    for _ in range(2):  # once for every checkpoint that is written
        portable()(nlp)
    nlp.select_pipes(enable="transformer")
    nlp.to_disk(tmp_path / "pipeline")
    for file in (
        "config.cfg",
        "meta.json",
        "transformer/model/config.json",
        "transformer/model/tokenizer_config.json",
    ):
        text = (tmp_path / "pipeline" / file).read_text(encoding="utf-8")
        assert "/somewhere" not in text, file
        assert folder not in text, file
    assert nlp.meta["requirements"] == needed
    assert "encoder" not in nlp.config["initialize"]["components"]["transformer"]
