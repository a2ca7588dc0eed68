"""Units: tokens, cut where a wordpiece ends inside them. `jbert_ner` tags these where an entity may
    begin or end inside a token, and
cuts the tokens of the Doc itself at the borders of what it found.
"""

from collections.abc import Iterable

import numpy as np
from spacy.attrs import (
    DEP,
    ENT_ID,
    ENT_IOB,
    ENT_KB_ID,
    ENT_TYPE,
    HEAD,
    LEMMA,
    MORPH,
    ORTH,
    POS,
    SENT_START,
    TAG,
)
from spacy.tokens import Doc, SpanGroup
from spacy_transformers.data_classes import TransformerData
from thinc.types import Ragged

from ..types import Ints
from .alignment import align, ragged_ranges, token_offsets

_ATTRIBUTES = [HEAD, DEP, TAG, POS, MORPH, LEMMA, SENT_START, ENT_IOB, ENT_TYPE, ENT_KB_ID, ENT_ID]


def unit_ends(token_starts: Ints, token_ends: Ints, piece_ends: Ints) -> Ints:
    """Cut tokens where a wordpiece ends. A token without wordpieces, or inside of one, is one unit.

    token_starts, token_ends: Character offsets of the tokens. *Shape:* `(n_tokens,)`.
    piece_ends (Ints): Where pieces end. *Shape:* `(n_pieces,)`.
    RETURNS (Ints): Where units end, rising; among them all of `token_ends`. *Shape:* `(n_units,)`.
    """
    # Behind the last token no piece is inside of one.
    begins = np.append(token_starts, np.iinfo(np.int32).max)[
        np.searchsorted(token_ends, piece_ends)
    ]
    return np.union1d(token_ends, piece_ends[piece_ends > begins]).astype(np.int32)


def unit_starts(token_starts: Ints, token_ends: Ints, ends: Ints) -> Ints:
    """RETURNS (Ints): Where the units that end at `ends` start: where their token does, or where
    the one before ends in the same token.
    """
    before = np.concatenate(([0], ends[:-1]))
    return np.maximum(token_starts[np.searchsorted(token_ends, ends)], before[: len(ends)]).astype(
        np.int32
    )


def unit_doc(doc: Doc, ends: Ints) -> Doc:
    """RETURNS (Doc): The same text with units as its tokens, and no annotation."""
    token_starts, token_ends = token_offsets(doc)
    text, starts = doc.text, unit_starts(token_starts, token_ends, ends)
    words = [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    last = np.searchsorted(ends, token_ends)
    spaces = np.zeros(len(ends), dtype=bool)
    spaces[last] = [bool(token.whitespace_) for token in doc]
    return Doc(doc.vocab, words=words, spaces=spaces.tolist())


def units(doc: Doc, data: TransformerData) -> tuple[Ints, TransformerData]:
    """Cut a Doc's tokens into units.

    RETURNS: Where the units end, and the same vectors aligned to units instead of tokens. Tokens
        are the units where nobody knows what characters the vectors stand for: they come from
        spacy-transformers' own component, or none ran.
    """
    token_starts, token_ends = token_offsets(doc)
    if "offsets" not in data.model_output:
        return token_ends, data
    ends = unit_ends(token_starts, token_ends, data.model_output["offsets"][:, 1])
    if len(ends) == len(token_ends):
        return ends, data
    aligned = _align(data, unit_starts(token_starts, token_ends, ends), ends)
    return ends, TransformerData(data.wordpieces, data.model_output, aligned)


def _align(data: TransformerData, starts: Ints, ends: Ints) -> Ragged:
    offsets = data.model_output["offsets"]
    rows = np.flatnonzero(offsets[:, 0] >= 0).astype(np.int32)
    indices, lengths = align(starts, ends, *offsets[rows].T)
    return Ragged(rows[indices], lengths)


def split_tokens(doc: Doc, borders: Iterable[int]) -> None:
    """Cut the tokens of a Doc at characters inside them. Borders of tokens are no matter.

    The parts have the token's tag, part of speech, morphology and sentence; their lemma and norm
    are their own. In the tree the first part stands for the token and the others hang on it
    ("flat"). `doc.spans`, `doc._.trf_data.align` and `doc.user_data["sub_tokens"]` go along.

    borders (Iterable[int]): Characters of the text before which a token is to begin.
    """
    starts, ends = token_offsets(doc)
    cuts: dict[int, list[int]] = {}
    for border in sorted(set(borders)):
        i = int(np.searchsorted(ends, border))
        if i < len(doc) and starts[i] < border < ends[i]:
            cuts.setdefault(i, []).append(border - int(starts[i]))
    if not cuts:
        return
    before = doc.to_array(_ATTRIBUTES)
    # spaCy leaves the tokens of span groups as they were counted before.
    groups = {
        key: [(span.start_char, span.end_char, span.label, span.kb_id, span.id) for span in group]
        for key, group in doc.spans.items()
    }
    with doc.retokenize() as retokenizer:
        for i, at in cuts.items():
            token = doc[i]
            orths = [
                token.text[start:end]
                for start, end in zip([0, *at], [*at, len(token)], strict=True)
            ]
            others = [(token, 0) if token.dep else (token, part) for part in range(1, len(orths))]
            retokenizer.split(token, orths, [token.head, *others])
    new_starts, new_ends = token_offsets(doc)
    old = np.searchsorted(ends, new_ends)
    # spaCy gives the parts behind the first what stood in their place before: annotation of the
    # tokens that follow.
    after = before[old]
    after[:, _ATTRIBUTES.index(HEAD)] = doc.to_array(HEAD)
    part = np.isin(old, list(cuts))
    lemma, orth = _ATTRIBUTES.index(LEMMA), doc.to_array(ORTH)
    after[:, lemma] = np.where(part & (after[:, lemma] != 0), orth, after[:, lemma])
    behind = new_starts != starts[old]
    for attribute, value in (
        (DEP, doc.vocab.strings.add("flat")),
        (SENT_START, np.uint64(-1 % 2**64)),
    ):
        column = after[:, _ATTRIBUTES.index(attribute)]
        column[behind & (column != 0)] = value
    doc.from_array(_ATTRIBUTES, after)
    for key, spans in groups.items():
        again = [
            doc.char_span(start, end, label, kb_id, span_id=span_id)
            for start, end, label, kb_id, span_id in spans
        ]
        doc.spans[key] = SpanGroup(
            doc, name=doc.spans[key].name, attrs=doc.spans[key].attrs, spans=again
        )
    if "sub_tokens" in doc.user_data:
        sub_tokens = doc.user_data["sub_tokens"]
        doc.user_data["sub_tokens"] = [
            None if cut else sub_tokens[i]
            for i, cut in zip(old.tolist(), part.tolist(), strict=True)
        ]
    data = doc._.trf_data if Doc.has_extension("trf_data") else None
    if data is None:
        return
    if "offsets" in data.model_output:
        aligned = _align(data, new_starts, new_ends)
    else:  # not ours: each part has all vectors of its token
        lengths = data.align.lengths[old]
        first = np.cumsum(data.align.lengths) - data.align.lengths
        aligned = Ragged(data.align.dataXd.reshape(-1)[ragged_ranges(first[old], lengths)], lengths)
    doc._.trf_data = TransformerData(data.wordpieces, data.model_output, aligned)
