"""`python -m spacy jbert report`: all there is to say of a pipeline, as one page."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from spacy.tokens import Doc
from spacy.vocab import Vocab

from ..errors import Errors
from ..terminal import replace_unshowable
from .output import check_target, coded_errors, print_json


def report_cli(
    models: Annotated[
        list[str], typer.Argument(help="Folder or package of a trained pipeline, or of two")
    ],
    data: Annotated[
        Path, typer.Argument(help="Annotated documents: a DocBin, or a folder of them", exists=True)
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a page (HTML)")] = None,
    train: Annotated[
        Path | None,
        typer.Option(help="Training documents  [default: train.spacy beside the documents]"),
    ] = None,
    dev: Annotated[
        Path | None,
        typer.Option(help="Development documents  [default: dev.spacy beside the documents]"),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="The training's log, JSON lines  [default: what is beside the pipeline]"),
    ] = None,
    lang: Annotated[
        Literal["auto", "ja", "en"],
        typer.Option("--lang", help="Of the page; auto is what the browser speaks"),
    ] = "auto",
    card: Annotated[
        Path | None,
        typer.Option(help="Write a meta.json with a model card, for `spacy package --meta-path`"),
    ] = None,
    meta: Annotated[
        Path | None,
        typer.Option(
            help="A meta.json whose description, licence, sources the card takes over",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON")] = False,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Measure a pipeline on annotated documents: scores with intervals, calibration, coverage,
    confusions, the corpus, every mistake. With two pipelines, also which is better, and where."""
    from ..evaluation.card import read_meta, with_card
    from ..evaluation.comparison import compared
    from ..evaluation.facts import find_log, learning_curve
    from ..evaluation.listing import print_outcomes
    from ..evaluation.outcome import measure
    from ..evaluation.page import page
    from ..storage import replacing
    from .evaluated import check_labels, load, read_examples, title

    replace_unshowable()
    with coded_errors():
        if not 1 <= len(models) <= 2:
            raise ValueError(Errors.J410.format(count=len(models)))
        for target in (out, card):
            if target:
                check_target(target)
        kept = read_meta(meta) if meta else {}
        outcomes = []
        for model in models:
            nlp = load(model, gpu_id)
            examples = read_examples(nlp, data)
            curve = log or find_log(Path(model))
            outcome = measure(
                nlp,
                examples,
                title=title(model, data),
                part=data.stem,
                parts=other_parts(data, nlp.vocab, train=train, dev=dev),
                training=learning_curve(curve) if curve else [],
            )
            check_labels(nlp, examples, data)
            outcomes.append(outcome)
        comparison = compared(*outcomes) if len(outcomes) == 2 else None
        if as_json:
            print_json([outcome.figures() for outcome in outcomes])
        else:
            console = Console(width=None if sys.stdout.isatty() else 140)
            print_outcomes(console, outcomes, comparison)
        if out:
            content = page(outcomes, comparison=comparison, lang=lang)
            with replacing(out) as (part,):
                part.write_text(content, encoding="utf-8")
        if card:
            written = with_card(outcomes[-1], kept)
            with replacing(card) as (part,):
                content = json.dumps(written, ensure_ascii=False, indent=2)
                part.write_text(content, encoding="utf-8")
        for written_to in (out, card):
            if written_to:
                print(written_to, file=sys.stderr if as_json else sys.stdout)


def other_parts(
    data: Path, vocab: Vocab, *, train: Path | None, dev: Path | None
) -> dict[str, list[Doc]]:
    """RETURNS (dict): The documents of the parts that are named, or that stand beside the data."""
    from ..corpora.docs import find_docbins, read_docbin

    found = {}
    for name, given in (("train", train), ("dev", dev)):
        path = given or data.with_name(f"{name}.spacy")
        if given or (data.is_file() and path.is_file() and path != data):
            found[name] = [doc for file in find_docbins(path) for doc in read_docbin(file, vocab)]
    return found
