"""What is told, once."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_jbert.streams.delivery import (
    Outbox,
    Webhook,
    is_loopback,
    key_of,
    load_state,
    save_state,
)

RECORDS = [{"id": "一"}, {"id": "二"}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alerts.jsonl"


@given(st.integers(0, 40), st.sampled_from(["", '{"id": "零"}\n']))
def test_a_kill_between_any_two_bytes(
    tmp_path_factory: pytest.TempPathFactory, done: int, before: str
) -> None:
    file = tmp_path_factory.mktemp("outbox") / "alerts.jsonl"
    if before:
        file.write_text(before, encoding="utf-8")
    outbox = Outbox.of(file, RECORDS)
    with file.open("ab") as opened:
        opened.write(outbox.text.encode()[:done])
    for _ in range(2):
        outbox.deliver(file)
        assert file.read_text(encoding="utf-8") == before + '{"id": "一"}\n{"id": "二"}\n'


@pytest.mark.parametrize("content", ["", '{"id": "three"}\n' * 3])
def test_another_file_is_refused(file: Path, content: str) -> None:
    file.write_text("first\n", encoding="utf-8")
    outbox = Outbox.of(file, RECORDS)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="J571"):
        outbox.deliver(file)
    assert file.read_text(encoding="utf-8") == content


def test_a_state_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "state.json"
    assert load_state(file, ["a"]) is None
    save_state(file, {"a": "日本"})
    assert load_state(file, ["a"]) == {"a": "日本"}
    for broken in ('{"a": ', "[]", '{"b": 1}', "3"):
        file.write_text(broken, encoding="utf-8")
        with pytest.raises(ValueError, match="J570"):
            load_state(file, ["a"])


class Receiver(BaseHTTPRequestHandler):
    """Answers with the next status."""

    statuses: list[int]
    got: list[tuple[str, dict]]
    paths: list[str]

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        key = self.headers["Idempotency-Key"]
        self.got.append((key, json.loads(self.rfile.read(size))))
        self.paths.append(self.path)
        self.send_response(self.statuses.pop(0) if self.statuses else 204)
        self.send_header("Location", "http://example.com/")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    Receiver.statuses, Receiver.got, Receiver.paths = [], [], []
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_what_is_not_taken_is_sent_again(
    receiver: HTTPServer, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Webhook(f"http://localhost:{receiver.server_port}/alerts?x=1")
    waiting = [dict(record, id=str(n)) for n, record in enumerate(RECORDS)]
    Receiver.statuses = [204, 302]
    hook.deliver(waiting)
    assert [record["id"] for record in waiting] == ["1"]
    assert "JW563" in caplog.text
    hook.deliver(waiting)  # too soon
    assert len(Receiver.got) == 2
    hook.deliver(waiting, now=True)
    assert waiting == []
    assert [key for key, _ in Receiver.got] == ["0", "1", "1"]


def test_nobody_is_there(caplog: pytest.LogCaptureFixture) -> None:
    waiting = [{"id": "1"}]
    Webhook("http://127.0.0.1:9/").deliver(waiting)
    assert waiting == [{"id": "1"}]
    assert "JW563" in caplog.text


def test_other_hosts_only_if_allowed() -> None:
    for url in ("http://example.com/", "http://10.0.0.1/", "ftp://localhost/", "localhost", ""):
        with pytest.raises(ValueError, match="J572"):
            Webhook(url)
    Webhook("https://example.com/", anywhere=True)
    assert is_loopback("127.3.4.5")
    assert is_loopback("::1")
    assert not is_loopback("localhost.example.com")


IDS = ["ミナト-surge-2026-01-05T00:00:00+09:00", "A\nX-Other: 1", " 7203", "é", "A 100%-surge", "~"]


def test_any_id_is_delivered(receiver: HTTPServer) -> None:
    waiting = [{"id": id} for id in IDS]
    Webhook(f"http://localhost:{receiver.server_port}/").deliver(waiting)
    assert waiting == []
    assert [record["id"] for _, record in Receiver.got] == IDS
    keys = [key for key, _ in Receiver.got]
    assert [unquote(key) for key in keys[:4]] == IDS[:4]
    assert keys[4:] == IDS[4:]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_header_can_hold_each_id(id: str) -> None:
    key = key_of(id)
    assert key.isascii()
    assert key == key.strip()
    assert key.isprintable()
    assert key == id or unquote(key) == id


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("/警報", "/%E8%AD%A6%E5%A0%B1"),
        ("/a b?q=日 本", "/a%20b?q=%E6%97%A5%20%E6%9C%AC"),
        ("/a%20b/?q=%E6%97%A5&r=1+2", "/a%20b/?q=%E6%97%A5&r=1+2"),
        ("/\x7f\x00", "/%7F%00"),
        ("", "/"),
    ],
)
def test_addresses_are_encoded(receiver: HTTPServer, written: str, asked: str) -> None:
    waiting = [{"id": "1"}]
    Webhook(f"http://localhost:{receiver.server_port}{written}").deliver(waiting)
    assert waiting == []
    assert Receiver.paths == [asked]


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:99999/",
        "http://localhost:abc/",
        "http://localhost:-1/",
        "http://localhost:0/",
        "http://[::1/",
        "http://[abc]/",
        "http://local host/",
        "http://a..b/",
        f"http://{'a' * 64}.jp/",
        "http://localhost/\udce3",
    ],
)
def test_addresses_that_cant_be_asked(url: str) -> None:
    with pytest.raises(ValueError, match="J572"):
        Webhook(url, anywhere=True)


def test_an_address_without_a_port() -> None:
    for url, port in (("http://[::1]/", 80), ("https://[::1]/", 443), ("http://[::1]:8/", 8)):
        hook = Webhook(url)
        assert (hook._host, hook._port) == ("::1", port)
