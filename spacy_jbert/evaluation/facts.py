"""What a pipeline is: its size, speed, encoder, versions, licences, and how it was trained."""

import json
import logging
import os
import platform
import sys
from pathlib import Path
from typing import Any, cast

import torch
from spacy.language import Language
from thinc.api import CupyOps, Model, get_current_ops

from ..encoder.windows import WordpieceEncoder
from ..errors import Warnings
from ..models.shim import EncoderShim, encoder_parts
from ..versions import versions
from .temperature import temperature

logger = logging.getLogger(__name__)

RECORD = "run.json"
"""What `spacy-jbert.RecordLogger.v1` writes beside a pipeline."""
_PACKAGES = ("spacy-jbert", "spacy", "thinc", "torch", "transformers", "sudachidict-core")


def facts(nlp: Language) -> dict[str, Any]:
    """Everything that doesn't depend on the documents, for JSON.

    RETURNS (dict): name, version, licence, author, sources, pipeline, temperatures, encoder,
        parameters, bytes (of the folder; None if it was never saved), versions, machine, config.
    """
    meta = nlp.meta
    encoders = [encoder_facts(encoder) for encoder in encoders_of(nlp)]
    found = {name: temperature(pipe) for name, pipe in nlp.pipeline}
    return {
        "name": f"{meta['lang']}_{meta.get('name') or 'pipeline'}",
        "version": meta.get("version", ""),
        "licence": meta.get("license", ""),
        "author": meta.get("author", ""),
        "sources": meta.get("sources") or [],
        "pipeline": list(nlp.pipe_names),
        "temperatures": {name: value for name, value in found.items() if value is not None},
        "encoders": encoders,
        "parameters": sum(_parameters(pipe) for _, pipe in nlp.pipeline),
        "bytes": _size(nlp.path) if nlp.path else None,
        "versions": versions(_PACKAGES),
        "machine": machine(),
        "config": nlp.config.to_str(),
    }


def encoders_of(nlp: Language) -> list[WordpieceEncoder]:
    """RETURNS (list): Every encoder of a pipeline: after `replace_listeners` heads
    hold copies of their own.
    """
    models = (getattr(pipe, "model", None) for _, pipe in nlp.pipeline)
    shims = [cast(EncoderShim, part.shims[0]) for part in encoder_parts(models)]
    return [shim.encoder for shim in shims if shim.encoder is not None]


def encoder_facts(encoder: WordpieceEncoder) -> dict[str, Any]:
    """RETURNS (dict): Its kind, layers, width, vocabulary, weights, and pieces a window at most."""
    config = encoder.config
    return {
        "kind": config.model_type,
        "layers": encoder.depth,
        "width": encoder.width,
        "vocabulary": getattr(config, "vocab_size", None),
        "parameters": encoder.n_parameters,
        "pieces": encoder.max_pieces,
    }


def _parameters(pipe: Any) -> int:
    """The weights of a component, those of torch included, each counted once."""
    model = getattr(pipe, "model", None)
    if not isinstance(model, Model):
        return 0
    total = 0
    for node in model.walk():
        total += sum(
            int(node.get_param(name).size) for name in node.param_names if node.has_param(name)
        )
    for part in encoder_parts([model]):
        encoder = cast(EncoderShim, part.shims[0]).encoder
        total += 0 if encoder is None else encoder.n_parameters
    return total


def _size(folder: Path) -> int | None:
    """RETURNS (int | None): The bytes of all files in a folder; None if it is gone."""
    if not folder.is_dir():
        return None
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def machine() -> str:
    """RETURNS (str): What figures of speed were measured on."""
    on_gpu = isinstance(get_current_ops(), CupyOps)
    where = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()} CPU"
    return f"{where}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def learning_curve(file: Path) -> list[dict[str, Any]]:
    """The evaluations of a training: step, losses, score, scores.

    file (Path): What RecordLogger wrote, or the JSON lines of spaCy's ConsoleLogger.v2 and v3.
    RETURNS (list[dict]): Those whose step and score are numbers. Empty if the file holds none; that
        is said (JW413).
    """
    text = file.read_text(encoding="utf-8", errors="replace")
    record = _json(text)
    entries = record.get("evaluations") if isinstance(record, dict) else None
    if not isinstance(entries, list):
        # A training that was killed leaves half a line.
        entries = [_json(line) for line in text.splitlines()]
    found = [
        entry
        for entry in entries
        if isinstance(entry, dict) and all(_is_number(entry.get(of)) for of in ("step", "score"))
    ]
    if not found:
        logger.warning(Warnings.JW413.format(path=file))
    return found


def _is_number(value: Any) -> bool:
    """Whether a value can be drawn: a training that went wrong logs NaN or null."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and abs(value) <= sys.float_info.max


def _json(text: str) -> Any:
    """RETURNS (Any): What a text says as JSON; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def find_log(model: Path) -> Path | None:
    """RETURNS (Path | None): What a training left beside the folder of a pipeline: the record, or
    else the newest log of JSON lines."""
    if not model.is_dir():  # an installed package
        return None
    beside = model.resolve().parent
    logs = [*beside.glob(RECORD)] or [*beside.glob("*.jsonl")]
    return max(logs, key=lambda file: file.stat().st_mtime, default=None)
