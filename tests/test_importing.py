"""Fine-tuned checkpoints as pipelines: the same logits, whole entities, malformed folders."""

import itertools
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import spacy
import torch
from numpy.typing import NDArray
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from thinc.api import Model
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
from typer.testing import CliRunner

from spacy_jbert.cli.app import app
from spacy_jbert.errors import DataError
from spacy_jbert.exporting_hf import export_hf
from spacy_jbert.importing import import_checkpoint
from spacy_jbert.models.biluo import decode
from spacy_jbert.models.imported import build_imported_tagger, dense, read_tags
from spacy_jbert.wordpieces.alignment import token_offsets
from spacy_jbert.wordpieces.units import unit_starts

from .conftest import FAMILIES, SENTENCES

BIO = ["O", "B-人名", "I-人名", "B-地名", "I-地名"]
TOKEN_FAMILIES = ["bert-fast", "mecab-unidic", "electra", "xlm-roberta", "deberta-v2", "albert"]
TOKEN_FAMILIES += ["modernbert", "llama"]


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a family's model with a head, as a training would have left it."""

    @cache
    def build(family: str, kind: str, labels: tuple[str, ...], **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp(family)
        make_tokenizer, make_config = FAMILIES[family]
        tokenizer = make_tokenizer(folder / "vocabulary")
        config = make_config(tokenizer)
        config.update({"id2label": dict(enumerate(labels)), **settings})
        config.label2id = {label: i for i, label in enumerate(labels)}
        torch.manual_seed(0)
        maker = {"token": AutoModelForTokenClassification}.get(
            kind, AutoModelForSequenceClassification
        )
        model = maker.from_config(config)
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter) * 0.2
        model.save_pretrained(folder / "checkpoint")
        tokenizer.save_pretrained(folder / "checkpoint")
        return folder / "checkpoint"

    return build


def theirs(folder: Path, kind: str, ids: list[int]) -> NDArray:
    """The logits of transformers' own class."""
    maker = {"token": AutoModelForTokenClassification}.get(kind, AutoModelForSequenceClassification)
    model = maker.from_pretrained(folder, attn_implementation="eager").eval()
    # ModernBERT would spend half a minute on compiling itself.
    model.config.reference_compile = False
    with torch.no_grad():
        batch = torch.tensor([ids])
        logits: NDArray = model(batch, attention_mask=torch.ones_like(batch)).logits[0].numpy()
    return logits


def encoded(nlp: Language, text: str) -> tuple[Doc, list[int], NDArray]:
    """A text, its ids with the special ones, and which characters each piece stands for."""
    transformer: Any = nlp.get_pipe("transformer")
    doc = transformer(nlp.make_doc(text))
    data = doc._.trf_data
    return doc, data.wordpieces.input_ids[0].tolist(), data.model_output["offsets"]


@pytest.mark.parametrize("family", TOKEN_FAMILIES)
def test_each_wordpiece_has_the_logits_of_transformers(
    fine_tuned: Callable[..., Path], family: str
) -> None:
    folder = fine_tuned(family, "token", tuple(BIO))
    nlp = import_checkpoint(folder)
    model: Any = nlp.get_pipe("ner").model  # type: ignore[attr-defined]
    compared = 0
    for text in SENTENCES[:4]:
        doc, ids, offsets = encoded(nlp, text)
        own_tokenizer = nlp.get_pipe("transformer").encoder.tokenizer  # type: ignore[attr-defined]
        assert ids == own_tokenizer(text)["input_ids"]
        expected = theirs(folder, "token", ids)
        vectors = model.get_ref("tok2vec").predict([doc])
        [logits] = [model.get_ref("logits").predict(rows) for rows in vectors.vectors]
        [ends] = vectors.ends
        starts = unit_starts(*token_offsets(doc), ends)
        for start, end, row in zip(starts, ends, logits, strict=True):
            at = np.flatnonzero((offsets[:, 0] < end) & (offsets[:, 1] > start))
            if len(at) == 1:
                compared += 1
                assert np.abs(row - expected[at[0]]).max() < 1e-5
    assert compared > 40


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("bert-fast", {}),
        ("electra", {}),
        ("xlm-roberta", {}),
        ("deberta-v2", {"pooler_hidden_act": "gelu"}),
        ("albert", {}),
        ("modernbert", {"classifier_pooling": "cls", "classifier_bias": True}),
        ("modernbert", {"classifier_pooling": "mean", "norm_bias": True}),
    ],
)
def test_each_text_has_the_logits_of_transformers(
    fine_tuned: Callable[..., Path], family: str, settings: dict[str, Any]
) -> None:
    folder = fine_tuned(family, "sequence", ("良い", "悪い", "普通"), **settings)
    nlp = import_checkpoint(folder)
    model: Any = nlp.get_pipe("textcat").model  # type: ignore[attr-defined]
    for text in SENTENCES[:4]:
        doc, ids, _ = encoded(nlp, text)
        expected = theirs(folder, "sequence", ids)
        assert np.abs(model.get_ref("logits").predict([doc])[0] - expected).max() < 1e-5
        doc = nlp(text)
        softmax = np.exp(expected) / np.exp(expected).sum()
        assert list(doc.cats) == ["良い", "悪い", "普通"]
        assert np.abs(np.array(list(doc.cats.values())) - softmax).max() < 1e-5


@pytest.mark.parametrize(
    ("family", "kind", "settings"),
    [
        *((family, "token", {}) for family in TOKEN_FAMILIES),
        ("bert-fast", "sequence", {}),
        ("electra", "sequence", {"problem_type": "multi_label_classification"}),
        ("xlm-roberta", "sequence", {}),
        ("deberta-v2", "sequence", {"pooler_hidden_act": "gelu"}),
        ("albert", "sequence", {}),
        ("modernbert", "sequence", {"classifier_pooling": "cls", "classifier_bias": True}),
        ("modernbert", "sequence", {"classifier_pooling": "mean", "norm_bias": True}),
    ],
)
def test_the_way_back(
    fine_tuned: Callable[..., Path],
    tmp_path: Path,
    family: str,
    kind: str,
    settings: dict[str, Any],
) -> None:
    labels = tuple(BIO) if kind == "token" else ("良い", "悪い", "普通")
    folder = fine_tuned(family, kind, labels, **settings)
    import_checkpoint(folder).to_disk(tmp_path / "saved")
    nlp = spacy.load(tmp_path / "saved")
    assert export_hf(nlp, tmp_path / "back") < 1e-4
    for text in SENTENCES[:4]:
        _, ids, _ = encoded(nlp, text)
        expected = theirs(folder, kind, ids)
        assert np.abs(theirs(tmp_path / "back", kind, ids) - expected).max() < 1e-5
    config = json.loads((tmp_path / "back" / "config.json").read_bytes())
    first = json.loads((folder / "config.json").read_bytes())
    assert config.get("reference_compile") == first.get("reference_compile")
    assert list(config["id2label"].values()) == list(labels)
    again = import_checkpoint(tmp_path / "back")
    assert again.pipe_factories == nlp.pipe_factories


def test_problem_type_chooses_the_component(fine_tuned: Callable[..., Path]) -> None:
    labels = ("部屋", "食事")
    folder = fine_tuned("bert-fast", "sequence", labels, problem_type="multi_label_classification")
    nlp = import_checkpoint(folder)
    assert nlp.pipe_factories["textcat"] == "textcat_multilabel"
    doc, ids, _ = encoded(nlp, SENTENCES[0])
    expected = 1 / (1 + np.exp(-theirs(folder, "sequence", ids)))
    assert np.abs(np.array(list(nlp(doc.text).cats.values())) - expected).max() < 1e-5


@pytest.mark.parametrize("level", ["pieces", "first"])
def test_a_saved_pipeline_says_the_same(
    fine_tuned: Callable[..., Path], tmp_path: Path, level: Any
) -> None:
    nlp = import_checkpoint(fine_tuned("xlm-roberta", "token", tuple(BIO)), level=level)
    nlp.to_disk(tmp_path / "saved")
    loaded = spacy.load(tmp_path / "saved")
    # Longer than a window.
    text = "".join(SENTENCES)
    one, two = nlp(text), loaded(text)
    found = [
        [
            (ent.start_char, ent.end_char, ent.label_, round(ent._.jbert_score, 5))
            for ent in doc.ents
        ]
        for doc in (one, two)
    ]
    assert found[0] == found[1]
    assert found[0]
    assert all(0 < ent[3] <= 1 for ent in found[0])
    assert one.text == text
    assert str(tmp_path) not in (tmp_path / "saved" / "config.cfg").read_text(encoding="utf-8")


def test_a_wordpiece_over_several_tokens_is_one_entity(fine_tuned: Callable[..., Path]) -> None:
    nlp = import_checkpoint(fine_tuned("xlm-roberta", "token", tuple(BIO)))
    model: Any = nlp.get_pipe("ner").model  # type: ignore[attr-defined]
    [head] = [node for node in model.walk() if node.name == "linear"]
    # Every piece begins a name.
    head.set_param("W", np.zeros_like(head.get_param("W")))
    head.set_param("b", np.array([0, 5, 0, 0, 0], dtype="f"))
    crossed = 0
    for text in SENTENCES:
        doc, _, offsets = encoded(nlp, text)
        pieces = {(int(s), int(e)) for s, e in offsets if s >= 0 and text[s:e].strip()}
        crossed += sum(
            doc.char_span(s, e) is not None and len(doc.char_span(s, e)) > 1 for s, e in pieces
        )
        doc = nlp(text)
        assert {(ent.start_char, ent.end_char) for ent in doc.ents} == pieces
    assert crossed > 5


# --- Tags ---------------------------------------------------------------------------------------


def legal(sequence: tuple[str, ...], scheme: str) -> list[tuple[int, int, str]] | None:
    """The entities of a sequence of tags, None if it isn't well-formed."""
    found: list[tuple[int, int, str]] = []
    open_: str | None = None
    for i, tag in enumerate(sequence):
        letter, _, label = tag.partition("-")
        if scheme == "IO":
            letter = "O" if tag == "O" else "I" if open_ == label else "B"
        goes_on = letter in ("I", "L", "E")
        if goes_on != (open_ is not None and open_ == label) and (goes_on or scheme == "BILUO"):
            return None
        if scheme == "BILUO" and open_ is not None and not goes_on:
            return None
        if goes_on:
            found[-1] = (found[-1][0], i + 1, label)
        elif letter != "O":
            found.append((i, i + 1, label))
        closes = letter in ("O", "U", "S", "L", "E")
        open_ = None if closes else label
    return None if scheme == "BILUO" and open_ is not None else found


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "B-a", "I-a", "B-b", "I-b"], "BIO"),
        (["I-b", "O", "B-a", "B-b", "I-a"], "BIO"),
        (["O", "I-a", "I-b"], "IO"),
        (["B-a", "I-a", "E-a", "S-a", "O"], "BILUO"),
        (["B-a", "I-a", "L-a", "U-a", "O"], "BILUO"),
    ],
)
def test_the_best_well_formed_sequence_of_their_tags_is_found(tags: list[str], scheme: str) -> None:
    """Against all sequences, one after the other."""
    read = read_tags(tags)
    assert read.scheme == scheme
    rng = np.random.default_rng(0)
    for _ in range(30):
        logits = rng.normal(size=(4, len(tags))) * 3
        weights = {}
        for numbers in itertools.product(range(len(tags)), repeat=4):
            found = legal(tuple(tags[i] for i in numbers), scheme)
            if found is not None:
                weights[tuple(found)] = float(np.exp(logits[np.arange(4), numbers].sum()))
        best = max(weights, key=lambda key: weights[key])
        scores = np.where(read.columns < 0, -1e4, logits[:, read.columns])
        transitions = None
        if scheme == "IO":
            transitions = np.diag([0.0] + [-1e4] * len(read.labels))
        [decoded] = decode([scores], transitions)
        assert [(e.start, e.end, read.labels[e.label]) for e in decoded.entities] == list(best)
        total = sum(weights.values())
        for entity in decoded.entities:
            key = (entity.start, entity.end, read.labels[entity.label])
            share = sum(weight for found, weight in weights.items() if key in found) / total
            assert entity.score == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize(
    "tags",
    [
        ["B-a", "I-a"],
        ["O", "O", "B-a"],
        ["O"],
        ["O", "B-a", "X-a"],
        ["O", "B-a", "I-a", "E-a"],
        ["O", "a", "I-a"],
        ["O", "a-B", "a-I"],
        # IOB1: I- begins an entity, too.
        ["O", "B-a", "I-a", "I-b"],
        ["O", "B-a", "I-a", "L-a", "U-a", "I-b"],
        ["O", "B-a", "I-a", "L-a", "U-a", "B-b", "I-b"],
        ["O", "b-a", "i-a"],
        ["O", "B:a", "I:a"],
        ["O", "b:a", "i:a"],
    ],
)
def test_tags_that_mean_nothing_are_refused(tags: list[str]) -> None:
    with pytest.raises(ValueError, match="J462"):
        read_tags(tags)


def test_labels_of_one_token_need_no_more() -> None:
    assert read_tags(["O", "B-a", "I-a", "B-b"]).labels == ["a", "b"]
    assert read_tags(["O", "B-a", "I-a", "L-a", "U-a", "U-b"]).labels == ["a", "b"]


# --- Training goes on ---------------------------------------------------------------------------


def test_the_gradient_of_the_dense_layer() -> None:
    rng = np.random.default_rng(0)
    layer: Model = dense("gelu", 1e-5)
    layer.initialize(X=rng.normal(size=(2, 3)).astype("f"))
    for name in layer.param_names:
        layer.set_param(name, rng.normal(size=layer.get_param(name).shape).astype("f"))
    X, weight = (rng.normal(size=(4, 3)).astype("f") for _ in range(2))
    _, backprop = layer(X, True)
    dX = backprop(weight)
    for i, j in ((0, 0), (3, 2)):
        moved = [X.copy(), X.copy()]
        moved[0][i, j] += 1e-2
        moved[1][i, j] -= 1e-2
        up, down = (float((layer.predict(x) * weight).sum()) for x in moved)
        assert dX[i, j] == pytest.approx((up - down) / 2e-2, abs=2e-2)


@pytest.mark.parametrize("level", ["pieces", "first"])
def test_an_imported_head_learns_on(fine_tuned: Callable[..., Path], level: Any) -> None:
    nlp = import_checkpoint(fine_tuned("bert-fast", "token", tuple(BIO)), level=level)
    doc = nlp.make_doc(SENTENCES[1])
    doc.set_ents([doc.char_span(0, 2, "人名"), doc.char_span(8, 10, "地名")])
    example = Example(nlp.make_doc(SENTENCES[1]), doc)
    optimizer = nlp.resume_training()
    losses = [nlp.update([example], sgd=optimizer)["ner"] for _ in range(30)]
    assert losses[-1] < losses[0] / 2
    with pytest.raises(ValueError, match="J463"):
        nlp.get_pipe("ner").add_label("new")  # type: ignore[attr-defined]


def test_an_imported_classifier_learns_on(fine_tuned: Callable[..., Path]) -> None:
    nlp = import_checkpoint(fine_tuned("electra", "sequence", ("良い", "悪い", "普通")))
    doc = nlp.make_doc(SENTENCES[6])
    doc.cats = {"良い": 1.0, "悪い": 0.0, "普通": 0.0}
    example = Example(nlp.make_doc(doc.text), doc)
    optimizer = nlp.resume_training()
    for _ in range(60):
        nlp.update([example], sgd=optimizer)
    assert nlp(doc.text).cats["良い"] > 0.9


# --- Malformed folders --------------------------------------------------------------------------


@pytest.fixture
def damaged(fine_tuned: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a folder with other settings; None takes one away."""

    def make(kind: str, **settings: Any) -> Path:
        labels = tuple(BIO) if kind == "token" else ("a", "b", "c")
        folder = tmp_path / "damaged"
        shutil.copytree(fine_tuned("bert-fast", kind, labels), folder)
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8")) | settings
        left = {name: value for name, value in config.items() if value is not None}
        path.write_text(json.dumps(left), encoding="utf-8")
        return folder

    return make


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("sequence", {"id2label": None}, "no id2label"),
        ("sequence", {"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}, "no names"),
        ("sequence", {"id2label": {"0": "a", "1": "b"}}, "2 labels.*3 scores"),
        ("sequence", {"id2label": {"0": "a", "1": "b", "3": "c"}}, "numbers"),
        ("sequence", {"id2label": {"0": "a", "1": "a", "2": "c"}}, "twice"),
        ("sequence", {"id2label": {"0": "a", "1": 5, "2": "c"}}, "no id2label"),
        ("sequence", {"problem_type": "regression"}, "regression"),
        ("sequence", {"problem_type": ["x"]}, "problem_type"),
        ("sequence", {"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
        ("sequence", {"architectures": None}, "architectures"),
        ("sequence", {"model_type": "longformer"}, "longformer"),
    ],
)
def test_a_malformed_folder_is_refused(
    damaged: Callable[..., Path], kind: str, settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DataError, match=rf"J464.*{reason}"):
        import_checkpoint(damaged(kind, **settings))


def test_labels_can_be_named(damaged: Callable[..., Path]) -> None:
    folder = damaged("sequence", id2label=None)
    nlp = import_checkpoint(folder, labels=["x", "y", "z"])
    assert list(nlp("猫").cats) == ["x", "y", "z"]


def test_weights_without_a_head_are_refused(damaged: Callable[..., Path]) -> None:
    folder = damaged("token")
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(
        {name: w for name, w in weights.items() if "classifier" not in name}, path
    )
    with pytest.raises(DataError, match=r"J464.*classifier.weight"):
        import_checkpoint(folder)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"J464.*damaged"):
        import_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("classifier.weight", (3, 5)),
        ("classifier.weight", (3,)),
        ("classifier.bias", (3, 1)),
        ("bert.pooler.dense.weight", (5, 32)),
        ("bert.pooler.dense.weight", ()),
    ],
)
def test_weights_of_another_shape_are_refused(
    damaged: Callable[..., Path], name: str, shape: tuple[int, ...]
) -> None:
    folder = damaged("sequence")
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path) | {name: torch.zeros(shape)}
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    with pytest.raises(DataError, match="J464"):
        import_checkpoint(folder)


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"classifier.weight": 3}])
def test_weights_without_names_are_refused(damaged: Callable[..., Path], content: Any) -> None:
    folder = damaged("token")
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="J464"):
        import_checkpoint(folder)


class Harmful:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harm"),)


def test_pickled_weights_are_read_without_running_anything(
    damaged: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = damaged("token")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert import_checkpoint(folder)("猫").has_annotation("ENT_IOB")
    torch.save(weights | {"x": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="J464"):
        import_checkpoint(folder)
    assert not (tmp_path / "harm").exists()


def test_the_command(fine_tuned: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = fine_tuned("bert-fast", "token", tuple(BIO)), tmp_path / "out"
    runner = CliRunner()
    done = runner.invoke(app, ["import", str(folder), str(out)])
    assert done.exit_code == 0, done.output
    assert "人名, 地名" in done.output
    assert spacy.load(out).pipe_names == ["transformer", "ner"]
    done = runner.invoke(app, ["import", str(folder), str(out)])
    assert done.exit_code == 1
    assert "[J324]" in done.output
    done = runner.invoke(app, ["import", str(tmp_path / "none"), str(tmp_path / "o")])
    assert "[J464]" in done.output


def test_the_architecture_refuses_tags() -> None:
    with pytest.raises(ValueError, match="J462"):
        build_imported_tagger(Model("x", lambda *_: None), ["a", "b"])
