"""`python -m spacy jbert errors`: what a pipeline gets wrong."""

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import spacy
import typer
from rich.console import Console

from ..errors import Errors, Warnings
from ..terminal import replace_unshowable
from .output import check_target, coded_errors, print_json


def errors_cli(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline")],
    data: Annotated[
        Path, typer.Argument(help="Annotated documents: a DocBin, or a folder of them", exists=True)
    ],
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", "-l", help="Only mistakes with this label; can be given several times"
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="At most so many mistakes, the worst first  [default: 50 here, all elsewhere]",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write a page with the scores by label and the mistakes instead"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for machines")] = False,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """List what a pipeline gets wrong, the mistakes that it was surest of first."""
    from spacy.training import Corpus

    from ..corpora.docs import find_docbins, read_docbin
    from ..evaluation.mistakes import about, evaluate, labels_of
    from ..evaluation.report import as_dict, html_report, print_mistakes
    from ..storage import replacing

    if gpu_id >= 0:
        spacy.require_gpu(gpu_id)
    with coded_errors():
        if html:
            check_target(html)
        nlp = spacy.load(model)
        docs = chain.from_iterable(read_docbin(path, nlp.vocab) for path in find_docbins(data))
        examples = list(Corpus(data).make_examples(nlp, docs))
        scores, mistakes = evaluate(nlp, examples)
        kinds = labels_of(nlp, examples)
        if not kinds:
            raise ValueError(Errors.J310.format(names=", ".join(nlp.pipe_names) or "none"))
        if not any(kind.annotated for kind in kinds):
            names = " and ".join(kind.kind for kind in kinds)
            raise ValueError(Errors.J311.format(path=data, kinds=names, count=len(examples)))
        if not any(kind.annotated & kind.known for kind in kinds):
            raise ValueError(
                Errors.J312.format(
                    known=_listed(set().union(*(kind.known for kind in kinds))),
                    annotated=_listed(set().union(*(kind.annotated for kind in kinds))),
                )
            )
        if strange := set(label or ()).difference(*(kind.known | kind.annotated for kind in kinds)):
            raise ValueError(Errors.J313.format(labels=_listed(strange)))
        for kind in kinds:
            if not kind.annotated:
                print(Warnings.JW301.format(kind=kind.kind), file=sys.stderr)
            elif strange := kind.annotated - kind.known:
                print(
                    Warnings.JW302.format(kind=kind.kind, labels=_listed(strange)), file=sys.stderr
                )
        if label:
            mistakes = about(mistakes, label)
        if html:
            replace_unshowable()
            with replacing(html) as (part,):
                paths = (f"{path.parent.name}/{path.name}" for path in (Path(model), data))
                title = " on ".join(paths)
                part.write_text(html_report(title, scores, mistakes[:limit]), encoding="utf-8")
            print(f"{len(mistakes[:limit])} mistakes listed in {html}")
        elif as_json:
            print_json([as_dict(mistake) for mistake in mistakes[:limit]])
        else:
            replace_unshowable()
            # Where there is no terminal, rich would take it for 80 columns wide.
            print_mistakes(
                Console(width=None if sys.stdout.isatty() else 140),
                mistakes,
                50 if limit is None else limit,
            )


def _listed(labels: set[str]) -> str:
    return ", ".join(sorted(labels))
