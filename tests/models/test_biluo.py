"""Decoding against the enumeration of every well-formed sequence of tags."""

from itertools import product

import numpy as np
import pytest

from spacy_jbert.models.biluo import decode, tag_names


def well_formed(length: int, n_labels: int) -> list[tuple[int, ...]]:
    """Every sequence of tags in which entities open and close."""

    def fits(tags: tuple[int, ...]) -> bool:
        inside = -1
        for tag in tags:
            kind, label = ("O", -1) if tag == 0 else ("BILU"[(tag - 1) % 4], (tag - 1) // 4)
            if (inside >= 0) != (kind in "IL") or (kind in "IL" and label != inside):
                return False
            inside = label if kind in "BI" else -1
        return inside == -1

    return [tags for tags in product(range(1 + 4 * n_labels), repeat=length) if fits(tags)]


def entities(tags: tuple[int, ...]) -> list[tuple[int, int, int]]:
    found, start = [], 0
    for i, tag in enumerate(tags):
        kind = "O" if tag == 0 else "BILU"[(tag - 1) % 4]
        start = i if kind in "BU" else start
        if kind in "LU":
            found.append((start, i + 1, (tag - 1) // 4))
    return found


@pytest.mark.parametrize("n_labels", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_against_enumeration(seed: int, n_labels: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = [4, 0, 1, 3, 2]
    scores = [rng.normal(0, 2, (length, 1 + 4 * n_labels)).astype("f") for length in lengths]
    for length, doc_scores, found in zip(lengths, scores, decode(scores), strict=True):
        ways = well_formed(length, n_labels)
        weights = np.exp([doc_scores[np.arange(length), list(tags)].astype(float).sum() for tags in ways])
        assert [entity[:3] for entity in found] == entities(ways[int(weights.argmax())])
        for entity in found:
            here = sum(weight for tags, weight in zip(ways, weights, strict=True) if entity[:3] in entities(tags))
            assert entity.score == pytest.approx(here / weights.sum(), abs=1e-9)
            assert 0 < entity.score <= 1


def test_batching_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 2, (length, 13)) for length in rng.integers(0, 30, 20)]
    together = decode(scores)
    assert together == [decode([doc])[0] for doc in scores]
    monkeypatch.setattr("spacy_jbert.models.biluo._MOST_POSITIONS", 40)
    assert together == decode(scores)


def test_extreme_scores() -> None:
    sure = np.full((3, 5), -1e4)
    sure[0, 1] = sure[1, 2] = sure[2, 3] = 1e4
    (only,) = decode([sure])[0]
    assert only == (0, 3, 0, 1.0)
    impossible = np.full((2, 5), -np.inf)
    impossible[:, 0] = 0.0
    with np.errstate(all="raise"):
        assert decode([impossible]) == [[]]


def test_nothing() -> None:
    assert decode([]) == []
    assert decode([np.zeros((0, 5))] * 2) == [[], []]
    assert tag_names(["X", "Y"]) == ["O", "B-X", "I-X", "L-X", "U-X", "B-Y", "I-Y", "L-Y", "U-Y"]
