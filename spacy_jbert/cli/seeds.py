"""`python -m spacy jbert seeds`: how far the scores of a config vary by chance."""

from pathlib import Path
from typing import Annotated

import typer

from ..terminal import replace_unshowable
from .crossval import Against, compare_with
from .output import coded_errors


def seeds_cli(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="A training config", exists=True)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scores.json")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many seeds")] = 5,
    first: Annotated[int, typer.Option("--first", min=0, help="The first seed")] = 0,
    test: Annotated[
        Path | None,
        typer.Option("--test", help="DocBin to test on  [default: paths.dev]", exists=True),
    ] = None,
    against: Against = None,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Train with several seeds and test each on the same documents. What is stopped goes on with
    the next seed. Settings of the config follow as for `spacy train`: --training.max_steps 300."""
    from spacy.cli._util import parse_config_overrides

    from ..tuning.seeds import train_seeds
    from ..tuning.summary import show

    replace_unshowable()
    with coded_errors():
        overrides = parse_config_overrides(context.args)
        summary = train_seeds(
            config, out, count=n, first=first, test=test, overrides=overrides, gpu_id=gpu_id
        )
        show(summary, "seeds")
        compare_with(summary, against, out)
    print(f"{out / 'scores.json'}")
