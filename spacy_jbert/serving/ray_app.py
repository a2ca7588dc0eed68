"""The service as an application of Ray Serve, which starts, scales and replaces its replicas."""

from collections.abc import Sequence
from typing import Any

from ..errors import Errors
from .limits import Limits
from .server import Service

try:
    from ray import serve
except ImportError as error:
    raise ImportError(Errors.J438.format(what="Ray", extra="ray", reason=error)) from error


def build(
    models: Sequence[str],
    limits: Limits | None = None,
    *,
    threshold: float = 0.5,
    **options: Any,
) -> Any:
    """Make the application: `serve.run(build(["training/model-best"], num_replicas=2))`.

    models (Sequence[str]): See `pipelines.load`; every replica loads them.
    limits (Limits | None): Of each replica; None for the defaults.
    threshold (float): See `app.build`.
    options: Of `ray.serve.deployment`, such as num_replicas or autoscaling_config.
    RETURNS (ray.serve.Application): Not running yet.
    """
    service = Service(list(models), limits or Limits(), threshold)

    @serve.ingress(service.app)
    class Replica:
        """Answers as `jbert serve` does."""

    deployment: Any = serve.deployment(name="jbert", **options)(Replica)
    return deployment.bind()
