"""Offsets: tokens to pieces, normalised text to text, strings to spans."""

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spacy_jbert.wordpieces.alignment import (
    align,
    cover,
    map_offsets,
    monotone,
    piece_spans,
    ragged_ranges,
)

# What trips normalisers: half-width marks, combining marks, compatibility forms, Hangul jamo,
# joiners, sigmas, Turkish letters.
AWKWARD = "ab か゛がｶﾞﾊﾟ㍿㌔①Ⅳﬁée\u0301\u0327\u3099\u309a\u200d\ufe0f\U000e0100ㇷ゚ᄀ\u1161\u11a8가ΣσςİIıß鷗𠮷👩\n\u3000々ー\u0b47\u0b3e"
texts = st.text(
    st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=["Cs"])), max_size=20
)


@st.composite
def spans(draw: st.DrawFn, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (which don't overlap) or pieces (which may, but never fall)."""
    starts, ends, start, end = [], [], 0, 0
    for _ in range(draw(st.integers(0, 8))):
        start = end + draw(st.integers(0, 2)) if gaps else draw(st.integers(start, end))
        end = max(end, start + draw(st.integers(1, 4)))
        starts.append(start)
        ends.append(end)
    return np.array(starts, dtype=np.int32), np.array(ends, dtype=np.int32)


@given(spans(gaps=True), spans(gaps=False))
def test_align_is_overlap(tokens: tuple, pieces: tuple) -> None:
    indices, lengths = align(*tokens, *pieces)
    found = np.split(indices, np.cumsum(lengths))[:-1]
    assert len(found) == len(tokens[0])
    for start, end, of_token in zip(*tokens, found, strict=True):
        assert of_token.tolist() == [
            i for i, (s, e) in enumerate(zip(*pieces, strict=True)) if s < end and start < e
        ]


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 5))))
def test_ragged_ranges(pairs: list[tuple[int, int]]) -> None:
    starts, lengths = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    assert ragged_ranges(starts, lengths).tolist() == [
        i for start, length in pairs for i in range(start, start + length)
    ]


@given(texts, st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1))
def test_monotone_and_cover_leave_no_character_out(text: str, pairs: list[tuple[int, int]]) -> None:
    offsets = np.array(
        [sorted((min(a, len(text)), min(b, len(text)))) for a, b in pairs], dtype=np.int32
    )
    starts, ends = cover(text, *monotone(offsets[:, 0], offsets[:, 1]))
    assert np.all(np.diff(starts) >= 0)
    assert np.all(np.diff(ends) >= 0)
    assert np.all((starts >= 0) & (starts <= ends) & (ends <= len(text)))
    covered = {i for start, end in zip(starts, ends, strict=True) for i in range(start, end)}
    assert all(char.isspace() or i in covered for i, char in enumerate(text))


def nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize(
    "normalize",
    [nfkc, str.lower, lambda text: nfkc(text).lower(), lambda text: text.replace("ー", "")],
)
@given(text=texts)
@example(text="㍿ｶﾞｷﾞｸﾞか\u3099")
@example(text="\u0b47\u0b3e")  # two vowel signs of class 0 that compose
@example(text="ΟΔΟΣ ΟΔΟΣ。")
@example(text="İstanbul")
def test_map_offsets(normalize: object, text: str) -> None:
    assert callable(normalize)
    normalized, starts, ends = map_offsets(text, normalize)
    assert normalized == normalize(text)
    assert len(starts) == len(ends) == len(normalized)
    assert np.all(starts < ends)
    assert np.all(np.diff(starts) >= 0)
    assert np.all(np.diff(ends) >= 0)
    # Brute force: each run of characters with the same source is what that source alone, or with
    # the text before it, becomes.
    for start, end in sorted(set(zip(starts.tolist(), ends.tolist(), strict=True))):
        of_stretch = "".join(
            char
            for char, s, e in zip(normalized, starts, ends, strict=True)
            if (s, e) == (start, end)
        )
        assert normalize(text[:end]).endswith(of_stretch) or of_stretch in normalized
        assert normalize(text[start:end]).replace("ς", "σ") == of_stretch.replace("ς", "σ")


def test_normalisation_works_on_the_stretches_that_map_offsets_takes_it_to() -> None:
    """Nothing in Unicode composes with a character before it that map_offsets would not put into
    the same stretch.
    """
    decompositions = [unicodedata.decomposition(chr(code)).split() for code in range(0x110000)]
    pairs = {
        (int(parts[0], 16), int(parts[1], 16))
        for parts in decompositions
        if len(parts) == 2 and "<" not in parts[0]
    }
    composing = [
        chr(first) + chr(second)
        for first, second in pairs
        if unicodedata.normalize("NFC", chr(first) + chr(second)) not in (chr(first) + chr(second),)
    ]
    composing += ["\u1100\u1161", "\uac00\u11a8", "ｶﾞ", "ﾊﾟ"]
    for text in composing:
        normalized, starts, ends = map_offsets("か" + text + "か", nfkc)
        stretches = list(zip(normalized, starts.tolist(), ends.tolist(), strict=True))
        assert stretches[0] == ("か", 0, 1), text
        assert stretches[-1] == ("か", len(text) + 1, len(text) + 2), text
        assert {stretch[1:] for stretch in stretches[1:-1]} == {(1, len(text) + 1)}, text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("㍿", [("株", 0, 1), ("式", 0, 1), ("会", 0, 1), ("社", 0, 1)]),
        ("aｶﾞb", [("a", 0, 1), ("ガ", 1, 3), ("b", 3, 4)]),
        ("か\u3099", [("が", 0, 2)]),
        ("", []),
    ],
)
def test_nfkc_cases(text: str, expected: list) -> None:
    normalized, starts, ends = map_offsets(text, nfkc)
    assert list(zip(normalized, starts.tolist(), ends.tolist(), strict=True)) == expected


def test_a_final_sigma_costs_no_other_character_its_offsets() -> None:
    text = "Ａ" * 100 + "ΟΔΟΣ" + "か" * 100
    normalized, starts, ends = map_offsets(text, str.lower)
    assert normalized.endswith("οδος" + "か" * 100)
    assert [(s, e) for s, e in zip(starts, ends, strict=True) if e - s != 1] == []


def test_lower_casing_that_lengthens() -> None:
    normalized, starts, ends = map_offsets("xİy", str.lower)
    assert normalized == "xi\u0307y"
    assert list(zip(starts.tolist(), ends.tolist(), strict=True)) == [
        (0, 1),
        (1, 2),
        (1, 2),
        (2, 3),
    ]


@given(st.text("abか#▁", min_size=1, max_size=12), st.data())
def test_piece_spans_follow_one_another(word: str, data: st.DataObject) -> None:
    cuts = sorted(
        data.draw(st.sets(st.integers(1, max(1, len(word) - 1)), max_size=4)) | {0, len(word)}
    )
    parts = [word[a:b] for a, b in pairwise(cuts)]
    pieces = [part if i == 0 else "##" + part for i, part in enumerate(parts)]
    found = piece_spans(word, pieces, "[UNK]")
    if found != [(0, len(word))] * len(pieces):  # can't be told apart: ▁ and # are marks and text
        assert found == list(pairwise(cuts))


@pytest.mark.parametrize(
    ("word", "pieces", "expected"),
    [
        ("鷗外", ["[UNK]", "外"], [(0, 1), (1, 2)]),
        ("鷗外", ["[UNK]"], [(0, 2)]),
        ("森鷗𠮷野", ["森", "[UNK]", "[UNK]", "野"], [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ("東京都", ["東京", "##都"], [(0, 2), (2, 3)]),
        ("東京", ["▁", "東京"], [(0, 1), (0, 2)]),
        ("東京", ["大阪"], [(0, 2)]),
        ("", [], []),
    ],
)
def test_piece_spans_cases(word: str, pieces: list[str], expected: list) -> None:
    assert piece_spans(word, pieces, "[UNK]") == expected
