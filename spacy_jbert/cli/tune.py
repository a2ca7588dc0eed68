"""`python -m spacy jbert tune`: the best settings of a config, by trying them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..terminal import replace_unshowable
from .output import coded_errors


def tune_cli(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="A training config", exists=True)],
    study: Annotated[Path, typer.Option("--study", help="Folder of the study; it goes on")],
    space: Annotated[
        Path | None,
        typer.Option("--space", help="What to try  [default: what comes along]", exists=True),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="So many in all")] = 30,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0, help="Begin no trial that ends after them")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings a trial")] = 1,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Stop trials that fall behind")
    ] = True,
    storage: Annotated[
        Literal["sqlite", "journal"], typer.Option("--storage", help="Of a new study")
    ] = "sqlite",
    lang: Annotated[
        Literal["auto", "ja", "en"],
        typer.Option("--lang", help="Of the page; auto is what the browser speaks"),
    ] = "auto",
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Try settings of a config, the config as it is first, and write the best as best.cfg and a
    page of all trials. What is stopped goes on; several processes may work on one study. Settings
    of the config follow as for `spacy train`: --paths.train FILE."""
    from spacy.cli._util import parse_config_overrides
    from spacy.util import load_config

    from ..tuning.page import write_page
    from ..tuning.search import open_study, search
    from ..tuning.space import default_space

    replace_unshowable()
    with coded_errors():
        overrides = parse_config_overrides(context.args)
        space = space or default_space(load_config(config), config)
        best = search(
            config,
            space,
            study,
            overrides=overrides,
            trials=trials,
            minutes=minutes,
            seeds=seeds,
            prune=prune,
            storage=storage,
            gpu_id=gpu_id,
        )
        title = f"{config.name}: {study.name}"
        write_page(open_study(study, storage), study / "study.html", title, lang)
    against = "" if best.first is None else f", the config as it is {best.first:.4f}"
    print(f"Best of {best.finished} trials: {best.score:.4f}{against}")
    print(f"{best.pruned} stopped early, {best.failed} failed or begun again")
    for name, value in best.settings.items():
        print(f"  {name} = {value}")
    print(f"{study / 'best.cfg'}\n{study / 'study.html'}")
