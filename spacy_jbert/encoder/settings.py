"""What config.json and tokenizer_config.json say: checked, and what transformers 5 writes put in
the words of the transformers that runs here."""

import inspect
import math
import os
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.activations import ACT2CLS
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from ..errors import DataError, Errors

_FULL, _SLIDING = "full_attention", "sliding_attention"
# What 4.x calls the base of the rotary embeddings, by kind of layer; the first that a class takes.
_THETA = {
    _FULL: ("rope_theta", "global_rope_theta", "rotary_emb_base"),
    _SLIDING: ("local_rope_theta", "rope_local_base_freq"),
}
_PARTIAL = ("partial_rotary_factor", "rotary_pct")
_SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
# Settings with a range: the names, the type, the least and the most.
_RANGES: tuple[tuple[tuple[str, ...], type, float, float], ...] = (
    (("hidden_size", "embedding_size", "num_attention_heads"), int, 1, 2**15),
    (("intermediate_size",), int, 1, 2**18),
    (("num_hidden_layers", "num_key_value_heads", "head_dim"), int, 1, 2**12),
    (("vocab_size", "max_position_embeddings"), int, 1, 2**26),
    (("type_vocab_size", "num_labels"), int, 0, 2**16),
    (("layer_norm_eps", "layer_norm_epsilon", "norm_eps", "rms_norm_eps"), float, 0, 0.1),
    (("initializer_range",), float, 0, 1e3),
    (
        (
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "attention_dropout",
            "embedding_dropout",
            "mlp_dropout",
            "hidden_dropout",
        ),
        float,
        0,
        1,
    ),
    (
        ("rope_theta", "global_rope_theta", "local_rope_theta", "rope_local_base_freq"),
        float,
        1,
        1e12,
    ),
)


def check_config(settings: dict[str, Any], path: Path) -> None:
    """RAISES: DataError J064 for a setting of a config.json that can't be right.

    settings (dict[str, Any]): What the file holds, after `translate_config`.
    path (Path): The file, for the message.
    """
    for names, kind, least, most in _RANGES:
        for name in names:
            value = settings.get(name)
            if value is None:
                continue
            right = _is_number(value) and (kind is float or isinstance(value, int))
            if not right or not least <= value <= most:  # NaN is in no range
                number = "a whole number" if kind is int else "a number"
                raise DataError(
                    Errors.J064.format(
                        setting=name,
                        value=_short(value),
                        expected=f"{number} from {least:g} to {most:g}",
                    ),
                    path=path,
                )
    for name in ("hidden_act", "hidden_activation"):
        value = settings.get(name)
        if value is not None and not (isinstance(value, str) and value in ACT2CLS):
            raise DataError(
                Errors.J064.format(
                    setting=name, value=_short(value), expected=f"one of {', '.join(ACT2CLS)}"
                ),
                path=path,
            )


def check_size(config: PretrainedConfig, name: str, *files: Path) -> None:
    """Refuse a model that fits neither its files nor this machine, before memory is asked for it.

    config (PretrainedConfig): Its sizes.
    name (str): For the message.
    files (Path): Those with its weights, if there are any.
    RAISES: ValueError J098.
    """
    count = _least_weights(config)
    in_files = sum(file.stat().st_size for file in files)
    # A weight takes a byte at least.
    if files and count > in_files:
        limit = f"its files hold {in_files:,} bytes"
    elif 4 * count > _memory():
        limit = f"this machine has {_memory() / 1e9:,.0f} GB"
    else:
        return
    raise ValueError(Errors.J098.format(name=name, count=count, size=4 * count / 1e9, limit=limit))


def _least_weights(config: PretrainedConfig) -> int:
    """How many weights a model has at least."""
    sizes = config.to_dict()
    width = sizes.get("hidden_size") or 1
    # ALBERT uses its layers again and again.
    layers = sizes.get("num_hidden_groups") or sizes.get("num_hidden_layers") or 0
    embeddings = (sizes.get("vocab_size") or 0) * (sizes.get("embedding_size") or width)
    inner = sizes.get("intermediate_size") or width
    # Queries and what attention gives are as wide; keys and values may be narrower.
    return embeddings + layers * (width * width + 2 * width * inner)


def _memory() -> float:
    """The machine's memory in bytes; without limit where that can't be known."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return math.inf


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(value: object) -> str:
    """A value for a message. Python doesn't print an integer of more than 4,300 digits."""
    if isinstance(value, int) and abs(value) > 10**30:
        return f"an integer of {int(math.log10(abs(value))) + 1} digits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def translate_config(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Say what a config.json says in the names that this transformers reads. It would ignore the
    others, and compute something else.

    settings (dict[str, Any]): What config.json holds.
    path (Path): The file, for messages.
    RETURNS (dict[str, Any]): The same; itself where nothing is of transformers 5.
    RAISES: DataError J063 if there are no such names.
    """
    settings = {
        name: translate_config(value, path)
        if name.endswith("_config") and isinstance(value, dict)
        else value
        for name, value in settings.items()
    }
    if "dtype" in settings:
        settings.setdefault("torch_dtype", settings["dtype"])
        del settings["dtype"]
    model_type = settings.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return settings
    known = set(inspect.signature(CONFIG_MAPPING[model_type].__init__).parameters)

    def refuse(setting: str, value: object) -> DataError:
        return DataError(
            Errors.J063.format(
                setting=setting,
                value=value,
                written=settings.get("transformers_version", "of another version"),
                running=transformers.__version__,
            ),
            path=path,
        )

    rope = None if "rope_parameters" in known else settings.pop("rope_parameters", None)
    if rope is not None:
        translated = _translate_rope(rope, known)
        if translated is None:
            raise refuse("rope_parameters", rope)
        settings |= translated
    kinds = settings.get("layer_types")
    if kinds is not None and "layer_types" not in known:
        every = _full_every(kinds)
        if every is None or ("global_attn_every_n_layers" not in known and len(set(kinds)) > 1):
            raise refuse("layer_types", kinds)
        del settings["layer_types"]
        if "global_attn_every_n_layers" in known:
            settings["global_attn_every_n_layers"] = every
    both_ways = settings.get("use_bidirectional_attention")
    if both_ways and "use_bidirectional_attention" not in known:
        raise refuse("use_bidirectional_attention", both_ways)
    return settings


def _translate_rope(rope: Any, known: set[str]) -> dict[str, Any] | None:
    """Rotary embeddings in the names that a config class takes, `known`; None if it has none."""
    if not isinstance(rope, dict):
        return None
    by_kind = {kind: rope[kind] for kind in (_FULL, _SLIDING) if isinstance(rope.get(kind), dict)}
    if by_kind and len(by_kind) < len([value for value in rope.values() if value is not None]):
        return None
    if not by_kind:
        if known & set(_THETA[_SLIDING]):
            return None  # which kind of layer is meant?
        by_kind = {_FULL: rope}
    alike = len(by_kind) == 2 and by_kind[_FULL] == by_kind[_SLIDING]
    if alike and not known & set(_THETA[_SLIDING]):
        del by_kind[_SLIDING]
    translated: dict[str, Any] = {}
    for kind, parameters in by_kind.items():
        left = {name: value for name, value in parameters.items() if value is not None}
        for own, names in (("rope_theta", _THETA[kind]), ("partial_rotary_factor", _PARTIAL)):
            if own not in left:
                continue
            name = next((name for name in names if name in known), None)
            if name is None:
                return None
            translated[name] = left.pop(own)
        if left.get("rope_type", "default") == "default":
            continue
        if kind == _SLIDING or "rope_scaling" not in known:
            return None
        translated["rope_scaling"] = left
        if "original_max_position_embeddings" in known & set(left):
            translated["original_max_position_embeddings"] = left[
                "original_max_position_embeddings"
            ]
    return translated


def _full_every(kinds: Any) -> int | None:
    """Every which layer, from the first, attends to everything; None if that isn't the pattern."""
    if not isinstance(kinds, list) or not kinds:
        return None
    later = [i for i, kind in enumerate(kinds) if kind == _FULL and i > 0]
    every = later[0] if later else max(len(kinds), 1)
    pattern = [_SLIDING if i % every else _FULL for i in range(len(kinds))]
    return every if kinds == pattern else None


def translate_tokenizer(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """What to read otherwise in a tokenizer_config.json that transformers 5 wrote.

    settings (dict[str, Any]): What the file holds.
    path (Path): The file, for messages.
    RETURNS (dict[str, Any]): The settings that replace the file's; `{}` for those of 4.x.
    RAISES: DataError J064 for special tokens, or a length, that are none.
    """
    _check_tokenizer(settings, path)
    extra = settings.get("extra_special_tokens")
    if not isinstance(extra, list):
        return {}
    if not all(isinstance(token, (str, dict)) for token in extra):
        raise DataError(
            Errors.J064.format(
                setting="extra_special_tokens", value=extra, expected="a list of strings"
            ),
            path=path,
        )
    # 5 calls so what 4 calls `additional_special_tokens`; what 4 calls so has a name each.
    tokens = [token["content"] if isinstance(token, dict) else token for token in extra]
    named = settings.get("model_specific_special_tokens") or {}
    return {"additional_special_tokens": tokens, "extra_special_tokens": named}


def _check_tokenizer(settings: dict[str, Any], path: Path) -> None:
    length = settings.get("model_max_length")
    expected = None
    if length is not None and not (_is_number(length) and length >= 1):
        setting, expected = "model_max_length", "a number above 0"
    for name in _SPECIAL_TOKENS:
        token = settings.get(name)
        if token is not None and not isinstance(token, (str, dict)):
            setting, expected = name, "a string, or an object with its content"
    if expected:
        value = _short(settings[setting])
        raise DataError(
            Errors.J064.format(setting=setting, value=value, expected=expected), path=path
        )


def is_known_tokenizer(settings: dict[str, Any]) -> bool:
    """RETURNS (bool): Whether this transformers has the class that the settings name, or none is
    named.
    """
    name = settings.get("tokenizer_class")
    return name is None or any(
        tokenizer_class_from_name(candidate) is not None for candidate in (name, f"{name}Fast")
    )
