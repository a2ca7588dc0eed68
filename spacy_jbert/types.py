"""Type aliases for the models and arrays that pass between modules, with their shapes."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from spacy.tokens import Doc
from spacy_transformers.data_classes import FullTransformerBatch, TransformerData
from thinc.api import Model
from thinc.types import Floats2d

Ints: TypeAlias = NDArray[np.int32]

# Documents to wordpiece vectors, and to token vectors: (n_tokens, width) for each document.
TransformerModel: TypeAlias = Model[list[Doc], FullTransformerBatch]
ListenerModel: TypeAlias = Model[list[Doc], list[TransformerData]]
Tok2VecModel: TypeAlias = Model[list[Doc], list[Floats2d]]
# Document scores, (n_docs, n_labels).
TextCatModel: TypeAlias = Model[list[Doc], Floats2d]


class TagScores(NamedTuple):
    """Scores (logits) of BILUO tags, or the gradient of a loss by them.

    tokens: One array a document. *Shape:* `(n_tokens, 1 + 4 * n_labels)`. transitions: What it adds
        that an entity of one label, or
    O, is followed by the beginning of another; None if nothing was learned about that. *Shape:* `(1
    + n_labels, 1 + n_labels)`.
    ends: where each document's units end (`units.py`), in characters; then `tokens` has a row for
        each of these; None if it is tokens.
    """

    tokens: list[Floats2d]
    transitions: Floats2d | None
    ends: list[Ints] | None = None


class UnitVectors(NamedTuple):
    """Vectors of units instead of tokens, one array a document, *shape* `(n_units, width)`, and
    where each unit ends, in characters.

    Their gradient is that of `vectors`.
    """

    vectors: list[Floats2d]
    ends: list[Ints]


TaggerModel: TypeAlias = Model[list[Doc], TagScores]


class Pieces(NamedTuple):
    """The wordpieces of one text, in order, without special pieces.

    ids: *Shape:* `(n_pieces,)`.
    starts, ends: The characters of the text that a piece stands for, `text[start:end]`. Both never
        fall from one piece to the next; several pieces may share a character (㍿ -> 株式, 会社) and
        one may span several tokens. *Shape:* `(n_pieces,)`.
    """

    ids: Ints
    starts: Ints
    ends: Ints


class PairWindow(NamedTuple):
    """What an encoder sees at once of a question and a text: `wordpieces/pairs.py`.

    ids: Special ones included. *Shape:* `(n,)`.
    n_first (int): So many of these, from the first, count as the question's; the others are the
        text's, which some encoders are told by token types.
    start, end (int): The text's pieces that are seen, of all that it has.
    own_start, own_end (int): Those of these that an answer has to begin with to count in this
        window. Each piece is some window's own, and the window's it is more central in.
    """

    ids: NDArray[np.int64]
    n_first: int
    start: int
    end: int
    own_start: int
    own_end: int

    @property
    def at(self) -> slice:
        """RETURNS (slice): Where the text's pieces are among `ids`."""
        return slice(self.n_first, self.n_first + self.end - self.start)


# Windows to scores of where answers begin and end, (n_pieces of all, 2).
SpanModel: TypeAlias = Model[list[PairWindow], Floats2d]
