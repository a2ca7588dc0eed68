"""The torch encoder and its tokenizer: load, save, run.

On disk it is a plain Hugging Face folder: `config.json`, `model.safetensors`, the tokenizer's
files. `files.py` reads what isn't weights,
`loaders.py` has what a config can name."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from spacy.language import Language
from transformers import (
    MODEL_MAPPING,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ..errors import DataError, Errors
from ..saving import GENERATION_FILE
from ..storage import replacing_folder
from .files import loading_errors, quiet, read_config, read_settings, read_tokenizer
from .forward import run_model
from .packed import Group, can_be_packed, run_packed
from .settings import check_size
from .windows import WordpieceEncoder, check_ids

_WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
# Of the learned mix of layers that there once was.
_MIX_FILE = "layer_mix.json"


@dataclass
class Encoder(WordpieceEncoder):
    """A pretrained (or new) encoder and the tokenizer that belongs to it.

    model (PreTrainedModel): Gives `last_hidden_state` for `input_ids`; no head, no pooler.
    tokenizer (PreTrainedTokenizerBase): Its wordpieces.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def __post_init__(self) -> None:
        # Nothing is generated: keys and values of a decoder needn't outlive a layer.
        self.model.config.use_cache = False

    @property
    def config(self) -> PretrainedConfig:
        return self.model.config

    @property
    def n_rows(self) -> int:
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def n_parameters(self) -> int:
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run a batch of windows.

        input_ids (Tensor): *Shape:* `(n_windows, n_pieces)`, on the model's device.
        attention_mask (Tensor | None): *Shape:* as `input_ids`, 1 for real pieces; None where
            nothing is padded.
        token_type_ids (Tensor | None): See `run_model`. *Shape:* as `input_ids`.
        RETURNS (Tensor): The last layer. *Shape:* `(n_windows, n_pieces, width)`.
        """
        output = run_model(self.model, input_ids, attention_mask, token_type_ids=token_type_ids)
        return output.last_hidden_state

    @property
    def packs(self) -> bool:
        return can_be_packed(self.model)

    def run_packed(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        groups: Sequence[Group],
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """See `packed.run_packed`."""
        return run_packed(self.model, input_ids, position_ids, groups, token_type_ids)

    def to(self, device: torch.device | str) -> None:
        """Move the weights, in place."""
        self.model.to(device)

    def save(
        self, path: Path, dtype: torch.dtype = torch.float32, generation: str | None = None
    ) -> None:
        """Write a plain Hugging Face folder. It appears under its name only when it is complete;
        until then the old one stays.

        path (Path): The folder; one that is there already is replaced, even the one that the
            weights are still mapped from.
        dtype (torch.dtype): Of the weights in the file.
        generation (str | None): A mark of this save, for `read_generation`.
        RAISES: ValueError J081 if a weight is nan or infinite.
        """
        weights = self.model.state_dict()
        self._refuse_no_numbers(weights)
        with replacing_folder(path) as new:
            saved = {
                name: w.to(dtype) if w.is_floating_point() else w for name, w in weights.items()
            }
            self.model.save_pretrained(new, state_dict=saved, safe_serialization=True)
            # save_pretrained wrote the precision that the model has in memory.
            config = copy.copy(self.model.config)
            config.torch_dtype = dtype
            config.save_pretrained(new)
            self.tokenizer.save_pretrained(new)
            if generation is not None:
                (new / GENERATION_FILE).write_text(generation, encoding="utf-8")

    def _refuse_no_numbers(self, weights: dict[str, torch.Tensor]) -> None:
        """Whoever saves what a training has ruined loses the good model that stood there."""
        ruined = [
            name
            for name, weight in weights.items()
            if weight.is_floating_point() and not bool(weight.isfinite().all())
        ]
        if ruined:
            raise ValueError(Errors.J081.format(count=len(ruined), example=ruined[0]))

    @classmethod
    def load(cls, path: Path, **model_settings: Any) -> "Encoder":
        """Read a folder written by `save`, or any Hugging Face checkpoint folder. Never asks a hub.

        path (Path): The folder. model_settings: Override what its config.json says, for example
            `attention_probs_dropout_prob`.
        RETURNS (Encoder): The encoder, in evaluation mode, fp32. Weights that are stored so are
            mapped from the file and shared with other processes, until training writes to them.
        RAISES: ValueError J003 if a file is missing, J002 if one can't be read, J060 if one names
            Python code, J062 if layers are mixed, J063, J064 and J068 for settings, J065 and J066
            for a tokenizer that doesn't fit, J067 for weights that are no numbers.
        """
        missing = [name for name in ("config.json",) if not (path / name).is_file()]
        if not any((path / name).is_file() for name in _WEIGHT_FILES):
            missing.append("the weights (" + " or ".join(_WEIGHT_FILES[:2]) + ")")
        if missing:
            raise ValueError(Errors.J003.format(path=path, missing=" and ".join(missing)))
        if (path / _MIX_FILE).is_file():
            raise DataError(Errors.J062, path=path / _MIX_FILE)
        return cls.from_pretrained(str(path), local_files_only=True, **model_settings)

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        *,
        local_files_only: bool,
        revision: str | None = None,
        **model_settings: Any,
    ) -> "Encoder":
        where: dict[str, Any] = {
            "local_files_only": local_files_only,
            "revision": revision or "main",
        }
        with loading_errors(name):
            files = read_settings(name, **where)
            where["trust_remote_code"] = False
            config = read_config(name, files, **where)
            tokenizer = read_tokenizer(name, files, **where)
            for setting, value in model_settings.items():
                if hasattr(config, setting):
                    setattr(config, setting, value)
            check_size(config, name, *_weight_files(name))
            pooler = {"add_pooling_layer": False} if config.model_type in _HAS_POOLER else {}
            with quiet():
                model, report = _model_class(config).from_pretrained(
                    name,
                    config=config,
                    torch_dtype=torch.float32,
                    output_loading_info=True,
                    **pooler,
                    **where,
                )
        if report["missing_keys"]:
            some = ", ".join(sorted(report["missing_keys"])[:3])
            raise ValueError(
                Errors.J002.format(
                    name=name,
                    reason=f"{len(report['missing_keys'])} weights are missing ({some} …).",
                )
            )
        _check_weights(name, model)
        encoder = cls(model=model.eval(), tokenizer=tokenizer)
        check_ids(name, encoder)
        return encoder

    @classmethod
    def from_config(cls, folder: Path) -> "Encoder":
        """Build the encoder that a folder's config.json and tokenizer describe, with random
        weights.

        folder (Path): A folder with config.json and the tokenizer's files; weights are not looked
            for.
        RETURNS (Encoder): The new encoder.
        RAISES: ValueError J002, J065, J066; DataError J060, J063, J064, J068.
        """
        where: dict[str, Any] = {"local_files_only": True}
        name = str(folder)
        with loading_errors(name):
            files = read_settings(name, **where)
            where["trust_remote_code"] = False
            tokenizer = read_tokenizer(name, files, **where)
            config = read_config(name, files, **where)
            check_size(config, name)
            model = build_model(config)
        encoder = cls(model=model, tokenizer=tokenizer)
        check_ids(name, encoder)
        return encoder


EncoderLoader = Callable[[Language], Encoder]
VocabularyLoader = Callable[[Language], PreTrainedTokenizerFast]
# These model classes put a pooler behind the encoder that nothing here reads.
_HAS_POOLER = {"bert", "roberta", "xlm-roberta", "camembert", "albert"}


def read_generation(path: Path) -> str | None:
    """RETURNS (str | None): The mark of the save that wrote an encoder's folder, if it has one."""
    file = path / GENERATION_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else None


def build_model(config: Any) -> PreTrainedModel:
    pooler = {"add_pooling_layer": False} if config.model_type in _HAS_POOLER else {}
    return _model_class(config)(config, **pooler).eval()


def _model_class(config: Any) -> type[PreTrainedModel]:
    """What AutoModel takes, but AutoModel imports every model's config, some hundred, to find out:
    over half of the loading time.
    """
    classes = MODEL_MAPPING[type(config)]
    return classes[0] if isinstance(classes, tuple) else classes


def _weight_files(name: str) -> list[Path]:
    """Those of a folder; none of what may yet be on the hub."""
    return [file for ending in ("safetensors", "bin") for file in Path(name).glob(f"*.{ending}")]


def _check_weights(name: str, model: PreTrainedModel) -> None:
    """RAISES: ValueError J067 if a weight is no number."""
    # A sum needs no second tensor of that size; only one that overflows is looked at again.
    broken = [
        weight_name
        for weight_name, weight in model.named_parameters()
        if not weight.detach().sum().isfinite() and not weight.detach().isfinite().all()
    ]
    if broken:
        more = " …" if len(broken) > 3 else ""
        raise ValueError(Errors.J067.format(name=name, weights=", ".join(broken[:3]) + more))
