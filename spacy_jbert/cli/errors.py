"""`python -m spacy jbert errors`: what a pipeline gets wrong."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import Errors
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
    from ..evaluation.answers import finds_entities
    from ..evaluation.listing import as_dict, print_mistakes
    from ..evaluation.mistakes import about, annotate, mistakes_of
    from ..evaluation.outcome import measure
    from ..evaluation.page import page
    from ..storage import replacing
    from .evaluated import check_labels, listed, load, read_examples, title

    with coded_errors():
        if html:
            check_target(html)
        nlp = load(model, gpu_id)
        examples = read_examples(nlp, data)
        if html:
            outcome = measure(nlp, examples, title=title(model, data))
            mistakes = outcome.mistakes
        else:
            annotate(nlp, examples)
            mistakes = mistakes_of(nlp, examples, entities=finds_entities(nlp, examples))
        kinds = check_labels(nlp, examples, data)
        if strange := set(label or ()).difference(*(kind.known | kind.annotated for kind in kinds)):
            raise ValueError(Errors.J313.format(labels=listed(strange)))
        if label:
            mistakes = about(mistakes, label)
        if html:
            replace_unshowable()
            with replacing(html) as (part,):
                part.write_text(page([outcome.only(mistakes[:limit])]), encoding="utf-8")
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
