"""Put the first encoder that is there of several into one folder, for the commands that come after.

python project/scripts/choose_encoder.py FOLDER CANDIDATE [CANDIDATE ...]
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from spacy_jbert.storage import replacing_folder
from spacy_jbert.terminal import run

WANTED = ("config.json", "model.safetensors")


def main(
    folder: Annotated[Path, typer.Argument(help="Where the chosen encoder goes")],
    candidates: Annotated[list[Path], typer.Argument(help="Folders, the best first")],
) -> None:
    for candidate in candidates:
        if all((candidate / name).is_file() for name in WANTED):
            break
    else:
        names = ", ".join(map(str, candidates))
        raise SystemExit(f"None of these folders holds an encoder: {names}")
    with replacing_folder(folder) as new:
        shutil.copytree(candidate, new, dirs_exist_ok=True)
    print(f"{candidate} is the encoder of the sample")


if __name__ == "__main__":
    run(main)
