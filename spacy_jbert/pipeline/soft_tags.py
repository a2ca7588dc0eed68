"""What a teacher says of the tag of each token: how sure it is, kept on the Docs that a student
learns from (`distillation/`).

Categories are `doc.cats`, as probabilities. Of entities there are the best ones, `doc.ents`, and
here, in the Doc's user data, what the teacher expects of each tag and transition."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy.training import Example

from ..errors import Errors
from ..models.biluo import tag_names
from ..models.crf import Expected
from .gold_tags import same_tokens

_KEY = "jbert_soft_tags"


def keep_soft_tags(doc: Doc, component: str, labels: Sequence[str], expected: Expected) -> None:
    """Keep what a component expects of a document.

    component (str): The component's name. A student's of the same name learns from it.
    labels (Sequence[str]): In the order of `tag_names`.
    expected (Expected): Rounded to half precision here.
    """
    doc.user_data[_KEY, component] = {
        "labels": list(labels),
        "tags": expected.tags.astype(np.float16),
        "pairs": expected.pairs.astype(np.float32),
    }


def soft_components(doc: Doc) -> list[str]:
    """RETURNS (list[str]): The names of the components that a document has soft tags of."""
    return [key[1] for key in doc.user_data if isinstance(key, tuple) and key[0] == _KEY]


def soft_tags(eg: Example, component: str, labels: Sequence[str]) -> Expected | None:
    """What a teacher's component of this name expects of an example.

    labels (Sequence[str]): The student's.
    RETURNS (Expected | None): By the student's labels; None where no teacher was asked.
    RAISES: ValueError J540 for other labels, J541 for other tokens.
    """
    kept = eg.reference.user_data.get((_KEY, component))
    if kept is None:
        return None
    if sorted(kept["labels"]) != sorted(labels):
        raise ValueError(
            Errors.J540.format(
                name=component, labels=", ".join(labels), others=", ".join(kept["labels"])
            )
        )
    if not same_tokens(eg):
        raise ValueError(Errors.J541.format(name=component, text=eg.reference.text[:40]))
    return _by_labels(kept["tags"], kept["pairs"], kept["labels"], labels)


def _by_labels(
    tags: NDArray, pairs: NDArray, labels: Sequence[str], wanted: Sequence[str]
) -> Expected:
    """The same in another order of labels."""
    places = {name: i for i, name in enumerate(tag_names(labels))}
    order = [places[name] for name in tag_names(wanted)]
    rows = [0, *(1 + labels.index(label) for label in wanted)]
    tags = tags[:, order].astype(np.float64)
    # Rounding left each row a little off; a distribution sums to 1.
    return Expected(tags / tags.sum(axis=1, keepdims=True), pairs[np.ix_(rows, rows)])
