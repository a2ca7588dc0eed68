"""A tiny pipeline with entities and categories, and a service of it in a process of its own."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.language import Language
from spacy.training import Example

from ..conftest import SENTENCES, listener

# Skips what needs the extra `serve`, here and in the modules beside.
pytest.importorskip("fastapi", reason="needs the extra 'serve'")
pytest.importorskip("prometheus_client", reason="needs the extra 'serve'")


def head(architecture: str, **settings: Any) -> dict[str, Any]:
    """A component's config."""
    model = {"@architectures": f"spacy-jbert.{architecture}.v1", "tok2vec": listener()}
    return {"model": model | settings}


NER = ("ner", "jbert_ner", head("TokenClassifier"))
TEXTCAT = ("textcat", "textcat", head("PooledTextCat", exclusive_classes=True))


def with_categories(examples: list[Example]) -> list[Example]:
    """Each text is about 旅 or 食, in turns."""
    for number, eg in enumerate(examples):
        eg.reference.cats = {"旅": float(number % 2), "食": float(number % 2 == 0)}
    return examples


@pytest.fixture
def served(make_nlp: Callable[..., Language], ner_examples: Callable) -> Language:
    """An encoder, entities that nothing was learned about, categories, and rules: 客 and a number
    is a PERSON, so that every text has an answer of its own.
    """

    nlp = make_nlp([NER, TEXTCAT], lambda nlp: with_categories(ner_examples(nlp)))
    pattern = [{"TEXT": "客"}, {"TEXT": {"REGEX": "^[0-9]+$"}}]
    ruler: Any = nlp.add_pipe("entity_ruler", config={"overwrite_ents": True})
    ruler.add_patterns([{"label": "PERSON", "pattern": pattern}])
    return nlp


class Client:
    """One connection to a service."""

    def __init__(self, port: int) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def post(self, address: str, body: Any, **headers: str) -> tuple[int, Any]:
        self.connection.request(
            "POST", address, json.dumps(body), {"Content-Type": "application/json", **headers}
        )
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


class Service:
    """A service in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "log.jsonl"
        self.errors = folder / "errors.txt"
        with self.log.open("w") as log, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spacy", "jbert", "serve", *options, "--port", "0"],
                stdout=log,
                stderr=errors,
                env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
            )
        self.port = self._wait(lambda: self._said("Serving on http://127.0.0.1:"))
        self._wait(self._ready)

    def _said(self, what: str) -> int | None:
        said = self.errors.read_text()
        return int(said.split(what)[1].split()[0]) if what in said else None

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _wait(self, there: Callable[[], Any]) -> Any:
        until = time.monotonic() + 240
        while not (found := there()):
            assert self.process.poll() is None, self.errors.read_text()
            assert time.monotonic() < until, self.errors.read_text()
            time.sleep(0.1)
        return found

    def get(self, address: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{address}", timeout=60) as answer:
            body: bytes = answer.read()
            return body

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            # A process that is just starting holds its parent up.
            self.process.wait(240)


@pytest.fixture
def serve(served: Language, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts a service of the tiny pipeline, under the name tiny."""
    served.to_disk(tmp_path / "tiny")
    started: list[Service] = []

    def start(*options: str) -> Service:
        started.append(Service(tmp_path, str(tmp_path / "tiny"), *options))
        return started[-1]

    yield start
    for service in started:
        service.stop()


# --- Annotation in bulk


@pytest.fixture(scope="module")
def ruler(tmp_path_factory: pytest.TempPathFactory) -> str:
    nlp = spacy.blank("xx")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "GPE", "pattern": "東京"}])  # type: ignore[attr-defined]
    nlp.add_pipe("sentencizer")
    folder = tmp_path_factory.mktemp("ruler") / "model"
    nlp.to_disk(folder)
    return str(folder)


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    checkpoint: Callable[[str], Path],
    ner_examples: Callable,
) -> str:
    """Entities from an encoder: what floats could change."""
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    nlp.add_pipe("jbert_transformer", name="transformer")
    nlp.add_pipe("jbert_ner", name="ner", config={"model": {"tok2vec": listener()}})
    loader = {"@misc": "spacy-jbert.HFEncoder.v1", "name": str(checkpoint("bert-fast"))}
    nlp.config["initialize"]["components"]["transformer"] = {"encoder": loader}
    nlp.initialize(lambda: ner_examples(nlp))
    output = nlp.get_pipe("ner").model.get_ref("output_layer")  # type: ignore[attr-defined]
    output.set_param(
        "W", np.random.default_rng(0).normal(size=output.get_param("W").shape).astype("f")
    )
    folder = tmp_path_factory.mktemp("encoder") / "model"
    nlp.to_disk(folder)
    return str(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def records(path: Path, count: int) -> Path:
    """Records in a stream with broken ones."""
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            text = SENTENCES[i % len(SENTENCES)] * (1 + i % 3)
            file.write(json.dumps({"n": i, "text": text}, ensure_ascii=False) + "\n")
            if i % 50 == 7:
                file.write("{\n")
    return path
