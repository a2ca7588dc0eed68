"""The model that writes: transformers' `EncoderDecoderModel`, and the tokenizer of both halves.

Encoder and decoder begin as the same pretrained checkpoint (Rothe, Narayan & Severyn 2020,
"Leveraging Pre-trained Checkpoints for Sequence Generation Tasks"); what the decoder needs to look
at the source begins from nothing."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from spacy.tokens import Doc
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    EncoderDecoderModel,
    PreTrainedTokenizerBase,
)

from ..encoder.checkpoint import Encoder
from ..encoder.files import loading_errors, quiet, read_settings, read_tokenizer
from ..encoder.settings import check_config
from ..errors import Errors
from ..storage import replacing_folder
from ..wordpieces.segmentation import make_segmenter

# Whose causal classes can look at another model's output.
_FAMILIES = ("bert", "camembert", "electra", "roberta", "xlm-roberta")
_LOCAL: dict[str, Any] = {"local_files_only": True}


class Seq2Seq:
    """A model and its tokenizer. Sources and targets are Docs, cut as in pretraining.

    model (EncoderDecoderModel): The model.
    tokenizer (PreTrainedTokenizerBase): Of sources and targets.
    """

    def __init__(self, model: EncoderDecoderModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self._segment = make_segmenter(tokenizer)
        config = model.config
        self._start, self._end = config.decoder_start_token_id, config.eos_token_id
        self._pad = config.pad_token_id
        # Pieces of WordPiece; of others decode() knows where spaces belong.
        self._joins = any(piece.startswith("##") for piece in tokenizer.get_vocab())

    @classmethod
    def warm_start(cls, folder: Path, decoder_layers: int) -> "Seq2Seq":
        """Make both halves of an encoder's folder, as pretraining leaves it.

        decoder_layers (int): The decoder has the first so many layers.
        RAISES: ValueError J553 for a model that can't decode, J549, and what `Encoder.load` raises.
        """
        encoder = Encoder.load(folder)
        family = encoder.config.model_type
        before, behind = encoder.special_ids
        if family not in _FAMILIES or not (before and behind):
            raise ValueError(
                Errors.J553.format(path=folder, family=family, families=", ".join(_FAMILIES))
            )
        if not 1 <= decoder_layers <= encoder.depth:
            wanted = f"1 to the encoder's {encoder.depth}"
            message = Errors.J549.format(
                where="[decoder]", name="layers", value=decoder_layers, wanted=wanted
            )
            raise ValueError(message)
        config = copy.deepcopy(encoder.config)
        config.update(
            {
                "is_decoder": True,
                "add_cross_attention": True,
                "num_hidden_layers": decoder_layers,
                "use_cache": True,
            }
        )
        with loading_errors(str(folder)), quiet():
            decoder_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            decoder = decoder_class.from_pretrained(
                folder, config=config, torch_dtype=torch.float32, **_LOCAL
            )
        model = EncoderDecoderModel(encoder=encoder.model, decoder=decoder)
        ids = {
            "decoder_start_token_id": before[0],
            "bos_token_id": before[0],
            "eos_token_id": behind[-1],
            "pad_token_id": encoder.pad_id,
        }
        model.config.update(ids)
        model.generation_config.update(**ids)
        return cls(model, encoder.tokenizer)

    @classmethod
    def load(cls, folder: Path) -> "Seq2Seq":
        """Read a folder that `save` wrote. Never asks a hub.

        RAISES: ValueError J555 if it is another model's; J002, J060 and on as `Encoder.load`.
        """
        if not (folder / "config.json").is_file():
            raise ValueError(Errors.J003.format(path=folder, missing="config.json"))
        with loading_errors(str(folder)):
            files = read_settings(str(folder), **_LOCAL, revision="main")
            path, settings = files["config.json"]
            if settings.get("model_type") != "encoder-decoder":
                found = settings.get("model_type")
                raise ValueError(Errors.J555.format(path=folder, family=found))
            for half in ("encoder", "decoder"):
                check_config(settings.get(half) or {}, path)
            tokenizer = read_tokenizer(str(folder), files, **_LOCAL, trust_remote_code=False)
            with quiet():
                model = EncoderDecoderModel.from_pretrained(
                    folder, torch_dtype=torch.float32, use_safetensors=True, **_LOCAL
                )
        return cls(model, tokenizer)

    def save(self, folder: Path) -> None:
        """Write a plain Hugging Face folder, which is there once it is whole."""
        with replacing_folder(folder) as new:
            self.model.save_pretrained(new, safe_serialization=True)
            self.tokenizer.save_pretrained(new)

    @property
    def max_source(self) -> int:
        """RETURNS (int): The most wordpieces of a source, special ones included."""
        return _positions(self.model.config.encoder)

    @property
    def max_target(self) -> int:
        """RETURNS (int): The most wordpieces of a target, special ones included."""
        return _positions(self.model.config.decoder)

    def source_ids(self, docs: Sequence[Doc]) -> list[list[int]]:
        """RETURNS (list[list[int]]): What the encoder reads of each; the rest is cut off."""
        room = self.max_source - 2
        pieces = (of_doc.ids.tolist() for of_doc in self._segment(docs))
        return [[self._start, *ids[:room], self._end] for ids in pieces]

    def target_ids(self, docs: Sequence[Doc], longest: int) -> list[list[int]]:
        """RETURNS (list[list[int]]): What the decoder is to write for each, of so many pieces at
        most; the rest is cut off, without an end.
        """
        pieces = (of_doc.ids.tolist() for of_doc in self._segment(docs))
        return [[*ids, self._end][:longest] for ids in pieces]

    @torch.inference_mode()
    def generate(self, docs: Sequence[Doc], *, num_beams: int, max_pieces: int) -> list[str]:
        """Write a text for each document: the most probable that a beam search finds.

        num_beams (int): 1 for greedy search.
        max_pieces (int): The most wordpieces of a text.
        RETURNS (list[str]): The texts; "" where a document has nothing to read.
        """
        sources = self.source_ids(docs)
        texts = [""] * len(sources)
        some = [i for i, ids in enumerate(sources) if len(ids) > 2]
        if not some:
            return texts
        device = self.model.device
        rows = [torch.tensor(sources[i]) for i in some]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._pad)
        lengths = torch.tensor([len(row) for row in rows])
        written = self.model.generate(
            ids.to(device),
            attention_mask=(torch.arange(ids.shape[1]) < lengths[:, None]).long().to(device),
            num_beams=num_beams,
            do_sample=False,
            max_new_tokens=max_pieces,
        )
        for i, of_doc in zip(some, written.tolist(), strict=True):
            texts[i] = self.text(of_doc)
        return texts

    def text(self, ids: Sequence[int]) -> str:
        """RETURNS (str): What wordpieces spell, without special ones."""
        special = set(self.tokenizer.all_special_ids)
        kept = [i for i in ids if i not in special]
        if not self._joins:
            return str(self.tokenizer.decode(kept, clean_up_tokenization_spaces=False)).strip()
        # Of WordPiece, decode() would put a space between all words.
        text = ""
        for piece in self.tokenizer.convert_ids_to_tokens(kept):
            begun = not piece.startswith("##")
            piece = piece.removeprefix("##")
            text += " " * (begun and _are_latin(text[-1:], piece[:1])) + piece
        return text


def _are_latin(*characters: str) -> bool:
    """RETURNS (bool): Whether a space is between two such, where each begins or ends a word."""
    return all(char.isascii() and char.isalpha() for char in characters)


def _positions(config: Any) -> int:
    """RETURNS (int): The longest sequence; RoBERTa counts positions from behind its padding id."""
    taken = 0 if config.model_type in ("bert", "electra") else config.pad_token_id + 1
    return int(config.max_position_embeddings) - taken
