"""What people do with a pipeline beside training and applying it: none of it may end silently wrong
or without a code."""

import copy
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.training import Example

from spacy_jbert.tokenizer.sudachi import SudachiTokenizer

from ..conftest import SENTENCES, listener, stock_listener
from .conftest import MakeNLP, changed, scores, tagged, tagger, train, transformer, vectors, weights


def stock_heads(tok2vec: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Components of spaCy that take token vectors."""
    reduce = {"@layers": "reduce_mean.v1"}
    scorer = {"@layers": "spacy.LinearLogistic.v1", "nO": None, "nI": None}
    linear = {"@architectures": "spacy.TextCatReduce.v1", "use_reduce_mean": True}
    linear |= {"use_reduce_first": False, "use_reduce_last": False, "use_reduce_max": False}
    spans = {"@architectures": "spacy.SpanCategorizer.v1", "reducer": reduce, "scorer": scorer}
    finder = {"@architectures": "spacy.SpanFinder.v1", "scorer": scorer | {"nO": 2}}
    tags = {"@architectures": "spacy.Tagger.v2"}
    return [
        ("tagger", "tagger", {"model": {**tags, "tok2vec": tok2vec}}),
        (
            "textcat",
            "textcat",
            {"model": {**linear, "exclusive_classes": True, "tok2vec": tok2vec}},
        ),
        ("spancat", "spancat", {"model": {**spans, "tok2vec": tok2vec}}),
        ("span_finder", "span_finder", {"model": {**finder, "tok2vec": tok2vec}}),
    ]


OURS = [("ner", "jbert_ner", {"model": {"tok2vec": listener()}})]


@pytest.fixture(params=["ours", "stock"])
def every_head(request: pytest.FixtureRequest, make_nlp: MakeNLP) -> Language:
    tok2vec = listener() if request.param == "ours" else stock_listener()
    return make_nlp([*stock_heads(tok2vec), *OURS], tagged)


def is_stock(nlp: Language) -> bool:
    tok2vec = nlp.config["components"]["tagger"]["model"]["tok2vec"]
    return tok2vec["@architectures"].startswith("spacy-transformers.")


def blank_examples(nlp: Language, *texts: str) -> list[Example]:
    return [Example.from_dict(nlp.make_doc(text), {}) for text in texts]


@pytest.mark.parametrize("texts", [("",), ("", ""), (" ",), ("\n　", ""), ("", SENTENCES[0], " ")])
def test_nothing_to_read_in_training(every_head: Language, texts: tuple[str, ...]) -> None:
    nlp = every_head
    if not any(texts) and is_stock(nlp):
        nlp.remove_pipe("span_finder")
    optimizer = nlp.resume_training()
    for sgd in (optimizer, False):
        losses = nlp.update(blank_examples(nlp, *texts), sgd=sgd)
        assert all(np.isfinite(loss) for loss in losses.values())
        for _, pipe in nlp.pipeline:
            pipe.finish_update(optimizer)
    before = weights(nlp)
    train(nlp, tagged(nlp), 2)
    assert changed(before, weights(nlp))
    assert [doc.text for doc in nlp.pipe(texts)] == list(texts)


def test_stock_pooling_of_nothing(make_nlp: MakeNLP) -> None:
    nlp = make_nlp(stock_heads(stock_listener())[-1:], tagged)
    with pytest.raises(ValueError, match="J094"):
        nlp.update(blank_examples(nlp, ""))
    with pytest.raises(ValueError, match="J094"):
        nlp("")


@pytest.mark.parametrize("order", [0, 1])
def test_rehearsal_is_refused_with_a_code(
    every_head: Language, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = every_head
    nlp.resume_training()
    monkeypatch.setattr(random, "shuffle", lambda pipes: pipes.reverse() if order else None)
    with pytest.raises((NotImplementedError, ValueError), match=r"J014|J092"):
        nlp.rehearse(tagged(nlp))
    # It leaves nothing behind.
    train(nlp, tagged(nlp), 1)


def test_heads_without_a_transformer_are_refused_with_a_code(every_head: Language) -> None:
    nlp = every_head
    with pytest.raises(ValueError, match="J092"):
        nlp.update(tagged(nlp), exclude=["transformer"])
    nlp.update(tagged(nlp), exclude=["transformer"], annotates=["transformer"])


def test_other_documents_than_the_transformers(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged)
    first, second = tagged(nlp)[:1], tagged(nlp)[1:2]
    transformer(nlp).update(first)
    with pytest.raises(ValueError, match="J093"):
        nlp.get_pipe("tagger").update(second)


def two_transformers(make_nlp: MakeNLP, order: list[str]) -> Language:
    """A head for each of two transformers with different weights, in some order."""
    nlp = make_nlp()
    second = nlp.add_pipe("jbert_transformer", name="second", config={"model": {"overlap": 8}})
    second.encoder = copy.deepcopy(transformer(nlp).encoder)
    with torch.no_grad():
        for weight in second.encoder.model.parameters():
            weight += 0.3 * torch.rand_like(weight)
    for name, upstream in (("of_first", "transformer"), ("of_second", "second")):
        _, factory, config = tagger(listener(upstream=upstream))
        nlp.add_pipe(factory, name=name, config=config)
        nlp._link_components()
        nlp.get_pipe(name).initialize(lambda: tagged(nlp), nlp=nlp)
    ordered = [pair for name in order for pair in nlp._components if pair[0] == name]
    nlp._components[:] = ordered
    nlp._link_components()
    return nlp


def test_two_transformers_with_a_head_each(make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = two_transformers(make_nlp, ["transformer", "of_first", "second", "of_second"])
    before = [weights(nlp, name) for name in ("transformer", "second")]
    train(nlp, tagged(nlp), 3)
    assert changed(before[0], weights(nlp))
    assert changed(before[1], weights(nlp, "second"))
    # Each learned from its own.
    doc = nlp.get_pipe("transformer")(nlp.make_doc(SENTENCES[0]))
    first = nlp.get_pipe("of_first").model.predict([doc])[0]
    doc = nlp.get_pipe("second")(nlp.make_doc(SENTENCES[0]))
    second = nlp.get_pipe("of_second").model.predict([doc])[0]
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    doc = loaded(SENTENCES[0])
    assert np.allclose(loaded.get_pipe("of_second").model.predict([doc])[0], second, atol=1e-5)
    doc = loaded.get_pipe("transformer")(loaded.make_doc(SENTENCES[0]))
    assert np.allclose(loaded.get_pipe("of_first").model.predict([doc])[0], first, atol=1e-5)


def test_a_head_does_not_read_another_transformer(make_nlp: MakeNLP) -> None:
    nlp = two_transformers(make_nlp, ["transformer", "second", "of_first", "of_second"])
    with pytest.raises(ValueError, match="J099"):
        nlp(SENTENCES[0])


def test_a_batch_that_fails_midway_leaves_nothing(
    make_nlp: MakeNLP, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = make_nlp([tagger(listener()), tagger(listener(), "other")], tagged)
    other = nlp.get_pipe("other")
    with monkeypatch.context() as patch:

        def fail(*args: Any, **settings: Any) -> None:
            raise RuntimeError("broken")

        patch.setattr(other, "update", fail)
        for sgd in (nlp.resume_training(), False):
            with pytest.raises(RuntimeError, match="broken"):
                nlp.update(tagged(nlp), sgd=sgd)
            nlp(SENTENCES[3])
    before = weights(nlp)
    assert all(np.isfinite(loss) for loss in train(nlp, tagged(nlp)[:3], 2).values())
    assert changed(before, weights(nlp))
    assert nlp.to_bytes()


def test_a_disabled_head_learns_nothing_and_hinders_nobody(make_nlp: MakeNLP) -> None:
    results = []
    for disable in (True, False):
        nlp = make_nlp([tagger(listener()), tagger(listener(), "other")], tagged)
        if not disable:
            nlp.remove_pipe("other")
            train(nlp, tagged(nlp), 3)
        else:
            other = nlp.get_pipe("other").model.to_bytes()
            with nlp.select_pipes(disable="other"):
                train(nlp, tagged(nlp), 3)
            assert nlp.get_pipe("other").model.to_bytes() == other
        results.append(weights(nlp))
        assert nlp(SENTENCES[0])[0].tag_
    assert not changed(*results)


def test_replaced_listeners_go_on_learning(make_nlp: MakeNLP, tmp_path: Path) -> None:
    nlp = make_nlp([tagger(listener()), *OURS], tagged)
    train(nlp, tagged(nlp), 2)
    before = scores(nlp, SENTENCES[0])
    nlp.replace_listeners("transformer", "tagger", ["model.tok2vec"])
    assert np.allclose(scores(nlp, SENTENCES[0]), before, atol=1e-5)
    shared = weights(nlp)
    with nlp.select_pipes(enable=["tagger"]):
        train(nlp, tagged(nlp), 2)
    assert not changed(shared, weights(nlp))
    assert not np.allclose(scores(nlp, SENTENCES[0]), before, atol=1e-3)
    train(nlp, tagged(nlp), 1)
    assert changed(shared, weights(nlp))
    nlp.to_disk(tmp_path)
    loaded = spacy.load(tmp_path)
    assert np.allclose(scores(loaded, SENTENCES[0]), scores(nlp, SENTENCES[0]), atol=1e-5)
    train(loaded, tagged(loaded), 1)


def test_components_sourced_and_copied_between_two_batches(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener()), *OURS], tagged)
    examples = tagged(nlp)
    transformer(nlp).update(examples)
    copied = copy.deepcopy(nlp)
    other = spacy.blank("ja")
    for name in nlp.pipe_names:
        other.add_pipe(name, source=nlp)
    for each in (nlp, copied, other):
        before = weights(each)
        train(each, tagged(each), 2)
        assert changed(before, weights(each))
        assert each(SENTENCES[0])[0].tag_
    assert nlp.get_pipe("transformer") is not copied.get_pipe("transformer")


def test_bytes_again_and_again(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener()), *OURS], tagged)
    expected = scores(nlp, SENTENCES[0])
    sizes = set()
    for _ in range(4):
        data = nlp.to_bytes()
        sizes.add(len(data))
        nlp.from_bytes(data)
        assert np.array_equal(scores(nlp, SENTENCES[0]), expected)
    assert len(sizes) == 1
    train(nlp, tagged(nlp), 1)
    assert not np.array_equal(scores(nlp, SENTENCES[0]), expected)


def test_streams_of_pairs_in_two_processes(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener()), *OURS], tagged)
    pairs = [(text, {"number": i}) for i, text in enumerate([*SENTENCES, "", " "])]
    here = list(nlp.pipe(pairs, as_tuples=True))
    there = list(nlp.pipe(pairs, as_tuples=True, n_process=2, batch_size=5))
    assert [context for _, context in there] == [context for _, context in pairs]
    assert [[token.tag_ for token in doc] for doc, _ in there] == [
        [token.tag_ for token in doc] for doc, _ in here
    ]


def test_memory_zones(make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener()), *OURS], tagged)
    expected = [vectors(doc) for doc in nlp.pipe(SENTENCES)]
    for _ in range(3):
        with nlp.memory_zone():
            for doc, own in zip(nlp.pipe(SENTENCES), expected, strict=True):
                assert np.allclose(vectors(doc), own, atol=1e-5)
            nlp("未だ見ぬ言葉" * 3)
    assert [doc.text for doc in nlp.pipe(SENTENCES)] == SENTENCES
    train(nlp, tagged(nlp), 1)


@pytest.mark.parametrize(
    "family", ["bert-fast", "mecab-unidic", "mecab-character", "sudachi", "llama"]
)
def test_threads_share_a_pipeline(family: str, make_nlp: MakeNLP) -> None:
    nlp = make_nlp([tagger(listener())], tagged, family=family)
    texts = [
        sentence[start:] + other[:start]
        for start, sentence in enumerate(SENTENCES)
        for other in SENTENCES
    ]
    nlp.tokenizer = SudachiTokenizer(nlp.vocab, "A")  # spaCy's own can't be shared
    lone = make_nlp([tagger(listener())], tagged, family=family)
    lone.tokenizer = SudachiTokenizer(lone.vocab, "A")
    expected = [vectors(lone(text)) for text in texts[::5]]
    found: dict[int, list[np.ndarray]] = {}
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            found[number] = [vectors(nlp(text)) for text in texts[::5]]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for own in found.values():
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(own, expected, strict=True))
