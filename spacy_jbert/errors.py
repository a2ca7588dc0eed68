"""Every message of spacy-jbert, each with a code one can search for.

As in spaCy, a message is read off the class (`Errors.J001.format(...)`) and comes with its code in front. A message says what was
wrong, in which file, line or setting, and what to do about it. Ranges: J0xx pipeline, J1xx pretraining, J2xx data, J3xx evaluation
and packaging; the same for warnings (`Warnings.JW...`).
"""

from pathlib import Path


class _WithCodes(type):
    """Puts the attribute's own name in front of the message."""

    def __getattribute__(cls, name: str) -> str:
        message = super().__getattribute__(name)
        return message if name.startswith("_") else f"[{name}] {message}"


class DataError(ValueError):
    """A file that can't be used as it is: raised by readers and converters, shown without a traceback by the scripts.

    message (str): The coded message, formatted.
    path (Path | None): The file at fault.
    line (int | None): The line in it, counted from 1.
    """

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        place = "" if path is None else f"{path}: " if line is None else f"{path}, line {line}: "
        super().__init__(place + message)
        self.path = path
        self.line = line


class Errors(metaclass=_WithCodes):
    # --- J0xx: encoder, pieces, pipes -------------------------------------------------------------------------------
    J001 = (
        "The transformer '{name}' has no encoder. Give one in the config, [initialize.components.{name}.encoder] with "
        '@misc = "spacy-jbert.HFEncoder.v1" or "spacy-jbert.NewEncoder.v1", or load the component from a trained pipeline.'
    )
    J002 = (
        "Can't load an encoder from '{name}': {reason} "
        "Give a folder that holds config.json, model.safetensors (or pytorch_model.bin) and the tokenizer's files, or the name of a "
        "model that is on the hub or in the local hub cache."
    )
    J003 = "The encoder folder '{path}' lacks {missing}. It is not a complete checkpoint: copy the missing files or save it again."
    J004 = (
        "Can't reach the model hub for '{name}' and it is not in the local cache. Download it once on a machine with network "
        "(huggingface-cli download {name}), or pass the path of a local folder."
    )
    J005 = "words = '{words}' is not one of 'auto', 'doc', 'native'."
    J006 = (
        "The tokenizer {tokenizer} of this encoder can't be run with words = 'native': {reason} "
        "Use words = 'doc', which feeds it the Doc's own tokens."
    )
    J007 = "The tokenizer of this encoder needs the package '{package}': pip install 'spacy-jbert[{extra}]'"
    J008 = "The settings of spacy-jbert.NewEncoder.v1 don't fit together: {reason}"
    J009 = "The encoder saved with component '{name}' is damaged or incomplete ({reason}). Copy the pipeline again, or package it again."
    J010 = "precision = '{precision}' is not one of 'fp32', 'bf16'."
    J011 = "overlap = {overlap} has to be at least 0 and less than half of a window ({limit} pieces)."
    J012 = "The label '{label}' can't be used for entities: it has to be a non-empty string."
    J013 = (
        "Component '{name}' has no labels: none of the training documents has an entity. "
        "Check [paths] train, or give the labels in [initialize.components.{name}.labels]."
    )
    J014 = "Component '{name}' can't rehearse: it has no older version of itself to stay close to. Use nlp.update on mixed data instead."
    J015 = "pooling = '{pooling}' is not one of {choices}."
    J016 = "Label '{label}' was added to component '{name}' after its output layer was built. Add every label before nlp.initialize()."
    # --- J1xx: pretraining ------------------------------------------------------------------------------------------
    # --- J2xx: data -------------------------------------------------------------------------------------------------
    J201 = "The file doesn't exist. Run `spacy project assets`, or give the right path."
    J202 = "The file is empty."
    J203 = "The file is not UTF-8 (byte {byte} at position {position}). Convert it first, for example: iconv -f {guess} -t UTF-8."
    # --- J3xx: evaluation and packaging -----------------------------------------------------------------------------


class Warnings(metaclass=_WithCodes):
    JW001 = (
        "Component '{name}': {count} of {total} entities in the training data start or end inside a token and can't be learned "
        "(for example {example!r}). Their tokens are left out of the loss. Try a finer split_mode ('A')."
    )
    JW002 = "Component '{name}': label '{label}' occurs in the data to evaluate on but not in the training data; it can never be predicted."
