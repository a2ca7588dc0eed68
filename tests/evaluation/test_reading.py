"""Exact match and character F1, spans over windows, thresholds: against what is computed in the
plainest way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from spacy.language import Language
from spacy.training import Example

from spacy_jbert.evaluation.questions import Answer, Answered, Question, set_answers, set_questions
from spacy_jbert.evaluation.reading import (
    best_no_answer_threshold,
    character_f1,
    exact_match,
    score_qa,
)
from spacy_jbert.models.spans import best_spans, span_loss
from spacy_jbert.types import PairWindow


@pytest.mark.parametrize(
    ("said", "right", "em", "f1"),
    [
        ("奈良", ["奈良"], 1.0, 1.0),
        ("奈良。", ["奈良"], 1.0, 1.0),
        ("Kyoto  City", ["kyoto city"], 1.0, 1.0),
        ("奈良県", ["奈良"], 0.0, 0.8),
        ("Windows", ["Windows 10"], 0.0, 14 / 17),
        ("京都", ["奈良"], 0.0, 0.0),
        ("奈良県", ["京都", "奈良県"], 1.0, 1.0),
        ("良奈", ["奈良"], 0.0, 1.0),
        ("ああ", ["あ"], 0.0, 2 / 3),
        ("", [], 1.0, 1.0),
        ("奈良", [], 0.0, 0.0),
        ("", ["奈良"], 0.0, 0.0),
    ],
)
def test_as_the_official_scripts(said: str, right: list[str], em: float, f1: float) -> None:
    assert exact_match(said, right) == em
    assert character_f1(said, right) == pytest.approx(f1)


def scored(nlp: Language, rows: Sequence[tuple[list | None, str, float]]) -> dict[str, Any]:
    """Scores of answers to questions about 「奈良と京都」: the right spans, what was said, how sure."""
    made = []
    for right, said, sure in rows:
        reference = nlp.make_doc("奈良と京都")
        set_questions(reference, [Question("", "どこ？", right)])
        predicted = nlp.make_doc("奈良と京都")
        start = "奈良と京都".find(said)
        given_ = [Answer(said, start, start + len(said), sure)] if said else []
        set_answers(predicted, [Answered("", "どこ？", given_, 1.0 - sure)])
        made.append(Example(predicted, reference))
    return score_qa(made)


def test_scores_of_answers_and_of_none(japanese: Language) -> None:
    scores = scored(
        japanese,
        [
            ([(0, 2)], "奈良", 1.0),
            ([(0, 2)], "", 0.1),
            ([], "", 0.1),
            ([], "京都", 0.0),
            (None, "", 0),
        ],
    )
    assert scores["qa_questions"] == 4
    assert scores["qa_em"] == scores["qa_f1"] == 0.5
    assert scores["qa_answerable_em"] == scores["qa_unanswerable"] == 0.5
    assert scores["qa_ece"] == 0.0
    all_answerable = scored(japanese, [([(0, 2)], "奈良と", 0.5)])
    assert all_answerable["qa_f1"] == pytest.approx(0.8)
    assert all_answerable["qa_unanswerable"] is None
    assert scored(japanese, [])["qa_f1"] is None


def window(n_question: int, start: int, end: int, own: tuple[int, int]) -> PairWindow:
    ids = np.arange(n_question + end - start + 1)
    return PairWindow(ids, n_question, start, end, *own)


@settings(deadline=None, max_examples=50)
@given(
    st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 40), st.sampled_from([0.3, 1.0, 2.0])
)
def test_spans_over_windows(seed: int, longest: int, keep: int, temperature: float) -> None:
    generator = np.random.default_rng(seed)
    windows = [window(3, 0, 9, (0, 7)), window(3, 5, 12, (7, 12))]
    logits = [generator.normal(size=(len(of.ids), 2)) for of in windows]
    scores = {
        (start, end): of[3 + start - win.start, 0] + of[3 + end - 1 - win.start, 1] - of[0].sum()
        for win, of in zip(windows, logits, strict=True)
        for start in range(win.own_start, win.own_end)
        for end in range(start + 1, min(start + longest, win.end) + 1)
    }
    ordered = sorted(scores, key=lambda span: -scores[span])
    found = best_spans(windows, logits, longest, keep)
    assert list(zip(found.starts.tolist(), found.ends.tolist(), strict=True)) == ordered[:keep]
    expected = softmax(np.array([*(scores[span] for span in ordered), 0.0]) / temperature)
    probable, none = found.probabilities(temperature)
    # Those that aren't kept are known by groups of scores that are alike.
    near = 1e-9 if keep >= len(scores) else 1e-4
    np.testing.assert_allclose(probable, expected[: len(probable)], rtol=near)
    assert none == pytest.approx(expected[-1], rel=near)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 20.0])
def test_thousands_of_spans_are_summed_at_any_temperature(temperature: float) -> None:
    win = window(3, 0, 400, (0, 400))
    logits = np.random.default_rng(0).normal(scale=4.0, size=(len(win.ids), 2))
    few, all_ = (best_spans([win], [logits], 40, keep) for keep in (32, 100_000))
    assert len(all_.scores) > 10_000
    probable, none = few.probabilities(temperature)
    exact, exact_none = all_.probabilities(temperature)
    assert exact.sum() + exact_none == pytest.approx(1.0)
    np.testing.assert_allclose(probable, exact[:32], rtol=2e-3)
    assert none == pytest.approx(exact_none, rel=2e-3)


def test_of_one_window_probabilities_are_the_two_softmaxes() -> None:
    generator = np.random.default_rng(0)
    win = window(3, 0, 5, (0, 5))
    logits = generator.normal(size=(len(win.ids), 2))
    found = best_spans([win], [logits], 5, 99)
    probable, none = found.probabilities(1.0)
    beginnings, ends = softmax(logits[[0, *range(3, 8)]], axis=0).T
    product = beginnings[1 + found.starts] * ends[found.ends]
    np.testing.assert_allclose(probable / none, product / (beginnings[0] * ends[0]))


@pytest.mark.parametrize("answers", [[], [(1, 2)], [(1, 2), (4, 4)]])
def test_loss_and_its_gradient(answers: list[tuple[int, int]]) -> None:
    generator = np.random.default_rng(0)
    win = window(3, 1, 6, (1, 6))
    logits = generator.normal(size=(len(win.ids), 2))
    loss, gradient = span_loss(win, logits, answers)
    possible = logits[[0, *range(3, 8)]]
    if len(answers) < 2:
        first, last = answers[0] if answers else (0, 0)
        right = possible[first, 0], possible[last, 1]
        assert loss == pytest.approx(float((logsumexp(possible, axis=0) - right).mean()))
    for at in np.ndindex(logits.shape):
        moved = logits.copy()
        moved[at] += 1e-6
        slope = (span_loss(win, moved, answers)[0] - loss) / 1e-6
        assert slope == pytest.approx(gradient[at], abs=1e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.9]), st.floats(-1, 1)), min_size=1))
def test_threshold_is_the_best(rows: list[tuple[float, float]]) -> None:
    threshold = best_no_answer_threshold(*zip(*rows, strict=True))

    def total(at: float) -> float:
        return sum(gain for none, gain in rows if none <= at)

    assert 0.0 <= threshold <= 1.0
    assert total(threshold) >= max(map(total, (0.0, 0.2, 0.4, 0.7, 1.0))) - 1e-9
