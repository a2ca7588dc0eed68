"""Decoding against the enumeration of every well-formed sequence of tags."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from spacy_jbert.models.biluo import (
    _viterbi,
    decode,
    entity_tags,
    span_probabilities,
    tag_names,
)
from spacy_jbert.models.crf import Moves

from .sequences import entities, weight, well_formed


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("n_labels", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_against_enumeration(seed: int, n_labels: int, learned: bool) -> None:
    rng = np.random.default_rng(seed)
    lengths = [4, 0, 1, 3, 2]
    scores = [rng.normal(0, 2, (length, 1 + 4 * n_labels)).astype("f") for length in lengths]
    transitions = rng.normal(0, 2, (1 + n_labels, 1 + n_labels)).astype("f") if learned else None
    for length, doc_scores, (found, candidates) in zip(
        lengths, scores, decode(scores, transitions, threshold=0.02), strict=True
    ):
        ways = well_formed(length, n_labels)
        weights = np.exp([weight(tags, doc_scores, transitions) for tags in ways])
        assert [entity[:3] for entity in found] == entities(ways[int(weights.argmax())])
        shares: dict[tuple[int, int, int], float] = {}
        for tags, share in zip(ways, weights / weights.sum(), strict=True):
            for entity in entities(tags):
                shares[entity] = shares.get(entity, 0.0) + share
        for entity in found:
            assert entity.score == pytest.approx(shares[entity[:3]], abs=1e-9)
            assert 0 < entity.score <= 1
        assert {entity[:3]: pytest.approx(entity.score, abs=1e-9) for entity in candidates} == {
            span: share for span, share in shares.items() if share >= 0.02
        }
        assert candidates == sorted(candidates)


@pytest.mark.parametrize("learned", [False, True])
def test_temperature(learned: bool) -> None:
    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 4, (length, 13)) for length in (40, 7, 12)]
    transitions = rng.normal(0, 1, (4, 4)) if learned else None
    as_is = decode(scores, transitions)
    cooled = decode(scores, transitions, temperature=3.0)
    assert [[entity[:3] for entity in doc.entities] for doc in cooled] == [
        [entity[:3] for entity in doc.entities] for doc in as_is
    ]
    divided = decode(
        [doc / 3.0 for doc in scores], None if transitions is None else transitions / 3.0
    )
    sure = [entity.score for doc in cooled for entity in doc.entities]
    assert sure == pytest.approx([entity.score for doc in divided for entity in doc.entities])
    assert np.mean(sure) < np.mean([entity.score for doc in as_is for entity in doc.entities])
    spans = [[entity[:3] for entity in doc.entities] for doc in as_is]
    assert span_probabilities(scores, spans, transitions, temperature=3.0).tolist() == sure


@pytest.mark.parametrize("learned", [False, True])
def test_batching_makes_no_difference(learned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 2, (length, 13)) for length in rng.integers(0, 30, 20)]
    transitions = rng.normal(0, 2, (4, 4)) if learned else None

    def rounded(found: list) -> list:
        return [
            [[(*entity[:3], round(entity.score, 9)) for entity in part] for part in doc]
            for doc in found
        ]

    together = decode(scores, transitions, threshold=0.1)
    assert any(doc.candidates for doc in together)
    assert rounded(together) == rounded(
        [decode([doc], transitions, threshold=0.1)[0] for doc in scores]
    )
    monkeypatch.setattr("spacy_jbert.models.crf._ENOUGH_POSITIONS", 40)
    monkeypatch.setattr("spacy_jbert.models.crf._MOST_CELLS", 40)
    assert rounded(together) == rounded(decode(scores, transitions, threshold=0.1))


def best_path(scores: NDArray, transitions: NDArray) -> list[tuple[int, int, int]]:
    """Viterbi over all pairs, a token and a state at a time; of equal ones the first."""
    width = len(transitions)
    closed, inside = np.full(width, -np.inf), np.full(width, -np.inf)
    closed[0] = 0.0
    steps = []
    for row in scores.astype(float):
        ways = closed[:, None] + transitions
        begin = ways.max(axis=0)
        single = np.concatenate((row[:1], row[4::4])) + begin
        b, i, last = (np.concatenate(([-np.inf], row[tag::4])) for tag in (1, 2, 3))
        steps.append((ways.argmax(axis=0), last + inside > single, i + inside > b + begin))
        closed, inside = (
            np.maximum(single, last + inside),
            np.maximum(b + begin, i + inside),
        )
    spans, t = [], len(scores) - 1
    label = int((closed + transitions[:, 0]).argmax())
    while t >= 0:
        end = t + 1
        if steps[t][1][label]:
            t -= 1
            while steps[t][2][label]:
                t -= 1
        if label:
            spans.append((t, end, label - 1))
        label = int(steps[t][0][label])
        t -= 1
    return spans[::-1]


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 10.0])
@pytest.mark.parametrize("whole_numbers", [False, True])
@pytest.mark.parametrize("n_labels", [3, 60])
def test_against_all_pairs(n_labels: int, whole_numbers: bool, spread: float) -> None:
    """Whole numbers have ties: then the same way is taken. Many labels are searched otherwise."""
    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 2, (length, 1 + 4 * n_labels)) for length in (30, 0, 7, 30, 1)]
    transitions = rng.normal(0, spread, (1 + n_labels, 1 + n_labels))
    scores[3][:] = 0.0
    if whole_numbers:
        scores, transitions = [doc.round() for doc in scores], transitions.round()
    found = decode(scores, transitions)
    assert [[entity[:3] for entity in doc.entities] for doc in found] == [
        best_path(doc, transitions) for doc in scores
    ]


@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0])
def test_work_with_many_labels_stays_in_proportion(spread: float) -> None:
    """All pairs of 1,000 labels, for 2,000 tokens, would be 2e9."""
    rng = np.random.default_rng(0)
    scores = [np.zeros((20, 4001), dtype="f") for _ in range(100)]
    transitions = rng.normal(0, spread, (1001, 1001))
    started = time.process_time()
    _viterbi(Moves(scores), transitions)
    assert time.process_time() - started < 6


def test_long_entities() -> None:
    """300 tokens that are one entity, in the middle of a document of 1,000."""
    scores = np.zeros((1000, 9))
    scores[:, 0] = 12.0
    scores[400:700] = np.eye(9)[[6] * 300] * 12.0
    scores[400], scores[699] = np.eye(9)[5] * 12.0, np.eye(9)[7] * 12.0
    ((found,), candidates) = decode([scores], threshold=0.5)[0]
    assert found[:3] == (400, 700, 1)
    assert 0.9 < found.score < 1.0
    assert [span[:3] for span in candidates] == [found[:3]]
    assert candidates[0].score == pytest.approx(found.score)


def test_extreme_scores() -> None:
    sure = np.full((3, 5), -1e4)
    sure[0, 1] = sure[1, 2] = sure[2, 3] = 1e4
    (only,) = decode([sure])[0].entities
    assert only == (0, 3, 0, 1.0)
    impossible = np.full((2, 5), -np.inf)
    impossible[:, 0] = 0.0
    with np.errstate(all="raise"):
        assert decode([impossible], threshold=0.1) == [([], [])]
    # Each token alone wants to be inside, where none can begin or end: the sums stay finite.
    contradiction = np.full((50, 5), -1e4)
    contradiction[:, 2] = 1e4
    (only,) = decode([contradiction])[0].entities
    assert only[:3] == (0, 50, 0)
    assert only.score == pytest.approx(1.0)


def test_nothing() -> None:
    assert decode([]) == []
    assert decode([np.zeros((0, 5))] * 2, threshold=0.5) == [([], []), ([], [])]
    assert span_probabilities([], []).tolist() == []
    assert tag_names(["X", "Y"]) == ["O", "B-X", "I-X", "L-X", "U-X", "B-Y", "I-Y", "L-Y", "U-Y"]


def test_entity_tags() -> None:
    names = tag_names(["X", "Y"])
    assert [[names[tag] for tag in entity_tags(length, 1)] for length in (1, 2, 4)] == [
        ["U-Y"],
        ["B-Y", "L-Y"],
        ["B-Y", "I-Y", "I-Y", "L-Y"],
    ]
