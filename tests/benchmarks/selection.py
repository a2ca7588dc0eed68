"""What choosing texts to annotate is worth: F on the test part by the number of annotated
sentences, chosen by doubt or distance against chosen by chance.

    python -m tests.benchmarks.selection --corpus stockmark --seeds 0,1,2 --ways random,margin

Begins with some sentences by chance; each round trains on what is annotated so far, tests, and
chooses the next ones from the rest of the training part, whose annotation stands in for the
annotator. A line of the results that is there isn't run again, so it can be made in several
sittings.
"""

import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Annotated, Any

import spacy
import srsly
import typer
from spacy.cli.train import train
from spacy.tokens import Doc, DocBin

from spacy_jbert.evaluation.mistakes import evaluate
from spacy_jbert.tuning.selection import chosen, look_at

from .measure import ROOT, SHARED

SCORE = {"ner": "ents_f", "textcat": "cats_macro_f"}


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
    results: Path = ROOT / "project" / "metrics" / "selection.jsonl",
) -> None:
    folder = ROOT / "project" / "corpus" / corpus
    vocab = spacy.blank("ja").vocab
    docs, test = (
        list(DocBin().from_disk(folder / f"{part}.spacy").get_docs(vocab))
        for part in ("train", "test")
    )
    of = {"corpus": corpus, "encoder": encoder.name, "first": first, "more": more, "steps": steps}
    results.parent.mkdir(parents=True, exist_ok=True)
    found = list(srsly.read_jsonl(results)) if results.exists() else []
    for seed in map(int, seeds.split(",")):
        for way in ways.split(","):
            key = {**of, "way": way, "seed": seed}
            if any(key.items() <= line.items() for line in found):
                continue
            curve = simulate(
                docs,
                test,
                folder / "dev.spacy",
                way=way,
                seed=seed,
                config=config,
                encoder=encoder,
                first=first,
                more=more,
                rounds=rounds,
                steps=steps,
            )
            found.append({**key, "curve": curve})
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[-1], ensure_ascii=False) + "\n")
    for way in ways.split(","):
        curves = [line["curve"] for line in found if {**of, "way": way}.items() <= line.items()]
        for column in zip(*curves, strict=False):
            scores = [score for _, score in column]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            print(way, column[0][0], f"{statistics.fmean(scores):.3f} ± {spread:.3f}")


def simulate(
    docs: list[Doc],
    test: list[Doc],
    dev: Path,
    *,
    way: Any,
    seed: int,
    config: str,
    encoder: Path,
    first: int,
    more: int,
    rounds: int,
    steps: int,
) -> list[tuple[int, float]]:
    """RETURNS (list): How many sentences were annotated, and the score with them."""
    left = list(range(len(docs)))
    random.Random(seed).shuffle(left)
    annotated, left = left[:first], left[first:]
    curve: list[tuple[int, float]] = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "train.spacy"
            DocBin(docs=[docs[i] for i in annotated]).to_disk(corpus)
            overrides = {
                "paths.train": str(corpus),
                "paths.dev": str(dev),
                "paths.encoder": str(encoder),
                "system.seed": seed,
                "training.seed": seed,
                "training.max_steps": steps,
                "training.eval_frequency": steps // 2,
            }
            train(ROOT / "configs" / f"{config}.cfg", Path(folder) / "out", overrides=overrides)
            nlp = spacy.load(Path(folder) / "out" / "model-best")
        examples = [spacy.training.Example(nlp.make_doc(doc.text), doc) for doc in test]
        scores, _ = evaluate(nlp, examples)
        curve.append((len(annotated), scores[SCORE[config]]))
        if number + 1 == rounds or not left:
            break
        texts = [(str(i), docs[i].text) for i in left]
        known = [("", docs[i].text) for i in annotated]
        vectors = [one.vector for one in look_at(nlp, known, way) if one.vector is not None]
        picked = chosen(list(look_at(nlp, texts, way)), more, way, seed=seed, annotated=vectors)
        taken = {int(one.id) for one in picked}
        annotated += sorted(taken)
        left = [i for i in left if i not in taken]
    return curve


if __name__ == "__main__":
    typer.run(main)
