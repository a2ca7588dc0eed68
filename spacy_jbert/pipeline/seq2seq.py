"""`jbert_seq2seq`: what a trained `Seq2Seq` writes for each Doc, on `doc._.generated`."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import srsly
from spacy.language import Language
from spacy.pipeline import Pipe
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

from ..errors import Errors
from ..models.shim import check_device, find_device, packed_files
from ..saving import save_whole
from ..seq2seq.model import Seq2Seq

NAME = "generated"
_FOLDER = "model"


@Language.factory("jbert_seq2seq", assigns=[f"doc._.{NAME}"])
def make_seq2seq(
    nlp: Language, name: str, num_beams: int = 1, max_pieces: int = 64, device: str = "auto"
) -> "JBertSeq2Seq":
    """Construct a component that writes a text for each Doc. `project/scripts/train_seq2seq.py`
    trains its model and saves a pipeline with it; elsewhere [initialize.components.<name>] has
    `folder`.

    num_beams (int): How many beginnings of a text are followed at once; 1 takes the most probable
        piece each time.
    max_pieces (int): The most wordpieces of a text.
    device (str): "auto" follows spaCy's device; or what torch calls it.
    """
    save_whole(nlp)
    return JBertSeq2Seq(name, num_beams=num_beams, max_pieces=max_pieces, device=device)


class JBertSeq2Seq(Pipe):
    """Writes a text for each Doc; it is trained elsewhere.

    name (str): The component's name. num_beams, max_pieces, device: See `make_seq2seq`.
    RAISES: ValueError J085, J549.
    """

    def __init__(
        self,
        name: str = "seq2seq",
        *,
        num_beams: int = 1,
        max_pieces: int = 64,
        device: str = "auto",
    ) -> None:
        for setting, value in (("num_beams", num_beams), ("max_pieces", max_pieces)):
            if value < 1:
                message = Errors.J549.format(
                    where=f"Component '{name}'", name=setting, value=value, wanted="1 or more"
                )
                raise ValueError(message)
        check_device(device)
        self.name = name
        self.num_beams, self.max_pieces, self.device = num_beams, max_pieces, device
        self.seq2seq: Seq2Seq | None = None
        if not Doc.has_extension(NAME):
            Doc.set_extension(NAME, default=None)

    def initialize(
        self,
        get_examples: Callable[[], Iterable[Example]],
        *,
        nlp: Language | None = None,
        folder: str | None = None,
    ) -> None:
        """Load a model.

        folder (str | None): What `train_seq2seq.py` left.
        RAISES: ValueError J559 if none is named, and what `Seq2Seq.load` raises.
        """
        if folder is None:
            raise ValueError(Errors.J559.format(name=self.name))
        self.set_model(Seq2Seq.load(Path(folder)))

    def set_model(self, seq2seq: Seq2Seq) -> None:
        """Write with this model from now on."""
        seq2seq.model.to(find_device(self.device))
        self.seq2seq = seq2seq

    def __call__(self, doc: Doc) -> Doc:
        """Write a text for a Doc."""
        return next(self.pipe([doc]))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 32) -> Iterator[Doc]:
        """Write texts for Docs, several at a time.

        RAISES: ValueError J559 if there is no model.
        """
        if self.seq2seq is None:
            raise ValueError(Errors.J559.format(name=self.name))
        longest = min(self.max_pieces, self.seq2seq.max_target - 1)
        for docs in minibatch(stream, batch_size):
            try:
                texts = self.seq2seq.generate(docs, num_beams=self.num_beams, max_pieces=longest)
            except Exception as error:  # whose kind is the error handler's business
                self.get_error_handler()(self.name, self, docs, error)
                continue
            for doc, text in zip(docs, texts, strict=True):
                doc._.set(NAME, text)
            yield from docs

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """See `Language.to_disk`."""
        Path(path).mkdir(parents=True, exist_ok=True)
        if self.seq2seq is not None:
            self.seq2seq.save(Path(path) / _FOLDER)

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> "JBertSeq2Seq":
        """See `Language.from_disk`. RAISES: ValueError as `Seq2Seq.load`."""
        if (Path(path) / _FOLDER).exists():
            self.set_model(Seq2Seq.load(Path(path) / _FOLDER))
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """See `Language.to_bytes`."""
        with tempfile.TemporaryDirectory() as folder:
            self.to_disk(folder)
            files = {
                file.name: file.read_bytes() for file in sorted((Path(folder) / _FOLDER).glob("*"))
            }
        return bytes(srsly.msgpack_dumps(files))

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> "JBertSeq2Seq":
        """See `Language.from_bytes`.

        RAISES: ValueError J061 for other bytes, and what `Seq2Seq.load` raises.
        """
        files = packed_files(data)
        if not files:
            return self
        with tempfile.TemporaryDirectory() as folder:
            for name, file in files.items():
                (Path(folder) / name).write_bytes(file)
            self.set_model(Seq2Seq.load(Path(folder)))
        return self
