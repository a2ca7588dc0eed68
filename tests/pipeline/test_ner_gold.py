"""Gold tags where both sides have the same tokens, against spaCy's own alignment."""

import random

import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_jbert.models.biluo import tag_names
from spacy_jbert.pipeline.gold_tags import gold_tags


def test_same_tokens_have_the_tags_that_spacy_aligns() -> None:
    vocab, choose = spacy.blank("ja").vocab, random.Random(0)
    labels = ["A", "B"]
    numbers = {tag: i for i, tag in enumerate(tag_names(labels))}
    for label in labels:
        vocab.strings.add(label)
    for _ in range(500):
        words = [choose.choice(["東", "京都", "x", " ", "\n"]) for _ in range(choose.randint(1, 9))]
        spaces = [choose.random() < 0.5 for _ in words]
        predicted, reference = (Doc(vocab, words=words, spaces=spaces) for _ in range(2))
        kinds: dict[str, list[Span]] = {"entity": [], "missing": [], "blocked": [], "nothing": []}
        start = 0
        while start < len(words):
            end = min(len(words), start + choose.randint(1, 3))
            kind = choose.choice(list(kinds))
            label = choose.choice([*labels, "unknown"]) if kind == "entity" else 0
            kinds[kind].append(Span(reference, start, end, label=label))
            start = end
        if choose.random() < 0.9:
            reference.set_ents(kinds["entity"], missing=kinds["missing"], blocked=kinds["blocked"])
        eg = Example(predicted, reference)
        expected = [numbers.get(tag, -1) for tag in eg.get_aligned_ner()]
        (tags,) = gold_tags([eg], labels, expand=False)
        assert tags.tolist() == expected


def test_other_tokens_are_left_to_spacy() -> None:
    vocab = spacy.blank("ja").vocab
    reference = Doc(vocab, words=["東", "京都", "へ"], ents=["O", "B-GPE", "O"])
    numbers = {tag: i for i, tag in enumerate(tag_names(["GPE"]))}
    for words in (["東京", "都", "へ"], ["東京都", "へ"], ["東", "京", "都", "へ"]):
        eg = Example(Doc(vocab, words=words), reference)
        (tags,) = gold_tags([eg], ["GPE"], expand=False)
        assert tags.tolist() == [numbers.get(tag, -1) for tag in eg.get_aligned_ner()]
    (tags,) = gold_tags(
        [Example(Doc(vocab, words=["東京都", "へ"]), reference)], ["GPE"], expand=True
    )
    assert tags.tolist() == [numbers["U-GPE"], 0]
