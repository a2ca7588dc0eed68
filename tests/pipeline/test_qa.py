"""`jbert_qa`: it learns, says where answers are, and is the same after a journey."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_config
from spacy.util import load_config
from transformers import AutoModelForQuestionAnswering

from spacy_jbert.evaluation import questions
from spacy_jbert.evaluation.calibration import fit_all
from spacy_jbert.exporting import export_onnx
from spacy_jbert.models.spans import Spans
from spacy_jbert.packaging import portable
from spacy_jbert.pipeline.qa import JBertQA

from ..conftest import SENTENCES
from .asked import ASKED, SETTINGS, asked, examples, make, train

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def folder(checkpoint: Callable) -> Path:
    return checkpoint("bert-fast")


@pytest.fixture(scope="module")
def trained(folder: Path) -> Language:
    nlp = make(folder)
    train(nlp, examples(nlp), 60)
    return nlp


def said(nlp: Language) -> list[Any]:
    texts = [(nlp.make_doc(text), question) for text, question, _ in ASKED]
    return nlp.get_pipe("qa").answer(texts)


def test_overfits_and_keeps_it_on_every_journey(trained: Language, tmp_path: Path) -> None:
    for answered, (text, _, answer) in zip(said(trained), ASKED, strict=True):
        found = answered.answers
        assert [of.text for of in found[:1]] == ([] if answer is None else [answer])
        assert all(text[of.start : of.end] == of.text for of in found)
        assert sum(of.score for of in found) + answered.no_answer <= 1.0 + 1e-6
        assert (answered.no_answer > 0.5) == (answer is None)
    scores = trained.evaluate(examples(trained))
    assert scores["qa_em"] == scores["qa_f1"] == scores["qa_unanswerable"] == 1.0
    assert scores["qa_questions"] == len(ASKED)
    expected = said(trained)
    trained.to_disk(tmp_path / "whole")
    assert said(spacy.load(tmp_path / "whole")) == expected
    other = spacy.blank("ja")
    other.add_pipe("jbert_qa", name="qa", config={"model": SETTINGS})
    other.from_bytes(trained.to_bytes())
    assert said(other) == expected
    assert said(pickle.loads(pickle.dumps(trained))) == expected
    pipe = trained.get_pipe("qa")
    pipe.to_disk(tmp_path / "pipe", exclude=["vocab"])
    assert not (tmp_path / "pipe" / "vocab").exists()
    again = spacy.blank("ja").add_pipe("jbert_qa", name="qa", config={"model": SETTINGS})
    assert again.from_disk(tmp_path / "pipe", exclude=["vocab"]).cfg["temperature"] == 1.0
    assert again.answer([(trained.make_doc(ASKED[0][0]), ASKED[0][1])]) == expected[:1]
    sourced = spacy.blank("ja")
    sourced.add_pipe("qa", source=trained)
    assert [of.text for of in sourced(ASKED[0][0])._.answers(ASKED[0][1], n=1)] == ["東京"]


def test_who_answers_for_docs_from_elsewhere(
    trained: Language, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sourced component has the vocabulary of its source."""
    # Other tests of this process may still hold components.
    monkeypatch.setattr(questions, "_known", WeakSet([trained.get_pipe("qa")]))
    text, question, answer = ASKED[0]
    sourced = spacy.blank("ja")
    sourced.add_pipe("qa", source=trained)
    (through,) = sourced.pipe([text], n_process=2)
    elsewhere = Doc(spacy.blank("ja").vocab, words=[text], spaces=[False])
    for doc in (through, sourced.make_doc(text), elsewhere):
        assert [of.text for of in doc._.answers(question, n=1)] == [answer]
    another = spacy.blank("ja").add_pipe("jbert_qa")
    with pytest.raises(ValueError, match=r"\[J524\].*there are 2"):
        elsewhere._.answers(question)
    assert another.vocab is not trained.vocab
    assert [of.text for of in trained.make_doc(text)._.answers(question, n=1)] == [answer]


def test_encoder_is_a_plain_checkpoint_and_parts_of_other_saves_are_refused(
    trained: Language, tmp_path: Path
) -> None:
    pipe = trained.get_pipe("qa")
    pipe.to_disk(tmp_path / "a")
    assert (tmp_path / "a" / "encoder" / "model.safetensors").is_file()
    pipe.to_disk(tmp_path / "b")
    (tmp_path / "b" / "head").write_bytes((tmp_path / "a" / "head").read_bytes())
    new = spacy.blank("ja").add_pipe("jbert_qa", config={"model": SETTINGS})
    with pytest.raises(ValueError, match=r"\[J526\]"):
        new.from_disk(tmp_path / "b")
    (tmp_path / "a" / "head").write_bytes(b"\x81")
    with pytest.raises(ValueError, match=r"\[J091\]"):
        new.from_disk(tmp_path / "a")
    (tmp_path / "b" / "encoder" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"\[J009\]"):
        new.from_disk(tmp_path / "b")
    with pytest.raises(ValueError, match=r"\[J091\]"):
        new.from_bytes(b"\x81")


@pytest.mark.parametrize("family", ["bert-fast", "electra", "xlm-roberta"])
def test_scores_are_those_of_transformers(
    family: str, checkpoint: Callable, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    twin = AutoModelForQuestionAnswering.from_pretrained(checkpoint(family)).eval()
    twin.save_pretrained(tmp_path)
    for file in checkpoint(family).glob("*token*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for file in checkpoint(family).glob("vocab*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    nlp = make(tmp_path, learn_rate_factor=1.0)
    pipe: JBertQA = nlp.get_pipe("qa")
    output = pipe.model.get_ref("output_layer")
    output.set_param("W", twin.qa_outputs.weight.detach().numpy())
    output.set_param("b", twin.qa_outputs.bias.detach().numpy())
    text, question, _ = ASKED[0]
    (window,) = pipe._windows(pipe._asked([nlp.make_doc(text)]), pipe._questions([question]))[0]
    tokenizer = pipe.encoder.tokenizer
    encoded = tokenizer(question, text, return_tensors="pt")
    if family != "xlm-roberta":  # its tiny tokenizer has no template of two texts
        assert window.ids.tolist() == encoded["input_ids"][0].tolist()
        assert encoded["token_type_ids"][0].sum() == len(window.ids) - window.n_first
    ids = torch.tensor(window.ids)[None]
    types = torch.zeros_like(ids)
    types[:, window.n_first :] = 1
    with torch.inference_mode():
        expected = twin(input_ids=ids, token_type_ids=types)
    ours = pipe.model.predict([window])
    np.testing.assert_allclose(ours[:, 0], expected.start_logits[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(ours[:, 1], expected.end_logits[0].numpy(), atol=1e-5)


def test_gradients_are_those_of_torch(folder: Path) -> None:
    """One step on whole windows changes weights as torch does with the loss of transformers, but
    for positions of the question, which can't be answers here."""
    nlp = make(folder, max_batch_pieces=64)
    pipe: JBertQA = nlp.get_pipe("qa")
    lessons = list(pipe._lessons(examples(nlp)))
    windows = [window for window, _ in lessons]
    scores, backprop = pipe.model.begin_update(windows)
    generator = np.random.default_rng(0)
    gradient = generator.normal(size=scores.shape).astype("f")
    backprop(gradient)
    name = "encoder.layer.0.attention.self.query.weight"
    weights = dict(pipe.encoder.model.named_parameters())
    got = weights[name].grad.clone()
    pipe.encoder.model.zero_grad()
    output, factor = pipe.model.get_ref("output_layer"), 10.0
    total = torch.zeros(())
    at = 0
    for window in windows:
        types = torch.zeros(1, len(window.ids), dtype=torch.long)
        types[:, window.n_first :] = 1
        hidden = pipe.encoder(torch.tensor(window.ids)[None], None, types)[0]
        logits = factor * hidden @ torch.tensor(output.get_param("W")).T
        part = torch.tensor(gradient[at : at + len(window.ids)])
        total = total + (logits * part).sum()
        at += len(window.ids)
    total.backward()
    torch.testing.assert_close(got, weights[name].grad, atol=1e-3, rtol=1e-3)


def test_long_texts_are_read_by_windows(trained: Language) -> None:
    pipe: JBertQA = trained.get_pipe("qa")
    text, question, _ = ASKED[1]
    others = [sentence for sentence in SENTENCES if sentence not in {of for of, _, _ in ASKED}]
    long = "".join(others[:9]) + text + "".join(others[9:])
    doc = trained(long)
    windows = pipe._windows(pipe._asked([doc]), pipe._questions([question]))[0]
    assert len(windows) > 3
    assert all(len(window.ids) <= 64 for window in windows)
    owned = [i for window in windows for i in range(window.own_start, window.own_end)]
    assert owned == list(range(windows[-1].end))
    for found in doc._.answers(question, n=5):
        assert long[found.start : found.end] == found.text
    (answered,) = pipe.answer([(doc, question)], n=10_000)
    assert len({of[1:3] for of in answered.answers}) == len(answered.answers)
    # Each span is counted once, in whatever window it is.
    total = sum(of.score for of in answered.answers) + answered.no_answer
    assert total == pytest.approx(1.0, abs=1e-5)


def test_training_reads_a_stretch_around_the_answer_and_others_without(folder: Path) -> None:
    nlp = make(folder, negatives=1.0)
    pipe: JBertQA = nlp.get_pipe("qa")
    text, question, answer = ASKED[1]
    long = "".join(SENTENCES[3:12]) + text + "".join(SENTENCES[12:])
    eg = asked(nlp, long, question, answer)
    (pieces,) = pipe._asked([eg.predicted])
    starts = set()
    for _ in range(20):
        for window, answers in pipe._lessons([eg]):
            assert len(window.ids) <= 64
            read = long[pieces.pieces.starts[window.start] : pieces.pieces.ends[window.end - 1]]
            if answers:
                ((first, last),) = answers
                assert window.start <= first <= last < window.end
                span = pieces.pieces.starts[first], pieces.pieces.ends[last]
                assert long[span[0] : span[1]] == answer
                starts.add(window.start)
            else:
                assert answer not in read
    assert len(starts) > 5


@pytest.mark.parametrize(
    ("text", "question", "answer", "family"),
    [
        ("㍿ニホンが設立された。", "何が設立されましたか。", "㍿ニホン", "xlm-roberta"),
        ("ﾍﾟﾝが安い。ﾊﾟﾝ屋もある。", "何屋がありますか。", "ﾊﾟﾝ屋", "xlm-roberta"),
        ("森鷗外と𠮷田さん。", "誰ですか。", "𠮷田", "bert-fast"),
        ("か\u3099くせい は学ぶ。", "誰が学びますか。", "か\u3099くせい", "bert-fast"),
    ],
)
def test_offsets_are_those_of_the_text(
    text: str, question: str, answer: str, family: str, checkpoint: Callable
) -> None:
    nlp = make(checkpoint(family), lambda nlp: [asked(nlp, text, question, answer)])
    train(nlp, [asked(nlp, text, question, answer)], 60)
    (best,) = nlp(text)._.answers(question, n=1)
    assert (best.start, best.end) == (text.index(answer), text.index(answer) + len(answer))
    assert best.text == answer


def test_questions_travel_with_docs(trained: Language, tmp_path: Path) -> None:
    docs = []
    for text, question, _ in ASKED:
        doc = trained.make_doc(text)
        doc._.jbert_questions = [question, {"id": "b", "question": "誰ですか。"}]
        docs.append(doc)
    docs.append(trained.make_doc("何も尋ねない。"))
    piped = list(trained.pipe(docs))
    answered = piped[0]._.jbert_answers
    assert [of["id"] for of in answered] == ["", "b"]
    assert answered[0]["answers"][0]["text"] == "東京"
    assert piped[-1]._.jbert_answers == []
    DocBin(docs=piped, store_user_data=True).to_disk(tmp_path / "docs.spacy")
    read = list(DocBin().from_disk(tmp_path / "docs.spacy").get_docs(trained.vocab))
    assert json.dumps(read[0]._.jbert_answers) == json.dumps(answered)
    # One by one or many at once, the answers are the same.
    doc = trained(ASKED[0][0])
    many = doc._.answers([ASKED[0][1], "誰ですか。"], n=2)
    assert [len(of) for of in many] == [2, 2]
    for one, of_many in zip(doc._.answers(ASKED[0][1], n=2), many[0], strict=True):
        assert one[:3] == of_many[:3]
        assert one.score == pytest.approx(of_many.score, abs=1e-5)


def test_empty_and_blank_texts(trained: Language) -> None:
    for text in ("", "  \n", "\u3000"):
        assert trained(text)._.answers("誰ですか。") == []


def test_calibration_keeps_the_order_and_fits_a_threshold(folder: Path) -> None:
    nlp = make(folder)
    train(nlp, examples(nlp), 25)
    before = said(nlp)
    data = examples(nlp)
    fit_all(nlp, data)
    pipe: JBertQA = nlp.get_pipe("qa")
    assert pipe.cfg["temperature"] != 1.0
    assert 0.0 <= pipe.cfg["no_answer_threshold"] <= 1.0
    pipe.cfg["no_answer_threshold"] = 1.0
    for old, new in zip(before, said(nlp), strict=True):
        if old.answers:
            assert [of.text for of in old.answers[:1]] == [of.text for of in new.answers[:1]]
    assert all(eg.predicted._.jbert_answers for eg in data)
    train(nlp, examples(nlp), 1)
    assert pipe.cfg["temperature"] == 1.0


def test_a_packaged_config_names_no_encoder(trained: Language) -> None:
    nlp = portable()(trained)
    assert nlp.config["initialize"]["components"]["qa"]["encoder"]["name"] is None
    assert nlp.config["components"]["qa"]["model"]["device"] == "auto"


def test_only_some_layers_learn(folder: Path) -> None:
    nlp = make(folder, train_layers=0)
    weights = nlp.get_pipe("qa").encoder.model.state_dict()
    before = {name: weight.clone() for name, weight in weights.items()}
    losses = train(nlp, examples(nlp), 5)
    assert losses[-1] < losses[0]
    assert all(torch.equal(before[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (3, "no list"),
        ([3], "neither"),
        ([{"answers": []}], "neither"),
        ([" "], "empty"),
        ([{"question": "誰？", "answers": 3}], "no list"),
        ([{"question": "誰？", "answers": [[0]]}], "a start and an end"),
        ([{"question": "誰？", "answers": [[0.0, 1.0]]}], "a start and an end"),
        ([{"question": "誰？", "answers": [[2, 99]]}], "characters"),
        ([{"question": "誰？", "answers": [[2, 2]]}], "characters"),
    ],
)
def test_questions_that_are_none(trained: Language, questions: Any, message: str) -> None:
    doc = trained.make_doc("吾輩は猫である。")
    doc._.jbert_questions = questions
    with pytest.raises(ValueError, match=rf"(?s)\[J527\].*{message}"):
        trained.get_pipe("qa").predict([doc])


def test_other_errors(trained: Language, folder: Path) -> None:
    pipe: JBertQA = trained.get_pipe("qa")
    doc = trained("吾輩は猫である。")
    for question in ("", "  ", None, 3):
        with pytest.raises(ValueError, match=r"\[J525\]"):
            doc._.answers(question)
    with pytest.raises(ValueError, match=r"\[J525\]"):
        doc._.answers("誰？", n=0)
    with pytest.raises(ValueError, match=r"\[J525\]"):
        pipe.answer([(doc, 3)])  # type: ignore[list-item]
    others = [spacy.blank("ja").add_pipe("jbert_qa") for _ in range(2)]
    with pytest.raises(ValueError, match=rf"\[J524\].*there are [{len(others)}-9]"):
        Doc(spacy.blank("ja").vocab, words=["猫"])._.answers("誰？")
    with pytest.raises(ValueError, match=r"\[J520\]"):
        make(folder, lambda nlp: [asked(nlp, *ASKED[-1])])
    with pytest.raises(ValueError, match=r"\[J530\]"):
        make(folder, window=10).get_pipe("qa").answer([(doc, "誰？")])
    with pytest.raises(ValueError, match=r"\[J531\]"):
        spacy.blank("ja").add_pipe("jbert_qa", config={"negatives": 2.0})
    with pytest.raises(ValueError, match=r"\[J087\]"):
        spacy.blank("ja").add_pipe("jbert_qa", config={"model": {"max_answer": 0}})
    with pytest.raises(ValueError, match=r"\[J001\]"):
        spacy.blank("ja").add_pipe("jbert_qa").answer([(doc, "誰？")])
    eg = asked(trained, *ASKED[0])
    eg.predicted._.jbert_answers = [
        {"id": "", "question": "別の質問", "answers": [], "no_answer": 1.0}
    ]
    with pytest.raises(ValueError, match=r"\[J528\]"):
        pipe.score([eg])


def test_what_cant_be_exported_is_refused(trained: Language) -> None:
    with pytest.raises(ValueError, match=r"\[J532\]"):
        export_onnx(trained)


def test_a_long_question_is_cut_and_told(
    trained: Language, caplog: pytest.LogCaptureFixture
) -> None:
    trained(ASKED[0][0])._.answers("どこで見学しましたか。" * 5)
    assert "[JW520]" in caplog.text


def test_answers_end_inside_pieces_where_answers_do(checkpoint: Callable) -> None:
    """The vocabulary has pieces of two characters; here は is one piece with what is before it."""
    names = ["猫", "犬"]
    texts = [f"{name}は走る。" for name in names] + [f"{name}は寝る。" for name in names]

    def get(nlp: Language) -> list[Example]:
        return [asked(nlp, text, "何が？", text[0]) for text in texts]

    nlp = make(checkpoint("bert-fast"), get)
    pipe: JBertQA = nlp.get_pipe("qa")
    docs = [nlp.make_doc(text) for text in texts]
    (pieces, *_) = pipe._asked(docs)
    wide = pieces._replace(
        pieces=pieces.pieces._replace(starts=np.array([0, 2, 3, 4]), ends=np.array([2, 3, 4, 5]))
    )
    assert pipe.cfg["tails"] == []
    pipe.cfg["tails"] = ["は"]
    none = np.empty(0)
    spans = Spans(np.array([0]), np.array([1]), np.array([5.0]), none, none)
    assert pipe._answers(wide, spans, 1)[0][:3] == ("猫", 0, 1)
    pipe.cfg["tails"] = ["が"]
    assert pipe._answers(wide, spans, 1)[0][:3] == ("猫は", 0, 2)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_how_sure_an_answer_is_does_not_depend_on_how_many_are_wanted(
    trained: Language, temperature: float
) -> None:
    pipe: JBertQA = trained.get_pipe("qa")
    before = dict(pipe.cfg)
    pipe.cfg |= {"temperature": temperature, "no_answer_threshold": 1.0}
    try:
        doc = trained.make_doc("。".join(text for text, _, _ in ASKED))
        (many,) = pipe.answer([(doc, ASKED[0][1])], n=500)
        for n in (1, 3, 20):
            (few,) = pipe.answer([(doc, ASKED[0][1])], n=n)
            assert few.no_answer == pytest.approx(many.no_answer, rel=1e-3)
            assert [of.score for of in few.answers] == pytest.approx(
                [of.score for of in many.answers[:n]], rel=1e-3
            )
        assert sum(of.score for of in many.answers) + many.no_answer < 1.0 + 1e-6
        if len(many.answers) < 500:
            assert sum(of.score for of in many.answers) + many.no_answer > 0.99
    finally:
        pipe.cfg |= before


def test_in_bf16_answers_are_those_of_the_weights_as_they_are_now(folder: Path) -> None:
    """The fused step of AdamW doesn't count up the versions of weights, by which casts are kept."""
    nlp = make(folder, precision="bf16")
    before = said(nlp)
    train(nlp, examples(nlp), 5)
    pipe: JBertQA = nlp.get_pipe("qa")
    now = said(nlp)
    assert now != before
    again = spacy.blank("ja").add_pipe(
        "jbert_qa", config={"model": SETTINGS | {"precision": "bf16"}}
    )
    again.from_bytes(pipe.to_bytes())
    assert again.answer([(nlp.make_doc(text), of) for text, of, _ in ASKED]) == now


@pytest.mark.parametrize("ending", ["model-last", "model-best"])
def test_the_config_trains_and_loads(folder: Path, tmp_path: Path, ending: str) -> None:
    nlp = spacy.blank("ja")
    file = tmp_path / "data.spacy"
    docs = [eg.reference for eg in examples(nlp)]
    DocBin(docs=docs, store_user_data=True).to_disk(file)
    overrides = {f"paths.{name}": str(file) for name in ("train", "dev")}
    overrides |= {f"components.qa.model.{name}": value for name, value in SETTINGS.items()}
    overrides |= {"paths.encoder": str(folder), "training.max_steps": 2}
    overrides |= {"training.eval_frequency": 1, "training.accumulate_gradient": 2}
    config = load_config(CONFIGS / "qa.cfg", overrides=overrides)
    (tmp_path / "out").mkdir()
    train_config(init_nlp(config), tmp_path / "out", use_gpu=-1)
    loaded = spacy.load(tmp_path / "out" / ending)
    assert loaded.meta["performance"]["qa_f1"] is not None
    assert str(folder) not in (tmp_path / "out" / ending / "config.cfg").read_text("utf-8")
    assert loaded.get_pipe("qa").cfg["temperature"] != 1.0
    losses = loaded.update(examples(loaded), sgd=loaded.resume_training())
    assert losses["qa"] > 0.0
