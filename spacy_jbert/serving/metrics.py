"""What Prometheus reads of a service."""

import os
from collections.abc import Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

# Half of all lines would say when a series began.
disable_created_metrics()  # type: ignore[no-untyped-call]
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SHARES = tuple(tenth / 10 for tenth in range(1, 11))
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The figures of one service.

    threshold (float): Entities and categories of less confidence are counted apart.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        self.registry = CollectorRegistry()
        kept: dict[str, Any] = {"registry": self.registry, "namespace": "jbert"}
        self.requests = Counter(
            "requests", "Answered requests", ["route", "model", "status"], **kept
        )
        self.seconds = Histogram(
            "request_seconds", "From request to answer", ["route"], buckets=_SECONDS, **kept
        )
        self.batch = Histogram(
            "batch_texts", "Texts that a pipeline got at once", ["model"], buckets=_SIZES, **kept
        )
        self.queue = Gauge(
            "queue_texts",
            "Texts that wait for a pipeline",
            ["model"],
            multiprocess_mode="livesum",
            **kept,
        )
        self.texts = Counter("texts", "Texts that were analysed", ["model"], **kept)
        self.characters = Counter("characters", "Characters of these", ["model"], **kept)
        self.failed = Counter("failed_texts", "Texts that a pipeline failed on", ["model"], **kept)
        self.entities = Counter("entities", "Entities found", ["model", "label"], **kept)
        self.categories = Counter("categories", "Categories chosen", ["model", "label"], **kept)
        self.questions = Counter(
            "questions", "Questions that were asked", ["model", "answered"], **kept
        )
        self.confidence = Histogram(
            "confidence",
            "Confidence of entities; of categories and answers that of the best",
            ["model", "kind"],
            buckets=_SHARES,
            **kept,
        )
        self.doubtful = Counter(
            "below_threshold",
            "Entities, best categories and best answers of less confidence than the threshold",
            ["model", "kind"],
            **kept,
        )
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def count(self, model: str, found: Mapping[str, Any]) -> None:
        """Count what was found in a text.

        found (Mapping[str, Any]): An `Analysis`.
        """
        self.texts.labels(model).inc()
        self.characters.labels(model).inc(found["characters"])
        for entity in found["entities"]:
            self.entities.labels(model, entity["label"]).inc()
            if entity["confidence"] is not None:
                self._judge(model, "entity", entity["confidence"])
        for category in found["categories"]:
            if category["chosen"]:
                self.categories.labels(model, category["label"]).inc()
        if found["categories"]:
            self._judge(model, "category", found["categories"][0]["score"])
        for asked in found.get("answers", ()):
            best = asked["answers"][:1]
            self.questions.labels(model, str(bool(best)).lower()).inc()
            for answer in best:
                self._judge(model, "answer", answer["score"])

    def _judge(self, model: str, kind: str, confidence: float) -> None:
        self.confidence.labels(model, kind).observe(confidence)
        if confidence < self.threshold:
            self.doubtful.labels(model, kind).inc()

    def shown(self) -> bytes:
        """RETURNS (bytes): In Prometheus' text format; of several processes their sum."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
