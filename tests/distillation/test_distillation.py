"""`spacy-jbert.distill.v1`: a teacher labels raw text, and a student becomes as sure as it is."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_jbert.distillation import teacher as teaching
from spacy_jbert.distillation.corpus import distill
from spacy_jbert.pipeline.soft_tags import soft_components, soft_tags

from ..conftest import SENTENCES, listener
from ..pipeline.conftest import train
from .conftest import TEXTCAT, heads

# The first line is two sentences.
PARTS = ["吾輩は猫である。", "名前はまだ無い。", *SENTENCES[1:]]


def no_gold(nlp: Language) -> Iterable[Example]:
    return []


@pytest.fixture
def make_corpus(teacher: Path, raw: Path, tmp_path: Path) -> Callable[..., Any]:
    def make(**settings: Any) -> Any:
        of_all = {
            "gold": no_gold,
            "teacher": str(teacher),
            "text": str(raw),
            "folder": str(tmp_path / "labelled"),
            "min_characters": 5,
        }
        return distill(**(of_all | settings))

    return make


def labelled_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.spacy")}


@pytest.mark.parametrize("decoder", ["crf", "softmax"])
def test_a_student_becomes_as_sure_as_its_teacher(
    decoder: str, make_corpus: Callable, make_nlp: Callable, both: Callable, teacher: Path
) -> None:
    taught = make_corpus()
    nlp = make_nlp(heads(decoder), both)
    examples = list(taught(nlp))
    assert len(examples) == len(PARTS)
    # The names of labels, not their order, say what is what.
    assert all(soft_components(eg.reference) == ["ner"] for eg in examples)
    train(nlp, examples, steps=120)
    teacher_nlp = spacy.load(teacher)
    theirs, ours = list(teacher_nlp.pipe(PARTS)), list(nlp.pipe(PARTS))
    wanted = np.concatenate(teacher_nlp.get_pipe("ner").tag_probabilities(theirs))
    found = np.concatenate(nlp.get_pipe("ner").tag_probabilities(ours))
    # Where each tag stands alone, well-formed sequences are others than the teacher's.
    assert np.abs(wanted - found).mean() < (0.01 if decoder == "crf" else 0.03)
    for of_teacher, doc in zip(theirs, ours, strict=True):
        assert doc.cats["named"] == pytest.approx(of_teacher.cats["named"], abs=0.12)


def test_gold_comes_first_and_as_often_as_said(
    make_corpus: Callable, make_nlp: Callable, both: Callable
) -> None:
    nlp = make_nlp(heads(), both)
    examples = list(make_corpus(gold=lambda nlp: both(nlp)[:3], gold_repeats=2, limit=4)(nlp))
    texts = [eg.text for eg in examples]
    assert texts[:6] == SENTENCES[:3] * 2
    assert len(texts) == 10
    assert not any(soft_components(eg.reference) for eg in examples[:6])


def test_each_sentence_once_of_the_length_that_is_wanted(
    make_corpus: Callable, make_nlp: Callable, both: Callable
) -> None:
    nlp = make_nlp(heads(), both)
    texts = [eg.text for eg in make_corpus(min_characters=20, max_characters=24)(nlp)]
    assert sorted(texts) == sorted(text for text in PARTS if 20 <= len(text) <= 24)


def test_another_seed_draws_others(
    make_corpus: Callable, make_nlp: Callable, tmp_path: Path, both: Callable
) -> None:
    nlp = make_nlp(heads(), both)
    drawn = [
        {eg.text for eg in make_corpus(limit=6, seed=seed, folder=str(tmp_path / str(seed)))(nlp)}
        for seed in (0, 1)
    ]
    assert drawn[0] != drawn[1]


def test_what_a_kill_left_is_gone_on_with(
    make_corpus: Callable,
    make_nlp: Callable,
    both: Callable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teaching, "_TEXTS_A_SHARD", 4)
    nlp = make_nlp(heads(), both)
    list(make_corpus()(nlp))
    folder = tmp_path / "labelled"
    whole = labelled_files(folder)
    assert len(whole) == 6
    for name in ("00001.spacy", "00004.spacy"):
        (folder / name).unlink()
    asked: list[str] = []
    label = teaching._labelled
    monkeypatch.setattr(
        teaching, "_labelled", lambda nlp, texts: asked.extend(texts) or label(nlp, texts)
    )
    list(make_corpus()(nlp))
    assert len(asked) == 8
    assert labelled_files(folder) == whole
    list(make_corpus()(nlp))
    assert len(asked) == 8


def test_labelling_leaves_chance_as_it_was(
    make_corpus: Callable, make_nlp: Callable, both: Callable
) -> None:
    nlp = make_nlp(heads(), both)
    np.random.seed(0)
    first = np.random.random()
    np.random.seed(0)
    list(make_corpus()(nlp))
    assert np.random.random() == first


def test_other_settings_are_not_mixed(
    make_corpus: Callable, make_nlp: Callable, both: Callable, teacher: Path, raw: Path
) -> None:
    nlp = make_nlp(heads(), both)
    list(make_corpus()(nlp))
    with pytest.raises(ValueError, match=r"J545.*\(limit\)"):
        list(make_corpus(limit=5)(nlp))
    file = next(path for path in (raw, *raw.rglob("*")) if path.is_file())
    before = file.read_bytes()
    # Of the same name and size.
    file.write_bytes(before[:-1] + b" ")
    with pytest.raises(ValueError, match=r"J545.*\(text\)"):
        list(make_corpus()(nlp))
    file.write_bytes(before)
    meta = json.loads((teacher / "meta.json").read_text(encoding="utf-8"))
    (teacher / "meta.json").write_text(json.dumps(meta | {"version": "9"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"J545.*\(teacher\)"):
        list(make_corpus()(nlp))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("00000.spacy", b"cut"),
        ("00000.spacy", DocBin().to_bytes()),
        ("texts.json", b"["),
        ("texts.json", b"[1]"),
        ("settings.json", b"[]"),
    ],
)
def test_a_damaged_folder_is_refused(
    name: str,
    content: bytes,
    make_corpus: Callable,
    make_nlp: Callable,
    both: Callable,
    tmp_path: Path,
) -> None:
    nlp = make_nlp(heads(), both)
    list(make_corpus()(nlp))
    (tmp_path / "labelled" / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"J548.*{name}"):
        list(make_corpus()(nlp))


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"limit": 0}, "J549"),
        ({"gold_repeats": -1}, "J549"),
        ({"min_characters": 0}, "J549"),
        ({"min_characters": 9, "max_characters": 8}, "J549"),
        ({"min_characters": 900, "max_characters": 900}, "J542"),
        ({"teacher": "nobody"}, "J551"),
        ({"text": "nowhere"}, "J101"),
    ],
)
def test_settings_that_cannot_be(
    settings: dict[str, Any], code: str, make_corpus: Callable, make_nlp: Callable, both: Callable
) -> None:
    with pytest.raises(ValueError, match=code):
        list(make_corpus(**settings)(make_nlp(heads(), both)))


def test_a_teacher_with_nothing_to_say(
    make_corpus: Callable, make_nlp: Callable, both: Callable, tmp_path: Path
) -> None:
    blank = spacy.blank("ja")
    blank.add_pipe("sentencizer")
    blank.to_disk(tmp_path / "blank")
    with pytest.raises(ValueError, match=r"J544.*sentencizer"):
        list(make_corpus(teacher=str(tmp_path / "blank"))(make_nlp(heads(), both)))


def test_students_that_would_learn_nothing(
    make_corpus: Callable, make_nlp: Callable, both: Callable
) -> None:
    tagger = {"model": {"@architectures": "spacy-jbert.TokenClassifier.v1", "tok2vec": listener()}}
    other = make_nlp([("entities", "jbert_ner", tagger)], both)
    with pytest.raises(ValueError, match=r"J550.*\(transformer, entities\).*\(ner, categories\)"):
        list(make_corpus()(other))
    stock = make_nlp([("textcat", "textcat_multilabel", {"model": TEXTCAT})], both)
    with pytest.raises(ValueError, match=r"J546.*'textcat'"):
        list(make_corpus()(stock))


def first_soft(make_corpus: Callable, nlp: Language) -> Example:
    return next(iter(make_corpus()(nlp)))


def test_labels_in_another_order(make_corpus: Callable, make_nlp: Callable, both: Callable) -> None:
    nlp = make_nlp(heads(), both)
    eg = first_soft(make_corpus, nlp)
    labels = list(nlp.get_pipe("ner").labels)
    there = soft_tags(eg, "ner", labels)
    back = soft_tags(eg, "ner", labels[::-1])
    assert there is not None
    assert back is not None
    np.testing.assert_array_equal(there.tags[:, 1:5], back.tags[:, -4:])
    assert there.pairs[1, 0] == back.pairs[len(labels), 0]
    np.testing.assert_allclose(there.tags.sum(axis=1), 1.0)
    with pytest.raises(ValueError, match="J540"):
        soft_tags(eg, "ner", [*labels, "OTHER"])
    assert soft_tags(eg, "other", labels) is None


def test_other_tokens_are_refused(
    make_corpus: Callable, make_nlp: Callable, both: Callable
) -> None:
    nlp = make_nlp(heads(), both)
    eg = first_soft(make_corpus, nlp)
    single = Example(
        Doc(nlp.vocab, words=list(eg.text), spaces=[False] * len(eg.text)), eg.reference
    )
    with pytest.raises(ValueError, match="J541"):
        soft_tags(single, "ner", nlp.get_pipe("ner").labels)


def test_units_neither_teach_nor_learn(
    make_corpus: Callable, make_nlp: Callable, both: Callable
) -> None:
    tagger = {
        "@architectures": "spacy-jbert.TokenClassifier.v1",
        "tok2vec": listener(pooling="units"),
    }
    head = ("ner", "jbert_ner", {"model": tagger, "misaligned": "split"})
    nlp = make_nlp([head], both)
    with pytest.raises(ValueError, match="J543"):
        train(nlp, list(make_corpus()(nlp)), steps=1)
    with pytest.raises(ValueError, match="J543"):
        nlp.get_pipe("ner").expectations(list(nlp.pipe(SENTENCES[:2])))


def probabilities(nlp: Language) -> Iterator[Example]:
    for i, sentence in enumerate(SENTENCES[:8]):
        doc = nlp.make_doc(sentence)
        doc.cats = {"A": 0.7, "B": 0.3} if i % 2 else {"A": 0.1, "B": 0.9}
        yield Example(nlp.make_doc(sentence), doc)


def test_categories_are_learned_as_probable_as_they_are(make_nlp: Callable, tmp_path: Path) -> None:
    nlp = make_nlp([heads()[1]], lambda nlp: list(probabilities(nlp)))
    train(nlp, list(probabilities(nlp)), steps=60)
    docs = list(nlp.pipe(SENTENCES[:8]))
    assert [round(doc.cats["A"], 1) for doc in docs] == [0.1, 0.7] * 4
    nlp.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved")
    other = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    other.add_pipe("transformer", source=loaded)
    other.add_pipe("textcat", source=loaded)
    for again in (
        loaded,
        other,
        spacy.blank("ja").from_config(nlp.config).from_bytes(nlp.to_bytes()),
    ):
        for doc, before in zip(again.pipe(SENTENCES[:8]), docs, strict=True):
            assert doc.cats == pytest.approx(before.cats, abs=1e-5)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_what_is_no_probability_is_refused(value: float, make_nlp: Callable) -> None:
    nlp = make_nlp([heads()[1]], lambda nlp: list(probabilities(nlp)))
    doc = nlp.make_doc(SENTENCES[0])
    doc.cats = {"A": value, "B": 0.0}
    with pytest.raises(ValueError, match="J547"):
        nlp.get_pipe("textcat").update([Example(nlp.make_doc(doc.text), doc)])
