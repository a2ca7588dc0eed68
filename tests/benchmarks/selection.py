"""What choosing texts to annotate is worth: F on the test part by the number of annotated
sentences, chosen by doubt or distance against chosen by chance.

    python -m tests.benchmarks.selection --corpus stockmark --seeds 0,1,2 --ways random,margin

Begins with some sentences by chance; each round trains on what is annotated so far, tests, and
chooses the next ones from the rest of the training part, whose annotation stands in for the
annotator. Beside the sentences it counts their labels, as long sentences have more of them. A line
of the results that is there isn't run again, so it can be made in several sittings.
"""

import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import spacy
import srsly
import typer
from spacy.cli.train import train
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.training import Example

from spacy_jbert.evaluation.mistakes import evaluate
from spacy_jbert.tuning.selection import OF_VECTORS, chosen, look_at

from .measure import ROOT, SHARED

SCORE = {"ner": "ents_f", "textcat": "cats_macro_f"}

Point = tuple[int, int, float]
"""How many sentences were annotated, how many labels they have, and the score with them."""


class Settings(NamedTuple):
    """What all trainings of a simulation have in common.

    config (Path), encoder (Path): What is trained. dev (Path), limit (int): What it is
        calibrated on: so many documents, 0 for all.
    steps (int), rate (float): How long, and the learn rate.
    first, more, rounds (int): Sentences to begin with, those of each round, rounds.
    score (str): The score that counts.
    """

    config: Path
    encoder: Path
    dev: Path
    limit: int
    steps: int
    rate: float
    first: int
    more: int
    rounds: int
    score: str


def main(
    corpus: Annotated[str, typer.Option(help="Of project/corpus, converted")] = "stockmark",
    config: Annotated[str, typer.Option(help="ner or textcat")] = "ner",
    encoder: Annotated[Path, typer.Option(exists=True)] = SHARED / "models" / "me5-small-ja",
    ways: str = "random,margin,entropy,confidence,diversity,coreset",
    seeds: str = "0,1,2",
    first: Annotated[int, typer.Option(help="Sentences to begin with")] = 200,
    more: Annotated[int, typer.Option(help="Sentences a round")] = 200,
    rounds: int = 5,
    steps: int = 400,
    pool: Annotated[int, typer.Option(help="Of the training part so many at most")] = 0,
    limit: Annotated[int, typer.Option(help="Of the development part so many at most")] = 0,
    rate: Annotated[float, typer.Option(help="Learn rate")] = 1e-4,
    results: Path = ROOT / "project" / "metrics" / "selection.jsonl",
) -> None:
    folder = ROOT / "project" / "corpus" / corpus
    vocab = spacy.blank("ja").vocab
    docs, test = (
        list(DocBin().from_disk(folder / f"{part}.spacy").get_docs(vocab))
        for part in ("train", "test")
    )
    settings = Settings(
        config=ROOT / "configs" / f"{config}.cfg",
        encoder=encoder,
        dev=folder / "dev.spacy",
        limit=limit,
        steps=steps,
        rate=rate,
        first=first,
        more=more,
        rounds=rounds,
        score=SCORE[config],
    )
    if pool:
        docs = random.Random(0).sample(docs, min(pool, len(docs)))
    of = {"corpus": corpus, "encoder": encoder.name, "first": first, "more": more, "steps": steps}
    of |= {"pool": len(docs)}
    results.parent.mkdir(parents=True, exist_ok=True)
    found = list(srsly.read_jsonl(results)) if results.exists() else []
    for seed in map(int, seeds.split(",")):
        begun: dict[int, tuple[Language, Point]] = {}
        for way in ways.split(","):
            key = {**of, "way": way, "seed": seed}
            if any(key.items() <= line.items() for line in found):
                continue
            curve = simulate(docs, test, settings, way=way, seed=seed, begun=begun)
            found.append({**key, "curve": curve})
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[-1], ensure_ascii=False) + "\n")
    for way in ways.split(","):
        curves = [line["curve"] for line in found if {**of, "way": way}.items() <= line.items()]
        for column in zip(*curves, strict=False):
            scores = [score for _, _, score in column]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            labels = round(statistics.fmean(count for _, count, _ in column))
            print(way, column[0][0], labels, f"{statistics.fmean(scores):.3f} ± {spread:.3f}")


def simulate(
    docs: list[Doc],
    test: list[Doc],
    settings: Settings,
    *,
    way: Any,
    seed: int,
    begun: dict[int, tuple[Language, Point]],
) -> list[Point]:
    """begun (dict): What the first sentences of a seed gave, which is the same for all ways."""
    left = list(range(len(docs)))
    random.Random(seed).shuffle(left)
    annotated, left = left[: settings.first], left[settings.first :]
    curve: list[Point] = []
    for number in range(settings.rounds):
        if number or seed not in begun:
            nlp, point = trained([docs[i] for i in annotated], test, settings, seed)
            begun.setdefault(seed, (nlp, point))
        else:
            nlp, point = begun[seed]
        curve.append(point)
        print(way, seed, *point, flush=True)
        if number + 1 == settings.rounds or not left:
            break
        taken = set(picked(nlp, docs, annotated, left, settings.more, way=way, seed=seed))
        annotated += sorted(taken)
        left = [i for i in left if i not in taken]
    return curve


def trained(
    annotated: list[Doc], test: list[Doc], settings: Settings, seed: int
) -> tuple[Language, Point]:
    """RETURNS (tuple): A pipeline, and its point of the curve."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "train.spacy"
        DocBin(docs=annotated).to_disk(corpus)
        overrides = {
            "paths.train": str(corpus),
            "paths.dev": str(settings.dev),
            "paths.encoder": str(settings.encoder),
            "corpora.dev.limit": settings.limit,
            "system.seed": seed,
            "training.seed": seed,
            "training.max_steps": settings.steps,
            "training.eval_frequency": settings.steps,
            "training.optimizer.learn_rate.initial_rate": settings.rate,
            "training.optimizer.learn_rate.warmup_steps": min(150, settings.steps // 5),
        }
        train(settings.config, Path(folder) / "out", overrides=overrides)
        nlp = spacy.load(Path(folder) / "out" / "model-best")
    examples = [Example(nlp.make_doc(doc.text), doc) for doc in test]
    scores, _ = evaluate(nlp, examples)
    labels = sum(len(doc.ents) or (len(doc.cats) and 1) for doc in annotated)
    return nlp, (len(annotated), labels, scores[settings.score])


def picked(
    nlp: Language,
    docs: list[Doc],
    annotated: list[int],
    left: list[int],
    count: int,
    *,
    way: Any,
    seed: int,
) -> list[int]:
    """RETURNS (list[int]): Which of `left` are annotated next."""
    if way == "random":
        return random.Random(seed + len(annotated)).sample(left, min(count, len(left)))
    texts = [(str(i), docs[i].text) for i in left]
    vectors = []
    if way in OF_VECTORS:
        known = [("", docs[i].text) for i in annotated]
        vectors = [one.vector for one in look_at(nlp, known, way) if one.vector is not None]
    asked = chosen(list(look_at(nlp, texts, way)), count, way, seed=seed, annotated=vectors)
    return [int(one.id) for one in asked]


if __name__ == "__main__":
    typer.run(main)
