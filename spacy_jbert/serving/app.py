"""The service's addresses. `build` makes an ASGI application for any server."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Annotated, Any

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from .. import __version__
from ..errors import Errors
from .answers import Analysis, Job
from .batching import Batcher
from .gate import Gate
from .limits import Limits
from .metrics import Metrics
from .pipelines import Pipeline
from .refusals import ErrorAnswer, Refusal

KEY = "SPACY_JBERT_API_KEY"
"""The environment variable that holds the key."""
_PAGE = files("spacy_jbert.serving") / "page"
_SWAGGER = files(fastapi_offline) / "static"


def _of_characters(text: str) -> str:
    """RAISES: ValueError for half a character (a lone surrogate), which no Doc can hold."""
    text.encode()
    return text


def _not_blank(question: str) -> str:
    """RAISES: ValueError for a question of white space."""
    if not question.strip():
        raise ValueError("a question is empty")
    return question


Text = Annotated[str, AfterValidator(_of_characters)]
AQuestion = Annotated[Text, AfterValidator(_not_blank)]


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: bool = Field(False, description="Tokens too, with lemma and part of speech")
    pieces: bool = Field(False, description="Wordpieces too: what the encoder saw")
    questions: list[AQuestion] = Field(
        [], description="What is asked of each text; for pipelines that answer questions"
    )

    def job(self, text: str) -> Job:
        """RETURNS (Job): What is to be done with a text."""
        return Job(text, self.tokens, self.pieces, tuple(self.questions))


class AnalyzeRequest(_Wanted):
    """One text."""

    text: Text


class BatchRequest(_Wanted):
    """Several texts."""

    texts: list[Text]


class BatchAnswer(BaseModel):
    """For each text, in order, what the pipeline says of it, or why there is nothing."""

    results: list[Analysis | ErrorAnswer]


class Model(BaseModel):
    """A pipeline of this service. `scores`: of its evaluation, as its meta.json has them."""

    name: str
    version: str
    description: str
    lang: str
    components: list[str]
    labels: dict[str, list[str]]
    scores: dict[str, Any]
    answers_questions: bool


class Models(BaseModel):
    """All pipelines of this service."""

    models: list[Model]


class State(BaseModel):
    """Whether the service is there."""

    status: str


# FastAPI would tell OpenTelemetry of wrong requests, with their texts, if the environment says so.
_SILENT = dict.fromkeys(("tracing", "metrics", "logs", "auto_configure"), False)
_REASONS = {
    400: "The body can't be read",
    401: "The key is missing or wrong",
    404: "No such pipeline",
    408: "The body takes too long to arrive",
    413: "The body is too large",
    422: "Not what the schema says, or a text that is too long, or too many of them",
    429: "The queue is full",
    500: "The pipeline failed on the text",
    503: "The service is busy or shutting down",
    504: "Not done in time",
}
_ANALYSE: dict[str, Any] = {
    "responses": {
        status: {"model": ErrorAnswer, "description": reason} for status, reason in _REASONS.items()
    }
}
_LOCKED: dict[str, Any] = {"responses": {401: {"model": ErrorAnswer, "description": _REASONS[401]}}}


def build(
    pipelines: Sequence[Pipeline],
    limits: Limits | None = None,
    *,
    key: str | None = None,
    threshold: float = 0.5,
) -> FastAPI:
    """Make the service of some pipelines.

    pipelines (Sequence[Pipeline]): See `pipelines.load`.
    limits (Limits | None): What it may be asked for; None for the defaults.
    key (str | None): What clients must send as `Authorization: Bearer …` or `X-API-Key`.
    threshold (float): Entities and categories below it are counted apart in the metrics.
    RETURNS (FastAPI): An application.
    RAISES: ValueError J437 for a key that no header can hold.
    """
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key != ""):
        raise ValueError(Errors.J437.format(variable=KEY))
    service = _Service(pipelines, limits or Limits(), Metrics(threshold))
    app = FastAPI(
        title="spacy-jbert",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=service.running,
        redirect_slashes=False,
        telemetry=_SILENT,  # type: ignore[arg-type]
    )
    app.add_middleware(
        Gate,
        limits=service.limits,
        metrics=service.metrics,
        key=None if key is None else key.encode(),
    )
    for kind in (Refusal, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _explained)
    service.add_routes(app)
    _add_pages(app)
    return app


class _Service:
    def __init__(self, pipelines: Sequence[Pipeline], limits: Limits, metrics: Metrics) -> None:
        self.pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self.limits = limits
        self.metrics = metrics
        self.batchers: dict[str, Batcher[Job, dict[str, Any] | Refusal]] = {}

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """From the first request to the last."""
        for name in self.pipelines:
            self.batchers[name] = batcher = self._batcher(name)
            self.metrics.queue.labels(name).set_function(batcher.__len__)
            batcher.start()
        yield
        await asyncio.gather(*(batcher.close() for batcher in self.batchers.values()))

    def _batcher(self, name: str) -> Batcher[Job, dict[str, Any] | Refusal]:
        pipeline = self.pipelines[name]
        sizes = self.metrics.batch.labels(name)

        def work(jobs: Sequence[Job]) -> list[dict[str, Any] | Refusal]:
            sizes.observe(len(jobs))
            found = pipeline.analyse(jobs)
            for one in found:
                if isinstance(one, Refusal):
                    self.metrics.failed.labels(name).inc()
                else:
                    self.metrics.count(name, one)
            return found

        limits = self.limits
        return Batcher(work, size=limits.batch_size, wait=limits.batch_wait, capacity=limits.queue)

    async def answers(
        self, request: Request, model: str, jobs: Sequence[Job]
    ) -> list[dict[str, Any] | Refusal]:
        """RAISES: Refusal J442 to J447 for what isn't done."""
        if model not in self.batchers:
            raise Refusal(404, Errors.J447.format(what=f"pipeline of that name: {self._names()}"))
        seen = request.scope["jbert"]
        seen |= {"model": model, "texts": len(jobs), "characters": sum(len(j.text) for j in jobs)}
        if any(job.questions for job in jobs) and not self.pipelines[model].answers_questions:
            raise Refusal(422, Errors.J438)
        # More than may wait would be refused for ever.
        most = min(self.limits.texts, self.limits.queue)
        # With each question a text is read once.
        count = sum(len(job.questions) or 1 for job in jobs)
        if count > most:
            raise Refusal(422, Errors.J443.format(count=count, most=most))
        longest = max((len(text) for job in jobs for text in (job.text, *job.questions)), default=0)
        if longest > self.limits.text:
            raise Refusal(422, Errors.J442.format(length=longest, most=self.limits.text))
        if not jobs:
            return []
        futures = self.batchers[model].submit(jobs)
        done = asyncio.gather(*futures)
        # What nobody waits for any more is no news.
        done.add_done_callback(lambda found: found.cancelled() or found.exception())
        gone = asyncio.ensure_future(request.receive())
        try:
            await asyncio.wait(
                (done, gone), timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if done.done():
                return done.result()
            if gone.done():
                raise Refusal(499, Errors.J446)  # nobody reads it
            raise Refusal(504, Errors.J445.format(seconds=self.limits.seconds))
        finally:
            # What hasn't had its turn is left out.
            done.cancel()
            gone.cancel()

    def _names(self) -> str:
        return ", ".join(self.pipelines)

    def add_routes(self, app: FastAPI) -> None:
        @app.post("/v1/{model}/analyze", response_model=Analysis, **_ANALYSE)
        async def analyze(model: str, asked: AnalyzeRequest, request: Request) -> Response:
            """Entities, categories and sentences of one text, and answers to questions."""
            (found,) = await self.answers(request, model, [asked.job(asked.text)])
            if isinstance(found, Refusal):
                raise found
            return _json(found)

        @app.post("/v1/{model}/batch", response_model=BatchAnswer, **_ANALYSE)
        async def batch(model: str, asked: BatchRequest, request: Request) -> Response:
            """The same of many texts. One that fails has an error in its place."""
            jobs = [asked.job(text) for text in asked.texts]
            found = await self.answers(request, model, jobs)
            request_id = request.scope["jbert"]["id"]
            return _json(
                {
                    "results": [
                        one.body(request_id) if isinstance(one, Refusal) else one for one in found
                    ]
                }
            )

        @app.get("/models", response_model=Models, **_LOCKED)
        async def models() -> Response:
            """The pipelines, their labels and scores."""
            return _json({"models": [pipeline.about() for pipeline in self.pipelines.values()]})

        @app.get("/health")
        async def health() -> State:
            """The process answers."""
            return State(status="ok")

        @app.get("/ready", responses={503: {"model": ErrorAnswer, "description": _REASONS[503]}})
        async def ready() -> State:
            """All pipelines take texts."""
            if not all(batcher.working for batcher in self.batchers.values()):
                raise Refusal(503, Errors.J446, retry=5)
            return State(status="ready")

        @app.get("/metrics", response_class=PlainTextResponse, **_LOCKED)
        async def metrics() -> Response:
            """For Prometheus."""
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return Response(self.metrics.shown(), media_type=kind)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")


def _add_pages(app: FastAPI) -> None:
    """The page, and the documentation of the addresses; no network is needed for either."""

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(str(_PAGE / "index.html"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(str(_PAGE / "docs.html"))

    app.mount("/page", StaticFiles(directory=str(_PAGE)), name="page")
    app.mount("/swagger", StaticFiles(directory=str(_SWAGGER)), name="swagger")


async def _explained(request: Request, error: Exception) -> Response:
    """Every error in the one shape. What was sent isn't sent back: it could be anything."""
    refusal = error if isinstance(error, Refusal) else _refusal(error)
    body = refusal.body(request.scope["jbert"]["id"])
    headers = dict(getattr(error, "headers", None) or {}) | refusal.headers
    return JSONResponse(body, refusal.status, headers)


def _place(error: dict[str, Any]) -> str:
    """RETURNS (str): Where a request is wrong. A name that isn't known is the client's own, and
    isn't repeated.
    """
    where = error["loc"][:-1] if error["type"] == "extra_forbidden" else error["loc"]
    return ".".join(map(str, where))


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, RequestValidationError):
        wrong = [f"{_place(e)}: {e['msg']}" for e in error.errors()[:5]]
        return Refusal(422, Errors.J441.format(reason="; ".join(wrong)))
    status: int = getattr(error, "status_code", 500)
    if status == 404:
        return Refusal(404, Errors.J447.format(what="such address: see /docs"))
    return Refusal(status, Errors.J441.format(reason=getattr(error, "detail", "")))
