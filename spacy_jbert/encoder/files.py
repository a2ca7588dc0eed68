"""What a checkpoint's folder, or the hub, holds: config and tokenizer, checked before anything is
built of them, and what goes wrong with them as coded errors."""

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoTokenizer,
    BertTokenizerFast,
    DistilBertTokenizerFast,
    ElectraTokenizerFast,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers import __version__ as transformers_version
from transformers.utils import cached_file

from ..errors import DataError, Errors
from .settings import (
    check_config,
    is_known_tokenizer,
    translate_config,
    translate_tokenizer,
)

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


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a checkpoint, and nothing else. Never asks a hub.

    name (str): A folder, or the name of a model in the local cache.
    RETURNS (PreTrainedTokenizerBase): The tokenizer.
    RAISES: ValueError J002, J004, J066; ImportError J007; DataError J060, J064, J068.
    """
    where: dict[str, Any] = {"local_files_only": True, "revision": revision or "main"}
    with loading_errors(name):
        files = read_settings(name, **where)
        return read_tokenizer(name, files, trust_remote_code=False, **where)


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


def read_settings(name: str, **where: Any) -> dict[str, tuple[Path, dict[str, Any]]]:
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
        # Of models of two halves each has settings of its own.
        for section in (content, *content.values()):
            if isinstance(section, dict) and "auto_map" in section:
                raise DataError(Errors.J060.format(code=section["auto_map"]), path=path)
        files[file] = (path, content)
    return files


def read_config(
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


def read_tokenizer(
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


@contextlib.contextmanager
def loading_errors(name: str) -> Iterator[None]:
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
def quiet() -> Iterator[None]:
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
