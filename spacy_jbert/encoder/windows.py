"""What an encoder says of its windows, whatever runs it: how wide its vectors are, how many
wordpieces one window holds, which ids stand around them."""

from functools import cached_property

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from ..errors import Errors

# Position ids of this family start behind the padding id, so that many rows of the position table
# can't be used.
_POSITIONS_AFTER_PADDING = {
    "roberta",
    "xlm-roberta",
    "camembert",
    "longformer",
    "xlm-roberta-xl",
    "luke",
    "mpnet",
}


class WordpieceEncoder:
    """Wordpiece ids to vectors: `checkpoint.Encoder` by torch, `onnx.OnnxEncoder` by onnxruntime.

    tokenizer (PreTrainedTokenizerBase): Its wordpieces.
    """

    tokenizer: PreTrainedTokenizerBase

    @property
    def config(self) -> PretrainedConfig:
        """RETURNS (PretrainedConfig): The architecture and its sizes."""
        raise NotImplementedError

    @property
    def n_rows(self) -> int:
        """RETURNS (int): How many ids have an embedding."""
        raise NotImplementedError

    @property
    def n_parameters(self) -> int:
        """RETURNS (int): How many weights it has; 0 if that isn't known."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """RETURNS (device): Where ids are sent to, and vectors come from."""
        raise NotImplementedError

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run a batch of windows.

        input_ids (Tensor): *Shape:* `(n_windows, n_pieces)`, on `device`.
        attention_mask (Tensor | None): *Shape:* as `input_ids`, 1 for real pieces; None where
            nothing is padded.
        RETURNS (Tensor): *Shape:* `(n_windows, n_pieces, width)`.
        """
        raise NotImplementedError

    @property
    def packs(self) -> bool:
        """RETURNS (bool): Whether it runs windows without padding between them too."""
        return False

    @property
    def width(self) -> int:
        """RETURNS (int): The width of a wordpiece's vector."""
        return self.config.hidden_size

    @property
    def depth(self) -> int:
        """RETURNS (int): The number of layers."""
        return self.config.num_hidden_layers

    @property
    def max_pieces(self) -> int:
        """RETURNS (int): The most wordpieces one window may hold, special pieces included."""
        config = self.config
        positions = getattr(config, "max_position_embeddings", None) or 512
        if config.model_type in _POSITIONS_AFTER_PADDING:
            positions -= config.pad_token_id + 1
        return min(positions, self.tokenizer.model_max_length)

    @cached_property
    def special_ids(self) -> tuple[list[int], list[int]]:
        """RETURNS (tuple[list[int], list[int]]): The ids that this checkpoint puts before and
        behind a text.
        """
        # Asked of the tokenizer rather than built from cls/sep: Llama has a start only, some have
        # neither. A tokenizer.json has them in its post-processor, of which
        # `build_inputs_with_special_tokens` knows nothing.
        if self.tokenizer.is_fast:
            encoded = self.tokenizer("あ", return_special_tokens_mask=True)
            pieces, special = encoded["input_ids"], encoded["special_tokens_mask"]
        else:
            pieces = self.tokenizer.build_inputs_with_special_tokens([-1])
            special = [int(piece != -1) for piece in pieces]
        text = [i for i, is_special in enumerate(special) if not is_special]
        return pieces[: text[0]], pieces[text[-1] + 1 :]

    @cached_property
    def between_ids(self) -> list[int]:
        """RETURNS (list[int]): The ids that this checkpoint puts between two texts; what stands
        behind one if it knows no pairs.
        """
        if self.tokenizer.is_fast:
            encoded = self.tokenizer("あ", "あ", return_special_tokens_mask=True)
            ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
        else:
            ids = self.tokenizer.build_inputs_with_special_tokens([-1], [-1])
            special = [int(id_ != -1) for id_ in ids]
        text = [i for i, is_special in enumerate(special) if not is_special]
        inner = [ids[i] for i in range(text[0], text[-1]) if special[i]]
        return inner or self.special_ids[1]

    @cached_property
    def pair_types(self) -> tuple[int, int]:
        """RETURNS (tuple[int, int]): Which token type the pieces of the first and of the second of
        two texts are, with the special ones behind each; zeros for a checkpoint that isn't
        told texts apart so.
        """
        takes_types = "token_type_ids" in self.tokenizer.model_input_names
        if not takes_types or (getattr(self.config, "type_vocab_size", None) or 0) < 2:
            return 0, 0
        if self.tokenizer.is_fast:
            encoded = self.tokenizer(
                "あ", "あ", return_token_type_ids=True, return_special_tokens_mask=True
            )
            types, special = encoded["token_type_ids"], encoded["special_tokens_mask"]
        else:
            types = self.tokenizer.create_token_type_ids_from_sequences([-1], [-1])
            ids = self.tokenizer.build_inputs_with_special_tokens([-1], [-1])
            special = [int(id_ != -1) for id_ in ids]
        of_texts = [
            type_ for type_, is_special in zip(types, special, strict=True) if not is_special
        ]
        return of_texts[0], of_texts[-1]

    @property
    def pad_id(self) -> int:
        """RETURNS (int): The id that fills a shorter window; masked, so any will do where the
        checkpoint has none, or one that was added without a row in the embeddings.
        """
        pad_id = self.tokenizer.pad_token_id
        return pad_id if pad_id is not None and pad_id < self.n_rows else 0


def check_ids(name: str, encoder: WordpieceEncoder) -> None:
    """RAISES: ValueError J065 if a piece that can occur has no embedding."""
    tokenizer = encoder.tokenizer
    rows = encoder.n_rows
    before, behind = encoder.special_ids
    inserted = {*before, *behind, tokenizer.unk_token_id, tokenizer.mask_token_id}
    # No text yields one of the others, even where it spells it out.
    never = set(tokenizer.all_special_ids) - inserted
    highest = max(set(tokenizer.get_vocab().values()) - never, default=0)
    if highest >= rows:
        raise ValueError(
            Errors.J065.format(name=name, highest=highest, rows=rows, needed=highest + 1)
        )
