"""`python -m spacy jbert export`: a trained pipeline for another engine."""

from enum import StrEnum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import spacy
import typer

from ..errors import Errors
from ..terminal import replace_unshowable
from .output import check_target, coded_errors

if TYPE_CHECKING:
    from ..exporting import Comparison


class Backend(StrEnum):
    onnx = "onnx"
    hf = "hf"


def export_cli(
    model: Annotated[str, typer.Argument(help="Folder or package of a trained pipeline")],
    out: Annotated[Path, typer.Argument(help="Folder for what is made of it")],
    backend: Annotated[
        Backend, typer.Option("--backend", "-b", help="What is to run the encoder")
    ] = Backend.onnx,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round the weights to bytes: smaller and faster")
    ] = False,
    dev: Annotated[
        Path | None,
        typer.Option(help="Annotated documents to measure on: a DocBin, or a folder", exists=True),
    ] = None,
    max_drop: Annotated[
        float,
        typer.Option(min=0.0, help="How much worse F, macro F and calibration may be on them"),
    ] = 0.003,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of onnxruntime  [default: as many as torch has]")
    ] = None,
) -> None:
    """Write the same pipeline with its encoder run by onnxruntime (onnx), or its named entities as
    a folder for transformers' AutoModelForTokenClassification (hf; categories too, if their head
    was imported). What was measured is printed; a pipeline that is worse than it may be isn't
    written."""
    replace_unshowable()
    with coded_errors():
        if backend == Backend.hf:
            check_export(model, out, hf_with=int8 or dev is not None or threads is not None)
            from ..exporting_hf import export_hf

            difference = export_hf(spacy.load(model), out)
            print(f"{out}: logits differ by up to {difference:.2g}")
            return
        check_export(model, out, int8_without_dev=int8 and dev is None)
        from spacy.training import Corpus, Example

        from ..corpora.docs import find_docbins, read_docbin
        from ..exporting import export_onnx

        nlp = spacy.load(model)

        def read(source: Path) -> list[Example]:
            docs = (read_docbin(path, nlp.vocab) for path in find_docbins(source))
            return list(Corpus(source).make_examples(nlp, chain.from_iterable(docs)))

        found = export_onnx(
            nlp,
            int8=int8,
            read_dev=None if dev is None else partial(read, dev),
            max_drop=max_drop,
            threads=threads,
        )
        nlp.to_disk(out)
    show(found, out)


def check_export(
    model: str, out: Path, *, int8_without_dev: bool = False, hf_with: bool = False
) -> None:
    """RAISES: ValueError J433 for what could only go wrong later; OSError if `out` can't be
    written.
    """
    if int8_without_dev:
        reason = "--int8 needs --dev, annotated documents to measure on what the rounding costs."
        raise ValueError(Errors.J433.format(model=model, reason=reason))
    if hf_with:
        reason = "--int8, --dev and --threads are for --backend onnx."
        raise ValueError(Errors.J433.format(model=model, reason=reason))
    if Path(model).is_dir() and out.resolve() == Path(model).resolve():
        reason = "it would be overwritten, and can't be made again from an export. Name another."
        raise ValueError(Errors.J433.format(model=model, reason=reason))
    check_target(out / "config.cfg")


def show(found: "Comparison", out: Path) -> None:
    """Print what an export changed, and how large it is."""
    size = sum(file.stat().st_size for file in out.rglob("*.onnx"))
    for name, before in found.before.items():
        print(f"{name:14}{before:8.4f} -> {found.after.get(name, 0.0):.4f}")
    if found.texts:
        print(
            f"{found.changed} of {found.texts} documents have other entities or another best "
            f"category; probabilities differed by up to {found.confidence:.2g} before calibration"
        )
    print(f"Vectors differ from torch's by up to {found.difference:.2g}")
    print(f"{out}: {size / 1e6:,.1f} MB of encoders")
