"""Write an HTML report on a trained pipeline: scores by label and every mistake with its confidence."""

import os
from pathlib import Path

import spacy
import typer
from spacy.training import Corpus

from spacy_jbert.evaluation import evaluate
from spacy_jbert.report import html_report


def main(model: Path, data: Path, output: Path, gpu_id: int = -1) -> None:
    """Evaluate a pipeline and write the page.

    model (Path): The trained pipeline.
    data (Path): Annotated documents, DocBin.
    output (Path): The HTML file.
    gpu_id (int): -1 for the CPU.
    """
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    nlp = spacy.load(model)
    scores, mistakes = evaluate(nlp, Corpus(data)(nlp))
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_suffix(".part")
    unfinished.write_text(html_report(f"{model.parent.name} on {data.parent.name}/{data.stem}", scores, mistakes), encoding="utf-8")
    os.replace(unfinished, output)
    print(f"{len(mistakes)} mistakes listed in {output}")


if __name__ == "__main__":
    typer.run(main)
