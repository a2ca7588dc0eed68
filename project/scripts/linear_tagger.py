"""What a linear classifier and a dictionary make of annotated spans: the baselines of a tagger.

Dictionary: the spans of the training part, longest first, where more often annotated than not; each
with its most frequent label. Linear: a linear SVC says of each token whether a span begins there,
goes on, or neither; from the tokens around it, those of the rest of the sentence, and the tag
before (greedily, from left to right).
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import spacy
from spacy.scorer import Scorer
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example, biluo_tags_to_spans, iob_to_biluo

from spacy_jbert.errors import Errors
from spacy_jbert.terminal import run

AROUND, BEHIND = 3, 20
"""Tokens before and behind that are told by their place; those behind told without it."""

Features = dict[str, float]


def main(train: Path, test: Path) -> None:
    """Print precision, recall and F of exact spans with labels.

    train, test (Path): DocBins.
    """
    vocab = spacy.blank("ja").vocab
    learned = list(DocBin().from_disk(train).get_docs(vocab))
    gold = list(DocBin().from_disk(test).get_docs(vocab))
    tell("dictionary", gold, by_dictionary(learned, gold))
    tell("linear", gold, by_classifier(learned, gold))


def tell(name: str, gold: Sequence[Doc], said: Sequence[Doc]) -> None:
    """Print scores, in percent."""
    examples = [Example(ours, true) for ours, true in zip(said, gold, strict=True)]
    scores = Scorer.score_spans(examples, "ents")
    shown = " / ".join(f"{100 * scores[f'ents_{key}']:.1f}" for key in "prf")
    kinds = scores["ents_per_type"].items()
    each = ", ".join(f"{label} {100 * found['f']:.1f}" for label, found in sorted(kinds))
    print(f"{name}: P / R / F {shown}; F of {each}")


def bare(doc: Doc) -> Doc:
    """RETURNS (Doc): The same tokens without annotation."""
    spaces = [bool(token.whitespace_) for token in doc]
    return Doc(doc.vocab, words=[token.text for token in doc], spaces=spaces)


def by_dictionary(train: Sequence[Doc], test: Sequence[Doc]) -> list[Doc]:
    """RETURNS (list[Doc]): The test documents with spans that were seen in training."""
    labels: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for doc in train:
        for ent in doc.ents:
            labels[tuple(token.text for token in ent)][ent.label_] += 1
    longest = max(map(len, labels))
    there = Counter[tuple[str, ...]]()
    for doc in train:
        there.update(words for _, _, words in _stretches(doc, longest) if words in labels)
    kept = {words for words, found in labels.items() if 2 * found.total() > there[words]}
    said = list(map(bare, test))
    for doc in said:
        ents: list[Span] = []
        for start, end, words in _stretches(doc, longest):
            if words in kept and (not ents or ents[-1].end <= start):
                ents.append(Span(doc, start, end, label=labels[words].most_common(1)[0][0]))
        doc.ents = ents
    return said


def _stretches(doc: Doc, longest: int) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Stretches of tokens by their start, the longest first."""
    words = [token.text for token in doc]
    for start in range(len(words)):
        for end in range(min(len(words), start + longest), start, -1):
            yield start, end, tuple(words[start:end])


def by_classifier(train: Sequence[Doc], test: Sequence[Doc]) -> list[Doc]:
    """RETURNS (list[Doc]): The test documents with what a linear SVC tags.
    RAISES: ImportError J469 without scikit-learn."""
    try:
        from sklearn.feature_extraction import DictVectorizer
        from sklearn.svm import LinearSVC
    except ImportError:
        message = Errors.J469.format(package="scikit-learn", extra="report")
        raise ImportError(message) from None
    tags = [tag for doc in train for tag in _tags(doc)]
    features = [
        feature | _before(tag)
        for doc in train
        for feature, tag in zip(_features(doc), ["O", *_tags(doc)], strict=False)
    ]
    vectorizer = DictVectorizer()
    matrix = vectorizer.fit_transform(features)
    # liblinear takes no larger ones.
    matrix.indices, matrix.indptr = matrix.indices.astype("i4"), matrix.indptr.astype("i4")
    classifier = LinearSVC(C=0.1, random_state=0).fit(matrix, tags)
    # Tag after tag, as each is a feature of the next: the rest of the scores at once.
    names = vectorizer.vocabulary_
    said = list(map(bare, test))
    for doc in said:
        scores = classifier.decision_function(vectorizer.transform(list(_features(doc))))
        found = ["O"]
        for row in scores:
            place = names.get(f"tag={found[-1]}")
            row = row + (classifier.coef_[:, place] if place is not None else 0)
            found.append(classifier.classes_[row.argmax()])
        doc.ents = biluo_tags_to_spans(doc, iob_to_biluo(list(_mended(found[1:]))))
    return said


def _tags(doc: Doc) -> list[str]:
    return [f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else "O" for token in doc]


def _before(tag: str) -> Features:
    return {f"tag={tag}": 1.0}


def _features(doc: Doc) -> Iterator[Features]:
    words = [token.text for token in doc]
    for place in range(len(words)):
        found = {"bias": 1.0}
        for distance in range(-AROUND, AROUND + 1):
            other = place + distance
            word = words[other] if 0 <= other < len(words) else "<none>"
            found[f"{distance}={word}"] = 1.0
        found |= {f"behind={word}": 1.0 for word in words[place + 1 : place + BEHIND]}
        yield found


def _mended(tags: Sequence[str]) -> Iterator[str]:
    """A tag that goes on with what didn't begin begins it."""
    before = "O"
    for tag in tags:
        before = f"B-{tag[2:]}" if tag[:1] == "I" and before[2:] != tag[2:] else tag
        yield before


if __name__ == "__main__":
    run(main)
