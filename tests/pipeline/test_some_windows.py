"""Documents of which only some windows are read, by setting."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.training import Example

from ..conftest import SENTENCES, listener, stock_listener
from .conftest import LONG, train, transformer

MakeNLP = Callable[..., Language]


def textcat(pooling: str = "mean") -> list[tuple[str, str, dict[str, Any]]]:
    model = {
        "@architectures": "spacy-jbert.PooledTextCat.v1",
        "exclusive_classes": True,
        "dropout": 0.0,
        "tok2vec": listener(pooling=pooling),
    }
    return [("textcat", "textcat", {"model": model})]


def examples(nlp: Language) -> list[Example]:
    found = []
    for text, cats in ((LONG, {"A": 1.0, "B": 0.0}), (SENTENCES[0], {"A": 0.0, "B": 1.0})):
        doc = nlp.make_doc(text)
        doc.cats = cats
        found.append(Example(nlp.make_doc(text), doc))
    return found


def windows_read(nlp: Language, call: Callable[[], object]) -> int:
    """How many windows the encoder was given."""
    found: list[int] = []
    encoder = transformer(nlp).encoder
    ((before,), _) = encoder.special_ids
    hook = encoder.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, ids: found.append(int((ids[0] == before).sum()))
    )
    call()
    hook.remove()
    return sum(found)


@pytest.mark.parametrize("pooling", ["mean", "first", "cls"])
@pytest.mark.parametrize("choice", ["first", "random"])
def test_so_many_windows_in_training_and_all_in_prediction(
    make_nlp: MakeNLP, pooling: str, choice: str
) -> None:
    nlp = make_nlp(textcat(pooling), examples, train_windows=2, window_choice=choice)
    both = examples(nlp)
    assert windows_read(nlp, lambda: train(nlp, both, 1)) == 3
    n_windows = windows_read(nlp, lambda: nlp(LONG))
    assert n_windows > 5
    assert windows_read(nlp, lambda: nlp.evaluate(examples(nlp))) == n_windows + 1
    before = transformer(nlp).model.predict([nlp.make_doc(LONG)]).rows
    assert train(nlp, both, 1)["transformer"] > 0
    assert (transformer(nlp).model.predict([nlp.make_doc(LONG)]).rows != before).any()


def test_the_first_windows_in_prediction(make_nlp: MakeNLP, tmp_path: Path) -> None:
    whole = make_nlp(textcat(), examples)
    nlp = make_nlp(textcat(), examples, predict_windows=2)
    for pipeline in (whole, nlp):
        layer = pipeline.get_pipe("textcat").model.get_ref("output_layer")
        layer.set_param("W", np.random.default_rng(0).normal(0, 1, (2, 16)).astype("f"))
    doc = nlp(LONG)
    data = doc._.trf_data
    read = np.flatnonzero(data.align.lengths)
    assert 2 < len(read) < len(doc)
    assert data.align.lengths[: read[-1] + 1].all()
    # The same as of a text that ends there.
    short = "".join(token.text_with_ws for token in doc[: read[-1] + 1])
    assert whole(short).cats == pytest.approx(doc.cats, abs=1e-5)
    assert whole(LONG).cats != pytest.approx(doc.cats, abs=1e-5)
    assert windows_read(nlp, lambda: train(nlp, examples(nlp), 1)) > 6
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(LONG).cats == pytest.approx(nlp(LONG).cats, abs=1e-5)


def test_what_is_read_gets_the_gradient_of_the_loss(make_nlp: MakeNLP) -> None:
    nlp = make_nlp(textcat(), examples, train_windows=1, window_choice="first")
    layer = nlp.get_pipe("textcat").model.get_ref("output_layer")
    layer.set_param("W", np.random.default_rng(0).normal(0, 1, (2, 16)).astype("f"))
    whole = make_nlp(textcat(), examples)
    other = whole.get_pipe("textcat").model.get_ref("output_layer")
    other.set_param("W", layer.get_param("W").copy())
    data = transformer(nlp).model.begin_update([nlp.make_doc(LONG)])[0].doc_data[0]
    n_read = int(np.flatnonzero(data.align.lengths)[-1]) + 1
    doc = nlp.make_doc(LONG)
    beginning = Doc(nlp.vocab, words=[t.text for t in doc[:n_read]], spaces=[False] * n_read)
    gold, gold_beginning = nlp.make_doc(LONG), beginning.copy()
    gold.cats = gold_beginning.cats = {"A": 1.0, "B": 0.0}
    norms = []
    for pipeline, eg in ((nlp, Example(doc, gold)), (whole, Example(beginning, gold_beginning))):
        norms.append(pipeline.update([eg], sgd=pipeline.create_optimizer())["transformer"])
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)
    assert norms[0] > 0


@pytest.mark.parametrize("setting", ["train_windows", "predict_windows"])
@pytest.mark.parametrize("kind", ["ours", "units", "stock"])
def test_heads_that_need_all_tokens_say_so(
    make_nlp: MakeNLP, ner_examples: Callable, setting: str, kind: str
) -> None:
    model: dict[str, Any] = {"@architectures": "spacy-jbert.TokenClassifier.v1"}
    model["tok2vec"] = listener(pooling="units" if kind == "units" else "mean")
    head: tuple[str, str, dict[str, Any]] = ("ner", "jbert_ner", {"model": model})
    if kind == "units":
        head[2]["misaligned"] = "split"
    if kind == "stock":
        head = ("ner", "ner", {"model": {"tok2vec": stock_listener(), "use_upper": False}})
    nlp = make_nlp([head], ner_examples, **{setting: 1})
    train(nlp, ner_examples(nlp), 1)  # a window each
    assert nlp(SENTENCES[0]) is not None
    call: Callable[[], object] = partial(nlp, LONG)
    if setting == "train_windows":
        gold = nlp.make_doc(LONG)
        gold.set_ents([Span(gold, 0, 1, "PERSON")])
        call = partial(train, nlp, [Example(nlp.make_doc(LONG), gold)], 1)
    with pytest.raises(ValueError, match="J485"):
        call()


def test_an_encoder_in_the_head(make_nlp: MakeNLP, tmp_path: Path) -> None:
    """What `replace_listeners` leaves reads as many windows."""
    nlp = make_nlp(textcat(), examples, train_windows=2, predict_windows=3)
    train(nlp, examples(nlp), 2)
    expected = nlp(LONG).cats
    nlp.replace_listeners("transformer", "textcat", ["model.tok2vec"])
    assert nlp(LONG).cats == pytest.approx(expected, abs=1e-5)
    nlp.to_disk(tmp_path)
    assert spacy.load(tmp_path)(LONG).cats == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"train_windows": 0}, "J087"),
        ({"predict_windows": -1}, "J087"),
        ({"window_choice": "last"}, "J040"),
    ],
)
def test_settings_out_of_range(make_nlp: MakeNLP, settings: dict[str, Any], code: str) -> None:
    with pytest.raises(ValueError, match=code):
        make_nlp(**settings)


def test_the_seed_chooses_the_windows(make_nlp: MakeNLP) -> None:
    found = []
    for seed in (0, 0, 1):
        nlp = make_nlp(textcat(), examples, train_windows=1)
        spacy.util.fix_random_seed(seed)
        chosen = []
        for _ in range(5):
            batch, _ = transformer(nlp).model.begin_update([nlp.make_doc(LONG)])
            chosen.append(batch.doc_data[0].table[1, 1])  # at which character it begins
        found.append(chosen)
    assert found[0] == found[1] != found[2]
