"""`python -m spacy jbert select`: which texts to annotate next."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import Warnings
from ..terminal import replace_unshowable
from .output import check_target, coded_errors

Tool = Literal["label-studio", "prodigy", "doccano", "jsonl"]
By = Literal["margin", "entropy", "confidence", "diversity", "coreset", "random"]


def select_cli(
    raw: Annotated[
        Path, typer.Argument(help="Texts: .txt with one a line, or records", exists=True)
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Folder or package of a pipeline")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the tasks")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many texts")] = 500,
    by: Annotated[
        By,
        typer.Option(
            "--by",
            help="What the pipeline is least sure of (margin, entropy, confidence), what is least "
            "alike (diversity, coreset), or chance",
        ),
    ] = "margin",
    to: Annotated[Tool, typer.Option("--to", help="The tool that is to read them")] = "jsonl",
    exclude: Annotated[
        list[Path] | None,
        typer.Option("--exclude", help="What is annotated already: DocBins", exists=True),
    ] = None,
    text_field: Annotated[str, typer.Option("--text-field", help="Where records have it")] = "text",
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="Of text that isn't UTF-8, such as cp932")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of chance")] = 0,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Choose texts to annotate, and write them with what the pipeline says of them, for Label
    Studio, Prodigy, doccano, or as plain JSONL. `jbert convert` reads the finished work back."""
    import spacy

    from ..corpora.docs import find_docbins
    from ..corpora.exporters import check_tasks, write_tasks
    from ..corpora.raw import different, read_texts
    from ..tuning.folds import read_docs
    from ..tuning.selection import OF_VECTORS, chosen, labels_of, look_at

    replace_unshowable()
    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    with coded_errors():
        check_tasks(to, out)
        check_target(out)
        files = [file for path in exclude or () for file in find_docbins(path)]
        known = [doc.text for doc in read_docs(files)]
        texts = different(read_texts(raw, text_field=text_field, encoding=encoding), known, raw)
        nlp = spacy.load(model)
        annotated = []
        if by in OF_VECTORS:
            looked = look_at(nlp, [("", text) for text in known], by)
            annotated = [one.vector for one in looked if one.vector is not None]
        found = chosen(list(look_at(nlp, texts, by)), n, by, seed=seed, annotated=annotated)
        if len(found) < n:
            print(Warnings.JW466.format(count=len(found), wanted=n), file=sys.stderr)
        labels = labels_of(nlp, f"{nlp.meta['lang']}_{nlp.meta['name']}")
        written = write_tasks(found, labels, to, out)
    print(f"{len(found)} of {len(texts)} texts by {by}: {written.tasks}")
    for file in written.beside:
        print(f"The labelling interface: {file}")
