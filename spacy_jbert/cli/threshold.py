"""`python -m spacy jbert threshold`: what a pipeline isn't sure enough of is not said any more."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import Errors
from ..storage import remove
from ..terminal import replace_unshowable
from .output import check_target, coded_errors


def threshold_cli(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Annotated documents it was not trained on: a DocBin, or a folder of them",
            exists=True,
        ),
    ],
    precision: Annotated[
        float, typer.Option("--precision", "-p", min=0, max=1, help="The share that is to be right")
    ] = 0.95,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", "-l", help="Only for this label; can be given several times"),
    ] = None,
    by_label: Annotated[
        bool, typer.Option("--by-label", help="A threshold for each label, not one for all")
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="Take the thresholds out again")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the new pipeline  [default: the model's own]"),
    ] = None,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Find from which confidence on a pipeline is right often enough, and keep that in it: a text
    whose category is under it has `doc._.category` None, entities under it are in
    `doc.spans["jbert_uncertain"]`."""
    from ..evaluation.mistakes import annotate
    from ..evaluation.temperature import threshold_pipes
    from ..evaluation.thresholds import clear, fit_thresholds
    from .evaluated import check_labels, listed, load, read_examples

    replace_unshowable()
    with coded_errors():
        if out is None and not Path(model).is_dir():
            raise ValueError(Errors.J414.format(model=model))
        target = out or Path(model)
        check_target(target / "meta.json")
        nlp = load(model, gpu_id)
        if off:
            names = clear(nlp)
            nlp.to_disk(target)
            # spaCy leaves the folders of components that are no more.
            for name in names:
                remove(target / name)
            print(target)
            return
        examples = read_examples(nlp, data)
        known = {name for _, pipe in nlp.pipeline for name in getattr(pipe, "labels", ())}
        if strange := set(label or ()) - known:
            raise ValueError(Errors.J313.format(labels=listed(strange)))
        annotate(nlp, examples, disable=threshold_pipes(nlp))
        check_labels(nlp, examples, data)
        found = fit_thresholds(nlp, examples, precision, labels=label or (), by_label=by_label)
        nlp.to_disk(target)
        table = Table("", "label")
        table.columns[1].overflow = "fold"
        for name in ("threshold", "kept %", "right %", "at least", "answers"):
            table.add_column(name, justify="right", no_wrap=True)
        for one in found:
            table.add_row(
                one.task,
                Text(one.label),
                "never" if one.threshold is None else f"{one.threshold:.3f}",
                f"{100 * one.coverage:.1f}",
                f"{100 * one.precision:.1f}" if one.threshold is not None else "–",
                f"{100 * one.low:.1f}" if one.threshold is not None else "–",
                str(one.answers),
            )
        Console(width=None if sys.stdout.isatty() else 140).print(table)
        print(target)
