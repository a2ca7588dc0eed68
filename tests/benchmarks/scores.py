"""Accuracy on the public corpora: every corpus, head and seed is trained and tested as a user
would, with spaCy's own commands, and the mean over the seeds is printed beside published figures.

    python -m tests.benchmarks.scores --encoder ENCODER --out FOLDER --corpora gsd,stockmark --heads
    softmax,crf --seeds 0,1,2

Each cell becomes a line of `docs/scores.jsonl`. One that is there, of an encoder folder of that
name with the same settings, isn't run
again: a long table can be made in several sittings, and is printed in a moment once it is whole.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import typer
from spacy.tokens import DocBin
from tqdm import tqdm

from .measure import ROOT, SHARED


class Task(NamedTuple):
    """config: Of which the head is a variant. figure: The scores to show, by their names in spaCy's
    JSON. published: By others.
    """

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
    # From long_texts.py.
    "long": Task("textcat", TEXTCAT, ""),
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
    encoder: Annotated[Path, typer.Option(help="A checkpoint folder", exists=True)] = SHARED
    / "models"
    / "me5-small-ja",
    out: Annotated[Path, typer.Option(help="Folder for what is trained")] = ROOT
    / "project"
    / "training"
    / "scores",
    results: Annotated[Path, typer.Option(help="The lines of all cells")] = ROOT
    / "docs"
    / "scores.jsonl",
    corpora: Annotated[
        str, typer.Option(help=", ".join(TASKS))
    ] = "gsd,stockmark,asdc,asdc46,morality",
    heads: Annotated[
        str, typer.Option(help=f"{', '.join(HEADS)}; those that fit a corpus")
    ] = "softmax,crf,stock,mean",
    seeds: Annotated[str, typer.Option()] = "0,1,2",
    passes: Annotated[float, typer.Option(help="Passes over the training part")] = 3.0,
    learn_rate: Annotated[float, typer.Option(help="The highest")] = 1e-4,
    layers: Annotated[int | None, typer.Option(help="The first so many only")] = None,
    batch: Annotated[int, typer.Option(help="Tokens of a batch")] = 300,
    other: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the config, for an experiment")
    ] = None,
    gpu_id: Annotated[int, typer.Option(help="spaCy's, which needs CuPy; -1: CPU")] = -1,
    device: Annotated[
        str, typer.Option(help="The encoder's alone, cuda:0 for example; auto: where spaCy is")
    ] = "auto",
    jobs: Annotated[int, typer.Option(help="Runs at once")] = 1,
    threads: Annotated[int, typer.Option(help="Of torch on the CPU, in each run")] = 1,
) -> None:
    cells = [
        (corpus, head, seed)
        for corpus in corpora.split(",")
        for seed in map(int, seeds.split(","))
        for head in heads.split(",")
        if Path(HEADS[head][0]).stem in ("stock_head", TASKS[corpus].config)
        and (head != "stock" or TASKS[corpus].config == "ner")
    ]
    of = {
        "encoder": encoder.name,
        "layers": layers,
        "passes": passes,
        "learn_rate": learn_rate,
        "batch": batch,
        "set": other or [],
    }
    found = _read(results, of)
    missing = [cell for cell in cells if cell not in found]
    for corpus in dict.fromkeys(corpus for corpus, _, _ in missing):
        if not (_data(corpus) / "train.spacy").is_file():
            where = ROOT / "project" / "corpora" / f"{corpus}.cfg"
            _run("jbert", "convert", "--config", where, "--out", _data(corpus))

    def run(cell: tuple[str, str, int]) -> dict[str, Any]:
        corpus, head, seed = cell
        folder = out / encoder.name / f"{corpus}-{head}-{seed}"
        changed = {
            "components.transformer.model.device": device,
            **dict(setting.split("=", 1) for setting in other or []),
        }
        if layers is not None:
            changed["initialize.components.transformer.encoder.layers"] = str(layers)
        scores = _train(
            folder,
            encoder.resolve(),
            *cell,
            changed,
            passes=passes,
            learn_rate=learn_rate,
            batch=batch,
            gpu_id=gpu_id,
            threads=threads,
        )
        where = "GPU" if gpu_id >= 0 or device.startswith("cuda") else "CPU"
        return of | {"corpus": corpus, "head": head, "seed": seed} | scores | {"on": where}

    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        begun = {pool.submit(run, cell): cell for cell in missing}
        for done in tqdm(as_completed(begun), total=len(begun), unit="runs"):
            if error := done.exception():
                failed.append(f"{begun[done]}: {error}")
                continue
            found[begun[done]] = done.result()
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done.result(), ensure_ascii=False) + "\n")
    if failed:
        raise SystemExit("\n".join(failed))
    print(
        f"{encoder.name}, {layers or 'all'} layers, {passes:g} passes, {batch} tokens a batch, highest rate {learn_rate:g}",
        *other or [],
    )
    print("Test part, mean ± standard deviation of the seeds\n")
    print(
        "| corpus | head | seeds | scores | minutes | published, other encoders |\n|---|---|---|---|---|---|"
    )
    for corpus, head in dict.fromkeys((corpus, head) for corpus, head, _ in cells):
        runs = [found[cell] for cell in cells if cell[:2] == (corpus, head)]
        scores = ", ".join(
            f"{shown} {_spread([run.get(name) for run in runs])}"
            for shown, name in TASKS[corpus].figures.items()
        )
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        print(
            f"| {corpus} | {head} | {len(runs)} | {scores} | {minutes:.0f} | {TASKS[corpus].published} |"
        )


def _read(results: Path, of: dict[str, Any]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """The cells that were run with the encoder and the settings that are wanted now."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    runs = [run for run in map(json.loads, lines) if run | of == run]
    return {(run["corpus"], run["head"], run["seed"]): run for run in runs}


def _spread(values: list[float | None]) -> str:
    shares = [100 * value for value in values if value is not None]
    if not shares:
        return "–"
    return f"{statistics.mean(shares):.1f}" + (
        f" ± {statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    )


def _data(corpus: str) -> Path:
    return ROOT / "project" / "corpus" / corpus


def _train(
    folder: Path,
    encoder: Path,
    corpus: str,
    head: str,
    seed: int,
    changed: dict[str, str],
    *,
    passes: float,
    learn_rate: float,
    batch: int,
    gpu_id: int,
    threads: int,
) -> dict[str, Any]:
    """Train and test one cell.

    RETURNS: The scores of the test part, those of the development part, steps and seconds.
    """
    data = _data(corpus)
    docs = DocBin().from_disk(data / "train.spacy").get_docs(spacy.blank("xx").vocab)
    steps = max(10, round(passes * sum(map(len, docs)) / batch))
    config, of_head = HEADS[head]
    settings = {
        "paths.train": data / "train.spacy",
        "paths.dev": data / "dev.spacy",
        "paths.encoder": encoder,
        "system.seed": seed,
        "training.batcher.size": batch,
        "training.max_steps": steps,
        "training.eval_frequency": -(-steps // 5),
        "training.optimizer.learn_rate.initial_rate": learn_rate,
        "training.optimizer.learn_rate.warmup_steps": steps // 10,
        **of_head,
        **changed,
    }
    start = time.monotonic()
    overrides = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    _run(
        "train", ROOT / config, "--output", folder, "--gpu-id", gpu_id, *overrides, threads=threads
    )
    seconds = time.monotonic() - start
    found = folder / "scores.json"
    _run(
        "benchmark",
        "accuracy",
        folder / "model-best",
        data / "test.spacy",
        "--output",
        found,
        "--gpu-id",
        gpu_id,
        threads=threads,
    )
    test, dev = (
        json.loads(found.read_bytes()),
        json.loads((folder / "model-best" / "meta.json").read_bytes())["performance"],
    )
    scores = {name: value for name, value in test.items() if name in TASKS[corpus].figures.values()}
    scores |= {
        f"dev_{name}": value
        for name, value in dev.items()
        if name in TASKS[corpus].figures.values()
    }
    return {name: value and round(value, 4) for name, value in scores.items()} | {
        "steps": steps,
        "seconds": round(seconds),
    }


def _run(*command: object, threads: int = 1) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "spacy", *map(str, command)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])


if __name__ == "__main__":
    typer.run(main)
