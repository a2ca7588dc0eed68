"""What a saved pipeline says about the machine it was trained on: nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.training import Example
from spacy.util import load_config

from spacy_jbert.packaging import portable

from .conftest import FAMILIES, SENTENCES, listener
from .pipeline.conftest import tagged, tagger

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
    from spacy_jbert.encoder.loaders import hf_encoder

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
    initialize = nlp.config.interpolate()["initialize"]
    assert initialize["components"]["transformer"]["encoder"]["name"] is None


def pooled() -> dict[str, Any]:
    return {
        "@architectures": "spacy-jbert.PooledTextCat.v1",
        "exclusive_classes": True,
        "tok2vec": listener(),
    }


def test_replaced_listeners_still_need_their_packages(make_nlp: Callable) -> None:
    nlp = make_nlp(
        [("textcat", "textcat", {"model": pooled()})],
        lambda nlp: [
            Example.from_dict(nlp.make_doc(text), {"cats": {"yes": i % 2, "no": 1 - i % 2}})
            for i, text in enumerate(SENTENCES[:4])
        ],
        family="mecab-ipadic",
    )
    nlp.replace_listeners("transformer", "textcat", ["model.tok2vec"])
    nlp.remove_pipe("transformer")
    portable()(nlp)
    assert nlp.meta["requirements"] == ["fugashi>=1.3", "ipadic>=1.0"]


def test_settings_of_other_components_stay() -> None:
    nlp = spacy.blank("ja")
    nlp.add_pipe("sentencizer")
    nlp.config["initialize"]["components"]["sentencizer"] = {"encoder": "theirs"}
    portable()(nlp)
    assert nlp.config["initialize"]["components"]["sentencizer"] == {"encoder": "theirs"}


def test_the_device_of_training_stays_there(make_nlp: Callable) -> None:
    nlp = make_nlp([tagger(listener())], tagged, device="cpu")
    portable()(nlp)
    assert nlp.config["components"]["transformer"]["model"]["device"] == "auto"
    nlp = make_nlp([tagger(listener())], tagged, device="cpu")
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    portable()(nlp)
    assert nlp.config["components"]["tagger"]["model"]["tok2vec"]["device"] == "auto"


def test_weights_that_are_no_numbers_are_not_saved(make_nlp: Callable) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    output = nlp.get_pipe("tagger").model.get_ref("softmax")
    W = output.get_param("W")
    W[0, 0] = float("nan")
    output.set_param("W", W)
    with pytest.raises(ValueError, match="J302"):
        portable()(nlp)


def test_a_card_stands_in_the_meta(make_nlp: Callable, checkpoint, tmp_path: Path) -> None:
    """By the encoder's own README; a folder's path isn't named, what somebody wrote stays."""
    folder = tmp_path / "secret" / "small-bert"
    shutil.copytree(checkpoint("bert-fast"), folder)
    (folder / "README.md").write_text("---\nlanguage: ja\nlicense: cc-by-4.0\n---\n")
    nlp = make_nlp([tagger(listener())], tagged, folder=folder)
    # As in the configs.
    nlp.config["paths"]["encoder"] = str(folder)
    nlp.config["initialize"]["components"]["transformer"]["encoder"]["name"] = "${paths.encoder}"
    nlp.meta["performance"] = {"ents_f": 0.5, "ents_f_interval": [0.4, 0.625]}
    portable()(nlp)
    notes = nlp.meta["notes"]
    assert nlp.meta["sources"] == [{"name": "small-bert", "license": "cc-by-4.0"}]
    assert "small-bert (cc-by-4.0)" in notes
    assert "| ents_f | 50.0 | (40.0–62.5) |" in notes
    assert "secret" not in notes
    nlp.meta["performance"]["ents_f"] = 0.6
    portable()(nlp)
    assert "| ents_f | 60.0 |" in nlp.meta["notes"]
    assert nlp.meta["notes"].count("## Model card") == 1
    assert len(nlp.meta["sources"]) == 1
    nlp.meta["notes"] = "Mine."
    portable()(nlp)
    assert nlp.meta["notes"] == "Mine."
