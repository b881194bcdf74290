"""A chat completions server for tests. It counts what it is asked, and can misbehave."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-a-very-secret-key"


@dataclass
class Reply:
    """What is sent instead of a good answer.

    Attributes:
        status: the HTTP status.
        body: the body.
        headers: more headers.
        delay: seconds before it is sent.
    """

    status: int = 200
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Server:
    """What the server does, and what was asked of it.

    Attributes:
        faults: replies to the next requests, in order; then answers are good.
        always: the reply to every request, if set.
        check: the answer to checks.
        usage: whether tokens are counted in replies.
        asked: the bodies of all requests.
        most: the most requests under way at one moment.
        slow: seconds that each answer takes.
    """

    faults: deque[Reply] = field(default_factory=deque)
    always: Reply | None = None
    check: str = "No."
    usage: bool = True
    asked: list[dict[str, Any]] = field(default_factory=list)
    most: int = 0
    slow: float = 0.0
    url: str = ""
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def texts(self) -> int:
        """How many texts were asked for, in good and bad requests."""
        return sum(not is_check(body) for body in self.asked)

    def good(self, body: dict[str, Any]) -> str:
        """An answer that depends on the request alone."""
        text = self.check if is_check(body) else f"Text {digest(body)}."
        return completion(text, usage=(20, 10) if self.usage else None)


def is_check(body: dict[str, Any]) -> bool:
    return "yes or no" in body["messages"][-1]["content"]


def digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([body["messages"], body.get("seed")]).encode()).hexdigest()[:8]


def completion(text: str | None, finish: str = "stop", usage: tuple[int, int] | None = (20, 10)) -> str:
    """The body of a chat completion."""
    reply: dict[str, Any] = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
    }
    if usage is not None:
        reply["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return json.dumps(reply)


def handler_of(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.asked.append(body)
                server.now += 1
                server.most = max(server.most, server.now)
                fault = server.always or (server.faults.popleft() if server.faults else None)
            if self.path != "/v1/chat/completions":
                fault = Reply(404, '{"error": {"message": "no such page"}}')
            elif self.headers["Authorization"] != f"Bearer {KEY}":
                sent = self.headers["Authorization"].removeprefix("Bearer ")
                fault = Reply(401, json.dumps({"error": {"message": f"Incorrect API key provided: {sent}"}}))
            reply = fault or Reply(body=server.good(body), delay=server.slow)
            time.sleep(reply.delay)
            with server.lock:
                server.now -= 1
            self.send_response(reply.status)
            for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body.encode())))
            self.end_headers()
            self.wfile.write(reply.body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is no news."""


@contextmanager
def serving(**what: Any) -> Iterator[Server]:
    server = Server(**what)
    with _Quiet(("127.0.0.1", 0), handler_of(server)) as listening:
        server.url = f"http://127.0.0.1:{listening.server_address[1]}/v1"
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
