"""What makes a trained pipeline whole: it names no path or hub model, and it says which packages
its tokenizer needs.
"""

from collections.abc import Callable, Iterator
from typing import Any

from spacy.language import Language
from thinc.api import Model
from transformers import BertJapaneseTokenizer

from .encoder.onnx import OnnxEncoder
from .encoder.windows import WordpieceEncoder
from .errors import Errors
from .models.finite import finite_weights
from .models.shim import EncoderShim
from .pipeline.transformer import JBertTransformer
from .tokenizer.sudachi import SudachiTokenizer

_WITH_DEVICE = {"spacy-jbert.JapaneseTransformer.v1", "spacy-jbert.Tok2VecTransformer.v1"}
HF_ENCODER = "spacy-jbert.HFEncoder.v1"

# What the word segmenters of BertJapaneseTokenizer checkpoints import. `spacy package` can't see it
# in the config.
_MECAB_DICTIONARIES = {
    "unidic_lite": "unidic-lite>=1.0.8",
    "ipadic": "ipadic>=1.0",
    "unidic": "unidic>=1.1",
}
# What runs an exported encoder, and what looks at its graph before.
_ONNX = ["onnxruntime>=1.20", "onnx>=1.17"]


def portable() -> Callable[[Language], Language]:
    """`spacy-jbert.portable.v1`, a callback for [training.before_to_disk].

    Empties [paths] and the encoder loaders in [initialize] of the config that is saved: what they
    named is in the pipeline now, and doesn't exist on the machine it is installed on. A config
    without an encoder's name can still be trained or assembled anew, if one is given. Adds the
    packages of the tokenizer to `nlp.meta["requirements"]`, from where `spacy package` takes them.
    Calling it twice changes nothing.

    Refuses a pipeline with weights that are no numbers (J302), as nothing is written yet.

    RETURNS (Callable[[Language], Language]): The callback.
    """

    def make_portable(nlp: Language) -> Language:
        # Before a file of the last good model is touched: spaCy's own components don't look.
        for name, pipe in nlp.pipeline:
            model = getattr(pipe, "model", None)
            if isinstance(model, Model) and not finite_weights(model):
                raise ValueError(Errors.J302.format(name=name))
        config = nlp.config
        # Settings that don't come from [paths] but name the same files.
        paths = {path for path in config.get("paths", {}).values() if isinstance(path, str)}
        for name in config.get("paths", {}):
            config["paths"][name] = None
        _forget(config["corpora"], paths)
        # Only ours: a component of somebody else's may have an `encoder` of its own.
        for name, settings in config["initialize"]["components"].items():
            if nlp.has_pipe(name) and isinstance(nlp.get_pipe(name), JBertTransformer):
                # What takes its name from [paths] has none now, and takes another one from there.
                loader = config.interpolate()["initialize"]["components"][name].get("encoder") or {}
                if loader.get("@misc") != HF_ENCODER or loader["name"] is not None:
                    settings["encoder"] = {"@misc": HF_ENCODER, "name": None}
        # The device of the machine that trained it.
        for settings in config["components"].values():
            _set_device_auto(settings)
        config["initialize"]["after_init"] = None
        config["initialize"]["tokenizer"] = {}
        # What reads this section by itself, as resume_training does, can't resolve variables.
        if config["nlp"]["after_pipeline_creation"] is None and "optimizer" in config["training"]:
            config["training"]["optimizer"] = config.interpolate()["training"]["optimizer"]
        requirements = nlp.meta.setdefault("requirements", [])
        if isinstance(nlp.tokenizer, SudachiTokenizer):
            requirements += [
                needed
                for needed in nlp.tokenizer.dictionaries.requirements()
                if needed not in requirements
            ]
        for encoder in _encoders(nlp):
            needs = _tokenizer_requirements(encoder.tokenizer)
            if isinstance(encoder, OnnxEncoder):
                needs += _ONNX
            requirements += [needed for needed in needs if needed not in requirements]
        return nlp

    return make_portable


def _encoders(nlp: Language) -> Iterator[WordpieceEncoder]:
    """Every encoder of a pipeline: after `replace_listeners` heads hold copies of their own."""
    for _, pipe in nlp.pipeline:
        model = getattr(pipe, "model", None)
        for node in model.walk() if isinstance(model, Model) else []:
            for shim in node.shims:
                if isinstance(shim, EncoderShim) and shim.encoder is not None:
                    yield shim.encoder


def _set_device_auto(section: dict[str, Any]) -> None:
    """Also in what `nlp.replace_listeners` has put into a head."""
    if section.get("@architectures") in _WITH_DEVICE:
        section["device"] = "auto"
    for value in section.values():
        if isinstance(value, dict):
            _set_device_auto(value)


def _forget(section: dict[str, Any], paths: set[str]) -> None:
    for key, value in section.items():
        if isinstance(value, dict):
            _forget(value, paths)
        elif isinstance(value, str) and value in paths:
            section[key] = None


def _tokenizer_requirements(tokenizer: Any) -> list[str]:
    if not isinstance(tokenizer, BertJapaneseTokenizer) or tokenizer.word_tokenizer_type != "mecab":
        return ["sentencepiece>=0.2"] if hasattr(tokenizer, "sp_model") else []
    dictionary = (tokenizer.mecab_kwargs or {}).get("mecab_dic", "unidic_lite")
    return [
        "fugashi>=1.3",
        *([_MECAB_DICTIONARIES[dictionary]] if dictionary in _MECAB_DICTIONARIES else []),
    ]
