"""The torch encoder and its tokenizer: load, build, save, run. The only module that imports
transformers' model classes.

An encoder comes from the hub or a folder (`hf_encoder`), or is built from sizes and a vocabulary
(`new_encoder`); both are registered for `[initialize.components.transformer.encoder]`, so a
packaged config never holds their names or paths. On disk it is a plain Hugging Face folder:
`config.json`, `model.safetensors`, the tokenizer's files, and `layer_mix.json` where layers are
mixed."""

import contextlib
import copy
import json
import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from spacy.language import Language
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoTokenizer,
    BertConfig,
    BertTokenizerFast,
    DistilBertTokenizerFast,
    ElectraTokenizerFast,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers import __version__ as transformers_version
from transformers.utils import cached_file

from ..errors import DataError, Errors
from ..saving import GENERATION_FILE
from ..storage import replacing_folder
from .forward import run_model
from .settings import (
    check_config,
    check_size,
    is_known_tokenizer,
    translate_config,
    translate_tokenizer,
)

logger = logging.getLogger(__name__)

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
_WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
_MIX_FILE = "layer_mix.json"
# Where a checkpoint can name Python code of its own.
_CONFIG_FILES = (
    "config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
# Those that transformers 5 makes anew, whatever their tokenizer.json says.
_BERT_TOKENIZERS = (BertTokenizerFast, DistilBertTokenizerFast, ElectraTokenizerFast)
# Of scripts that hardly any vocabulary has.
_UNHEARD_OF = "ꙮ 𓂀 𐎀"


@dataclass
class Encoder:
    """A pretrained (or new) encoder and the tokenizer that belongs to it.

    model (PreTrainedModel): Gives `last_hidden_state` for `input_ids`; no head, no pooler.
    tokenizer (PreTrainedTokenizerBase): Its wordpieces.
    mix (Parameter | None): What the layers weigh, before the softmax, in a mean over the embeddings
        and all layers that replaces the last layer (Peters et al. 2018, arXiv:1802.05365); None for
        the last layer. *Shape:* `(depth + 1,)`.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    mix: torch.nn.Parameter | None = None

    def __post_init__(self) -> None:
        # Nothing is generated: keys and values of a decoder needn't outlive a layer.
        self.model.config.use_cache = False

    @property
    def width(self) -> int:
        """RETURNS (int): The width of a wordpiece's vector."""
        return self.model.config.hidden_size

    @property
    def depth(self) -> int:
        """RETURNS (int): The number of layers."""
        return self.model.config.num_hidden_layers

    @property
    def max_pieces(self) -> int:
        """RETURNS (int): The most wordpieces one window may hold, special pieces included."""
        config = self.model.config
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

    @property
    def pad_id(self) -> int:
        """RETURNS (int): The id that fills a shorter window; masked, so any will do where the
        checkpoint has none, or one that was added without a row in the embeddings.
        """
        pad_id = self.tokenizer.pad_token_id
        rows = self.model.get_input_embeddings().num_embeddings
        return pad_id if pad_id is not None and pad_id < rows else 0

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run a batch of windows.

        input_ids (Tensor): *Shape:* `(n_windows, n_pieces)`, on the model's device.
        attention_mask (Tensor | None): *Shape:* as `input_ids`, 1 for real pieces; None where
            nothing is padded.
        RETURNS (Tensor): The last layer, or the mix of all. *Shape:* `(n_windows, n_pieces,
            width)`.
        """
        if self.mix is None:
            return run_model(self.model, input_ids, attention_mask).last_hidden_state
        output = run_model(self.model, input_ids, attention_mask, all_layers=True)
        # Of some models the last of the hidden states has not been through the final norm.
        layers = (*output.hidden_states[:-1], output.last_hidden_state)
        weighted = (
            weight * layer for weight, layer in zip(self.mix.softmax(0), layers, strict=True)
        )
        return cast(torch.Tensor, sum(weighted))

    def to(self, device: torch.device | str) -> None:
        """Move the weights, in place."""
        self.model.to(device)
        if self.mix is not None:
            self.mix.data = self.mix.data.to(device)

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
            if self.mix is not None:
                (new / _MIX_FILE).write_text(json.dumps(self.mix.tolist()), encoding="utf-8")
            if generation is not None:
                (new / GENERATION_FILE).write_text(generation, encoding="utf-8")

    def _refuse_no_numbers(self, weights: dict[str, torch.Tensor]) -> None:
        """Whoever saves what a training has ruined loses the good model that stood there."""
        weights = weights if self.mix is None else weights | {"mix": self.mix.detach()}
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
            Python code, J063, J064 and J068 for settings, J065 and J066 for a tokenizer that
            doesn't fit, J067 for weights that are no numbers.
        """
        missing = [name for name in ("config.json",) if not (path / name).is_file()]
        if not any((path / name).is_file() for name in _WEIGHT_FILES):
            missing.append("the weights (" + " or ".join(_WEIGHT_FILES[:2]) + ")")
        if missing:
            raise ValueError(Errors.J003.format(path=path, missing=" and ".join(missing)))
        encoder = cls._from_pretrained(str(path), local_files_only=True, **model_settings)
        if (path / _MIX_FILE).is_file():
            mix = _read_mix(path / _MIX_FILE, encoder.depth + 1)
            encoder.mix = torch.nn.Parameter(torch.tensor(mix))
        return encoder

    @classmethod
    def _from_pretrained(
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
        with _coded(name):
            files = _read_settings(name, **where)
            where["trust_remote_code"] = False
            config = _read_config(name, files, **where)
            tokenizer = _read_tokenizer(name, files, **where)
            for setting, value in model_settings.items():
                if hasattr(config, setting):
                    setattr(config, setting, value)
            check_size(config, name, *_weight_files(name))
            pooler = {"add_pooling_layer": False} if config.model_type in _HAS_POOLER else {}
            with _quiet():
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
        _check_ids(name, encoder)
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
        with _coded(name):
            files = _read_settings(name, **where)
            where["trust_remote_code"] = False
            tokenizer = _read_tokenizer(name, files, **where)
            config = _read_config(name, files, **where)
            check_size(config, name)
            model = _build(config)
        encoder = cls(model=model, tokenizer=tokenizer)
        _check_ids(name, encoder)
        return encoder


EncoderLoader = Callable[[Language], Encoder]
VocabularyLoader = Callable[[Language], PreTrainedTokenizerFast]

# These model classes put a pooler behind the encoder that nothing here reads.
_HAS_POOLER = {"bert", "roberta", "xlm-roberta", "camembert", "albert"}


def read_generation(path: Path) -> str | None:
    """RETURNS (str | None): The mark of the save that wrote an encoder's folder, if it has one."""
    file = path / GENERATION_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _build(config: Any) -> PreTrainedModel:
    pooler = {"add_pooling_layer": False} if config.model_type in _HAS_POOLER else {}
    return _model_class(config)(config, **pooler).eval()


def _model_class(config: Any) -> type[PreTrainedModel]:
    """What AutoModel takes, but AutoModel imports every model's config, some hundred, to find out:
    over half of the loading time.
    """
    classes = MODEL_MAPPING[type(config)]
    return classes[0] if isinstance(classes, tuple) else classes


def _read_mix(path: Path, n_layers: int) -> list[float]:
    """What each layer weighs, those that are kept.

    RAISES: DataError J062.
    """
    try:
        mix = [float(weight) for weight in json.loads(path.read_bytes())]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(Errors.J062.format(expected=n_layers), path=path) from error
    if len(mix) < n_layers or not all(map(math.isfinite, mix)):
        raise DataError(Errors.J062.format(expected=n_layers), path=path)
    return mix[:n_layers]


def _weight_files(name: str) -> list[Path]:
    """Those of a folder; none of what may yet be on the hub."""
    return [file for ending in ("safetensors", "bin") for file in Path(name).glob(f"*.{ending}")]


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a checkpoint, and nothing else. Never asks a hub.

    name (str): A folder, or the name of a model in the local cache.
    RETURNS (PreTrainedTokenizerBase): The tokenizer.
    RAISES: ValueError J002, J004, J066; ImportError J007; DataError J060, J064, J068.
    """
    where: dict[str, Any] = {"local_files_only": True, "revision": revision or "main"}
    with _coded(name):
        files = _read_settings(name, **where)
        return _read_tokenizer(name, files, trust_remote_code=False, **where)


def _find(name: str, file: str, *, required: bool = False, **where: Any) -> Path | None:
    """Where a checkpoint's file is; None if it has none, or OSError if it is required."""
    path = cached_file(
        name,
        file,
        _raise_exceptions_for_gated_repo=required,
        _raise_exceptions_for_missing_entries=required,
        _raise_exceptions_for_connection_errors=required,
        **where,
    )
    return None if path is None else Path(path)


def _read_settings(name: str, **where: Any) -> dict[str, tuple[Path, dict[str, Any]]]:
    """What a checkpoint's JSON files say, by file.

    RAISES: DataError J060 if one names Python code: transformers would run it, or ask on standard
        input whether it may. Where it has a class for the model and would ignore the code, what
        that class computes need not be what was meant.
    """
    files = {}
    for file in _CONFIG_FILES:
        # The hub isn't asked for more of a checkpoint that isn't there: each question can take a
        # minute of tries.
        required = file == "config.json" and not where["local_files_only"]
        path = _find(name, file, required=required, **where)
        if path is None:
            continue
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            reason = f"{file} is damaged ({error})."
            raise ValueError(Errors.J002.format(name=name, reason=reason)) from error
        if not isinstance(content, dict):
            raise ValueError(Errors.J002.format(name=name, reason=f"{file} holds no settings."))
        if "auto_map" in content:
            raise DataError(Errors.J060.format(code=content["auto_map"]), path=path)
        files[file] = (path, content)
    return files


def _read_config(
    name: str, files: dict[str, tuple[Path, dict[str, Any]]], **where: Any
) -> PretrainedConfig:
    """A checkpoint's config, of transformers 4 or 5.

    RAISES: DataError J063, J064.
    """
    path, settings = files.get("config.json", (Path(name), {}))
    settings = translate_config(settings, path)
    check_config(settings, path)
    model_type = settings.get("model_type")
    if model_type not in CONFIG_MAPPING:
        return cast(PretrainedConfig, AutoConfig.from_pretrained(name, **where))
    config = CONFIG_MAPPING[model_type].from_dict(settings)
    config._name_or_path = name
    return config


def _read_tokenizer(
    name: str, files: dict[str, tuple[Path, dict[str, Any]]], **where: Any
) -> PreTrainedTokenizerBase:
    """A checkpoint's tokenizer, saved by transformers 4 or 5.

    RAISES: ValueError J066; DataError J064, J068.
    """
    path, settings = files.get("tokenizer_config.json", (Path(name), {}))
    where = where | translate_tokenizer(settings, path)
    tokenizer: PreTrainedTokenizerBase
    if is_known_tokenizer(settings):
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
    elif _find(name, "tokenizer.json", **_of_files(where)):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(name, **where)
    else:
        _, config = files.get("config.json", (path, {}))
        raise DataError(
            Errors.J068.format(
                tokenizer=settings["tokenizer_class"],
                written=config.get("transformers_version", "of another version"),
                running=transformers_version,
            ),
            path=path,
        )
    tokenizer = _read_alike_by_all(tokenizer)
    _check_unknown(name, tokenizer)
    return tokenizer


def _of_files(where: dict[str, Any]) -> dict[str, Any]:
    return {name: where[name] for name in ("local_files_only", "revision") if name in where}


def _read_alike_by_all(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The same tokenizer, of a class that transformers 5 reads alike from what it saves.

    From 5 on, BERT's class makes BERT's own normalizer and pre-tokenizer, whatever tokenizer.json
    says: a vocabulary trained here would lose NFKC, and cut at other places.
    """
    if type(tokenizer) not in _BERT_TOKENIZERS:
        return tokenizer
    backend = cast(PreTrainedTokenizerFast, tokenizer).backend_tokenizer
    if isinstance(backend.normalizer, BertNormalizer) and isinstance(
        backend.pre_tokenizer, BertPreTokenizer
    ):
        return tokenizer
    settings = tokenizer.init_kwargs.items()
    kept = {name: value for name, value in settings if name not in tokenizer.vocab_files_names}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **kept)


def _check_unknown(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """RAISES: ValueError J066 if the tokenizer fails at what its vocabulary lacks, J002 if it can't
    encode at all.
    """
    try:
        failed = None in tokenizer(_UNHEARD_OF)["input_ids"] and "it gives no id"
        if tokenizer.is_fast:
            special = tokenizer("あ", return_special_tokens_mask=True)["special_tokens_mask"]
            failed = failed or (all(special) and "it gives nothing for あ")
            tokenizer("あ", "あ")
    except ImportError:
        raise
    except Exception as error:  # the tokenizers library raises nothing narrower
        failed = str(error)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which no module exports
            raise
        reason = f"its tokenizer.json is damaged ({error})."
        raise ValueError(Errors.J002.format(name=name, reason=reason)) from error
    if failed:
        raise ValueError(
            Errors.J066.format(name=name, reason=failed, unknown=tokenizer.unk_token or "[UNK]")
        )


def _check_ids(name: str, encoder: Encoder) -> None:
    """RAISES: ValueError J065 if a piece that can occur has no embedding."""
    tokenizer = encoder.tokenizer
    rows = encoder.model.get_input_embeddings().num_embeddings
    before, behind = encoder.special_ids
    inserted = {*before, *behind, tokenizer.unk_token_id, tokenizer.mask_token_id}
    # No text yields one of the others, even where it spells it out.
    never = set(tokenizer.all_special_ids) - inserted
    highest = max(set(tokenizer.get_vocab().values()) - never, default=0)
    if highest >= rows:
        raise ValueError(
            Errors.J065.format(name=name, highest=highest, rows=rows, needed=highest + 1)
        )


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


@contextlib.contextmanager
def _coded(name: str) -> Iterator[None]:
    """Whatever transformers raises about a checkpoint as a coded error that names it.

    RAISES: ValueError J002, J004; ImportError J007; DataError as it is.
    """
    try:
        yield
    except ImportError as error:
        package = next(
            (
                p
                for p in ("fugashi", "unidic_lite", "ipadic", "sentencepiece", "rhoknp")
                if p in str(error)
            ),
            str(error),
        )
        install = (
            "'spacy-jbert[mecab]'" if package in ("fugashi", "unidic_lite", "ipadic") else package
        )
        raise ImportError(Errors.J007.format(package=package, install=install)) from error
    except ValueError as error:
        if isinstance(error, DataError) or re.match(r"\[J\d{3}\]", str(error)):
            raise
        raise ValueError(_why_not_loaded(name, error)) from error
    except Exception as error:
        # transformers raises OSError, KeyError, SafetensorError, JSONDecodeError … for one and the
        # same thing.
        raise ValueError(_why_not_loaded(name, error)) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' notes on poolers and sharding: nothing here reads a pooler, and what is
    missing raises J002.
    """
    loading = logging.getLogger("transformers")
    level = loading.level
    loading.setLevel(logging.ERROR)
    try:
        yield
    finally:
        loading.setLevel(level)


def _why_not_loaded(name: str, error: Exception) -> str:
    """The coded message for whatever transformers raised."""
    chain, reason = error, str(error).splitlines()[0] if str(error) else type(error).__name__
    kinds: list[str] = []
    # An error that was raised twice may be its own context.
    while chain is not None and len(kinds) < 100:
        kinds.append(type(chain).__name__)
        chain = chain.__cause__ or chain.__context__  # type: ignore[assignment]
    offline = {
        "LocalEntryNotFoundError",
        "ConnectionError",
        "OfflineModeIsEnabled",
        "MaxRetryError",
        "ConnectTimeout",
        "ProxyError",
    }
    if not Path(name).exists() and offline & set(kinds):
        return Errors.J004.format(name=name)
    return Errors.J002.format(name=name, reason=reason)


def hf_encoder(
    name: str | None,
    revision: str | None = None,
    layers: int | None = None,
    attention_dropout: float = 0.0,
    hidden_dropout: float | None = None,
) -> EncoderLoader:
    """Load a pretrained encoder: `@misc = "spacy-jbert.HFEncoder.v1"`.

    name (str | None): A folder, or the name of a model on the Hugging Face hub (looked up in the
        local cache first; HF_HUB_OFFLINE=1 works). None, as in the configs before a name is given
        and in those of trained pipelines, can't be loaded.
    revision (str | None): The commit, tag or branch on the hub.
    layers (int | None): Keep the first layers only (Sajjad et al. 2023, "On the effect of dropping
        layers of pre-trained transformer models", arXiv:2004.03844): faster in training and use, by
        as much as is left out. The last layers of an encoder are made for what it was pretrained
        for. None: all.
    attention_dropout (float): 0 by default: dropout inside attention keeps torch from using its
        fused kernel, which costs more than half of the training speed on a CPU at length 512.
    hidden_dropout (float | None): None keeps what the checkpoint's config says.
    RETURNS (EncoderLoader): Called with the `nlp` object when the transformer is initialised.
    RAISES: ValueError J016; the loader J002-J004 and J301, also if the checkpoint has fewer layers.
    """
    if layers is not None and layers < 1:
        raise ValueError(Errors.J016.format(layers=layers))
    settings: dict[str, Any] = {
        "attention_probs_dropout_prob": attention_dropout,
        "attention_dropout": attention_dropout,
    }
    if hidden_dropout is not None:
        settings["hidden_dropout_prob"] = hidden_dropout
    if layers is not None:
        settings["num_hidden_layers"] = layers

    def load(nlp: Language) -> Encoder:
        if name is None:
            raise ValueError(Errors.J301)
        path = Path(name)
        if path.is_dir():
            encoder = Encoder.load(path, **settings)
        elif path.is_absolute() or name.startswith("."):
            raise ValueError(Errors.J002.format(name=name, reason="There is no such folder."))
        else:
            try:
                encoder = Encoder._from_pretrained(
                    name, local_files_only=True, revision=revision, **settings
                )
            except ValueError as error:
                # Not in the cache, or not all of it. What is wrong with it isn't better on the hub.
                if not isinstance(error.__cause__, OSError):
                    raise
                encoder = Encoder._from_pretrained(
                    name, local_files_only=False, revision=revision, **settings
                )
        logger.info("Loaded encoder %s: %d layers, width %d", name, encoder.depth, encoder.width)
        return encoder

    return load


# Layers, width, heads: the sizes of Turc et al. 2019, "Well-Read Students Learn Better"
# (arXiv:1908.08962), and BERT's own.
SIZES = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}


def new_encoder(
    vocabulary: str | VocabularyLoader,
    size: str | None = None,
    layers: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    max_pieces: int = 512,
    hidden_dropout: float = 0.1,
    attention_dropout: float = 0.0,
    seed: int | None = None,
) -> EncoderLoader:
    """Build a BERT encoder with random weights: `@misc = "spacy-jbert.NewEncoder.v1"`.

    Its position embeddings begin as sinusoids, and are learned from there: attention finds
    neighbours sooner than from random ones.

    vocabulary (str | VocabularyLoader): A folder with a tokenizer, or what
        `spacy-jbert.TrainedVocabulary.v1` gives.
    size (str | None): tiny, mini, small, medium, base or large.
    layers (int | None): Instead of, or on top of, `size`; likewise `width` and `heads`.
    max_pieces (int): The most wordpieces in one window.
    seed (int | None): Of the weights. None: whatever torch's generator gives, which `spacy train`
        seeds and `spacy assemble` doesn't.
    RETURNS (EncoderLoader): Called with the `nlp` object when the transformer is initialised.
    """
    if size is not None and size not in SIZES:
        raise ValueError(
            Errors.J008.format(reason=f"size = '{size}' is not one of {', '.join(SIZES)}.")
        )
    default_layers, default_width, default_heads = SIZES[size] if size else (None, None, None)
    layers, width, heads = layers or default_layers, width or default_width, heads or default_heads
    if not layers or not width or not heads:
        raise ValueError(Errors.J008.format(reason="give a size, or layers, width and heads."))
    if width % heads:
        raise ValueError(
            Errors.J008.format(reason=f"width = {width} can't be divided among {heads} heads.")
        )

    def build(nlp: Language) -> Encoder:
        tokenizer = load_tokenizer(vocabulary) if isinstance(vocabulary, str) else vocabulary(nlp)
        tokenizer.model_max_length = max_pieces
        config = BertConfig(
            vocab_size=-(-len(tokenizer) // 64) * 64,  # matrix products like multiples of 64
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * width,
            max_position_embeddings=max_pieces,
            hidden_dropout_prob=hidden_dropout,
            attention_probs_dropout_prob=attention_dropout,
            pad_token_id=tokenizer.pad_token_id,
        )
        check_size(config, "spacy-jbert.NewEncoder.v1")
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            encoder = Encoder(model=_build(config), tokenizer=tokenizer)
        positions = encoder.model.embeddings.position_embeddings.weight
        positions.data = (
            _sinusoids(max_pieces, width) * config.initializer_range * math.sqrt(2)
        )  # the spread of the other weights
        logger.info(
            "Built a new encoder: %d layers, width %d, %d wordpieces", layers, width, len(tokenizer)
        )
        return encoder

    return build


def _sinusoids(n_positions: int, width: int) -> torch.Tensor:
    """Sines and cosines of growing wavelengths (Vaswani et al.

    2017, arXiv:1706.03762, section 3.5). *Shape:* `(n_positions, width)`.
    """
    waves = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(n_positions)[:, None] * waves
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]
