"""`python -m spacy jbert serve`: pipelines as an HTTP service."""

from typing import Annotated

import typer

from ..errors import Errors
from ..terminal import replace_unshowable
from .output import coded_errors


def serve_cli(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Folders or packages of trained pipelines; NAME=… gives one another name"
        ),
    ],
    host: Annotated[str, typer.Option(help="Where to listen")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for one that is free")] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, each with its own copy of the pipelines")
    ] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of torch in each process  [default: torch's]")
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Texts at once through a pipeline")] = 32,
    max_wait: Annotated[
        float, typer.Option(min=0, help="Milliseconds that a text waits for others")
    ] = 2,
    max_queue: Annotated[
        int, typer.Option(min=1, help="Texts that wait for a pipeline; more get 429")
    ] = 1024,
    max_requests: Annotated[
        int, typer.Option(min=1, help="Requests at a time; more get 503")
    ] = 256,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request (413)")] = 1_000_000,
    max_text: Annotated[int, typer.Option(min=1, help="Characters of a text (422)")] = 20_000,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts of a request (422)")] = 256,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for an answer (504)")] = 30,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Below it, confidences are counted apart")
    ] = 0.5,
    gpu_id: Annotated[int, typer.Option("--gpu-id", "-g", help="GPU, or -1 for the CPU")] = -1,
) -> None:
    """Serve pipelines over HTTP: entities, categories and sentences as JSON, a page to try them,
    metrics for Prometheus. With SPACY_JBERT_API_KEY in the environment, clients need that key.
    """
    replace_unshowable()
    with coded_errors():
        try:
            from ..serving.limits import Limits
            from ..serving.server import Service, run
        except ImportError as error:
            message = Errors.J469.format(package=error.name, extra="serve")
            raise ImportError(message) from error
        limits = Limits(
            batch_size=max_batch,
            batch_wait=max_wait / 1000,
            queue=max_queue,
            requests=max_requests,
            body=max_body,
            text=max_text,
            texts=max_texts,
            seconds=timeout,
        )
        service = Service(models, limits, threshold, threads, gpu_id)
        run(service, host, port, workers=workers)
