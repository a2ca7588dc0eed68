"""Units, and what splitting tokens leaves of a Doc."""

import numpy as np
import pytest
import spacy
from hypothesis import given, settings
from spacy.tokens import Doc, Span, SpanGroup
from spacy_transformers.data_classes import TransformerData, WordpieceBatch
from thinc.types import Ragged
from transformers.file_utils import ModelOutput

from spacy_jbert.wordpieces.alignment import token_offsets
from spacy_jbert.wordpieces.units import split_tokens, unit_doc, unit_ends, unit_starts, units

from .test_alignment import spans


@settings(deadline=None)
@given(spans(gaps=True), spans(gaps=False))
def test_units_refine_tokens_and_pieces(tokens: tuple, pieces: tuple) -> None:
    ends = unit_ends(*tokens, pieces[1])
    starts = unit_starts(*tokens, ends)
    # They have all characters of all tokens and no other, none twice.
    characters = [i for start, end in zip(*tokens, strict=True) for i in range(start, end)]
    assert [
        i for start, end in zip(starts, ends, strict=True) for i in range(start, end)
    ] == characters
    assert np.all(starts < ends)
    # None crosses the end of a token or a piece, and there are no other borders.
    assert set(ends) == set(tokens[1]) | {
        end for end in pieces[1] if end in characters and end - 1 in characters
    }
    assert set(tokens[0]) <= set(starts)


def make(words: list[str]) -> Doc:
    return Doc(spacy.blank("ja").vocab, words=words, spaces=[word == "b" for word in words])


def vectors(doc: Doc, starts: list[int], ends: list[int]) -> TransformerData:
    """A special row on both sides of the text, and the rows of pieces between."""
    n = len(starts) + 2
    offsets = np.full((n, 2), -1, dtype=np.int32)
    offsets[1:-1] = np.array([starts, ends]).T
    hidden = np.arange(2.0 * n, dtype="f").reshape(1, n, 2)
    return TransformerData(
        WordpieceBatch.empty(),
        ModelOutput(last_hidden_state=hidden, offsets=offsets),
        Ragged(np.zeros(0), np.zeros(0)),
    )


def test_rows_of_units() -> None:
    doc = make(["日農内", "b", "です", "。"])
    #                            日農     内      bです       。
    data = vectors(doc, starts=[0, 2, 3, 7], ends=[2, 3, 7, 8])
    ends, cut = units(doc, data)
    assert ends.tolist() == [2, 3, 4, 7, 8]
    assert [token.text_with_ws for token in unit_doc(doc, ends)] == [
        "日農",
        "内",
        "b ",
        "です",
        "。",
    ]
    assert [cut.align[i].dataXd.reshape(-1).tolist() for i in range(5)] == [[1], [2], [3], [3], [4]]
    # Nothing is known about characters: another transformer, or none.
    data.model_output = ModelOutput(last_hidden_state=data.model_output.last_hidden_state)
    ends, same = units(doc, data)
    assert ends.tolist() == token_offsets(doc)[1].tolist()
    assert same is data


def annotated() -> Doc:
    doc = Doc(
        spacy.blank("ja").vocab,
        words=["彼", "は", "日農内", "の", "人", "だ"],
        spaces=[False] * 6,
        tags=list("abcdef"),
        pos=["PRON", "ADP", "NOUN", "ADP", "NOUN", "AUX"],
        morphs=["", "", "Case=X", "", "", ""],
        lemmas=["彼", "は", "日農の中", "の", "人", "だ"],
        heads=[4, 0, 4, 2, 4, 4],
        deps=["nsubj", "case", "nmod", "case", "ROOT", "cop"],
        ents=["B-人", "O", "O", "O", "B-人", "O"],
    )
    doc.spans["x"] = SpanGroup(
        doc,
        name="x",
        attrs={"n": 3},
        spans=[doc[1:3], Span(doc, 4, 6, "L", kb_id="Q1", span_id="S")],
    )
    doc.user_data["sub_tokens"] = [None, None, [["日農", "内"]], None, [["ひと"]], None]
    return doc


def test_splitting_keeps_the_rest() -> None:
    doc = annotated()
    # Twice inside one token, on borders, out of the text.
    split_tokens(doc, [4, 3, 4, 0, 2, 5, 8, 9])
    assert [token.text for token in doc] == ["彼", "は", "日", "農", "内", "の", "人", "だ"]
    assert "".join(token.tag_ for token in doc) == "abcccdef"
    assert [token.pos_ for token in doc[2:6]] == ["NOUN", "NOUN", "NOUN", "ADP"]
    assert [str(token.morph) for token in doc[2:6]] == ["Case=X", "Case=X", "Case=X", ""]
    assert [token.lemma_ for token in doc[1:6]] == ["は", "日", "農", "内", "の"]
    assert [token.norm_ for token in doc[2:5]] == ["日", "農", "内"]
    assert [token.head.i for token in doc] == [6, 0, 6, 2, 2, 2, 6, 6]
    assert [token.dep_ for token in doc] == [
        "nsubj",
        "case",
        "nmod",
        "flat",
        "flat",
        "case",
        "ROOT",
        "cop",
    ]
    assert len(list(doc.sents)) == 1
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("彼", "人"), ("人", "人")]
    group = doc.spans["x"]
    assert [(span.text, span.label_, span.kb_id_, span.id_) for span in group] == [
        ("は日農内", "", "", ""),
        ("人だ", "L", "Q1", "S"),
    ]
    assert (group.name, group.attrs) == ("x", {"n": 3})
    assert doc.user_data["sub_tokens"] == [None, None, None, None, None, None, [["ひと"]], None]


def test_splitting_without_a_tree() -> None:
    """Sentences stay, and tokens have nothing that none of them had."""
    doc = make(["うん", "。", "東京都", "と", "京都府"])
    for i, token in enumerate(doc):
        token.is_sent_start = i in (0, 2)
    split_tokens(doc, [5, 9])
    assert [token.text for token in doc] == ["うん", "。", "東京", "都", "と", "京都", "府"]
    assert [sent.text for sent in doc.sents] == ["うん。", "東京都と京都府"]
    assert not any(
        doc.has_annotation(attribute)
        for attribute in ("DEP", "TAG", "POS", "LEMMA", "MORPH", "ENT_IOB")
    )
    assert all(token.head == token for token in doc)


@pytest.mark.parametrize("known", [True, False])
def test_splitting_aligns_vectors_again(known: bool) -> None:
    doc = make(["日農内", "です"])
    data = vectors(doc, starts=[0, 2, 3], ends=[2, 3, 5])
    data.align = Ragged(np.array([1, 2, 3], dtype="i"), np.array([2, 1], dtype="i"))
    if not known:
        data.model_output = ModelOutput(last_hidden_state=data.model_output.last_hidden_state)
    if not Doc.has_extension("trf_data"):
        Doc.set_extension("trf_data", default=None)
    doc._.trf_data = data
    split_tokens(doc, [2])
    align = doc._.trf_data.align
    rows = [align[i].dataXd.reshape(-1).tolist() for i in range(3)]
    assert rows == ([[1], [2], [3]] if known else [[1, 2], [1, 2], [3]])


def test_nothing_to_split() -> None:
    for doc in (make([]), annotated()):
        before = doc.to_bytes()
        split_tokens(doc, [0, 1, 2])
        assert doc.to_bytes() == before
