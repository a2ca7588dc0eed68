"""`jbert_transformer`:

spacy-transformers' component with an encoder, storage and training of our own.
"""

import logging
import math
from collections.abc import Callable, Iterable
from copy import copy
from pathlib import Path
from typing import Any, cast

import srsly
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

from ..encoder.checkpoint import Encoder, EncoderLoader
from ..errors import Errors
from ..models.shim import EncoderShim
from ..models.transformer import RaggedBatch
from ..types import TransformerModel
from ..wordpieces.segmentation import Segmenter, choose_words

logger = logging.getLogger(__name__)

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

    @property
    def _shim(self) -> EncoderShim:
        return cast(EncoderShim, self.model.shims[0])

    @property
    def encoder(self) -> Encoder:
        """RETURNS (Encoder):

        The live torch encoder and its tokenizer. RAISES: ValueError J001 if there is none yet.
        """
        return self._shim.require_encoder(self.name)

    @encoder.setter
    def encoder(self, encoder: Encoder) -> None:
        self._shim.encoder = encoder
        self.model.set_dim("nO", encoder.width, force=True)

    @property
    def segmenter(self) -> Segmenter:
        """RETURNS (Segmenter): What cuts documents into this encoder's wordpieces."""
        self._shim.require_encoder(self.name)
        return self._shim.segmenter

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

    def predict(self, docs: Iterable[Doc]) -> Any:
        """Run the encoder.

        docs (Iterable[Doc]): A batch.
        RETURNS (FullTransformerBatch): Vectors of all documents.
        RAISES: ValueError J082 if they are no numbers.
        """
        docs = list(docs)
        # Where this component annotates in training, its heads have still to learn from the batch.
        if self._lesson is not None and not self._lesson.holds(docs):
            self._settle()
        batch = self.model.predict(docs)
        hidden = batch.model_output["last_hidden_state"]
        # A sum is one number to look at, and not a number if any of them is not.
        if hidden.size and not math.isfinite(float(hidden.sum())):
            raise ValueError(Errors.J082.format(name=self.name))
        return batch

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Any:
        """Apply the component to a stream of documents. Windows of a whole batch are sorted by
        length before they are cut into the encoder's batches, so a larger `batch_size` wastes less
        on padding."""
        for docs in util.minibatch(stream, batch_size):
            self.set_annotations(docs, self.predict(docs))
            yield from docs

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
        if not any(len(doc) for doc in docs):
            return losses
        set_dropout_rate(self.model, drop)
        batch, backprop = self.model.begin_update(docs)
        lesson = Lesson(self.name, docs, batch, backprop, losses, len(self.listeners))

        def receive(d_datas: list[TransformerData]) -> list[Doc]:
            lesson.add(d_datas)
            if not lesson.n_awaited:
                self._settle()
            return []

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

    def _settle(self) -> None:
        """Send back what gradients have come, and take the step that waited for them."""
        lesson, self._lesson = self._lesson, None
        if lesson is None:
            return
        lesson.send_back()
        if lesson.sgd is not None:
            self.model.finish_update(lesson.sgd)

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the component's folder: `cfg`, and `model/`, a plain Hugging Face folder."""
        self._settle()
        has_encoder = self._shim.encoder is not None
        util.to_disk(
            path,
            {
                "cfg": lambda p: srsly.write_json(p, {"has_encoder": has_encoder}),
                "model": self._shim.save,
            },
            exclude,
        )

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "JBertTransformer":
        """Read the component's folder.

        RAISES: ValueError J009 if its encoder is missing or damaged.
        """

        def read_model(folder: Path) -> None:
            if not self.cfg.get("has_encoder", folder.is_dir()):
                return
            try:
                self.encoder = Encoder.load(folder)
            except ValueError as error:
                raise ValueError(Errors.J009.format(name=self.name, reason=error)) from error

        util.from_disk(
            path,
            {"cfg": lambda p: self.cfg.update(srsly.read_json(p)), "model": read_model},
            exclude,
        )
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The component with its encoder as bytes."""
        self._settle()
        return cast(bytes, super().to_bytes(exclude=exclude))

    def from_bytes(self, bytes_data: bytes, *, exclude: Iterable[str] = ()) -> "JBertTransformer":
        super().from_bytes(bytes_data, exclude=exclude)
        if self._shim.encoder is not None:
            self.model.set_dim("nO", self._shim.encoder.width, force=True)
        return self
