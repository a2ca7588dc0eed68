"""What a linear classifier makes of the same documents, in seconds: a text classifier that isn't
better than that has nothing from its encoder.
"""

import time
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors
from .scorers import score_textcat

# N-grams of more characters gain nothing in Japanese, where a word has one to three.
_LONGEST = 3


class Baseline(NamedTuple):
    """scores: What `spacy-jbert.textcat_scorer.v1` says of it on the test documents, without the
    calibration error, as a linear SVC gives no probabilities. seconds: What training and
    predicting took. n_train: The documents with categories that it was trained on.
    """

    scores: dict[str, Any]
    seconds: float
    n_train: int


def can_train() -> bool:
    """RETURNS (bool): Whether scikit-learn is installed."""
    return find_spec("sklearn") is not None


def can_tell_apart(docs: Iterable[Doc], exclusive_classes: bool) -> bool:
    """RETURNS (bool): Whether documents have at least two different annotations to learn from."""
    found = {
        tuple(sorted(label for label, value in doc.cats.items() if value >= 0.5))
        for doc in docs
        if doc.cats
    }
    return len(found - {()} if exclusive_classes else found) > 1


def linear_baseline(
    train: Iterable[Doc],
    test: Iterable[Doc],
    *,
    exclusive_classes: bool,
    labels: Sequence[str] | None = None,
) -> Baseline:
    """Train a linear SVC on TF-IDF of character n-grams (1 to 3), with scikit-learn's settings as
    they come, and score it.

    train, test (Iterable[Doc]): Documents with `cats`; those without are left out.
    exclusive_classes (bool): One label a document, or any number.
    labels (Sequence[str] | None): The labels to score, such as a pipeline's; None for those of the
        training documents.
    RETURNS (Baseline): Its scores.
    RAISES: ImportError J469 without scikit-learn, ValueError J488 if there is nothing to tell
        apart.
    """
    begun = time.perf_counter()
    learned = [doc for doc in train if doc.cats]
    found = sorted({label for doc in learned for label in doc.cats})
    truth = np.array([[doc.cats.get(label, 0.0) >= 0.5 for label in found] for doc in learned])
    tested = [doc for doc in test if doc.cats]
    predicted = predict(
        [doc.text for doc in learned],
        truth.reshape(len(learned), len(found)),
        [doc.text for doc in tested],
        exclusive=exclusive_classes,
    )
    seconds = time.perf_counter() - begun
    labels = found if labels is None else labels
    examples = []
    for doc, row in zip(tested, predicted, strict=True):
        said = Doc(doc.vocab, words=[token.text for token in doc])
        said.cats = dict.fromkeys(labels, 0.0) | dict(zip(found, row.astype(float), strict=True))
        examples.append(Example(said, doc))
    scores = score_textcat(examples, exclusive_classes=exclusive_classes, labels=labels)
    del scores["cats_ece"]
    return Baseline(scores, seconds, len(learned))


def predict(
    train: list[str], truth: NDArray[np.bool_], test: list[str], *, exclusive: bool
) -> NDArray[np.bool_]:
    """See `linear_baseline`.

    truth (NDArray): Of each training text and label. *Shape:* `(n_train, n_labels)`.
    RETURNS (NDArray): The same of each text of `test`.
    """
    if not can_train():
        raise ImportError(Errors.J469.format(package="scikit-learn", extra="report"))
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.svm import LinearSVC

    n_labels = truth.shape[1]
    # Of labels that exclude each other, what none of them fits teaches nothing.
    useful = truth.any(axis=1) if exclusive else np.ones(len(truth), dtype=bool)
    if n_labels < 2 or len(np.unique(truth[useful], axis=0)) < 2:
        raise ValueError(Errors.J488.format(count=len(train), labels=n_labels))
    vectorizer = TfidfVectorizer(
        analyzer="char", ngram_range=(1, _LONGEST), sublinear_tf=True, dtype=np.float32
    )
    vectors = vectorizer.fit_transform(train)[useful]
    if not test:
        return np.zeros((0, n_labels), dtype=bool)
    if exclusive:
        classifier = LinearSVC(random_state=0).fit(vectors, truth[useful].argmax(axis=1))
        best = classifier.predict(vectorizer.transform(test))
        return np.eye(n_labels, dtype=bool)[best]
    many = OneVsRestClassifier(LinearSVC(random_state=0)).fit(vectors, truth[useful])
    return many.predict(vectorizer.transform(test)).astype(bool)
