"""What an annotation says of the tag of each token."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, ORTH, SPACY
from spacy.strings import get_string_id
from spacy.tokens import Span
from spacy.training import Example

from ..errors import Errors
from ..models.biluo import entity_tags, tag_names


def gold_tags(examples: Sequence[Example], labels: Sequence[str], *, expand: bool) -> list[NDArray]:
    """The number of each predicted token's tag; -1 where the annotation says nothing, or an entity
    starts or ends inside the token.

    labels (Sequence[str]): In the order of `tag_names`.
    expand (bool): Whether an entity that starts or ends inside a token has the whole token.
    RETURNS (list[NDArray]): Of each example. *Shape:* `(n_tokens,)`.
    """
    label_numbers = {get_string_id(label): i for i, label in enumerate(labels)}
    tag_numbers = {tag: i for i, tag in enumerate(tag_names(labels))}
    tags = []
    for eg in examples:
        gold = _gold_of_same_tokens(eg)
        if gold is not None:
            tags.append(_tags_of_tokens(gold, label_numbers))
        else:
            tags.append(_aligned_tags(eg, labels, tag_numbers, expand))
    return tags


def same_tokens(eg: Example) -> bool:
    """RETURNS (bool): Whether the annotation has the tokens of the prediction."""
    return _gold_of_same_tokens(eg) is not None


def _gold_of_same_tokens(eg: Example) -> NDArray | None:
    """`ENT_IOB`, `ENT_TYPE` and `IS_SPACE` of each token of the annotation, if it has the tokens of
    the prediction; None if not: then spaCy has to align them.
    """
    if len(eg.predicted) != len(eg.reference):
        return None
    gold: NDArray = eg.reference.to_array([ENT_IOB, ENT_TYPE, IS_SPACE, ORTH, SPACY])
    same = np.array_equal(gold[:, 3:], eg.predicted.to_array([ORTH, SPACY]))
    return gold[:, :3] if same else None


def _tags_of_tokens(gold: NDArray, label_numbers: dict[int, int]) -> NDArray:
    """What `Example.get_aligned_ner` says of tokens that are the same on both sides.

    gold: From `_gold_of_same_tokens`.
    """
    iob, types, is_space = gold.T
    if not iob.any():
        return np.full(len(iob), -1)
    labels = np.array([label_numbers.get(type_, -1) for type_ in types.tolist()])
    inside = iob == 1
    goes_on = np.append(inside[1:], False)
    # B, I, L or U of the first label.
    kind = np.where(inside, np.where(goes_on, 2, 3), np.where(goes_on, 1, 4))
    tags = np.where(labels < 0, -1, 4 * labels + kind)
    tags[(iob == 2) | ((is_space == 1) & (types == 0))] = 0
    return tags


def _aligned_tags(
    eg: Example, labels: Sequence[str], numbers: dict[str, int], expand: bool
) -> NDArray:
    tags = np.array([numbers.get(tag, -1) for tag in eg.get_aligned_ner()], dtype=np.int64)
    if not expand:
        return tags
    for ent in eg.reference.ents:
        span = eg.predicted.char_span(ent.start_char, ent.end_char, alignment_mode="expand")
        fits = (span.start_char, span.end_char) == (ent.start_char, ent.end_char)
        # Two entities that share a token can't both have it.
        is_free = (tags[span.start : span.end] <= 0).all()
        if not fits and is_free and ent.label_ in labels:
            tags[span.start : span.end] = entity_tags(len(span), labels.index(ent.label_))
    return tags


def incorrect_spans(eg: Example, key: str | None, labels: Sequence[str]) -> Iterator[Span]:
    """Spans of the prediction that are known not to be an entity of their label, one that can be
    predicted.

    key (str | None): Where the annotation has them: `reference.spans[key]`.
    RAISES: ValueError J051.
    """
    if key is None or key not in eg.reference.spans:
        return
    spans = eg.reference.spans[key]
    entities = {(ent.start_char, ent.end_char, ent.label_) for ent in eg.reference.ents}
    for span in eg.get_aligned_spans_y2x(spans, allow_overlap=True):
        if (span.start_char, span.end_char, span.label_) in entities:
            raise ValueError(Errors.J051.format(text=span.text, label=span.label_, key=key))
        if span.label_ in labels:
            yield span


def tags_with(span: Span, labels: Sequence[str]) -> NDArray:
    """The tags of all sequences in which a span is an entity.

    RETURNS (NDArray): Whether a token may have a tag. *Shape:* `(n_tokens, n_tags)`.
    """
    allowed = np.ones((len(span.doc), len(tag_names(labels))), dtype=bool)
    allowed[span.start : span.end] = False
    tags = entity_tags(len(span), labels.index(span.label_))
    allowed[np.arange(span.start, span.end), tags] = True
    return allowed
