"""`jbert_threshold`: what is under a threshold isn't said."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from typer.testing import CliRunner

from spacy_jbert.cli.app import app as jbert
from spacy_jbert.evaluation.calibration import fit_all
from spacy_jbert.evaluation.confidence import register
from spacy_jbert.evaluation.mistakes import UNCERTAIN
from spacy_jbert.evaluation.thresholds import clear, fit_thresholds
from spacy_jbert.pipeline.thresholds import CATEGORY, Threshold

from ..evaluation.test_calibration import categories, sharpen, textcat

SAID = {"田中": ("PERSON", 0.9), "東京": ("GPE", 0.4), "大阪": ("GPE", 0.7)}
TEXT = "田中さんは東京と大阪へ行く。"


@Language.component("says", assigns=["doc.ents"])
def says(doc: Doc) -> Doc:
    register()
    spans = []
    for text, (label, _) in SAID.items():
        start = doc.text.find(text)
        if start >= 0:
            span = doc.char_span(start, start + len(text), label=label)
            spans.append(span)
    doc.set_ents(spans)
    for span in doc.ents:
        span._.jbert_score = SAID[span.text][1]
    return doc


@pytest.fixture
def nlp() -> Language:
    nlp = spacy.blank("ja")
    nlp.add_pipe("says")
    nlp.add_pipe("jbert_threshold")
    return nlp


@pytest.fixture(autouse=True)
def no_extension_left() -> Iterator[None]:
    yield
    if Doc.has_extension(CATEGORY):
        Doc.remove_extension(CATEGORY)


def ends(doc: Doc) -> tuple[list[str], list[str]]:
    return [ent.text for ent in doc.ents], [span.text for span in doc.spans.get(UNCERTAIN, [])]


def test_without_thresholds_nothing_changes(nlp: Language) -> None:
    assert ends(nlp(TEXT)) == (["田中", "東京", "大阪"], [])
    assert UNCERTAIN not in nlp(TEXT).spans


def test_what_is_under_its_threshold_is_uncertain(nlp: Language) -> None:
    nlp.get_pipe("jbert_threshold").set({"*": 0.5, "PERSON": None}, {})
    doc = nlp(TEXT)
    assert ends(doc) == (["大阪"], ["田中", "東京"])
    assert doc.spans[UNCERTAIN].attrs["scores"].tolist() == pytest.approx([0.9, 0.4])
    assert [span.label_ for span in doc.spans[UNCERTAIN]] == ["PERSON", "GPE"]
    # Free tokens are annotated as free, not unknown.
    assert all(token.ent_iob for token in doc)
    (kept,) = DocBin(docs=[doc], store_user_data=True).get_docs(nlp.vocab)
    assert ends(kept) == ends(doc)
    # At the threshold is enough.
    nlp.get_pipe("jbert_threshold").set({"GPE": 0.7}, {})
    assert ends(nlp(TEXT)) == (["田中", "大阪"], ["東京"])
    # Every document has the group, as code that reads it may expect.
    assert ends(nlp("猫。")) == ([], [])
    assert UNCERTAIN in nlp("猫。").spans


def test_the_category_or_none() -> None:
    pipe = Threshold("t", categories={"*": 0.6, "変: な=ラベル[x]": 0.2, "never": None})
    cats = {"a": 0.55, "変: な=ラベル[x]": 0.3, "never": 0.99}
    assert pipe.category(cats) == "変: な=ラベル[x]"
    assert pipe.category({"a": 0.61, "b": 0.39}) == "a"
    assert pipe.category({"a": 0.59, "b": 0.41}) is None
    assert pipe.category({}) is None
    doc = spacy.blank("ja").make_doc("猫")
    doc.cats = {"a": 0.1}
    assert pipe(doc)._.category is None
    doc.cats = {"a": 0.9}
    assert pipe(doc)._.category == "a"
    assert doc.cats == {"a": 0.9}


def test_saved_and_loaded(nlp: Language, tmp_path: Path) -> None:
    """Labels may hold whatever a config's key can't."""
    labels = {"立地::周辺": 0.25, "a = b": None, "${x}": 1, "[y]": 0.0, "#": 0.5}
    nlp.get_pipe("jbert_threshold").set({"*": 0.5}, labels)
    nlp.to_disk(tmp_path / "pipeline")
    loaded = spacy.load(tmp_path / "pipeline")
    assert loaded.get_pipe("jbert_threshold").categories == labels
    assert ends(loaded(TEXT)) == (["田中", "大阪"], ["東京"])
    again = spacy.blank("ja")
    again.add_pipe("says")
    again.add_pipe("jbert_threshold")
    again.from_bytes(nlp.to_bytes())
    assert again.get_pipe("jbert_threshold").categories == labels
    text = (tmp_path / "pipeline/jbert_threshold/thresholds.json").read_text(encoding="utf-8")
    assert "立地" in text


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "J091"),
        ("[]", "J091"),
        ('{"entities": {}}', "J091"),
        ('{"entities": [], "categories": {}}', "J415"),
        ('{"entities": {"A": 1.5}, "categories": {}}', "J415"),
        ('{"entities": {"A": "0.5"}, "categories": {}}', "J415"),
        ('{"entities": {"A": true}, "categories": {}}', "J415"),
        ('{"entities": {}, "categories": {"A": NaN}}', "J415"),
    ],
)
def test_a_file_that_somebody_has_changed(
    content: str, code: str, nlp: Language, tmp_path: Path
) -> None:
    nlp.to_disk(tmp_path / "pipeline")
    file = tmp_path / "pipeline/jbert_threshold/thresholds.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=code):
        spacy.load(tmp_path / "pipeline")
    file.unlink()
    with pytest.raises(ValueError, match="J091"):
        spacy.load(tmp_path / "pipeline")


def test_an_extension_of_somebody_elses() -> None:
    Doc.set_extension(CATEGORY, getter=lambda doc: "theirs")
    with pytest.raises(ValueError, match="J416"):
        Threshold("t")
    Doc.remove_extension(CATEGORY)
    # One that can be written is as good as ours.
    Doc.set_extension(CATEGORY, default="x")
    Threshold("t")


def gold(nlp: Language, right: list[str], text: str = TEXT) -> Example:
    doc = nlp.make_doc(text)
    doc.set_ents(
        [
            doc.char_span(text.find(name), text.find(name) + len(name), label=SAID[name][0])
            for name in right
        ]
    )
    return Example(nlp.make_doc(text), doc)


def annotated(nlp: Language, examples: list[Example]) -> list[Example]:
    for eg in examples:
        eg.predicted = says(eg.predicted)
    return examples


def test_a_threshold_is_found_and_kept(nlp: Language) -> None:
    # Of 0.9 all are right, of 0.7 half, of 0.4 none.
    examples = [gold(nlp, ["田中", "大阪"]), gold(nlp, ["田中"])]
    (found,) = fit_thresholds(nlp, annotated(nlp, examples), 0.75)
    assert found.label == "*"
    assert 0.4 < found.threshold <= 0.7
    assert (found.coverage, found.precision, found.answers) == pytest.approx((2 / 3, 0.75, 6))
    assert nlp.pipe_names[-1] == "jbert_threshold"
    assert ends(nlp(TEXT)) == (["田中", "大阪"], ["東京"])
    # For one label by itself; the others' threshold stays.
    examples = [gold(nlp, ["田中", "大阪"]), gold(nlp, ["田中"])]
    found = fit_thresholds(nlp, annotated(nlp, examples), 0.99, labels=["GPE"])
    assert [(one.label, one.threshold) for one in found] == [("GPE", None)]
    assert ends(nlp(TEXT)) == (["田中"], ["東京", "大阪"])
    assert nlp.get_pipe("jbert_threshold").entities.keys() == {"*", "GPE"}
    assert clear(nlp)
    assert nlp.pipe_names == ["says"]
    assert not clear(nlp)


def test_what_cannot_be_reached(nlp: Language) -> None:
    examples = annotated(nlp, [gold(nlp, []), gold(nlp, ["大阪"])])
    with pytest.raises(ValueError, match="J412"):
        fit_thresholds(nlp, examples, 0.9)
    with pytest.raises(ValueError, match="J413"):
        fit_thresholds(nlp, [Example(nlp.make_doc("猫"), nlp.make_doc("猫"))], 0.9)


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
def test_categories_of_a_classifier(factory: str, make_nlp: Callable[..., Language]) -> None:
    nlp = make_nlp([textcat(factory)], categories)
    sharpen(nlp, "textcat")
    examples = categories(nlp)
    for eg, doc in zip(examples, nlp.pipe(eg.text for eg in examples), strict=True):
        eg.predicted = doc
    (found,) = fit_thresholds(nlp, examples, 0.5)
    for eg in examples:
        doc = nlp(eg.text)
        surest = max(doc.cats, key=doc.cats.__getitem__)
        reached = doc.cats[surest] >= found.threshold
        assert doc._.category == (surest if reached else None)
    if factory == "textcat_multilabel":
        assert nlp.get_pipe("textcat").cfg["threshold"] == dict.fromkeys("ABC", found.threshold)


def test_calibration_sees_what_is_under_a_threshold(make_nlp: Callable[..., Language]) -> None:
    """Else the next fit would be of the surest answers alone."""
    nlp = make_nlp([("ner", "jbert_ner", {})], entities)
    sharpen(nlp, "ner")
    fit_all(nlp, entities(nlp))
    wanted = nlp.get_pipe("ner").cfg["temperature"]
    assert wanted != 1.0
    nlp.add_pipe("jbert_threshold").set({"*": None}, {})
    nlp.get_pipe("ner").cfg["temperature"] = 1.0
    fit_all(nlp, entities(nlp))
    assert nlp.get_pipe("ner").cfg["temperature"] == pytest.approx(wanted, rel=0.01)


def test_the_figures_in_the_meta_are_of_what_is_saved(make_nlp: Callable[..., Language]) -> None:
    nlp = make_nlp([("ner", "jbert_ner", {})], entities)
    sharpen(nlp, "ner")
    examples = entities(nlp)
    for eg, doc in zip(examples, nlp.pipe(eg.text for eg in examples), strict=True):
        eg.predicted = doc
    nlp.meta["performance"] = {"ents_p": -1.0, "ents_r": -1.0, "other": 1.0}
    sure = sorted(ent._.jbert_score for eg in examples for ent in eg.predicted.ents)
    assert len(sure) > 4
    right = sum(
        (ent.start, ent.end) in {(other.start, other.end) for other in eg.reference.ents}
        for eg in examples
        for ent in eg.predicted.ents
    )
    fit_thresholds(nlp, examples, max(0.01, right / len(sure)))
    scores = nlp.evaluate(entities(nlp))
    assert nlp.meta["performance"]["ents_p"] == pytest.approx(scores["ents_p"])
    assert nlp.meta["performance"]["ents_r"] == pytest.approx(scores["ents_r"])
    assert nlp.meta["performance"]["other"] == 1.0


def entities(nlp: Language) -> list[Example]:
    examples = categories(nlp)
    for i, eg in enumerate(examples):
        eg.reference.cats = {}
        doc = eg.reference
        doc.set_ents([Span(doc, i % 3, i % 3 + 1, label="X")] if i % 2 else [])
    return examples


def test_json_is_json(nlp: Language) -> None:
    assert json.loads(nlp.get_pipe("jbert_threshold").to_bytes()) == {
        "entities": {},
        "categories": {},
    }


def threshold(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(jbert, ["threshold", *map(str, words)])
    return done.exit_code, done.output


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("factory", ["textcat", "textcat_multilabel"])
@pytest.mark.parametrize("options", [[], ["--by-label"], ["--label", "C"]])
def test_off_is_as_it_was(
    factory: str, options: list[str], make_nlp: Callable[..., Language], tmp_path: Path
) -> None:
    nlp = make_nlp([textcat(factory)], categories)
    sharpen(nlp, "textcat")
    before = {"cats_macro_f": 0.123, "cats_macro_f_interval": [0.1, 0.2], "loss": 3.0}
    nlp.meta["performance"] = before
    model, data = tmp_path / "model", tmp_path / "dev.spacy"
    nlp.to_disk(model)
    wanted = files(model)
    DocBin(docs=[eg.reference for eg in categories(nlp)]).to_disk(data)
    # Twice: what was there at first is what --off gives back.
    for precision in (0.4, 0.5):
        code, said = threshold(model, data, "--precision", precision, *options)
        assert code == 0, said
    performance = spacy.load(model).meta["performance"]
    assert performance["cats_macro_f"] != 0.123
    assert "cats_macro_f_interval" not in performance
    assert performance["loss"] == 3.0
    assert threshold(model, data, "--off")[0] == 0
    assert files(model).keys() == wanted.keys()
    assert spacy.load(model).meta["performance"] == before
    assert spacy.load(model).get_pipe("textcat").cfg == nlp.get_pipe("textcat").cfg
    doc = spacy.load(model)("東京へ行く。")
    assert doc.cats == pytest.approx(nlp("東京へ行く。").cats)


def test_labels_without_an_answer(nlp: Language, caplog: pytest.LogCaptureFixture) -> None:
    nlp.get_pipe("jbert_threshold").set({"GPE": 0.5}, {})
    # The annotation has places, and only of persons anything is said.
    doc = nlp.make_doc("京都の田中さん。")
    doc.set_ents([doc.char_span(0, 2, label="GPE"), doc.char_span(3, 5, label="PERSON")])
    examples = annotated(nlp, [Example(nlp.make_doc(doc.text), doc)] * 40)
    for labels in (["GPE"], ["GPE", "ORG"]):
        with pytest.raises(ValueError, match=r"J482.*: " + ", ".join(labels)):
            fit_thresholds(nlp, examples, 0.9, labels=labels)
        assert nlp.get_pipe("jbert_threshold").entities == {"GPE": 0.5}
    (found,) = fit_thresholds(nlp, examples, 0.9, labels=["GPE", "PERSON"])
    assert found.label == "PERSON"
    assert "JW470" in caplog.text
    assert ": GPE. " in caplog.text
    caplog.clear()
    fit_thresholds(nlp, examples, 0.9, by_label=True)
    assert ": GPE. " in caplog.text
    caplog.clear()
    # One for all is one for these too.
    fit_thresholds(nlp, examples, 0.9)
    assert "JW470" not in caplog.text
