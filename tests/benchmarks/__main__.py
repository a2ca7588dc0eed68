"""`python -m tests.benchmarks`: one table of every ratio against the stock parts."""

import importlib
import os
import pkgutil
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import srsly
import typer
from rich.console import Console
from rich.table import Table

from . import __path__ as here
from .measure import SHARED, Row, Settings

_NOT_BENCHMARKS = {
    "__main__",
    "bulk",
    "exported",
    "gpu",
    "measure",
    "pipelines",
    "reading",
    "retrieval",
    "scores",
}
# Runs only if it is named, as it takes long.
_ON_REQUEST = {"ablation", "serve"}
_PACKAGES = (
    "spacy",
    "spacy-transformers",
    "torch",
    "transformers",
    "sudachipy",
    "sudachidict-core",
    "numpy",
)


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Modules of tests/benchmarks; all but ablation if none is named"),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Pairs of measurements of each row")] = 5,
    threads: Annotated[int, typer.Option(help="Threads of torch and BLAS")] = 1,
    encoder: Annotated[Path, typer.Option(help="A checkpoint folder with real weights")] = SHARED
    / "models"
    / "me5-small-ja",
    backend: Annotated[
        str, typer.Option(help="What runs our encoder in inference: torch, onnx or onnx-int8")
    ] = "torch",
    precision: Annotated[
        str, typer.Option(help="Of our encoder in inference and training: fp32 or bf16")
    ] = "fp32",
    seconds: Annotated[float, typer.Option(help="How long each run of serve lasts")] = 10.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the rows here too, as JSON; for gpu, the folder of its rows"),
    ] = None,
) -> None:
    if names == ["gpu"]:
        importlib.import_module(f"{__package__}.gpu").main(out or Path("gpu-benchmark"))
        return
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(threads)
    import torch

    torch.set_num_threads(threads)
    settings = Settings(repeats, encoder if encoder.is_dir() else None, backend, precision, seconds)
    there = [
        module.name for module in pkgutil.iter_modules(here) if module.name not in _NOT_BENCHMARKS
    ]
    if unknown := set(names or []).difference(there):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(there)}")
    rows: list[Row] = []
    for name in names or [name for name in there if name not in _ON_REQUEST]:
        rows += importlib.import_module(f"{__package__}.{name}").run(settings)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {threads} thread(s), Python {platform.python_version()}"
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    Console().print(_table(rows), f"{machine}\n{versions}")
    if out is not None:
        srsly.write_json(
            out, {"machine": machine, "versions": versions, "rows": [row._asdict() for row in rows]}
        )


def _table(rows: list[Row]) -> Table:
    table = Table()
    table.add_column("what")
    table.add_column("unit")
    for column in ("ours", "stock", "ratio", "spread", "goal"):
        table.add_column(column, justify="right")
    for row in rows:
        goal = "" if row.goal is None else f"{row.goal:g}"
        style = "" if row.goal is None else "green" if row.ratio >= row.goal else "red"
        table.add_row(
            row.what,
            row.unit,
            _number(row.ours),
            _number(row.stock),
            f"[{style}]{row.ratio:.2f}[/]" if style else f"{row.ratio:.2f}",
            f"{row.low:.2f}–{row.high:.2f}",
            goal,
        )
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    typer.run(main)
