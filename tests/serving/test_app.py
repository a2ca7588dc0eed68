"""What the service answers, limit by limit, in this process."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import spacy
from fastapi.testclient import TestClient
from spacy.cli import app as cli
from spacy.language import Language
from spacy.tokens import Doc
from typer.testing import CliRunner

import spacy_jbert.cli.app  # noqa: F401  (adds its commands to spaCy's)
from spacy_jbert.serving import gate, server
from spacy_jbert.serving.app import build
from spacy_jbert.serving.limits import Limits
from spacy_jbert.serving.pipelines import Pipeline, load
from spacy_jbert.serving.zone import forgetting

from .conftest import head, with_categories


@Language.component("test_service_trouble")
def trouble(doc: Doc) -> Doc:
    if "爆発" in doc.text:
        raise RuntimeError(f"cannot do {doc.text}")
    if "遅い" in doc.text:
        time.sleep(0.5)
    return doc


@pytest.fixture
def nlp() -> Language:
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "GPE", "pattern": "京都"}])
    nlp.add_pipe("test_service_trouble")
    return nlp


@pytest.fixture
def client(nlp: Language) -> Iterator[Callable[..., TestClient]]:
    opened: list[TestClient] = []

    def open_client(limits: Limits | None = None, **settings: Any) -> TestClient:
        app = build([Pipeline("rules", nlp)], limits, **settings)
        opened.append(TestClient(app, raise_server_exceptions=False).__enter__())
        return opened[-1]

    yield open_client
    for one in opened:
        one.__exit__()


def code(answer: Any, status: int) -> str:
    """Every error has one shape."""
    assert answer.status_code == status, answer.text
    (error,) = answer.json().values()
    assert error.keys() == {"code", "message", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    return str(error["code"])


def test_an_answer(client: Callable[..., TestClient]) -> None:
    asked = {"text": "𠮷野さんは京都へ行った。楽しい。", "tokens": True, "pieces": True}
    found = client().post("/v1/rules/analyze", json=asked).json()
    text = asked["text"]
    assert found["characters"] == 16
    assert found["entities"] == [
        {"start": 5, "end": 7, "text": "京都", "label": "GPE", "confidence": None}
    ]
    assert [text[s["start"] : s["end"]] for s in found["sentences"]] == [
        "𠮷野さんは京都へ行った。",
        "楽しい。",
    ]
    assert "".join(token["text"] for token in found["tokens"]) == text
    assert all(text[t["start"] : t["end"]] == t["text"] for t in found["tokens"])
    assert found["pieces"] is None


def test_confidence_categories_and_pieces(served: Language) -> None:
    with TestClient(build([Pipeline("tiny", served)])) as client:
        asked = {"text": "客7は京都へ。", "pieces": True}
        found = client.post("/v1/tiny/analyze", json=asked).json()
        empty = client.post("/v1/tiny/analyze", json={"text": ""}).json()
        (model,) = client.get("/models").json()["models"]
    scores = [category["score"] for category in found["categories"]]
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert [category["chosen"] for category in found["categories"]] == [True, False]
    text = asked["text"]
    assert "".join(text[piece["start"] : piece["end"]] for piece in found["pieces"]) == text
    assert "京" in [piece["piece"] for piece in found["pieces"]]
    assert empty["entities"] == empty["sentences"] == []
    assert not any(category["chosen"] for category in empty["categories"])
    assert model["labels"]["textcat"] == ["旅", "食"]


def test_thresholds_choose_among_categories(
    make_nlp: Callable[..., Language], ner_examples: Callable
) -> None:
    heads = [("several", "textcat_multilabel", head("PooledTextCat", exclusive_classes=False))]
    nlp = make_nlp(heads, lambda nlp: with_categories(ner_examples(nlp)))
    several: Any = nlp.get_pipe("several")
    several.cfg["threshold"] = {"旅": 1.0, "食": 0.0}
    with TestClient(build([Pipeline("tiny", nlp)])) as client:
        found = client.post("/v1/tiny/analyze", json={"text": "京都へ。"}).json()
    assert {one["label"]: one["chosen"] for one in found["categories"]} == {
        "旅": False,
        "食": True,
    }


def test_what_is_not_asked_for_is_not_there(client: Callable[..., TestClient]) -> None:
    found = client().post("/v1/rules/analyze", json={"text": "京都"}).json()
    assert found.keys() == {"characters", "entities", "categories", "sentences"}


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "null",
        '"京都"',
        "{}",
        '{"text": 5}',
        '{"text": null}',
        '{"texts": ["京都"]}',
        '{"text": "京都", "tokens": "yes"}',
        '{"text": "京都", "tokens": 1}',
        '{"text": "京都", "extra": 1}',
        '{"text": "a", "秘密の": 1}',
        '{"text": "\\ud800秘密"}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_malformed_requests(body: str | bytes, client: Callable[..., TestClient]) -> None:
    answer = client().post(
        "/v1/rules/analyze", content=body, headers={"Content-Type": "application/json"}
    )
    assert code(answer, answer.status_code) == "J441"
    assert answer.status_code in (400, 422)
    assert "京都" not in answer.text
    assert "秘密" not in answer.text


def test_limits(client: Callable[..., TestClient]) -> None:
    small = client(Limits(body=2_000, text=10, texts=3))
    analyze, batch = "/v1/rules/analyze", "/v1/rules/batch"
    assert small.post(analyze, json={"text": "あ" * 10}).status_code == 200
    assert code(small.post(analyze, json={"text": "あ" * 11}), 422) == "J442"
    assert code(small.post(batch, json={"texts": ["あ", "あ" * 11]}), 422) == "J442"
    assert small.post(batch, json={"texts": ["あ"] * 3}).status_code == 200
    assert small.post(batch, json={"texts": []}).json() == {"results": []}
    assert code(small.post(batch, json={"texts": ["あ"] * 4}), 422) == "J443"
    narrow = client(Limits(queue=2))
    assert code(narrow.post(batch, json={"texts": ["あ"] * 3}), 422) == "J443"
    assert code(small.post(analyze, json={"text": "あ" * 3_000}), 413) == "J440"
    # Without a Content-Length, the bytes are counted as they come.
    assert code(small.post(analyze, content=(b"x" * 500 for _ in range(5))), 413) == "J440"
    assert code(small.get("/v1/rules/analyze"), 405) == "J441"
    assert code(small.get("/nowhere"), 404) == "J447"
    assert code(small.post("/v1/other/analyze", json={"text": "あ"}), 404) == "J447"
    assert code(small.get("/page/../app.py"), 404) == "J447"
    assert code(small.get("/page/%2e%2e/app.py"), 404) == "J447"


def test_a_full_queue_and_too_many_requests(client: Callable[..., TestClient]) -> None:
    # A queue that all of them fit into: only the number of requests is too great.
    few = client(Limits(batch_size=1, requests=4))
    tight = client(Limits(batch_size=1, queue=2))

    def post(_: int) -> Any:
        return few.post("/v1/rules/analyze", json={"text": "遅い"})

    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(post, range(8)))
    refused = {answer.status_code: answer for answer in answers}
    assert refused.keys() == {200, 503}
    assert code(refused[503], 503) == "J446"
    assert refused[503].headers["retry-after"].isdigit()

    def post_two(_: int) -> Any:
        return tight.post("/v1/rules/batch", json={"texts": ["遅い"] * 2})

    with ThreadPoolExecutor(2) as clients:
        answers = sorted(clients.map(post_two, range(2)), key=lambda answer: answer.status_code)
    assert answers[0].status_code == 200
    assert code(answers[1], 429) == "J444"
    assert int(answers[1].headers["retry-after"]) > 0
    # All is well again.
    assert post(0).status_code == 200
    assert post_two(0).status_code == 200


def test_time(client: Callable[..., TestClient]) -> None:
    hasty = client(Limits(seconds=0.2))
    assert code(hasty.post("/v1/rules/analyze", json={"text": "遅い"}), 504) == "J445"
    time.sleep(0.6)
    assert hasty.post("/v1/rules/analyze", json={"text": "速い"}).status_code == 200


def test_a_text_that_fails_hurts_no_other(
    client: Callable[..., TestClient], caplog: pytest.LogCaptureFixture
) -> None:
    service = client()
    texts = ["京都へ。", "爆発する京都。", "また京都。"]
    answer = service.post("/v1/rules/batch", json={"texts": texts})
    good, bad, other = answer.json()["results"]
    assert answer.status_code == 200
    assert bad["error"]["code"] == "J449"
    assert [len(one["entities"]) for one in (good, other)] == [1, 1]
    assert code(service.post("/v1/rules/analyze", json={"text": "爆発"}), 500) == "J449"
    assert "RuntimeError" in caplog.text
    assert "爆発" not in caplog.text + answer.text
    assert "failed_texts_total" in service.get("/metrics").text


def test_one_failing_among_many_clients(client: Callable[..., TestClient]) -> None:
    service = client(Limits(batch_wait=0.05))

    def post(number: int) -> int:
        text = "爆発" if number % 5 == 0 else "京都"
        return int(service.post("/v1/rules/analyze", json={"text": text}).status_code)

    with ThreadPoolExecutor(20) as clients:
        found = list(clients.map(post, range(40)))
    assert found == [500 if number % 5 == 0 else 200 for number in range(40)]


def test_the_key(client: Callable[..., TestClient]) -> None:
    locked = client(key="ひみつ".encode().hex())
    good = "ひみつ".encode().hex()
    for address in ("/models", "/metrics"):
        assert code(locked.get(address), 401) == "J448"
    # Whoever has no key can't make the service read a body either.
    assert code(locked.post("/v1/rules/analyze", content=b"x" * 5_000_000), 401) == "J448"
    for wrong in (good[:-1], good + "0", good.upper(), "", "Bearer"):
        headers = {"Authorization": f"Bearer {wrong}"}
        assert code(locked.get("/models", headers=headers), 401) == "J448"
    assert locked.get("/models", headers={"Authorization": f"Bearer {good}"}).status_code == 200
    assert locked.get("/models", headers={"X-API-Key": good}).status_code == 200
    for address in ("/", "/health", "/ready", "/docs", "/openapi.json", "/page/page.js"):
        assert locked.get(address).status_code == 200, address


def test_the_key_under_a_prefix(client: Callable[..., TestClient]) -> None:
    """As Ray Serve and reverse proxies mount a service."""
    locked = TestClient(client(key="secret").app, root_path="/topics")
    for address in ("/", "/health", "/docs", "/openapi.json", "/page/page.js"):
        assert locked.get("/topics" + address).status_code == 200, address
    docs = locked.get("/topics/docs").headers["Content-Security-Policy"]
    page = locked.get("/topics/").headers["Content-Security-Policy"]
    assert "unsafe-inline" in docs
    assert "unsafe-inline" not in page
    for address in ("/topics/models", "/topics/metrics", "/models", "/topicshealth"):
        assert code(locked.get(address), 401) == "J448"


@pytest.mark.parametrize("key", ["", " a", "a\n", "鍵"])
def test_keys_that_no_header_holds(key: str, nlp: Language) -> None:
    with pytest.raises(ValueError, match="J437"):
        build([Pipeline("rules", nlp)], key=key)


def test_ids_and_the_log(
    client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(gate.access, "info", lines.append)
    service = client()
    asked = {"text": "京都の秘密"}
    given = service.post("/v1/rules/analyze", json=asked, headers={"X-Request-ID": "my-id.1"})
    assert given.headers["x-request-id"] == "my-id.1"
    forged = service.get("/nowhere?text=秘密", headers={"X-Request-ID": 'x"} {"y'})
    assert len(forged.headers["x-request-id"]) == 32
    first, second = map(json.loads, lines)
    assert (first["model"], first["texts"], first["characters"]) == ("rules", 1, 5)
    assert (first["status"], first["request_id"]) == (200, "my-id.1")
    assert (second["route"], second["status"]) == ("-", 404)
    assert "秘密" not in "".join(lines)


def test_pages_need_no_network_and_run_no_foreign_code(
    client: Callable[..., TestClient],
) -> None:
    service = client()
    for address in ("/", "/docs"):
        answer = service.get(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "http:" not in answer.text + policy
        assert "https:" not in answer.text + policy
        # No code stands in the page, and all that it names is served here.
        assert "<script>" not in answer.text
        for named in re.findall(r'(?:src|href)="([a-z][^:"]*)"', answer.text):
            assert service.get(f"/{named}").status_code == 200, named
    assert "innerHTML" not in service.get("/page/page.js").text


def test_nothing_is_told_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.5)
        monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
        with TestClient(build([])) as service:
            service.post("/v1/rules/analyze", json={"text": 5})
            with pytest.raises(TimeoutError):
                listening.accept()


def test_metrics(client: Callable[..., TestClient]) -> None:
    service = client()
    service.post("/v1/rules/batch", json={"texts": ["京都", "京都へ", "無"]})
    found = service.get("/metrics").text
    for line in (
        'jbert_texts_total{model="rules"} 3.0',
        'jbert_characters_total{model="rules"} 6.0',
        'jbert_entities_total{label="GPE",model="rules"} 2.0',
        'jbert_requests_total{model="rules",route="/v1/{model}/batch",status="200"} 1.0',
        'jbert_batch_texts_sum{model="rules"} 3.0',
    ):
        assert line in found, found


def test_confidence_is_counted(served: Language) -> None:
    with TestClient(build([Pipeline("tiny", served)], threshold=1.0)) as service:
        service.post("/v1/tiny/batch", json={"texts": ["京都", "東京"]})
        found = service.get("/metrics").text
    assert 'jbert_confidence_count{kind="category",model="tiny"} 2.0' in found
    assert 'jbert_below_threshold_total{kind="category",model="tiny"} 2.0' in found


def test_memory_stays_flat(served: Language) -> None:
    """Words that were never seen, and their readings, are forgotten."""
    pipeline = Pipeline("tiny", served)

    def send(numbers: range) -> int:
        texts = [f"客{i}とabc{i}xyzは{i}円。" for i in numbers]
        with TestClient(build([pipeline])) as service:
            for start in range(0, len(texts), 100):
                answer = service.post("/v1/tiny/batch", json={"texts": texts[start : start + 100]})
                assert answer.status_code == 200
        pipeline.forget()
        return len(served.vocab.strings)

    assert send(range(1000, 3000)) == send(range(100))


def test_a_zone_has_readings(nlp: Language) -> None:
    outside = [str(token.morph) for token in nlp("客1357と京都へ行った。")]
    nlp = spacy.blank("ja", config={"nlp": {"tokenizer": {"split_mode": "A"}}})
    for _ in range(2):
        with forgetting(nlp):
            assert [str(token.morph) for token in nlp("客1357と京都へ行った。")] == outside
    assert [str(token.morph) for token in nlp("客1357と京都へ行った。")] == outside


def test_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv(server.KEY, raising=False)
    monkeypatch.setattr(server.uvicorn.Server, "run", lambda *_, **__: None)
    spacy.blank("ja").to_disk(tmp_path / "blank")
    folder = str(tmp_path / "blank")
    assert CliRunner().invoke(cli, ["jbert", "serve", folder, "--port", "0"]).exit_code == 0
    service = server.Service([folder], Limits())
    capsys.readouterr()
    server.run(service, "127.0.0.1", 0)
    assert "JW435" not in capsys.readouterr().err
    server.run(service, "0.0.0.0", 0)
    assert "JW435" in capsys.readouterr().err
    monkeypatch.setenv(server.KEY, "key")
    server.run(service, "0.0.0.0", 0)
    assert "JW435" not in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(cli, ["jbert", "serve", folder, "--port", str(port)])
    assert (done.exit_code, "[J436]" in done.output) == (1, True), done.output
    monkeypatch.setenv(server.KEY, "")
    done = CliRunner().invoke(cli, ["jbert", "serve", folder, "--port", "0"])
    assert (done.exit_code, "[J437]" in done.output) == (1, True), done.output
    done = CliRunner().invoke(cli, ["jbert", "serve", str(tmp_path / "nowhere"), "--port", "0"])
    assert (done.exit_code, "[E050]" in done.output) == (1, True), done.output


def test_names(nlp: Language, tmp_path: Any) -> None:
    nlp.remove_pipe("test_service_trouble")
    nlp.to_disk(tmp_path / "model-best")
    folder = str(tmp_path / "model-best")
    assert [one.name for one in load([folder, f"other={folder}"])] == ["model-best", "other"]
    for models in ([folder, folder], [f"a/b={folder}"], [f"日本={folder}"]):
        with pytest.raises(ValueError, match="J435"):
            load(models)
    odd = tmp_path / "lr=0.1" / "model"
    odd.parent.mkdir()
    nlp.to_disk(odd)
    assert [one.name for one in load([str(odd), f"other={odd}"])] == ["model", "other"]
