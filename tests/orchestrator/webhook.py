"""A webhook that is small but real HTTP: it keeps what it is sent, and can misbehave."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook(ThreadingHTTPServer):
    """`answer`: a status, `never`, or `trickle`: a byte now and then, for ever."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer=200):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.messages, self.requests = answer, [], []
        self.over = threading.Event()

    def url(self, path="/hook/s3cret"):
        return f"http://127.0.0.1:{self.server_port}{path}"

    def wait_for(self, number, timeout_s=120.0):
        until = time.monotonic() + timeout_s
        while len(self.messages) < number and time.monotonic() < until:
            time.sleep(0.02)
        return self.messages


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, self.headers))
        self.server.messages.append(json.loads(content))
        answer = self.server.answer
        if answer == "never":
            self.server.over.wait()
        while answer == "trickle" and not self.server.over.wait(0.05):
            with contextlib.suppress(OSError):
                self.wfile.write(b"H")
        if isinstance(answer, int):
            self.send_response(answer)
            if answer in (301, 302, 307, 308):
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_GET(self):
        self.server.requests.append((self.path, self.headers))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def listening(answer=200):
    """A webhook that listens."""
    webhook = Webhook(answer)
    thread = threading.Thread(target=webhook.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield webhook
    finally:
        webhook.over.set()
        webhook.shutdown()
        webhook.server_close()
        thread.join()
