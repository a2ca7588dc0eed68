"""The encoder learns whatever the heads do, and however training is written."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spacy.language import Language
from spacy.training import Example
from thinc.api import Adam

from ..conftest import listener
from .conftest import MakeNLP, changed, tagged, tagger, transformer, vectors, weights

HEADS = ("first", "second", "third")
Loop = Callable[..., dict[str, float]]


def fresh(nlp: Language, examples: list[Example]) -> list[Example]:
    return [Example(nlp.make_doc(eg.text), eg.reference) for eg in examples]


def own_loop(nlp: Language, batches: list[list[Example]], **settings: Any) -> dict[str, float]:
    """The loop of spaCy's documentation, and of our README."""
    sgd = Adam(rates(), L2=0.01, grad_clip=1.0)
    losses: dict[str, float] = {}
    for batch in batches:
        nlp.update(fresh(nlp, batch), sgd=sgd, losses=losses, **settings)
        sgd.step_schedules()
    return losses


def spacy_train(nlp: Language, batches: list[list[Example]], **settings: Any) -> dict[str, float]:
    """What `spacy train` does."""
    sgd = Adam(rates(), L2=0.01, grad_clip=1.0)
    losses: dict[str, float] = {}
    for batch in batches:
        nlp.update(fresh(nlp, batch), sgd=False, losses=losses, **settings)  # type: ignore[arg-type]
        for name, pipe in nlp.pipeline:
            if name not in settings.get("exclude", ()):
                pipe.finish_update(sgd)
        sgd.step_schedules()
    return losses


def rates() -> Any:
    """A rate that changes with every step, so that a step at the wrong time shows."""
    return iter([1e-3 * 0.7**i for i in range(100)])


@pytest.fixture
def make(make_nlp: MakeNLP) -> Callable[..., Language]:
    def build(*grad_factors: float, **settings: Any) -> Language:
        factors = grad_factors or (1.0, 1.0, 1.0)
        heads = [
            tagger(listener(grad_factor=factor), name)
            for name, factor in zip(HEADS, factors, strict=False)
        ]
        return make_nlp(heads, tagged, **settings)

    return build


def batches(nlp: Language) -> list[list[Example]]:
    examples = tagged(nlp)
    return [examples[:3], examples[3:6], examples[6:], examples[:4]]


def state(nlp: Language) -> list[np.ndarray]:
    """All weights: the encoder's and the heads'."""
    transformer(nlp).to_bytes()  # takes a step that is still held, as saving does
    found = [weight.numpy() for weight in weights(nlp)]
    for name in HEADS:
        if name in nlp.pipe_names:
            model = nlp.get_pipe(name).model.get_ref("softmax")
            found += [model.get_param("W"), model.get_param("b")]
    return found


@pytest.mark.parametrize("loop", [own_loop, spacy_train])
@pytest.mark.parametrize("frozen", [["first"], ["third"], ["first", "third"]])
def test_the_encoder_learns_from_the_heads_that_do(
    frozen: list[str], loop: Loop, make: Callable
) -> None:
    nlp = make()
    before = weights(nlp)
    losses = loop(nlp, batches(nlp), exclude=frozen)
    assert losses["transformer"] > 0
    assert changed(before, weights(nlp))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"exclude": ["third"]},
        {"exclude": ["first"]},
        {"exclude": ["first", "second", "third"]},
        {"annotates": ["transformer", "first"]},
        {"exclude": ["third"], "annotates": ["transformer", "second"]},
    ],
)
def test_both_ways_of_training_give_the_same_weights(settings: dict, make: Callable) -> None:
    ours, spacys = make(), make()
    own_loop(ours, batches(ours), **settings)
    spacy_train(spacys, batches(spacys), **settings)
    for a, b in zip(state(ours), state(spacys), strict=True):
        np.testing.assert_array_equal(a, b)


def test_both_ways_of_unfreezing_take_the_same_steps(make: Callable) -> None:
    ours, spacys = make(unfreeze_steps=1), make(unfreeze_steps=1)
    own_loop(ours, batches(ours), exclude=["third"])
    spacy_train(spacys, batches(spacys), exclude=["third"])
    for a, b in zip(state(ours), state(spacys), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loop", [own_loop, spacy_train])
def test_a_head_that_sends_nothing_back_holds_nobody_up(loop: Loop, make: Callable) -> None:
    nlp, alone = make(1.0, 0.0), make(1.0)
    for each in (nlp, alone):
        loop(each, batches(each))
    for a, b in zip(weights(nlp), weights(alone), strict=True):
        assert torch.equal(a, b)


def test_frozen_heads_change_nothing_for_the_others(make: Callable) -> None:
    nlp, alone = make(1.0, 1.0), make(1.0)
    spacy_train(nlp, batches(nlp), exclude=["second"])
    spacy_train(alone, batches(alone))
    for a, b in zip(weights(nlp), weights(alone), strict=True):
        assert torch.equal(a, b)


def test_a_frozen_head_loses_no_accumulated_batch(make: Callable) -> None:
    nlp, alone = make(1.0, 1.0), make(1.0)
    for each, settings in ((nlp, {"exclude": ["second"]}), (alone, {})):
        sgd = Adam(1e-3, grad_clip=1.0)
        for batch in batches(each):
            each.update(fresh(each, batch), sgd=False, **settings)  # type: ignore[arg-type]
        for name, pipe in each.pipeline:
            if name != "second":
                pipe.finish_update(sgd)
    for a, b in zip(weights(nlp), weights(alone), strict=True):
        assert torch.equal(a, b)


def test_a_frozen_transformer_learns_nothing(make: Callable) -> None:
    nlp = make()
    before = weights(nlp)
    for loop in (own_loop, spacy_train):
        loop(nlp, batches(nlp), exclude=["transformer"], annotates=["transformer"])
    transformer(nlp).to_bytes()
    assert not changed(before, weights(nlp))


def test_predictions_come_after_the_step_that_waits(make: Callable) -> None:
    ours, spacys = make(), make()
    own_loop(ours, batches(ours), exclude=["third"])
    spacy_train(spacys, batches(spacys), exclude=["third"])
    text = "猫が庭で寝ている。"
    np.testing.assert_array_equal(vectors(ours(text)), vectors(spacys(text)))


def test_a_gradient_that_is_no_number_is_an_error(make: Callable) -> None:
    nlp = make()
    before = weights(nlp)
    nlp.update(fresh(nlp, batches(nlp)[0]), sgd=Adam(1e-3), exclude=list(HEADS))
    receive = nlp.get_pipe("first").model.get_ref("tok2vec").get_ref("listener")._backprop
    datas = transformer(nlp)._lesson.batch.doc_data  # type: ignore[union-attr]
    for data in datas:
        data.model_output["last_hidden_state"][:] = np.nan
    with pytest.raises(ValueError, match="J080"):
        receive(datas)
    transformer(nlp).to_bytes()
    assert not changed(before, weights(nlp))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_encoder_with_weights_that_are_no_numbers(
    value: float, make: Callable, tmp_path: Any
) -> None:
    nlp = make()
    nlp.to_disk(tmp_path / "model")
    good = (tmp_path / "model" / "transformer" / "model" / "model.safetensors").read_bytes()
    with torch.no_grad():
        for weight in transformer(nlp).encoder.model.parameters():
            weight[..., 0] = value
    with pytest.raises(ValueError, match="J081"):
        nlp.to_disk(tmp_path / "model")
    with pytest.raises(ValueError, match=r"J08[12]"):
        nlp.to_bytes()
    saved = tmp_path / "model" / "transformer" / "model" / "model.safetensors"
    assert saved.read_bytes() == good
    with pytest.raises(ValueError, match="J082"):
        nlp("猫が庭で寝ている。")


def leave_a_lesson(nlp: Language) -> None:
    """The last head is frozen, so that a step waits."""
    nlp.update(fresh(nlp, batches(nlp)[0]), sgd=Adam(1e-2), exclude=["third"])


def test_restored_weights_stay_as_they_are(make: Callable, tmp_path: Any) -> None:
    nlp = make()
    nlp.to_disk(tmp_path)
    saved = nlp.to_bytes()
    best = weights(nlp)
    for restore in (lambda: nlp.from_disk(tmp_path), lambda: nlp.from_bytes(saved)):
        leave_a_lesson(nlp)
        restore()
        nlp("猫が庭で寝ている。")
        assert not changed(best, weights(nlp))


def test_the_encoder_that_one_asks_for_has_taken_its_step(make: Callable) -> None:
    nlp = make()
    leave_a_lesson(nlp)
    before = weights(nlp)
    nlp("猫が庭で寝ている。")
    assert not changed(before, weights(nlp))


def test_a_head_learns_alone_after_it_was_frozen(make: Callable) -> None:
    nlp, other = make(), make()
    stages = {"exclude": ["transformer", "first", "second"], "annotates": ["transformer"]}
    for each in (nlp, other):
        if each is nlp:
            leave_a_lesson(each)
        before = each.get_pipe("third").model.get_ref("softmax").get_param("W").copy()
        each.update(fresh(each, batches(each)[2]), sgd=Adam(1e-2), **stages)
        assert not np.array_equal(
            before, each.get_pipe("third").model.get_ref("softmax").get_param("W")
        )


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
@pytest.mark.parametrize("sgd", [True, False])
def test_copies_in_the_middle_of_training(how: str, sgd: bool, make: Callable) -> None:
    nlp = make()
    optimizer = Adam(1e-2) if sgd else False
    nlp.update(fresh(nlp, batches(nlp)[0]), sgd=optimizer, exclude=["third"])
    copied = pickle.loads(pickle.dumps(nlp)) if how == "pickle" else copy.deepcopy(nlp)
    for a, b in zip(weights(nlp), weights(copied), strict=True):
        assert torch.equal(a, b)
    own_loop(copied, batches(copied))
