"""Accuracy on the public corpora: every corpus, head and seed is trained and tested as a user would, with spaCy's own commands, and the
mean over the seeds is printed beside published figures.

    python -m tests.benchmarks.scores --encoder ENCODER --out FOLDER --corpora gsd,stockmark --heads softmax,crf --seeds 0,1,2

Each cell becomes a line of `docs/scores.jsonl`. One that is there, of an encoder folder of that name with the same layers, passes
and rate, isn't run again: a long table can be made in several sittings, and is printed in a moment once it is whole.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import typer
from spacy.tokens import DocBin
from tqdm import tqdm

from .measure import ROOT, SHARED

BATCH = 300
"""Tokens of a batch."""


class Task(NamedTuple):
    """config: Of which the head is a variant. figure: The scores to show, by their names in spaCy's JSON. published: By others."""

    config: str
    figures: dict[str, str]
    published: str


NER = {"F": "ents_f", "P": "ents_p", "R": "ents_r", "ECE": "ents_ece"}
TEXTCAT = {"accuracy": "cats_micro_f", "macro F": "cats_macro_f", "ECE": "cats_ece"}
TASKS = {
    "gsd": Task("ner", NER, "Tohoku BERT in spaCy 82.3–84.9, CNN with chiVe 67.2–68.2"),
    "stockmark": Task("ner", NER, "Tohoku v3 linear / Viterbi / CRF 87 / 88 / 90"),
    "asdc": Task("textcat", TEXTCAT, "TF-IDF with linear SVC: accuracy 77.7, macro F 73.4"),
    "asdc46": Task("textcat", TEXTCAT, ""),
    "morality": Task("textcat", TEXTCAT, "Tohoku BERT base: accuracy 78.4"),
}
# What is set otherwise than in the config; stock is spaCy's own `ner` on our encoder.
HEADS: dict[str, tuple[str, dict[str, str]]] = {
    "softmax": ("configs/ner.cfg", {"components.ner.model.decoder": "softmax"}),
    "crf": ("configs/ner.cfg", {"components.ner.model.decoder": "crf"}),
    "stock": ("tests/benchmarks/stock_head.cfg", {}),
    "mean": ("configs/textcat.cfg", {"components.textcat.model.pooling": "mean"}),
    "attention": ("configs/textcat.cfg", {"components.textcat.model.pooling": "attention"}),
}


def main(
    encoder: Annotated[Path, typer.Option(help="A checkpoint folder", exists=True)] = SHARED / "models" / "me5-small-ja",
    out: Annotated[Path, typer.Option(help="Folder for what is trained")] = ROOT / "project" / "training" / "scores",
    results: Annotated[Path, typer.Option(help="The lines of all cells")] = ROOT / "docs" / "scores.jsonl",
    corpora: Annotated[str, typer.Option(help=", ".join(TASKS))] = "gsd,stockmark,asdc,asdc46,morality",
    heads: Annotated[str, typer.Option(help=f"{', '.join(HEADS)}; those that fit a corpus")] = "softmax,crf,stock,mean",
    seeds: Annotated[str, typer.Option()] = "0,1,2",
    passes: Annotated[float, typer.Option(help="Passes over the training part")] = 3.0,
    learn_rate: Annotated[float, typer.Option(help="The highest")] = 1e-4,
    layers: Annotated[int | None, typer.Option(help="The first so many only")] = None,
    gpu_id: Annotated[int, typer.Option(help="-1: CPU")] = -1,
    threads: Annotated[int, typer.Option(help="Of torch, on a CPU")] = 1,
) -> None:
    cells = [
        (corpus, head, seed)
        for corpus in corpora.split(",")
        for seed in map(int, seeds.split(","))
        for head in heads.split(",")
        if Path(HEADS[head][0]).stem in ("stock_head", TASKS[corpus].config) and (head != "stock" or TASKS[corpus].config == "ner")
    ]
    of = {"encoder": encoder.name, "layers": layers, "passes": passes, "learn_rate": learn_rate}
    found = _read(results, of)
    for cell in tqdm([cell for cell in cells if cell not in found], unit="runs"):
        corpus, head, seed = cell
        folder = out / encoder.name / f"{corpus}-{head}-{seed}"
        settings = {"passes": passes, "learn_rate": learn_rate, "layers": layers}
        scores = _train(folder, encoder.resolve(), corpus, head, seed, **settings, gpu_id=gpu_id, threads=threads)
        found[cell] = of | {"corpus": corpus, "head": head, "seed": seed} | scores
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(found[cell], ensure_ascii=False) + "\n")
    print(f"{encoder.name}, {layers or 'all'} layers, {passes:g} passes, highest rate {learn_rate:g}")
    print("Test part, mean ± standard deviation of the seeds\n")
    print("| corpus | head | seeds | scores | minutes | published, other encoders |\n|---|---|---|---|---|---|")
    for corpus, head in dict.fromkeys((corpus, head) for corpus, head, _ in cells):
        runs = [found[cell] for cell in cells if cell[:2] == (corpus, head)]
        scores = ", ".join(f"{shown} {_spread([run.get(name) for run in runs])}" for shown, name in TASKS[corpus].figures.items())
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        print(f"| {corpus} | {head} | {len(runs)} | {scores} | {minutes:.0f} | {TASKS[corpus].published} |")


def _read(results: Path, of: dict[str, Any]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The cells that were run with the encoder and the settings that are wanted now."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    runs = [run for run in map(json.loads, lines) if run | of == run]
    return {(run["corpus"], run["head"], run["seed"]): run for run in runs}


def _spread(values: list[float | None]) -> str:
    shares = [100 * value for value in values if value is not None]
    if not shares:
        return "–"
    return f"{statistics.mean(shares):.1f}" + (f" ± {statistics.stdev(shares):.1f}" if len(shares) > 1 else "")


def _train(
    folder: Path,
    encoder: Path,
    corpus: str,
    head: str,
    seed: int,
    *,
    passes: float,
    learn_rate: float,
    layers: int | None,
    gpu_id: int,
    threads: int,
) -> dict[str, Any]:
    """Train and test one cell. RETURNS: The scores of the test part, those of the development part, steps and seconds."""
    data = ROOT / "project" / "corpus" / corpus
    if not (data / "train.spacy").is_file():
        _run("project", "run", f"{corpus}-convert", ROOT)
    docs = DocBin().from_disk(data / "train.spacy").get_docs(spacy.blank("ja").vocab)
    steps = max(10, round(passes * sum(map(len, docs)) / BATCH))
    config, changed = HEADS[head]
    settings = {
        "paths.train": data / "train.spacy",
        "paths.dev": data / "dev.spacy",
        "paths.encoder": encoder,
        "system.seed": seed,
        "training.batcher.size": BATCH,
        "training.max_steps": steps,
        "training.eval_frequency": -(-steps // 5),
        "training.optimizer.learn_rate.initial_rate": learn_rate,
        "training.optimizer.learn_rate.warmup_steps": steps // 10,
        **changed,
    }
    if layers is not None:
        settings["initialize.components.transformer.encoder.layers"] = layers
    start = time.monotonic()
    overrides = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    _run("train", ROOT / config, "--output", folder, "--gpu-id", gpu_id, *overrides, threads=threads)
    seconds = time.monotonic() - start
    found = folder / "scores.json"
    _run("benchmark", "accuracy", folder / "model-best", data / "test.spacy", "--output", found, "--gpu-id", gpu_id, threads=threads)
    test, dev = json.loads(found.read_bytes()), json.loads((folder / "model-best" / "meta.json").read_bytes())["performance"]
    scores = {name: value for name, value in test.items() if name in TASKS[corpus].figures.values()}
    scores |= {f"dev_{name}": value for name, value in dev.items() if name in TASKS[corpus].figures.values()}
    return {name: value and round(value, 4) for name, value in scores.items()} | {"steps": steps, "seconds": round(seconds)}


def _run(*command: object, threads: int = 1) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "spacy", *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])


if __name__ == "__main__":
    typer.run(main)
