"""Commands against an edge that a test plays: one thread, the standard library, loopback only."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from actors.cli import main
from actors.cli.exits import Exit
from actors.cli.watch import Frame, frames

RESULT = {"schema_version": "1.0", "task_id": "t-1", "status": "OK", "result": {"summary": "s"}}


class PlayedEdge(ThreadingHTTPServer):
    """Answers what `answers` holds for a method and path, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[tuple[int, str]]] = {}
        self.seen: list[tuple[str, dict[str, str], Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: PlayedEdge

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        what = f"{self.command} {self.path}"
        self.server.seen.append((what, dict(self.headers), json.loads(self.rfile.read(length) or "null")))
        queue = self.server.answers.get(what, [(404, json.dumps({"code": "not_found", "detail": f"no {what}"}))])
        status, body = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = answer  # noqa: N815 - the base class names them

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing."""


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PlayedEdge]:
    monkeypatch.chdir(tmp_path)
    with PlayedEdge() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AION_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AION_API_KEY", "aion_test")
        yield server
        server.shutdown()
        thread.join()


def test_submit_sends_the_task_and_prints_its_result(
    edge: PlayedEdge, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("words")
    edge.answers["POST /v1/tasks"] = [(200, json.dumps(RESULT))]
    arguments = ["submit", "summarize", "--text", "in.txt", "--param", "n:=2", "--param", "style=dry"]
    assert main([*arguments, "--priority", "high", "--timeout", "9", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == RESULT
    ((_, headers, body),) = edge.seen
    assert headers["Authorization"] == "Bearer aion_test"
    assert headers["Prefer"] == "wait=9"
    assert body == {
        "intent": "summarize",
        "params": {"text": "words", "n": 2, "style": "dry"},
        "priority": "high",
        "sla": {"timeout_s": 9.0},
    }


def test_submit_without_waiting_prints_the_acceptance(edge: PlayedEdge, capsys: pytest.CaptureFixture[str]) -> None:
    edge.answers["POST /v1/tasks"] = [(202, '{"task_id": "t-1"}')]
    assert main(["submit", "summarize", "--no-wait", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"task_id": "t-1"}
    assert edge.seen[0][1]["Prefer"] == "respond-async"


def test_submit_reads_the_result_of_a_task_that_the_edge_stopped_waiting_for(edge: PlayedEdge) -> None:
    edge.answers["POST /v1/tasks"] = [(202, '{"task_id": "t-1"}')]
    edge.answers["GET /v1/tasks/t-1"] = [(200, json.dumps(RESULT | {"status": "TIMEOUT"}))]
    assert main(["submit", "summarize", "--json"]) == Exit.TIMEOUT


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "input_invalid", Exit.USAGE),
        (401, "unauthenticated", Exit.DENIED),
        (404, "unknown_intent", Exit.NOT_FOUND),
        (422, "key_reused", Exit.CONFLICT),
        (503, "unavailable", Exit.UNAVAILABLE),
        (500, "internal", Exit.FAILURE),
    ],
)
def test_a_problem_becomes_its_words_and_its_exit_code(
    edge: PlayedEdge, capsys: pytest.CaptureFixture[str], status: int, code: str, exit_code: Exit
) -> None:
    edge.answers["POST /v1/tasks"] = [(status, json.dumps({"code": code, "detail": "because"}))]
    assert main(["submit", "summarize", "--json"]) == exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err)["code"] == code
    assert "because" in said.err


def test_get_and_cancel_address_one_task_whatever_its_id_holds(edge: PlayedEdge) -> None:
    edge.answers["GET /v1/tasks/..%2Fkeys"] = [(200, "{}")]
    edge.answers["POST /v1/tasks/t-1/cancel"] = [(409, '{"code": "already_ended", "detail": "ended"}')]
    assert main(["get", "../keys"]) == Exit.OK
    assert main(["cancel", "t-1"]) == Exit.CONFLICT


def test_watch_prints_events_and_ends_with_the_result(edge: PlayedEdge, capsys: pytest.CaptureFixture[str]) -> None:
    accepted = 'retry: 1\n\nid: 4\nevent: accepted\ndata: {"event":"accepted"}\n\n'
    body = f"{accepted}id: 5\nevent: done\ndata: {json.dumps(RESULT)}\n\n"
    edge.answers["GET /v1/stream/t-1"] = [(200, body)]
    assert main(["watch", "t-1", "--json"]) == Exit.OK
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"event": "accepted"}, RESULT]


def test_watch_resumes_a_lost_stream_where_it_was(edge: PlayedEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.cli.watch.RECONNECT_DELAY_S", 0)
    first = 'id: 4\nevent: accepted\ndata: {"event":"accepted"}\n\n'
    edge.answers["GET /v1/stream/t-1"] = [(200, first), (200, f"id: 5\nevent: done\ndata: {json.dumps(RESULT)}\n\n")]
    assert main(["watch", "t-1"]) == Exit.OK
    assert [headers.get("Last-Event-ID") for _, headers, _ in edge.seen] == [None, "4"]


def test_nobody_at_the_address_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as gone:
        port = gone.server_port
    monkeypatch.setenv("AION_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AION_API_KEY", "k")
    assert main(["get", "t-1"]) == Exit.UNAVAILABLE


def test_no_key_anywhere_is_denied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AION_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["get", "t-1"]) == Exit.DENIED
    (tmp_path / "aion").mkdir()
    (tmp_path / "aion" / "api-key").write_text("k\n")
    monkeypatch.setenv("AION_URL", "ftp://nowhere")
    assert main(["get", "t-1"]) == Exit.USAGE


@pytest.mark.parametrize("pair", ["text", "=x", ":=1", "n:=not json"])
def test_a_parameter_without_key_or_value_is_a_usage_error(pair: str) -> None:
    assert main(["submit", "summarize", "--param", pair]) == Exit.USAGE


def test_an_unfinished_frame_is_dropped_and_data_lines_are_joined() -> None:
    lines = [": hello\n", "\n", "id: 1\n", "data: a\n", "data: b\n", "\n", "data: cut"]
    assert list(frames(lines)) == [Frame("message", "a\nb", "1")]


def test_every_fault_of_a_refused_body_is_shown(edge: PlayedEdge, capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"pointer": "/sla/timeout_s", "detail": "too long"}, {"pointer": "/intent", "detail": "not a name"}]
    problem = {"code": "invalid_request", "detail": "see errors", "errors": errors}
    edge.answers["POST /v1/tasks"] = [(400, json.dumps(problem))]
    assert main(["submit", "summarize"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "/sla/timeout_s: too long" in said
    assert "/intent: not a name" in said
    assert main(["submit", "summarize", "--json"]) == Exit.USAGE
    assert json.loads(capsys.readouterr().err)["problem"] == problem


def test_a_cancel_that_came_too_late_says_how_the_task_ended(
    edge: PlayedEdge, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = {"code": "already_ended", "detail": "has ended", "result": RESULT}
    edge.answers["POST /v1/tasks/t-1/cancel"] = [(409, json.dumps(problem))]
    assert main(["cancel", "t-1"]) == Exit.CONFLICT
    assert "it ended as OK: aionctl get t-1" in capsys.readouterr().err


def test_intents_are_listed_with_who_answers_them(edge: PlayedEdge, capsys: pytest.CaptureFixture[str]) -> None:
    module = {"name": "summarize_text", "version": "1", "description": "Picks sentences.", "input_schema": {}}
    listed = {"intents": [{"intent": "summarize", "engines": ["wasm"], "modules": [module]}]}
    edge.answers["GET /v1/intents"] = [(200, json.dumps(listed))]
    assert main(["intents"]) == Exit.OK
    said = capsys.readouterr().out
    assert all(word in said for word in ("summarize", "wasm", "summarize_text", "Picks sentences."))


def test_the_address_that_up_left_is_used_when_none_is_given(
    edge: PlayedEdge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AION_URL")
    (tmp_path / "var" / "local").mkdir(parents=True)
    (tmp_path / "var" / "local" / "edge-url").write_text(f"http://127.0.0.1:{edge.server_port}")
    edge.answers["GET /v1/tasks/t-1"] = [(200, "{}")]
    assert main(["get", "t-1"]) == Exit.OK


def test_an_edge_with_tls_is_asked_with_the_ca_and_the_certificate_of_the_environment(
    edge: PlayedEdge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, clients = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    clients.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    edge.socket = context.wrap_socket(edge.socket, server_side=True)
    edge.answers["GET /v1/tasks/t-1"] = [(200, "{}")]
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    clients.issue_cert("me").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    monkeypatch.setenv("AION_URL", f"https://127.0.0.1:{edge.server_port}")
    assert main(["get", "t-1"]) == Exit.UNAVAILABLE
    assert "put its CA into AION_CA_FILE" in capsys.readouterr().err
    monkeypatch.setenv("AION_CA_FILE", "ca.pem")
    assert main(["get", "t-1"]) == Exit.UNAVAILABLE
    monkeypatch.setenv("AION_CERT_FILE", "me.pem")
    assert main(["get", "t-1"]) == Exit.OK
    monkeypatch.setenv("AION_CERT_FILE", "nobody.pem")
    assert main(["get", "t-1"]) == Exit.USAGE
    assert "AION_CERT_FILE=nobody.pem" in capsys.readouterr().err
