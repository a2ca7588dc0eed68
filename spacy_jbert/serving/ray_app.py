"""The service on Ray Serve, which starts replicas, balances requests between them, and starts those
again that die:

    serve run spacy_jbert.serving.ray_app:build models=training/model-best

What `jbert serve` has is all there, batches of texts too; they form in each replica."""

import os
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from ray import serve
from ray.serve import Application

from ..errors import Errors
from .app import KEY
from .limits import Limits
from .server import Service


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Arguments:
    """What the application may be given.

    models (list[str] | str): Folders or packages of pipelines that all nodes have, NAME=… to name
        one otherwise.
    limits (Limits): What each replica may be asked for.
    threshold, threads, gpu: See `Service`; `gpu` for replicas on GPUs, each with one of its own.
    without_key (bool): Whoever reaches the service may use it.
    """

    models: Annotated[list[str], Field(min_length=1)] | str
    limits: Limits = Limits()
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    threads: Annotated[int, Field(ge=1)] = 1
    gpu: bool = False
    without_key: bool = False


def build(arguments: Mapping[str, Any]) -> Application:
    """Make the service, for `serve run` and Ray Serve's config files.

    arguments (Mapping[str, Any]): See `Arguments`.
    RETURNS (Application): Of one deployment, `jbert`. How many replicas it has, and what makes them
        more and fewer, are its settings in Ray Serve's config.
    RAISES: ValueError J491 for arguments that it can't have, J493 if there is no key.
    """
    try:
        given = TypeAdapter(Arguments).validate_python(dict(arguments))
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(Errors.J491.format(reasons=reasons)) from None
    models = [given.models] if isinstance(given.models, str) else given.models
    service = Service(models, given.limits, given.threshold, given.threads, 0 if given.gpu else -1)
    # Of this process: replicas have another environment, and so has a shell from which a config
    # file is sent to a cluster. Without a word they would ask for no key.
    key = os.environ.get(KEY)
    if key is None and not given.without_key:
        raise ValueError(Errors.J493.format(variable=KEY))

    def app() -> FastAPI:
        return service.app(key)

    deployment = serve.deployment(
        name="jbert",
        # What is more than a replica takes is refused by its own limits, with their codes.
        max_ongoing_requests=2 * given.limits.requests,
        ray_actor_options={"num_cpus": given.threads, "num_gpus": int(given.gpu)},
    )
    application: Application = deployment(serve.ingress(app)()).bind()
    return application
