"""`python -m spacy jbert crossval`: scores of a config by cross-validation."""

from pathlib import Path
from typing import Annotated

import typer

from ..terminal import replace_unshowable
from .output import coded_errors


def crossval_cli(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="A training config", exists=True)],
    corpus: Annotated[
        Path, typer.Argument(help="Annotated documents: a DocBin, or a folder", exists=True)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scores.json")],
    folds: Annotated[int, typer.Option("--folds", min=3, help="How many parts")] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Of the division")] = 42,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Train on all parts but one and test on that one, in turn. What is stopped goes on with the
    next fold. Settings of the config follow as for `spacy train`: --training.max_steps 300."""
    from spacy.cli._util import parse_config_overrides

    from ..project.crossval import crossvalidate, show

    replace_unshowable()
    with coded_errors():
        overrides = parse_config_overrides(context.args)
        means = crossvalidate(
            config, corpus, out, count=folds, seed=seed, overrides=overrides, gpu_id=gpu_id
        )
    show(means, folds)
    print(f"{out / 'scores.json'}")
