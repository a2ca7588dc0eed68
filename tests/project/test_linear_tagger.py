"""The baselines of taggers."""

from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span

from .test_chabsa import script

tagger = script("project/scripts/linear_tagger.py")
VOCAB = spacy.blank("ja").vocab


def doc(thing: str, change: str) -> Doc:
    doc = Doc(
        VOCAB, words=["今期", "の", *thing, "は", change, "た"], spaces=[False] * (5 + len(thing))
    )
    label = "positive" if change == "増え" else "negative"
    doc.ents = [Span(doc, 2, 2 + len(thing), label=label)]
    return doc


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Path, Path]:
    train = [doc(thing, change) for thing in ("売", "利益", "受注") for change in ("増え", "減っ")]
    paths = (tmp_path / "train.spacy", tmp_path / "test.spacy")
    DocBin(docs=train * 5).to_disk(paths[0])
    DocBin(docs=[doc("売", "増え"), doc("利益", "減っ"), doc("電", "減っ")]).to_disk(paths[1])
    return paths


def test_what_was_seen_and_what_stands_around_it(
    parts: tuple[Path, Path], capsys: pytest.CaptureFixture
) -> None:
    tagger.main(*parts)
    dictionary, linear = capsys.readouterr().out.splitlines()
    # It knows the spans that it has seen, and no polarity.
    assert dictionary.startswith("dictionary: P / R / F 50.0 / 33.3 / 40.0")
    # It goes by what stands behind, also where the span is a new one.
    assert linear.startswith("linear: P / R / F 100.0 / 100.0 / 100.0")


def test_tags_that_cant_be_are_mended() -> None:
    tags = ["I-a", "I-a", "I-b", "O", "B-a", "B-a", "I-a"]
    assert list(tagger._mended(tags)) == ["B-a", "I-a", "B-b", "O", "B-a", "B-a", "I-a"]
