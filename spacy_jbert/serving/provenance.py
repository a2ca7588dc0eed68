"""What makes the annotation of a bulk run: the pipeline and the libraries, to the last digit."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from spacy.util import get_package_path, is_package

from ..errors import Errors
from ..pretraining.once import fingerprint, hashes
from ..versions import versions

_LIBRARIES = [
    "spacy-jbert",
    "spacy",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
    "sudachipy",
    "sudachidict-core",
    "fugashi",
    "pyarrow",
]


def provenance(model: str) -> dict[str, Any]:
    """What annotates on this machine.

    model (str): Folder or package of a spaCy pipeline.
    RETURNS (dict[str, Any]): The pipeline's name and hash under "model", versions under
        "libraries".
    RAISES: ValueError J459 if there is no such pipeline.
    """
    return {"model": _model_identity(_folder_of(model)), "libraries": versions(_LIBRARIES)}


def _folder_of(model: str) -> Path:
    """RAISES: ValueError J459 if there is no such pipeline."""
    if (Path(model) / "meta.json").is_file():
        return Path(model)
    if not Path(model).exists() and is_package(model):
        return Path(get_package_path(model))
    raise ValueError(Errors.J459.format(model=model))


def _model_identity(folder: Path) -> dict[str, str]:
    meta = json.loads((folder / "meta.json").read_bytes())
    files = {name: digest for name, digest in hashes(folder).items() if "__pycache__" not in name}
    name = "{lang}_{name}-{version}".format_map(defaultdict(str, meta))
    return {"name": name, "hash": fingerprint(files)}
