"""Scores of extractive question answering: exact match, character F1, and whether scores of answers
mean what they say.

Exact match and F1 are those of SQuAD's script (Rajpurkar et al. 2016, arXiv:1606.05250; 2018,
arXiv:1806.03822 for what has no answer), with what JGLUE's patch of it changes for Japanese
(github.com/yahoojapan/JGLUE, fine-tuning/patch): characters in place of words, no articles, no
punctuation taken out but a full stop at the end. White space counts as one space, and that as a
character. Of several right
answers the one counts that is matched best."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from spacy.training import Example

from ..errors import Errors
from .questions import Answered, Question, answered_of, questions_of
from .scorers import expected_calibration_error, require_confidences


def normalized(text: str) -> str:
    """RETURNS (str): An answer as it is compared: small letters, single spaces, no 。 behind it."""
    return " ".join(text.lower().rstrip("。").split())


def exact_match(text: str, right: Sequence[str]) -> float:
    """RETURNS (float): 1.0 if an answer is one of the right ones, or is empty and there is none."""
    said = normalized(text)
    return float(any(said == normalized(answer) for answer in right) if right else not said)


def character_f1(text: str, right: Sequence[str]) -> float:
    """RETURNS (float): How many characters an answer has in common with the right one of which it
    has most, as F1; as `exact_match` where either is empty.
    """
    said = Counter(normalized(text))
    best = 0.0
    for answer in right or [""]:
        wanted = Counter(normalized(answer))
        common = (said & wanted).total()
        if not said or not wanted:
            best = max(best, float(said == wanted))
        elif common:
            best = max(best, 2.0 * common / (said.total() + wanted.total()))
    return best


def right_texts(text: str, question: Question) -> list[str]:
    """RETURNS (list[str]): The right answers to a question about a text."""
    return [text[start:end] for start, end in question.answers or ()]


def qa_scorer() -> Callable[..., dict[str, Any]]:
    """`spacy-jbert.qa_scorer.v1`: `qa_em` and `qa_f1`, exact match and character F1 from 0 to 1;
    `qa_ece`, the expected calibration error of the best answers; and, where some questions have no
    answer, `qa_answerable_em` and `qa_answerable_f1` of those that have one, `qa_unanswerable` (how
    many of the others got none). `qa_questions` is how many were looked at.

    RETURNS (Callable): The scorer.
    """
    return score_qa


def score_qa(examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
    """See `qa_scorer`. The Docs predicted have the answers.

    RETURNS (dict[str, Any]): The scores; None of nothing.
    RAISES: ValueError J528 if a Doc has not been asked what the annotation is about.
    """
    rows: list[tuple[float, float, bool]] = []
    sure: list[float] = []
    right: list[bool] = []
    for eg in examples:
        text = eg.reference.text
        for question, answered in matched(eg):
            texts = right_texts(text, question)
            said = answered.answers[0].text if answered.answers else ""
            matches = exact_match(said, texts)
            rows.append((matches, character_f1(said, texts), bool(texts)))
            if answered.answers:
                sure.append(answered.answers[0].score)
                right.append(bool(matches))
    require_confidences(sure)
    names = ("qa_em", "qa_f1", "qa_answerable_em", "qa_answerable_f1", "qa_unanswerable")
    scores: dict[str, Any] = dict.fromkeys((*names, "qa_ece"))
    scores["qa_questions"] = len(rows)
    if not rows:
        return scores
    table = np.array(rows, dtype=np.float64)
    scores["qa_em"], scores["qa_f1"] = table[:, :2].mean(axis=0).tolist()
    scores["qa_ece"] = expected_calibration_error(sure, right) if sure else None
    answerable = table[:, 2] > 0
    if not answerable.all():
        scores["qa_unanswerable"] = float(table[~answerable, 0].mean())
        if answerable.any():
            ours = table[answerable, :2].mean(axis=0).tolist()
            scores["qa_answerable_em"], scores["qa_answerable_f1"] = ours
    return scores


def matched(eg: Example) -> list[tuple[Question, Answered]]:
    """RETURNS (list): The questions whose right answers are known, with what was answered.

    RAISES: ValueError J528.
    """
    questions, answered = questions_of(eg.reference), list(answered_of(eg.predicted))
    if [of.question for of in questions] != [of.question for of in answered]:
        raise ValueError(Errors.J528.format(asked=len(questions), answered=len(answered)))
    pairs = zip(questions, answered, strict=True)
    return [(question, of) for question, of in pairs if question.answers is not None]


def best_no_answer_threshold(no_answer: Sequence[float], gain: Sequence[float]) -> float:
    """The probability of no answer from which none is given, so that the mean F1 is best, as
    SQuAD's script looks for it. Of equally good ones that nearest to a half.

    no_answer (Sequence[float]): Of each question.
    gain (Sequence[float]): F1 of the best answer, less that of none. *Shape:* that of `no_answer`.
    RETURNS (float): Half-way between two of these.
    """
    order = np.argsort(no_answer)
    sure, gains = np.asarray(no_answer)[order], np.asarray(gain, dtype=np.float64)[order]
    total = np.concatenate(([0.0], np.cumsum(gains)))
    borders = np.concatenate(([0.0], (sure[1:] + sure[:-1]) / 2.0, [1.0]))
    # One can't cut between equal ones.
    possible = np.concatenate(([True], sure[1:] > sure[:-1], [True]))
    good = np.flatnonzero(possible & (total >= total[possible].max() - 1e-9))
    return float(borders[good[np.abs(borders[good] - 0.5).argmin()]])
