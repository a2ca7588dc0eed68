"""Labels that were made wrong are found again."""

import numpy as np
import pytest

from spacy_jbert.evaluation.noise import wrong_categories, wrong_classes, wrong_entities

LABELS = ["a", "b", "c"]


def said(random: np.random.Generator, truth: np.ndarray, n_labels: int = 3) -> np.ndarray:
    """Probabilities that are mostly right, and surer of the first class than of the others."""
    logits = random.normal(scale=0.8, size=(len(truth), n_labels))
    logits[np.arange(len(truth)), truth] += np.where(truth == 0, 5.0, 3.0)
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_wrong_classes_are_found() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 1000)
    given = truth.copy()
    flipped = random.choice(1000, 50, replace=False)
    given[flipped] = (truth[flipped] + 1) % 3
    suspects = wrong_classes(said(random, truth), given, LABELS)
    hits = {one.number for one in suspects} & set(flipped.tolist())
    assert len(hits) >= 35
    assert len(hits) >= 0.7 * len(suspects)
    assert {one.number for one in suspects[:20]} <= set(flipped.tolist())
    for one in suspects:
        assert one.given == LABELS[given[one.number]] != one.said
    assert [one.margin for one in suspects] == sorted(one.margin for one in suspects)


def test_a_class_needs_what_is_usual_for_it() -> None:
    """0.55 of a class that never gets more than 0.6 is sure; of one that gets 0.95 it isn't."""
    high, low = [0.95, 0.03, 0.02], [0.3, 0.6, 0.1]
    probabilities = np.array([*[high] * 9, *[low] * 9, [0.45, 0.55, 0.0], [0.55, 0.45, 0.0]])
    given = np.array([0] * 9 + [1] * 9 + [0, 1])
    (one,) = wrong_classes(probabilities[:19], given[:19], LABELS) or [None]
    assert one is None
    probabilities[18] = [0.38, 0.62, 0.0]
    suspects = wrong_classes(probabilities, given, LABELS)
    assert [(one.number, one.given, one.said) for one in suspects] == [(18, "a", "b")]


def test_nothing_to_say() -> None:
    assert wrong_classes(np.zeros((0, 3)), np.zeros(0, dtype=np.int64), LABELS) == []
    # A class without an example is never said.
    probabilities = np.array([[0.1, 0.0, 0.9], [0.0, 0.9, 0.1], [0.9, 0.1, 0.0]])
    assert wrong_classes(probabilities, np.array([0, 1, 0]), LABELS) == []


def test_categories_are_questions_each() -> None:
    random = np.random.default_rng(1)
    truth = (random.random((300, 2)) < 0.4).astype(float)
    probabilities = np.clip(truth + random.normal(0, 0.15, truth.shape), 0.01, 0.99)
    probabilities = np.where(truth == 1, probabilities - 0.1, probabilities + 0.1).clip(0.01, 0.99)
    given = truth.copy()
    given[7, 0], given[9, 1] = 1 - given[7, 0], 1 - given[9, 1]
    given[11, 1] = np.nan
    first_two = wrong_categories(probabilities, given, ["x", "y"])[:2]
    assert {(one.number, one.given or one.said) for one in first_two} == {(7, "x"), (9, "y")}
    assert all(one.number != 11 or "x" in (one.given, one.said) for one in first_two)


@pytest.mark.parametrize(
    ("gold", "found", "likely", "expected"),
    [
        # Missed by the annotator.
        ([], {(0, 2, "地名"): 0.97}, {}, ("", "地名", (0, 2))),
        # As sure as the model ever is, or not.
        ([], {(0, 2, "地名"): 0.5}, {}, None),
        # Another type, another border: one suspect.
        ([(0, 2, "人名")], {(0, 2, "地名"): 0.97}, {}, ("人名", "地名", (0, 2))),
        ([(0, 2, "地名")], {(0, 3, "地名"): 0.97}, {}, ("地名", "地名", (0, 3))),
        # Nothing is there, and the model holds it possible, or not.
        ([(0, 2, "人名")], {}, {(0, 2, "人名"): 0.3}, None),
        ([(0, 2, "人名")], {}, {}, ("人名", "", (0, 2))),
        # Something unsure is there.
        ([(0, 2, "人名")], {(1, 3, "地名"): 0.5}, {}, None),
        # A label that was never right.
        ([], {(0, 2, "役職"): 0.99}, {}, None),
    ],
)
def test_entities(gold, found, likely, expected) -> None:
    right = {(5, 7, "地名"): 0.9}
    suspects = wrong_entities([list(right), gold], [right, found], [right, likely], least=0.05)
    told = [(one.given, one.said, one.place) for one in suspects]
    assert told == ([expected] if expected else [])
    assert all(one.number == 1 and -1 <= one.margin < 0 for one in suspects)
