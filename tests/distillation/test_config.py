"""configs/distill.cfg: one student of both kinds of labels, by `spacy train`'s own loop."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import spacy
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.training.initialize import init_nlp
from spacy.training.loop import train
from spacy.util import load_config

from ..conftest import SENTENCES

CONFIG = Path(__file__).parents[2] / "configs" / "distill.cfg"


def test_a_teacher_of_both_teaches_both(
    teacher: Path,
    raw: Path,
    both: Callable,
    checkpoint: Callable[[str], Path],
    japanese: Language,
    tmp_path: Path,
) -> None:
    gold = tmp_path / "gold.spacy"
    DocBin(docs=[eg.reference for eg in both(japanese)]).to_disk(gold)
    overrides = {
        "nlp.pipeline": ["transformer", "ner", "textcat"],
        "paths.train": str(gold),
        "paths.dev": str(gold),
        "paths.encoder": str(checkpoint("bert-fast")),
        "paths.teacher": str(teacher),
        "paths.text": str(raw),
        "paths.labelled": str(tmp_path / "labelled"),
        "corpora.train.min_characters": 5,
        "components.transformer.model.overlap": 8,
        "training.max_steps": 40,
        "training.eval_frequency": 40,
    }

    def trained(out: Path) -> Language:
        config = load_config(CONFIG, overrides=overrides)
        # A tiny encoder learns at a rate that would ruin a real one.
        config["training"]["optimizer"]["learn_rate"] = 4e-3
        out.mkdir()
        train(init_nlp(config), out, use_gpu=-1)
        return spacy.load(out / "model-last")

    nlp = trained(tmp_path / "first")
    scores = nlp.evaluate(both(nlp))
    assert scores["ents_f"] > 0.9
    assert scores["cats_macro_f"] > 0.9
    # Nothing of the teacher, its folder or the texts is named in what was saved.
    saved = (tmp_path / "first/model-last/config.cfg").read_text(encoding="utf-8")
    assert str(tmp_path) not in saved
    # The second time nothing is labelled, and all is the same.
    again = trained(tmp_path / "second")
    for name in ("ner", "textcat"):
        ours, theirs = (of.get_pipe(name).model.get_ref("output_layer") for of in (nlp, again))
        np.testing.assert_array_equal(ours.get_param("W"), theirs.get_param("W"))
    assert [doc.cats for doc in nlp.pipe(SENTENCES)] == [doc.cats for doc in again.pipe(SENTENCES)]
