"""The first hour with one's own data, played from the wheel: five shapes of data, in an empty
directory, with the network off.

    python -m tests.hour [--steps 10] [--only ner textcat]

Builds the wheel of this checkout and installs it, without its requirements, into an environment
that sees those of this one. For each shape: `init`, `project run all`, then the pipeline's own
wheel is installed and loaded. Prints the minutes of each.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "project" / "assets" / "sample"
# Read by every Python in the new environment: no connection to anywhere.
OFFLINE = """
import socket

def refuse(*args, **kwargs):
    raise OSError("the network is off")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = refuse
socket.getaddrinfo = refuse
"""
LOAD = """
import json, spacy, spacy_jbert, sys
assert spacy_jbert.__file__.startswith(sys.prefix), spacy_jbert.__file__
nlp = spacy.load(sys.argv[1])
doc = nlp("来月3日、松本市の信州ホールで山の音楽祭が開かれます。")
print(sys.argv[1], nlp.pipe_names, [ent.label_ for ent in doc.ents], doc.cats)
"""


def records(count: int) -> list[dict]:
    lines = (SAMPLE / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:count]]


def jsonl(path: Path, rows: list[dict]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def entities(folder: Path) -> Path:
    rows = [{"text": row["text"], "entities": row["entities"]} for row in records(240)]
    return jsonl(folder / "entities.jsonl", rows)


def tagged(folder: Path) -> Path:
    path = folder / "characters.bio"
    with path.open("w", encoding="utf-8") as file:
        for row in records(240):
            tags = ["O"] * len(row["text"])
            for start, end, label in row["entities"]:
                tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
            for char, tag in zip(row["text"], tags, strict=True):
                if char.strip():
                    file.write(f"{char}\t{tag}\n")
            file.write("\n")
    return path


def topics(folder: Path) -> Path:
    path = folder / "お問い合わせ 2026.csv"
    with path.open("w", encoding="cp932", errors="replace", newline="") as file:
        table = csv.writer(file)
        table.writerow(["番号", "本文", "分類"])
        # Every twentieth is without a label.
        table.writerows(
            [n, row["text"], row["topic"] if n % 20 else ""] for n, row in enumerate(records(240))
        )
    return path


def several(folder: Path) -> Path:
    rows = [{"text": row["text"], "tags": [row["topic"], row["register"]]} for row in records(60)]
    # So few that they are cross-validated.
    return jsonl(folder / "several.jsonl", rows)


def running(folder: Path) -> Path:
    path = folder / "raw.txt"
    text = (SAMPLE / "pretrain.txt").read_text(encoding="utf-8")
    path.write_text(text[:20_000], encoding="utf-8")
    return path


SHAPES: dict[str, Callable[[Path], Path]] = {
    "ner": entities,
    "bio": tagged,
    "textcat": topics,
    "multilabel": several,
    "text": running,
}


def play(python: Path, folder: Path, name: str, *, steps: int) -> float:
    """Play the hour of one shape of data in an empty folder.

    python (Path): Of an environment with the wheel.
    RETURNS (float): The minutes that it took.
    """
    start = time.monotonic()
    data = SHAPES[name](folder)
    project = folder / f"my-{name}"
    run(python, "-m", "spacy", "jbert", "init", project.name, "--data", data, cwd=folder)
    short = ["--vars.steps", steps]
    if name == "multilabel":
        short += ["--vars.folds", 3]
    run(python, "-m", "spacy", "project", "run", "all", ".", *short, cwd=project)
    (wheel,) = project.glob("packages/*/dist/*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    run(python, "-c", LOAD, wheel.name.split("-")[0], cwd=folder)
    return (time.monotonic() - start) / 60


def installed(folder: Path) -> Path:
    """RETURNS (Path): The Python of an environment with the wheel of this checkout in it."""
    wheels, environment = folder / "wheels", folder / "venv"
    # From a copy, as a build leaves files where it builds.
    source = folder / "source"
    for part in ("spacy_jbert", "configs", "project/assets/jbert-mini"):
        shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.suffix in (".py", ".toml", ".md", ".in") or file.name == "LICENSE":
            shutil.copy(file, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation"]
    run(sys.executable, "-m", "pip", "wheel", *options, "-w", wheels, source, cwd=folder)
    run(sys.executable, "-m", "venv", environment, cwd=folder)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    (wheel,) = wheels.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = environment.rglob("site-packages")
    # Behind its own packages come those of this environment; of the checkout nothing.
    others = [path for path in sys.path if path.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others), encoding="utf-8")
    (site / "sitecustomize.py").write_text(OFFLINE, encoding="utf-8")
    return python


def run(*command: object, cwd: Path) -> None:
    """Run a command; what it printed is shown if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONIOENCODING": "utf-8", "HF_HUB_OFFLINE": "1"}
    # `spacy package` builds in an environment of its own if pip can fill it.
    environment["PIP_NO_INDEX"] = "1"
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode:
        words = " ".join(map(str, command))
        raise RuntimeError(f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = installed(Path(folder))
        for name in given.only:
            work = Path(folder) / name
            work.mkdir()
            print(f"{name}: {play(python, work, name, steps=given.steps):.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
