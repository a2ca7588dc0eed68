"""`jbert annotate --ray` and the service on Ray Serve, on a small cluster of this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from spacy.language import Language

from spacy_jbert.serving import ray_workers
from spacy_jbert.serving.app import KEY
from spacy_jbert.serving.bulk import annotate
from spacy_jbert.serving.entries import Entry
from spacy_jbert.serving.provenance import provenance
from spacy_jbert.serving.ray_workers import RayWorkers
from spacy_jbert.serving.workers import Annotated, Job, annotate_batch

from ..conftest import SENTENCES
from .conftest import files, records

ray: Any = pytest.importorskip("ray", reason="needs the extra 'ray'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two nodes with a core each."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=1)
    yield nodes.address
    nodes.shutdown()


def job(model: str, threads: int = 1) -> Job:
    return Job(model, "jsonl", "text", "", threads, -1)


def batches(count: int) -> list[tuple[int, list[Entry]]]:
    return [
        (i, [Entry("in.jsonl", i, {"text": SENTENCES[i % len(SENTENCES)]})]) for i in range(count)
    ]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_bytes_are_those_of_processes(
    cluster: str, tmp_path: Path, model: str, format: Any
) -> None:
    source = records(tmp_path / "a.jsonl", 300)
    for name, options in (("here", {"workers": 1}), ("there", {"workers": 2, "ray": cluster})):
        done = annotate(
            [source], model=model, out=tmp_path / name, format=format, shard_size=70, **options
        )
        assert done.finished
        assert (done.documents, done.rejected) == (300, 6)
    assert not ray.is_initialized()
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_an_actor_that_dies_is_started_again_and_one_that_is_gone_ends_the_run(
    cluster: str, ruler: str
) -> None:
    wanted: list[tuple[int, Annotated]] = [
        (i, annotate_batch(job(ruler), batch)) for i, batch in batches(60)
    ]
    with RayWorkers(job(ruler), 2, cluster, provenance(ruler)) as pool:
        found = []
        for one in pool.annotate(batches(60)):
            found.append(one)
            if len(found) in (5, 30):
                for actor in pool.actors:
                    ray.kill(actor, no_restart=False)
        assert found == wanted
    with RayWorkers(job(ruler), 2, cluster, provenance(ruler)) as pool:
        pool.kinds()
        for actor in pool.actors:
            ray.kill(actor)
        with pytest.raises(ChildProcessError, match=r"\[J457\]"):
            list(pool.annotate(batches(20)))


def test_more_actors_than_there_is_room_for(
    cluster: str, ruler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with RayWorkers(job(ruler), 3, cluster, provenance(ruler)) as pool:
        assert [i for i, _ in pool.annotate(batches(40))] == list(range(40))
    monkeypatch.setattr(ray_workers, "_PATIENCE", 0.5)
    with RayWorkers(job(ruler, threads=5), 1, cluster, provenance(ruler)) as pool:
        pool._wait()
    assert "[JW453]" in caplog.text
    assert "Each takes 5 CPU, 0 GPU; free in the cluster: 2 CPU, 0 GPU" in caplog.text


def test_a_node_that_would_annotate_otherwise(cluster: str, ruler: str) -> None:
    made_by = provenance(ruler)
    made_by["libraries"] = made_by["libraries"] | {"torch": "0.0"}
    with (
        RayWorkers(job(ruler), 1, cluster, made_by) as pool,
        pytest.raises(ValueError, match=r"\[J490\].*torch .* instead of 0\.0"),
    ):
        pool.kinds()


def test_a_node_where_it_is_not_installed(
    cluster: str, ruler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        def __init__(self, *_: Any) -> None:
            raise ModuleNotFoundError("No module named 'spacy_jbert'")

        def kinds(self) -> list[str]:
            return []

    monkeypatch.setattr(ray_workers, "_Actor", Missing)
    with (
        RayWorkers(job(ruler), 1, cluster, provenance(ruler)) as pool,
        pytest.raises(ValueError, match=r"\[J492\].*No module named 'spacy_jbert'"),
    ):
        pool.kinds()


def test_what_the_pipeline_raises_and_a_cluster_that_is_not_there(
    cluster: str, tmp_path: Path, ruler: str
) -> None:
    source = records(tmp_path / "a.jsonl", 3)
    with pytest.raises(ValueError, match=r"\[J489\].*127\.0\.0\.1:1'"):
        annotate([source], model=ruler, out=tmp_path / "a", ray="127.0.0.1:1")
    with pytest.raises(ValueError, match=r"\[J489\]"):
        annotate([source], model=ruler, out=tmp_path / "a", ray="ray://127.0.0.1:1")
    ray.init(address=cluster, log_to_driver=False)
    try:
        with pytest.raises(ValueError, match=r"\[J489\].*connected to .* already"):
            annotate([source], model=ruler, out=tmp_path / "a", ray="local")
        assert not (tmp_path / "a" / "manifest.jsonl").exists()
        assert annotate([source], model=ruler, out=tmp_path / "b", ray="auto").documents == 3
        assert ray.is_initialized()
    finally:
        ray.shutdown()
    (Path(ruler) / "config.cfg").rename(tmp_path / "config.cfg")
    try:
        with pytest.raises(OSError, match=r"\[E053\]"):
            annotate([source], model=ruler, out=tmp_path / "a", ray=cluster)
    finally:
        (tmp_path / "config.cfg").rename(Path(ruler) / "config.cfg")


def test_stopped_and_gone_on_with_without_ray(tmp_path: Path, ruler: str) -> None:
    source, out = records(tmp_path / "a.jsonl", 8_000), tmp_path / "out"
    command = [sys.executable, "-m", "spacy", "jbert", "annotate", str(source), "--model", ruler]
    command += ["--out", str(out), "--shard-size", "200"]
    process = subprocess.Popen(
        [*command, "--ray", "local"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not (out / "part-00000.jsonl").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    shown, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, shown
    assert "[JW452]" in shown
    assert "Traceback" not in shown
    n_shards = len(list(out.glob("part-*.jsonl")))
    assert n_shards < 40
    subprocess.run(command, check=True, capture_output=True)
    straight = tmp_path / "straight"
    annotate([source], model=ruler, out=straight, shard_size=200)
    assert files(out) == files(straight)


# --- The service --------------------------------------------------------------------------------


def test_arguments_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    from spacy_jbert.serving.ray_app import build

    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ValueError, match=r"\[J493\]"):
        build({"models": "m"})
    build({"models": "m", "without_key": True})
    monkeypatch.setenv(KEY, "secret")
    build({"models": "m"})
    for given, message in (
        ({}, "models: "),
        ({"models": "m", "replicas": 2}, "replicas: "),
        ({"models": []}, "models"),
        ({"models": "m", "limits": {"batch": 1}}, "limits"),
        ({"models": "m", "limits": {"requests": 0}}, "limits.requests: "),
        ({"models": "m", "limits": {"seconds": 0}}, "limits.seconds: "),
        ({"models": "m", "threshold": 5}, "threshold: "),
        ({"models": "m", "threads": 0}, "threads: "),
        ({"models": "m", "threads": "many"}, "threads: "),
    ):
        with pytest.raises(ValueError, match=rf"\[J491\].*{message}"):
            build(given)


class OnRay:
    """`serve run` with a config of two replicas, on a cluster that is there: it hasn't the
    environment of this process.
    """

    def __init__(self, cluster: str, folder: Path, port: int, key: str) -> None:
        config = {
            "http_options": {"host": "127.0.0.1", "port": port},
            "proxy_location": "HeadOnly",
            "applications": [
                {
                    "name": "jbert",
                    "route_prefix": "/topics",
                    "runtime_env": {"env_vars": {KEY: key}},
                    "import_path": "spacy_jbert.serving.ray_app:build",
                    "args": {"models": [str(folder)], "limits": {"text": 100}},
                    "deployments": [{"name": "jbert", "num_replicas": 2}],
                }
            ],
        }
        # JSON is YAML.
        (folder.parent / "service.yaml").write_text(json.dumps(config))
        self.address, self.key = f"http://127.0.0.1:{port}/topics", key
        self.log = folder.parent / "serve.txt"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("serve"),
                    "run",
                    str(folder.parent / "service.yaml"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"RAY_ADDRESS": cluster, "RAY_USAGE_STATS_ENABLED": "0"},
            )

    def ask(self, body: Any, key: str | None = None) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{self.address}/v1/tiny/analyze",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "X-API-Key": key or self.key},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def wait(self) -> None:
        until = time.monotonic() + 300
        while True:
            try:
                if self.ask({"text": "あ"})[0] == 200:
                    return
            except (OSError, ValueError):
                pass
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.5)

    def replicas(self) -> list[int]:
        """The processes of this service's replicas."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                named = b"ray::ServeReplica" in (folder / "cmdline").read_bytes()
                environment = (folder / "environ").read_bytes()
            except OSError:
                continue
            if named and f"{KEY}={self.key}".encode() in environment:
                found.append(int(folder.name))
        return found


@pytest.mark.slow
def test_two_replicas_answer_each_text_and_one_may_die(
    cluster: str, served: Language, tmp_path: Path
) -> None:
    served.to_disk(tmp_path / "tiny")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = OnRay(cluster, tmp_path / "tiny", port, f"key-{os.getpid()}-{port}")

    def visit(number: int) -> int:
        text = f"京都から来た客{number}です。"
        status, found = service.ask({"text": text})
        assert status == 200, found
        assert found["characters"] == len(text)
        assert f"客{number}" in [entity["text"] for entity in found["entities"]]
        return 1

    try:
        service.wait()
        with ThreadPoolExecutor(16) as clients:
            assert sum(clients.map(visit, range(200))) == 200
        status, found = service.ask({"text": "あ"}, key="another")
        assert (status, found["error"]["code"]) == (401, "J448")
        for open_to_all in ("/", "/docs", "/health", "/ready"):
            with urllib.request.urlopen(service.address + open_to_all, timeout=60) as answer:
                assert answer.status == 200
        status, found = service.ask({"text": "あ" * 101})
        assert (status, found["error"]["code"]) == (422, "J442")
        first, *_ = replicas = service.replicas()
        assert len(replicas) == 2
        os.kill(first, signal.SIGKILL)
        until = time.monotonic() + 200
        while len(there := set(service.replicas()) - {first}) < 2:
            assert time.monotonic() < until, there
            time.sleep(0.5)
        service.wait()
        assert sum(map(visit, range(200, 240))) == 40
    finally:
        service.process.send_signal(signal.SIGINT)
        service.process.wait(120)
