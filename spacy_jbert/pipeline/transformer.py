"""`jbert_transformer`: spacy-transformers' component with an encoder, storage and training of our
own.
"""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from copy import copy
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import srsly
import torch
from spacy import util
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example, validate_examples
from spacy.vocab import Vocab
from spacy_transformers.annotation_setters import null_annotation_setter
from spacy_transformers.data_classes import TransformerData
from spacy_transformers.layers import TransformerListener
from spacy_transformers.pipeline_component import Transformer
from thinc.api import Config, Optimizer, set_dropout_rate

from ..encoder.checkpoint import Encoder, EncoderLoader, read_generation
from ..errors import Errors
from ..evaluation.scorers import forget_vectors
from ..models.listener import SOURCE, mend
from ..models.shim import EncoderShim
from ..models.transformer import Launched, launch
from ..models.vectors import RaggedBatch
from ..saving import save_whole
from ..storage import readable, replacing
from ..types import TransformerModel
from ..wordpieces.segmentation import Segmenter, choose_words
from .vectors import DocVectors, attach_in_pipe

logger = logging.getLogger(__name__)

# The attribute of a listener with the save that its head is from, by the transformer's name: thinc
# stores it with the head's model, whichever head it is.
_GENERATIONS = "generations"

DEFAULT_CONFIG = Config().from_str(
    """
[transformer]

[transformer.model]
@architectures = "spacy-jbert.JapaneseTransformer.v1"

[transformer.set_extra_annotations]
@annotation_setters = "spacy-transformers.null_annotation_setter.v1"
"""
)


@Language.factory(
    "jbert_transformer", assigns=["doc._.trf_data"], default_config=DEFAULT_CONFIG["transformer"]
)
def make_transformer(
    nlp: Language, name: str, model: TransformerModel, set_extra_annotations: Callable
) -> "JBertTransformer":
    """Construct a Japanese transformer component.

    model (TransformerModel): `spacy-jbert.JapaneseTransformer.v1`.
    set_extra_annotations (Callable): As in spacy-transformers: called with the documents and the
        batch after `doc._.trf_data` is set.
    """
    save_whole(nlp)
    if isinstance(set_extra_annotations, DocVectors):
        attach_in_pipe(nlp, set_extra_annotations)
    return JBertTransformer(nlp.vocab, model, set_extra_annotations, name=name)


class Lesson:
    """One batch in training, from the encoder's vectors to the gradient that comes back for them.

    name (str): The transformer's, for its loss and for errors.
    docs (list[Doc]): The batch.
    batch (RaggedBatch): The vectors.
    backprop (Callable): Sends the gradient through the encoder.
    losses (dict[str, float]): Where the squared norm of the gradient goes.
    n_awaited (int): How many listeners have not sent theirs.
    """

    def __init__(
        self,
        name: str,
        docs: list[Doc],
        batch: RaggedBatch,
        backprop: Callable[[RaggedBatch], list[Doc]],
        losses: dict[str, float],
        n_awaited: int,
    ) -> None:
        self.name = name
        self.batch = batch
        self.backprop = backprop
        self.losses = losses
        self.n_awaited = n_awaited
        self.any_came = False
        self.sgd: Optimizer | None = None
        self.receive: Callable[[list[TransformerData]], list[Doc]] | None = None
        self._docs = docs
        self._gradient: RaggedBatch | None = None
        self._loss_before = losses[name]

    def holds(self, docs: list[Doc]) -> bool:
        """RETURNS (bool): Whether any of these documents is one of the batch."""
        return any(doc is own for doc in docs for own in self._docs)

    def add(self, d_datas: list[TransformerData]) -> None:
        """Take the gradient of one listener; none if nothing is to flow back from it."""
        self.n_awaited -= 1
        self.any_came = True
        if not d_datas:
            return
        received = self.batch.unsplit_by_doc([list(data.tensors) for data in d_datas])
        if self._gradient is None:
            self._gradient = received
        else:
            ours = self._gradient.model_output["last_hidden_state"]
            ours += received.model_output["last_hidden_state"]
        # Before the backward pass is queued: a GPU has finished what this waits for, and works on
        # while the next batch is prepared.
        norm = float((self._gradient.model_output["last_hidden_state"] ** 2).sum())
        if not math.isfinite(norm):
            self._gradient = None
            raise ValueError(Errors.J080.format(name=self.name))
        self.losses[self.name] = self._loss_before + norm

    def send_back(self) -> None:
        """Send the sum of all gradients that have come through the encoder."""
        if self._gradient is not None:
            self.backprop(self._gradient)


class JBertTransformer(Transformer):
    """A Japanese encoder whose wordpiece vectors other components listen to. They are on
    `doc._.trf_data` too.

    vocab (Vocab): The pipeline's.
    model (TransformerModel): `spacy-jbert.JapaneseTransformer.v1`.
    set_extra_annotations (Callable): See `make_transformer`.
    name (str): The component's name.
    """

    def __init__(
        self,
        vocab: Vocab,
        model: TransformerModel,
        set_extra_annotations: Callable = null_annotation_setter,
        *,
        name: str = "transformer",
    ) -> None:
        super().__init__(vocab, model, set_extra_annotations, name=name)
        self.cfg: dict[str, Any] = {}
        self._lesson: Lesson | None = None
        self._generation: str | None = None
        # All that ever listened: those of disabled components are in no `listener_map`, but are
        # saved too.
        self._heads: set[TransformerListener] = set()
        self._unverified: set[TransformerListener] = set()
        if isinstance(set_extra_annotations, DocVectors):
            model.attrs["prefix"] = set_extra_annotations.prefix

    @property
    def vectors(self) -> DocVectors | None:
        """RETURNS (DocVectors | None): What gives documents their vectors, if anything does."""
        setter = self.set_extra_annotations
        return setter if isinstance(setter, DocVectors) else None

    @property
    def _shim(self) -> EncoderShim:
        return cast(EncoderShim, self.model.shims[0])

    @property
    def encoder(self) -> Encoder:
        """RETURNS (Encoder): The live torch encoder and its tokenizer.

        RAISES: ValueError J001 if there is none yet.
        """
        self._settle()
        return self._shim.require_encoder(self.name)

    @encoder.setter
    def encoder(self, encoder: Encoder) -> None:
        self._forget_lesson()
        self._shim.encoder = encoder
        self.model.set_dim("nO", encoder.width, force=True)

    @property
    def segmenter(self) -> Segmenter:
        """RETURNS (Segmenter): What cuts documents into this encoder's wordpieces."""
        self._shim.require_encoder(self.name)
        return self._shim.segmenter

    def prefix_ids(self, prefix: str) -> list[int]:
        """RETURNS (list[int]): The wordpieces of what stands before a text."""
        return self._shim.prefix_ids(prefix)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        encoder: EncoderLoader | None = None,
    ) -> None:
        """Load or build the encoder and connect the listeners.

        get_examples (Callable): Not used.
        nlp (Language): The pipeline.
        encoder (EncoderLoader | None): From [initialize.components.<name>.encoder]. May be left out
            if the component has an encoder.
        RAISES: ValueError J001 if there is no encoder after all, J002-J004 if it can't be loaded.
        """
        if encoder is not None:
            self.encoder = encoder(nlp if nlp is not None else util.get_lang_class("ja")())
        words, why = choose_words(self.encoder.tokenizer, self._shim.words)
        logger.info("%s: words = '%s' (%s)", self.name, words, why)
        self.model.initialize()
        if nlp is not None:
            at = next(
                (i for i, (_, pipe) in enumerate(nlp.pipeline) if pipe is self), len(nlp.pipeline)
            )
            for _, pipe in nlp.pipeline[at:]:
                self.find_listeners(pipe)

    def add_listener(self, listener: TransformerListener, component_name: str) -> None:
        """As in spacy-transformers. After `Language.from_disk`, spaCy calls this for every head.

        RAISES: ValueError J090 if the head that was loaded belongs to another save.
        """
        super().add_listener(listener, component_name)
        mend(listener)  # spacy-transformers' own too
        self._heads.add(listener)
        if listener in self._unverified:
            self._require_same_save(listener, component_name)

    def _require_same_save(self, listener: TransformerListener, head: str) -> None:
        """RAISES: ValueError J090."""
        theirs = listener.attrs.get(_GENERATIONS, {}).get(self.name)
        if theirs is not None and theirs != self._generation:
            raise ValueError(
                Errors.J090.format(name=self.name, ours=self._generation, head=head, theirs=theirs)
            )
        self._unverified.discard(listener)

    def _mark_heads(self, generation: str | None) -> None:
        """Say which save the heads are of; None to forget it."""
        for listener in self._heads:
            marks = {**listener.attrs.get(_GENERATIONS, {}), self.name: generation}
            listener.attrs[_GENERATIONS] = {k: v for k, v in marks.items() if v is not None}

    def rehearse(self, examples: Iterable[Example], **settings: Any) -> dict[str, float]:
        """RAISES: NotImplementedError J014."""
        raise NotImplementedError(Errors.J014.format(name=self.name))

    def predict(self, docs: Iterable[Doc]) -> Any:
        """Run the encoder.

        docs (Iterable[Doc]): A batch.
        RETURNS (FullTransformerBatch): Vectors of all documents.
        RAISES: ValueError J082 if they are no numbers, J090 if a head was loaded that belongs to
            another save.
        """
        return self._collect(self._launch(list(docs)))

    def _launch(self, docs: list[Doc]) -> Launched:
        """The first half of `predict`: the encoder has the batch."""
        # Of components that were disabled when spaCy connected the others.
        for listener in tuple(self._unverified):
            self._require_same_save(listener, "a component that was disabled")
        self._settle_before(docs)
        return launch(self.model, docs)

    def _collect(self, launched: Launched) -> RaggedBatch:
        """The second half: wait for its vectors."""
        batch = launched.batch()
        hidden = batch.model_output["last_hidden_state"]
        # A sum is one number to look at, and not a number if any of them is not.
        if hidden.size and not math.isfinite(float(hidden.sum())):
            raise ValueError(Errors.J082.format(name=self.name))
        return batch

    def set_annotations(self, docs: Iterable[Doc], predictions: Any) -> None:
        """As in spacy-transformers. The vectors know whose they are."""
        for data in predictions.doc_data:
            setattr(data, SOURCE, self.name)
        docs = list(docs)
        super().set_annotations(docs, predictions)
        if self.vectors and not self.vectors.wordpieces and not self.listeners:
            for doc in docs:
                forget_vectors(doc)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Any:
        """Apply the component to a stream of documents. Windows of a whole batch are sorted by
        length before they are cut into the encoder's batches, so a larger `batch_size` wastes less
        on padding.

        A GPU has the next batch already when a batch is handed out, and works on it while the
        components behind this one read that batch.

        Where a batch fails its documents are tried one by one, and those that fail alone go to the
        error handler (`nlp.set_error_handler`), which raises by default.
        """
        waiting: deque[tuple[list[Doc], Launched | None]] = deque()
        for docs in util.minibatch(stream, batch_size):
            # An error of training is none of these documents'.
            self._settle_before(docs)
            waiting.append((docs, self._try_launch(docs)))
            if len(waiting) > self._n_ahead:
                yield from self._finish(*waiting.popleft())
        while waiting:
            yield from self._finish(*waiting.popleft())

    @property
    def _n_ahead(self) -> int:
        """RETURNS (int): How many batches `pipe` launches before it hands one out."""
        encoder = self._shim.encoder
        return 0 if encoder is None or encoder.device.type == "cpu" else 1

    def _try_launch(self, docs: list[Doc]) -> Launched | None:
        """RETURNS (Launched | None): None where it failed."""
        try:
            return self._launch(docs)
        except Exception:  # whatever it is, it comes again when documents are tried one by one
            return None

    def _finish(self, docs: list[Doc], launched: Launched | None) -> list[Doc]:
        """RETURNS (list[Doc]): The documents of a batch that could be annotated."""
        if launched is not None:
            try:
                self.set_annotations(docs, self._collect(launched))
                return docs
            except Exception:
                launched = None
        # Here the error is gone, and with it what its traceback kept in memory.
        return self._one_by_one(docs, self.get_error_handler())

    def _one_by_one(self, docs: Iterable[Doc], error_handler: Callable) -> list[Doc]:
        """Annotate what can be annotated, and hand each of the others to the error handler.

        RETURNS (list[Doc]): Those that went well.
        """
        done = []
        for doc in docs:
            try:
                self.set_annotations([doc], self.predict([doc]))
                done.append(doc)
            except Exception as error:
                if not _is_out_of_memory(error):
                    error_handler(self.name, self, [doc], error)
                    continue
                coded = MemoryError(
                    Errors.J084.format(
                        length=len(doc.text),
                        reason=str(error).partition("\n")[0] or type(error).__name__,
                        budget=self._shim.budget(self.model.attrs["max_batch_pieces"]),
                        name=self.name,
                    )
                )
                coded.__cause__ = error
                error_handler(self.name, self, [doc], coded)
        return done

    def update(
        self,
        examples: Iterable[Example],
        *,
        drop: float = 0.0,
        sgd: Optimizer | None = None,
        losses: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Run the encoder and hand its vectors to the listeners. When all of them have sent their
        gradients, their sum goes back through the encoder.

        A listener whose component is frozen, or finds nothing to learn in the batch, sends none:
        then what has come goes back in `finish_update`, or before anything else is done.

        sgd (Optimizer | None): As in `finish_update`, which may be called before or after the
            listeners learn.
        RETURNS (dict[str, float]): The losses, with this component's: the squared norm of the
            gradient that reached it.
        RAISES: ValueError J080 if the gradient is no number; the weights stay as they are.
        """
        self._settle()
        losses = {} if losses is None else losses
        losses.setdefault(self.name, 0.0)
        examples = list(examples)
        validate_examples(examples, "JBertTransformer.update")
        docs = [eg.predicted for eg in examples]
        if not docs:
            return losses
        set_dropout_rate(self.model, drop)
        batch, backprop = self.model.begin_update(docs)
        lesson = Lesson(self.name, docs, batch, backprop, losses, len(self.listeners))

        def receive(d_datas: list[TransformerData]) -> list[Doc]:
            lesson.add(d_datas)
            if not lesson.n_awaited:
                self._settle()
            return []

        lesson.receive = receive
        self._lesson = lesson
        batch_id = TransformerListener.get_batch_id(docs)
        for listener in self.listeners:
            listener.receive(batch_id, batch.doc_data, receive)
        if sgd is not None:
            self.finish_update(sgd)
        return losses

    def finish_update(self, sgd: Optimizer) -> None:
        """Step the encoder's own AdamW with the rate, decay and clipping of spaCy's optimizer.

        `nlp.update(..., sgd=optimizer)` calls this before the heads have learned, and `spacy train`
        afterwards (explosion/spaCy#12136). While no gradient has come, the step waits for them, at
            the rate that holds now.
        """
        lesson = self._lesson
        if lesson is not None and lesson.n_awaited and not lesson.any_came and lesson.sgd is None:
            lesson.sgd = copy(sgd)
            return
        self._settle()
        self.model.finish_update(sgd)

    def _settle_before(self, docs: list[Doc]) -> None:
        """Take a step that waits before predicting. Where this component annotates in training, its
        heads have still to learn from the same documents.
        """
        if self._lesson is not None and not self._lesson.holds(docs):
            self._settle()

    def _settle(self) -> None:
        """Send back what gradients have come, and take the step that waited for them."""
        lesson = self._lesson
        if lesson is None:
            return
        self._forget_lesson()
        lesson.send_back()
        if lesson.sgd is not None:
            self.model.finish_update(lesson.sgd)

    def _forget_lesson(self) -> None:
        """Let go of a batch, in the listeners of frozen heads too: they would read its vectors in
        place of those of a later one, and can't be copied with it.
        """
        lesson, self._lesson = self._lesson, None
        for listener in self.listeners if lesson is not None else ():
            if listener._backprop is lesson.receive:  # type: ignore[union-attr]
                listener._batch_id = listener._outputs = listener._backprop = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled or copied between two batches, the component has done with the first."""
        self._settle()
        return super().__reduce_ex__(protocol)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component's folder: `cfg`, and `model/`, a plain Hugging Face folder.

        The encoder is marked as of this save, and so are the heads, which spaCy writes afterwards:
        if it is killed in between, `from_disk` finds heads with another mark.
        """
        self._settle()
        has_encoder = self._shim.encoder is not None

        def write_cfg(file: Path) -> None:
            with replacing(file) as (part,):
                srsly.write_json(part, {"has_encoder": has_encoder})

        def write_model(folder: Path) -> None:
            generation = uuid4().hex
            self._shim.save(folder, generation)
            self._generation = generation
            self._mark_heads(generation)

        util.to_disk(path, {"cfg": write_cfg, "model": write_model}, exclude)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "JBertTransformer":
        """Read the component's folder.

        RAISES: ValueError J009 if its encoder is missing or damaged. If a head is read that belongs
            to another save, J090 follows when spaCy connects it.
        """
        self._unverified = set()

        def read_cfg(file: Path) -> None:
            try:
                self.cfg.update(srsly.read_json(file))
            except ValueError as error:
                raise ValueError(Errors.J009.format(name=self.name, reason=error)) from error

        def read_model(folder: Path) -> None:
            folder = readable(folder)
            if not self.cfg.get("has_encoder", folder.is_dir()):
                return
            try:
                self.encoder = self._shim.read(folder)
            except ValueError as error:
                raise ValueError(Errors.J009.format(name=self.name, reason=error)) from error
            self._generation = read_generation(folder)
            # A head that isn't read now has no mark, and is not compared.
            self._mark_heads(None)
            if self._generation is not None:
                self._unverified = set(self._heads)

        util.from_disk(path, {"cfg": read_cfg, "model": read_model}, exclude)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The component with its encoder as bytes."""
        self._settle()
        return cast(bytes, super().to_bytes(exclude=exclude))

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "JBertTransformer":
        self._forget_lesson()
        super().from_bytes(bytes_data, exclude=exclude)
        if self._shim.encoder is not None:
            self.model.set_dim("nO", self._shim.encoder.width, force=True)
        return self


def _is_out_of_memory(error: Exception) -> bool:
    """torch's allocator on the CPU raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in message or "can't allocate memory" in message
    )
