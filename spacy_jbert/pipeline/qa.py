"""`jbert_qa`: the part of a text that answers a question, with its characters and a score.

The question and the text go through the encoder together, so this component has an encoder of its
own, and listens to no transformer. What is asked of a Doc: `evaluation/questions.py`."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import uuid4

import numpy as np
import srsly
from spacy import util
from spacy.language import Language
from spacy.pipeline import TrainablePipe
from spacy.tokens import Doc
from spacy.training import Example, validate_examples, validate_get_examples
from spacy.vocab import Vocab
from thinc.api import Config, Optimizer, set_dropout_rate

from ..corpora.values import is_whole
from ..encoder.checkpoint import Encoder, EncoderLoader, read_generation
from ..errors import Errors, Warnings
from ..evaluation.calibration import fit_temperature
from ..evaluation.questions import (
    Answer,
    Answered,
    Question,
    know,
    questions_of,
    register,
    remember,
    set_answers,
)
from ..evaluation.reading import (
    best_no_answer_threshold,
    character_f1,
    exact_match,
    right_texts,
    score_qa,
)
from ..models.crf import require_temperature
from ..models.finite import finite, finite_weights
from ..models.shim import EncoderShim
from ..models.span_qa import pair_shape
from ..models.spans import BEST, Spans, best_spans, span_loss
from ..saving import save_whole, telling_damage
from ..storage import readable, replacing
from ..types import Ints, PairWindow, Pieces, SpanModel
from ..wordpieces.alignment import align, token_offsets
from ..wordpieces.borders import BorderCounts, Borders
from ..wordpieces.pairs import PairShape, pair_windows, stretch

logger = logging.getLogger(__name__)

# Windows whose vectors are in memory at once when answering.
_AT_ONCE = 128
_DECIDED_BY_ALL = 1.0

DEFAULT_CONFIG = Config().from_str(
    """
[qa]
negatives = 0.1
answers = 3
scorer = {"@scorers": "spacy-jbert.qa_scorer.v1"}

[qa.model]
@architectures = "spacy-jbert.SpanQA.v1"
"""
)


@Language.factory(
    "jbert_qa",
    assigns=["doc._.jbert_answers"],
    default_config=DEFAULT_CONFIG["qa"],
    default_score_weights={
        "qa_f1": 1.0,
        "qa_em": 0.0,
        "qa_ece": None,
        "qa_answerable_em": None,
        "qa_answerable_f1": None,
        "qa_unanswerable": None,
        "qa_questions": None,
    },
)
def make_qa(
    nlp: Language,
    name: str,
    model: SpanModel,
    negatives: float,
    answers: int,
    scorer: Callable | None,
) -> "JBertQA":
    """Construct a component that answers questions by parts of the text.

    model (SpanModel): Scores of where answers begin and end: `spacy-jbert.SpanQA.v1`.
    negatives (float): In training, for so many of a hundred questions (0.1: ten) another stretch of
        text is read too that doesn't answer: of the same text if that is longer than a window, or
        else of another of the batch. From these the component learns to pass over windows without
        an answer, also where every question of the corpus has one.
    answers (int): How many answers `doc._.jbert_answers` has for each question, at most.
    scorer (Callable | None): `spacy-jbert.qa_scorer.v1`.
    """
    save_whole(nlp)
    return JBertQA(
        nlp.vocab,
        model,
        name,
        tokenizer=nlp.tokenizer,
        negatives=negatives,
        answers=answers,
        scorer=scorer,
    )


class Asked(NamedTuple):
    """A text in wordpieces.

    text (str): Its characters.
    pieces (Pieces): Its wordpieces.
    token_cuts: Of these, those that a token begins with.
    token_borders: The characters at which a token begins or ends.
    """

    text: str
    pieces: Pieces
    token_cuts: Ints
    token_borders: Ints

    def piece(self, number: int) -> tuple[int, int]:
        """RETURNS (tuple[int, int]): The characters of a wordpiece."""
        return int(self.pieces.starts[number]), int(self.pieces.ends[number])


class Judged(NamedTuple):
    """What calibration needs of a held-out question.

    doc (Doc): The text. question (Question): With its right answers.
    asked (Asked): The text in wordpieces.
    spans (Spans): What was found.
    """

    doc: Doc
    question: Question
    asked: Asked
    spans: Spans


class JBertQA(TrainablePipe):
    """Finds the part of a text that answers a question.

    Docs that have questions, in `doc._.jbert_questions`, leave the pipeline with
    `doc._.jbert_answers`. A question to any other Doc that went through: `doc._.answers(question)`.

    vocab (Vocab): The pipeline's.
    model (SpanModel): See `make_qa`.
    name (str): The component's name.
    tokenizer (Callable): What makes a Doc of a question.
    negatives, answers, scorer: See `make_qa`.
    RAISES: ValueError J087.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: SpanModel,
        name: str = "qa",
        *,
        tokenizer: Callable[[str], Doc],
        negatives: float = 0.1,
        answers: int = 3,
        scorer: Callable | None = score_qa,
    ) -> None:
        if not 0.0 <= negatives <= 1.0:
            wanted = "from 0 to 1"
            raise ValueError(Errors.J531.format(name="negatives", value=negatives, wanted=wanted))
        if answers < 1:
            raise ValueError(Errors.J531.format(name="answers", value=answers, wanted="1 or more"))
        self.vocab = vocab
        self.model = model
        self.name = name
        self.tokenizer = tokenizer
        self.negatives = negatives
        self.answers = answers
        self.scorer = scorer
        self.cfg: dict[str, Any] = {
            "temperature": 1.0,
            "no_answer_threshold": _DECIDED_BY_ALL,
            "heads": [],
            "tails": [],
        }
        # Whether it was said that a question is too long: once, and without the question, which
        # may be of somebody who wants it nowhere.
        self._told_too_long = False
        register()
        know(self)

    @property
    def _shim(self) -> EncoderShim:
        return cast(EncoderShim, self.model.get_ref("vectors").shims[0])

    @property
    def encoder(self) -> Encoder:
        """RETURNS (Encoder): The live torch encoder and its tokenizer.

        RAISES: ValueError J001 if there is none yet.
        """
        return self._shim.require_encoder(self.name)

    @encoder.setter
    def encoder(self, encoder: Encoder) -> None:
        self._shim.encoder = encoder

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        encoder: EncoderLoader | None = None,
    ) -> None:
        """Load the encoder and look at the questions: whether all have an answer, and what answers
        leave out of the pieces that they begin and end in (see `Borders`).

        get_examples (Callable): Gives the training examples, whose reference Docs have questions.
        nlp (Language): The pipeline.
        encoder (EncoderLoader | None): From [initialize.components.<name>.encoder]. May be left out
            if the component has an encoder.
        RAISES: ValueError J520 if no question has an answer, J527, J001-J004.
        """
        validate_get_examples(get_examples, "JBertQA.initialize")
        if encoder is not None:
            self.encoder = encoder(nlp if nlp is not None else util.get_lang_class("ja")())
        self._shim.require_encoder(self.name)
        answered = unanswered = 0
        counts = BorderCounts()
        for batch in util.minibatch(get_examples(), 64):
            texts = self._asked([eg.predicted for eg in batch])
            for eg, text in zip(batch, texts, strict=True):
                for question in questions_of(eg.reference):
                    answered += bool(question.answers)
                    unanswered += question.answers == []
                    _count_borders(counts, text, question)
        borders = counts.borders()
        self.cfg["heads"], self.cfg["tails"] = sorted(borders.heads), sorted(borders.tails)
        if not answered:
            raise ValueError(Errors.J520.format(name=self.name))
        self.cfg["temperature"] = 1.0
        # Where every question had an answer, the best part of the text is given, however unlikely.
        self.cfg["no_answer_threshold"] = 0.5 if unanswered else _DECIDED_BY_ALL
        logger.info("%s: %d questions with an answer, %d without", self.name, answered, unanswered)
        self.model.initialize()

    def answer(self, asked: Sequence[tuple[Doc, str]], *, n: int = 3) -> list[Answered]:
        """Answer questions.

        asked (Sequence[tuple[Doc, str]]): Texts and questions.
        n (int): So many answers at most.
        RETURNS (list[Answered]): One for each.
        RAISES: ValueError J525 for what is no question, J054 if a score is no number.
        """
        if not is_whole(n) or n < 1:
            raise ValueError(Errors.J525.format(what=f"n = {n!r}", wanted="a number above 0"))
        for _, question in asked:
            if not isinstance(question, str) or not question.strip():
                raise ValueError(Errors.J525.format(what=repr(question)[:80], wanted="a question"))
        texts, spans = self._spans(asked, keep=max(n, BEST))
        return [
            self._answered(Question("", question, None), text, found, n)
            for (_, question), text, found in zip(asked, texts, spans, strict=True)
        ]

    def predict(self, docs: Iterable[Doc]) -> list[list[Answered]]:
        """RETURNS (list[list[Answered]]): For each document the answers to its questions.

        RAISES: ValueError J527, J054.
        """
        docs = list(docs)
        questions = [questions_of(doc) for doc in docs]
        asked = [
            (doc, question.question)
            for doc, of_doc in zip(docs, questions, strict=True)
            for question in of_doc
        ]
        answered = iter(self.answer(asked, n=self.answers) if asked else [])
        return [
            [next(answered)._replace(id=question.id) for question in of_doc] for of_doc in questions
        ]

    def set_annotations(self, docs: Iterable[Doc], predictions: list[list[Answered]]) -> None:
        """Write `doc._.jbert_answers` where something was asked."""
        docs = list(docs)
        remember(docs, self)
        for doc, answered in zip(docs, predictions, strict=True):
            if answered:
                set_answers(doc, answered)

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Learn from the questions of a batch: a stretch of the text around an answer for each, and
        for some another that doesn't answer.

        RETURNS (dict[str, float]): The losses, with this component's: see `span_loss`; the mean of
            all windows.
        RAISES: ValueError J054 if a score or the loss is no number; the weights stay as they are.
        """
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "JBertQA.update")
        lessons = list(self._lessons(examples))
        if not lessons:
            return losses
        set_dropout_rate(self.model, drop)
        windows = [window for window, _ in lessons]
        scores, backprop = self.model.begin_update(windows)
        if not finite(scores):
            raise ValueError(Errors.J054.format(name=self.name, what="its scores are"))
        # What was fitted to other weights says nothing of these.
        self.cfg["temperature"] = 1.0
        loss, d_scores = 0.0, []
        for (window, answers), logits in zip(
            lessons, self._by_window(windows, scores), strict=True
        ):
            of_window, gradient = span_loss(window, logits, answers)
            loss += of_window / len(lessons)
            d_scores.append(gradient / len(lessons))
        if not np.isfinite(loss):
            raise ValueError(Errors.J054.format(name=self.name, what=f"its loss is {loss},"))
        backprop(self.model.ops.asarray2f(np.concatenate(d_scores)))
        if sgd is not None:
            self.finish_update(sgd)
        losses[self.name] += loss
        return losses

    def rehearse(self, examples: Iterable[Example], **settings: Any) -> dict[str, float]:
        """RAISES: NotImplementedError J014."""
        raise NotImplementedError(Errors.J014.format(name=self.name))

    def score(self, examples: Iterable[Example], **settings: Any) -> dict[str, Any]:
        """Ask the Docs predicted what the annotation asks, unless they have answered it, and
        evaluate.

        RETURNS (dict[str, Any]): The scores.
        """
        examples = list(examples)
        asked = [
            eg for eg in examples if questions_of(eg.reference) and not eg.predicted._.jbert_answers
        ]
        for batch in util.minibatch(asked, 64):
            questions = [questions_of(eg.reference) for eg in batch]
            pairs = [
                (eg.predicted, question.question)
                for eg, of_doc in zip(batch, questions, strict=True)
                for question in of_doc
            ]
            answered = iter(self.answer(pairs, n=self.answers))
            for eg, of_doc in zip(batch, questions, strict=True):
                of_them = [next(answered)._replace(id=question.id) for question in of_doc]
                set_answers(eg.predicted, of_them)
        return super().score(examples, **settings)

    def calibration_data(self, examples: list[Example]) -> list[Judged]:
        """What is said to the questions of some held-out documents whose answers are known.

        examples (list[Example]): Their predicted Docs are asked.
        """
        known = [
            (eg.predicted, question)
            for eg in examples
            for question in questions_of(eg.reference)
            if question.answers is not None
        ]
        texts, spans = self._spans([(doc, of.question) for doc, of in known], keep=BEST)
        return [
            Judged(doc, question, text, found)
            for (doc, question), text, found in zip(known, texts, spans, strict=True)
        ]

    def calibrate(self, data: Iterable[list[Judged]]) -> None:
        """Fit the temperature, so that of all best answers with a score of 0.8, 80 % are right;
        and, where some questions have no answer, from which probability of that on none is given:
        what makes the mean F1 best. `spacy-jbert.calibrate.v1` calls this.

        data (Iterable[list[Judged]]): From `calibration_data`.
        """
        judged = [of for batch in data for of in batch if len(of.spans.scores)]
        if not judged:
            return
        best = [self._best(of.asked, of.spans) for of in judged]
        said = [of.doc.text[start:end] for of, ((start, end), _) in zip(judged, best, strict=True)]
        texts = [right_texts(of.doc.text, of.question) for of in judged]
        pairs = list(zip(said, texts, strict=True))
        right = np.array(
            [bool(of_texts) and exact_match(text, of_texts) > 0 for text, of_texts in pairs]
        )
        # As if one more answer had been seen each way (Platt 1999).
        wanted = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))

        def cross_entropy(temperature: float) -> float:
            probable = [of.spans.probabilities(temperature)[0] for of in judged]
            sure = np.array(
                [of[spans].sum() for of, (_, spans) in zip(probable, best, strict=True)]
            ).clip(1e-12, 1.0 - 1e-12)
            return -float((wanted * np.log(sure) + (1.0 - wanted) * np.log1p(-sure)).mean())

        temperature = self.cfg["temperature"] = fit_temperature(cross_entropy)
        logger.info("%s: temperature %.3f from %d questions", self.name, temperature, len(judged))
        if any(not of_texts for of_texts in texts):
            gain = [character_f1(text, of) - character_f1("", of) for text, of in pairs]
            none = [of.spans.probabilities(temperature)[1] for of in judged]
            threshold = best_no_answer_threshold(none, gain)
            self.cfg["no_answer_threshold"] = threshold
            logger.info("%s: no answer from a probability of %.3f on", self.name, threshold)
        by_doc: dict[int, list[Judged]] = {}
        for of in judged:
            by_doc.setdefault(id(of.doc), []).append(of)
        for of_doc in by_doc.values():
            answered = [
                self._answered(of.question, of.asked, of.spans, self.answers) for of in of_doc
            ]
            set_answers(of_doc[0].doc, answered)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component's folder: `cfg`; `encoder/`, a plain Hugging Face folder; `head`. All
        say which save they are of.

        RAISES: ValueError J054, J056 before anything is written, J081.
        """
        self._require_sound()
        generation = uuid4().hex
        head = self.model.get_ref("output_layer")

        def write_cfg(file: Path) -> None:
            has_encoder = self._shim.encoder is not None
            with replacing(file) as (part,):
                cfg = {**self.cfg, "has_encoder": has_encoder, "generation": generation}
                srsly.write_json(part, cfg)

        def write_head(file: Path) -> None:
            with replacing(file) as (part,):
                content = {"generation": generation, "head": head.to_bytes()}
                part.write_bytes(srsly.msgpack_dumps(content))

        serialize: dict[str, Callable[[Path], Any]] = {
            "encoder": lambda folder: self._shim.save(folder, generation),
            "head": write_head,
            "cfg": write_cfg,
            "vocab": lambda folder: self.vocab.to_disk(folder, exclude=exclude),
        }
        util.to_disk(path, serialize, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "JBertQA":
        """Read the component's folder.

        RAISES: ValueError J009 if its encoder is missing or damaged, J091 if something else is,
            J526 if its files are of different saves.
        """
        marks: dict[str, str | None] = {}

        def read_cfg(file: Path) -> None:
            cfg = srsly.read_json(file)
            marks["cfg"] = cfg.pop("generation", None)
            self.cfg.update(cfg)

        def read_head(file: Path) -> None:
            content = srsly.msgpack_loads(file.read_bytes())
            marks["head"] = content["generation"]
            self.model.get_ref("output_layer").from_bytes(content["head"])

        def read_encoder(folder: Path) -> None:
            folder = readable(folder)
            if not self.cfg.get("has_encoder", folder.is_dir()):
                return
            try:
                self.encoder = self._shim.read(folder)
            except ValueError as error:
                raise ValueError(Errors.J009.format(name=self.name, reason=error)) from error
            marks["encoder"] = read_generation(folder)

        def read(path_of: Path, reader: Callable[[Path], None]) -> None:
            with telling_damage(self.name, path_of):
                reader(path_of)

        deserialize: dict[str, Callable[[Path], Any]] = {
            "cfg": lambda file: read(file, read_cfg),
            "head": lambda file: read(file, read_head),
            "encoder": lambda folder: read(folder, read_encoder),
            "vocab": lambda folder: self.vocab.from_disk(folder, exclude=exclude),
        }
        util.from_disk(path, deserialize, exclude)
        self._set_dims()
        if len(set(marks.values())) > 1:
            raise ValueError(Errors.J526.format(name=self.name, where=path))
        self._require_sound()
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The component with its encoder as bytes.

        RAISES: ValueError J054, J056.
        """
        self._require_sound()
        return cast(bytes, super().to_bytes(exclude=exclude))

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "JBertQA":
        """RAISES: ValueError J054, J056, J061, J091."""
        with telling_damage(self.name, "bytes"):
            super().from_bytes(data, exclude=exclude)
        self._set_dims()
        self._require_sound()
        return self

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        register()
        know(self)

    def _set_dims(self) -> None:
        if self._shim.encoder is not None:
            self.model.get_ref("vectors").set_dim("nO", self._shim.encoder.width, force=True)

    def _require_sound(self) -> None:
        """RAISES: ValueError J054 if a weight is no number, J056."""
        require_temperature(self.cfg["temperature"])
        if not finite_weights(self.model):
            raise ValueError(Errors.J054.format(name=self.name, what="its weights are"))

    def _shape(self, window: int | None) -> PairShape:
        return pair_shape(self.encoder, window, self.model.attrs["max_question"])

    def _asked(self, docs: Sequence[Doc]) -> list[Asked]:
        """Texts in wordpieces."""
        found = []
        for doc, pieces in zip(docs, self._shim.segmenter(docs), strict=True):
            starts, ends = token_offsets(doc)
            cuts = np.unique(np.searchsorted(pieces.starts, starts, side="left"))
            borders = np.union1d(starts, ends)
            found.append(Asked(doc.text, pieces, cuts.astype(np.int32), borders))
        return found

    def _questions(self, questions: Sequence[str]) -> list[Pieces]:
        """Questions in wordpieces."""
        pieces = self._shim.segmenter([self.tokenizer(question) for question in questions])
        longest = self._shape(self.model.attrs["window"]).longest_question
        for question, of in zip(questions, pieces, strict=True):
            if len(of.ids) > longest and not self._told_too_long:
                self._told_too_long = True
                counts = {"characters": len(question), "count": len(of.ids), "longest": longest}
                logger.warning(Warnings.JW520.format(name=self.name, **counts))
        return pieces

    def _spans(
        self, asked: Sequence[tuple[Doc, str]], *, keep: int
    ) -> tuple[list[Asked], list[Spans]]:
        """The best parts of texts for questions; texts that are asked several things are cut into
        wordpieces once.

        keep (int): How many for each.
        """
        if not asked:
            return [], []
        docs = {id(doc): doc for doc, _ in asked}
        by_doc = dict(zip(docs, self._asked(list(docs.values())), strict=True))
        texts = [by_doc[id(doc)] for doc, _ in asked]
        windows = self._windows(texts, self._questions([question for _, question in asked]))
        flat = [window for of_text in windows for window in of_text]
        logits = iter(self._logits(flat))
        longest = self.model.attrs["max_answer"]
        spans = [
            best_spans(of_text, [next(logits) for _ in of_text], longest, keep)
            for of_text in windows
        ]
        return texts, spans

    def _windows(
        self, texts: Sequence[Asked], questions: Sequence[Pieces]
    ) -> list[list[PairWindow]]:
        """The windows of each text, beside a question each."""
        shape, overlap = self._shape(self.model.attrs["window"]), self.model.attrs["overlap"]
        return [
            pair_windows(shape, question, text.pieces, overlap, text.token_cuts)
            for question, text in zip(questions, texts, strict=True)
        ]

    def _logits(self, windows: Sequence[PairWindow]) -> Iterator[Any]:
        """Scores of windows, one after the other."""
        for batch in util.minibatch(windows, _AT_ONCE):
            scores = self.model.predict(batch)
            if not finite(scores):
                raise ValueError(Errors.J054.format(name=self.name, what="its scores are"))
            yield from self._by_window(batch, scores)

    def _by_window(self, windows: Sequence[PairWindow], scores: Any) -> list[Any]:
        ends = np.cumsum([len(window.ids) for window in windows])
        return np.split(self.model.ops.to_numpy(scores).astype(np.float64), ends[:-1])

    def _answered(self, question: Question, text: Asked, spans: Spans, n: int) -> Answered:
        _, none = spans.probabilities(self.cfg["temperature"])
        given = self._answers(text, spans, n) if none <= self.cfg["no_answer_threshold"] else []
        return Answered(question.id, question.question, given, none)

    def _answers(self, text: Asked, spans: Spans, n: int) -> list[Answer]:
        """The best parts of a text, which are n different ones."""
        probable, _ = spans.probabilities(self.cfg["temperature"])
        different = self._different(text, spans)
        found = [(place, float(probable[of].sum())) for place, of in different.items()]
        best = sorted(found, key=lambda item: -item[1])[:n]
        return [Answer(text.text[start:end], start, end, score) for (start, end), score in best]

    def _best(self, text: Asked, spans: Spans) -> tuple[tuple[int, int], list[int]]:
        """RETURNS (tuple): The best part of a text, and which spans are it; nothing, where they are
        white space alone.
        """
        probable, _ = spans.probabilities(1.0)
        different = self._different(text, spans).items()
        return max(different, key=lambda item: probable[item[1]].sum(), default=((0, 0), []))

    def _different(self, text: Asked, spans: Spans) -> dict[tuple[int, int], list[int]]:
        """RETURNS (dict): The parts of a text that spans are, and which are the same part when what
        answers leave out is cut off. That is looked at for the best ones alone, so that an answer's
        score doesn't depend on how many are wanted.
        """
        borders = Borders(self.cfg["heads"], self.cfg["tails"])
        found: dict[tuple[int, int], list[int]] = {}
        for number, (first, last) in enumerate(zip(spans.starts, spans.ends - 1, strict=True)):
            start, end = borders.cut(
                text.text, text.piece(first), text.piece(last), text.token_borders
            )
            inside = text.text[start:end]
            start += len(inside) - len(inside.lstrip())
            end = start + len(inside.strip())
            # Pieces of one character, ㍿, begin and end alike.
            if start >= end:
                continue
            if number < BEST:
                found.setdefault((start, end), []).append(number)
            elif (start, end) not in found:
                found[start, end] = [number]
        return found

    def _lessons(
        self, examples: Sequence[Example]
    ) -> Iterator[tuple[PairWindow, list[tuple[int, int]]]]:
        """Windows to learn from, and the answers in each: first and last piece."""
        asked = [
            (i, question)
            for i, eg in enumerate(examples)
            for question in questions_of(eg.reference)
            if question.answers is not None
        ]
        if not asked:
            return
        texts = self._asked([eg.predicted for eg in examples])
        shape = self._shape(self.model.attrs["train_window"])
        for (i, question), pieces in zip(
            asked, self._questions([of.question for _, of in asked]), strict=True
        ):
            text, room = texts[i], shape.room(pieces)
            answers = _pieces_of(text, question.answers or ())
            latest = max(0, len(text.pieces.ids) - room)
            if answers:
                first, last = random.choice(answers)
                start = random.randint(min(max(0, last + 1 - room), first), min(first, latest))
                window = stretch(shape, pieces, text.pieces, start)
                inside = [of for of in answers if window.start <= of[0] and of[1] < window.end]
                # None is, if it is longer than a window.
                if inside:
                    yield window, inside
            elif not question.answers and len(text.pieces.ids):
                yield stretch(shape, pieces, text.pieces, random.randint(0, latest)), []
            if answers and random.random() < self.negatives:
                other = text if latest and random.random() < 0.5 else random.choice(texts)
                start = random.randint(0, max(0, len(other.pieces.ids) - room))
                window = stretch(shape, pieces, other.pieces, start)
                if window.start < window.end and not _holds(other, window, text, question):
                    yield window, []


def _pieces_of(text: Asked, answers: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last piece of each answer; none of white space alone."""
    if not answers:
        return []
    starts, ends = np.array(answers, dtype=np.int32).T
    index, lengths = align(starts, ends, text.pieces.starts, text.pieces.ends)
    of_answers = np.split(index, np.cumsum(lengths)[:-1])
    return [(int(of[0]), int(of[-1])) for of in of_answers if len(of)]


def _count_borders(counts: BorderCounts, text: Asked, question: Question) -> None:
    """Count what the right answers leave out of their pieces."""
    for answer in question.answers or ():
        for first, last in _pieces_of(text, [answer]):
            pieces = text.piece(first), text.piece(last)
            counts.add(text.text, answer, *pieces, text.token_borders)


def _holds(other: Asked, window: PairWindow, text: Asked, question: Question) -> bool:
    """Whether an answer to a question about a text stands in a window of another, or of itself."""
    start = other.pieces.starts[window.start]
    end = other.pieces.ends[window.end - 1]
    read = other.text[start:end]
    return any(text.text[first:last] in read for first, last in question.answers or ())
