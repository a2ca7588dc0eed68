"""`ent._.jbert_score`: how sure `jbert_ner` was of an entity.

`ent._.score` is the same where no one else has that name."""

import logging

from spacy.tokens import Span

from ..errors import Errors, Warnings

logger = logging.getLogger(__name__)

NAME = "jbert_score"
SHORT_NAME = "score"


def get_confidence(span: Span) -> float | None:
    """`span._.jbert_score`.

    It belongs to an entity: spaCy keeps it by characters, and with the label it can't pass to one
    that something else puts there, nor stay with one that was taken away. One of the same
    characters and label is another's if it has an `ent_id`, as of the entity ruler's patterns.

    RETURNS (float | None): None for what `jbert_ner` didn't find.
    """
    if not _is_entity(span):
        return None
    kept = span.doc.user_data
    place = (span.start_char, span.end_char)
    value = kept.get(("._.", NAME, *place))
    # Documents of before it had a name of its own keep it under the short one.
    if value is None and not _is_others(SHORT_NAME) and not any(map(_is_ours, kept)):
        value = kept.get(("._.", SHORT_NAME, *place))
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    label, confidence = value
    is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    return confidence if label == span.label_ and is_number else None


def _is_ours(key: object) -> bool:
    return isinstance(key, tuple) and key[:2] == ("._.", NAME)


def set_confidence(span: Span, confidence: float | list) -> None:
    """Keep it in the Doc's user data, beside the label.

    confidence (float | list): Or both, as Doc.from_json gives back what Doc.to_json wrote.
    """
    span.doc.user_data["._.", NAME, span.start_char, span.end_char] = (
        confidence if isinstance(confidence, list) else [span.label_, confidence]
    )


def _is_entity(span: Span) -> bool:
    doc = span.doc
    return (
        len(span) > 0
        and (span[0].ent_iob, span[0].ent_type, span[0].ent_id) == (3, span.label, 0)
        and all(token.ent_iob == 1 for token in span[1:])
        and (span.end == len(doc) or doc[span.end].ent_iob != 1)
    )


def register() -> None:
    """Add the extensions to `Span`.

    RAISES: ValueError J059 if the long name is another's. If the short one is, that is a warning,
        and it stays the other's.
    """
    if not _add(NAME):
        raise ValueError(Errors.J059.format(name=NAME))
    if not _add(SHORT_NAME):
        logger.warning(Warnings.JW053.format(name=SHORT_NAME, ours=NAME))


def _add(name: str) -> bool:
    """RETURNS (bool): Whether the extension of that name is ours."""
    if not Span.has_extension(name):
        Span.set_extension(name, getter=get_confidence, setter=set_confidence)
    return not _is_others(name)


def _is_others(name: str) -> bool:
    return Span.has_extension(name) and Span.get_extension(name)[2] is not get_confidence
