"""What makes a trained pipeline whole: it names no path or hub model, and it says which packages
its tokenizer needs.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spacy.language import Language
from thinc.api import Model
from transformers import BertJapaneseTokenizer

from .encoder.onnx import OnnxEncoder
from .errors import Errors
from .evaluation.card import HEADING, training_card
from .evaluation.facts import encoders_of
from .models.finite import finite_weights
from .pipeline.qa import JBertQA
from .pipeline.transformer import JBertTransformer
from .tokenizer.sudachi import SudachiTokenizer

_WITH_DEVICE = {
    "spacy-jbert.JapaneseTransformer.v1",
    "spacy-jbert.Tok2VecTransformer.v1",
    "spacy-jbert.SpanQA.v1",
}
# Only ours: a component of somebody else's may have an `encoder` of its own.
_WITH_LOADER = (JBertTransformer, JBertQA)
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
    packages of the tokenizer to `nlp.meta["requirements"]`, from where `spacy package` takes them,
    the encoder's name and licence to `sources`, and a model card to `notes`, which is part of a
    wheel's README.
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
        _name_encoders(nlp)
        # Settings that don't come from [paths] but name the same files.
        paths = {path for path in config.get("paths", {}).values() if isinstance(path, str)}
        for name in config.get("paths", {}):
            config["paths"][name] = None
        _forget(config["corpora"], paths)
        for name, settings in config["initialize"]["components"].items():
            if nlp.has_pipe(name) and isinstance(nlp.get_pipe(name), _WITH_LOADER):
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
        for encoder in encoders_of(nlp):
            needs = _tokenizer_requirements(encoder.tokenizer)
            if isinstance(encoder, OnnxEncoder):
                needs += _ONNX
            requirements += [needed for needed in needs if needed not in requirements]
        # What somebody has written there stays.
        if not nlp.meta.get("notes") or str(nlp.meta["notes"]).startswith(HEADING):
            nlp.meta["notes"] = training_card(nlp)
        return nlp

    return make_portable


def _name_encoders(nlp: Language) -> None:
    """Say in the meta where encoders come from, and their licences."""
    for name, settings in nlp.config.interpolate()["initialize"]["components"].items():
        if nlp.has_pipe(name) and isinstance(nlp.get_pipe(name), _WITH_LOADER):
            encoder = (settings.get("encoder") or {}).get("name")
            if isinstance(encoder, str):
                _name_source(nlp, encoder)


def _name_source(nlp: Language, encoder: str) -> None:
    """As far as it is known: by the README of a folder, or the name on a hub. A folder's path is
    nobody's business.
    """
    folder = Path(encoder)
    if folder.is_dir():
        readme = folder / "README.md"
        text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
        licence = re.search(r"\A---\n(?:.*\n)*?license: *(\S+)", text)
        if not licence:
            return
        source = {"name": folder.name, "license": licence[1]}
    else:
        source = {"name": encoder, "url": f"https://huggingface.co/{encoder}"}
    named = nlp.meta.get("sources") or []
    known = [of if isinstance(of, dict) else {"name": str(of)} for of in named]
    if source["name"] not in [of["name"] for of in known]:
        nlp.meta["sources"] = [*known, source]


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
