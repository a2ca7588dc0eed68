"""Stratified splits and folds: every Doc once, no text or group on both sides, labels shared out."""

import os
import subprocess
import sys
from collections import Counter
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from spacy.tokens import Doc
from spacy.vocab import Vocab

from spacy_jbert.corpora.splits import SPLITS, folds, shared_out, stratified

VOCAB = Vocab()
RECORDS = st.lists(
    st.tuples(
        st.sampled_from("あいうえおかきくけこさしすせそたちつてと"),
        st.sets(st.sampled_from("ABCDE"), max_size=3),
        st.none() | st.sampled_from("xyz"),
    ),
    min_size=1,
    max_size=60,
)


def make(text: str, labels: set[str], group: str | None = None) -> Doc:
    doc = Doc(VOCAB, words=[text])
    doc.cats = dict.fromkeys(labels, 1.0)
    if group is not None:
        doc.user_data["group"] = group
    return doc


def singles(**counts: int) -> list[Doc]:
    return [make(f"{label}{n}", {label}) for label, count in counts.items() for n in range(count)]


@settings(deadline=None)
@given(RECORDS, st.sampled_from([[0.8, 0.1, 0.1], [0.6, 0.4, 0.0], [0.2] * 5]), st.integers(0, 99))
def test_every_doc_is_in_one_part_and_no_text_or_group_in_two(records, shares, seed) -> None:
    docs = [make(*record) for record in records]
    parts = stratified(docs, shares, seed)
    assert Counter(map(id, (doc for part in parts for doc in part))) == Counter(map(id, docs))
    assert all(not part for part, share in zip(parts, shares, strict=True) if not share)
    for first, second in combinations(parts, 2):
        assert not {doc.text for doc in first} & {doc.text for doc in second}
        groups = [{doc.user_data.get("group") for doc in part} - {None} for part in (first, second)]
        assert not groups[0] & groups[1]
    again = stratified(docs, shares, seed)
    assert [[doc.text for doc in part] for part in parts] == [[d.text for d in p] for p in again]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("ABCDEFGH"), st.integers(3, 60), min_size=1), st.integers())
def test_each_label_is_in_each_part_by_its_share(counts: dict[str, int], seed: int) -> None:
    parts = shared_out(singles(**counts), "80/10/10", seed)
    for label, count in counts.items():
        found = [sum(label in doc.cats for doc in parts[name]) for name in SPLITS]
        assert min(found) >= 1
        assert all(
            abs(have - count * share) <= 2
            for have, share in zip(found, (0.8, 0.1, 0.1), strict=True)
        )


def test_sizes_are_those_asked_for() -> None:
    parts = shared_out(singles(A=700, B=250, C=50), "80/10/10", 0)
    assert [len(parts[name]) for name in SPLITS] == [800, 100, 100]
    assert [sum("C" in doc.cats for doc in parts[name]) for name in SPLITS] == [40, 5, 5]


def test_another_seed_gives_another_split_and_the_docs_keep_their_order() -> None:
    docs = singles(A=100)
    first, second = (shared_out(docs, "80/10/10", seed) for seed in (0, 1))
    assert [doc.text for doc in first["dev"]] != [doc.text for doc in second["dev"]]
    order = {doc.text: number for number, doc in enumerate(docs)}
    places = [order[doc.text] for doc in first["train"]]
    assert places == sorted(places)


def test_folds_test_each_doc_once() -> None:
    docs = singles(A=30, B=12, C=5)
    found = folds(docs, 5, 0)
    assert sorted(doc.text for fold in found for doc in fold["test"]) == sorted(
        doc.text for doc in docs
    )
    for fold in found:
        texts = [{doc.text for doc in part} for part in fold.values()]
        assert len(set().union(*texts)) == len(docs) == sum(map(len, texts))
        assert {label for doc in fold["test"] for label in doc.cats} == {"A", "B", "C"}


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("ABCDEF"), st.lists(st.integers(1, 40), min_size=3, max_size=9), min_size=1
    ),
    st.integers(0, 99),
)
def test_each_label_is_in_each_part_however_large_its_groups(
    groups: dict[str, list[int]], seed: int
) -> None:
    docs = [
        make(f"{label}{number}-{n}", {label}, f"{label}{number}")
        for label, sizes in groups.items()
        for number, size in enumerate(sizes)
        for n in range(size)
    ]
    for part in shared_out(docs, "80/10/10", seed).values():
        assert {label for doc in part for label in doc.cats} == set(groups)


def test_splits_do_not_depend_on_the_order_of_sets() -> None:
    """Strings hash differently in each process."""
    program = """
from spacy.tokens import Doc
from spacy.vocab import Vocab
from spacy_jbert.corpora.splits import stratified
docs = [Doc(Vocab(), words=[str(n)]) for n in range(200)]
for n, doc in enumerate(docs):
    doc.cats = dict.fromkeys({f"L{n % k}-{k}" for k in (2, 3, 5, 7, 40)}, 1.0)
print([[doc.text for doc in part] for part in stratified(docs, [0.8, 0.1, 0.1], 1)])
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
