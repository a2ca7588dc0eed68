"""`python -m spacy jbert crossval`: scores of a config by cross-validation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal import replace_unshowable
from .output import coded_errors

if TYPE_CHECKING:
    from ..tuning.summary import Summary

Against = Annotated[
    Path | None,
    typer.Option("--against", help="Folder of other runs over the same documents", exists=True),
]


def crossval_cli(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="A training config", exists=True)],
    corpus: Annotated[
        Path, typer.Argument(help="Annotated documents: a DocBin, or a folder", exists=True)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scores.json")],
    folds: Annotated[int, typer.Option("--folds", "--k", min=3, help="How many parts")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Of the division")] = 42,
    against: Against = None,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Train on all parts but one and test on that one, in turn. What is stopped goes on with the
    next fold. Settings of the config follow as for `spacy train`: --training.max_steps 300."""
    from spacy.cli._util import parse_config_overrides

    from ..tuning.folds import crossvalidate
    from ..tuning.summary import show

    replace_unshowable()
    with coded_errors():
        overrides = parse_config_overrides(context.args)
        summary = crossvalidate(
            config, corpus, out, count=folds, seed=seed, overrides=overrides, gpu_id=gpu_id
        )
        show(summary, "folds")
        compare_with(summary, against, out)
    print(f"{out / 'scores.json'}")


def compare_with(summary: "Summary", against: Path | None, out: Path) -> None:
    """Show how runs differ from those of another folder, and write out/comparison.json."""
    from ..tuning.runs import compared, read_runs, write_json
    from ..tuning.summary import as_rows, show_comparison

    if against is None:
        return
    found = compared(summary.runs, read_runs(against), against)
    show_comparison(found, against)
    write_json(out / "comparison.json", {"against": str(against), "scores": as_rows(found)})
