"""A hub of a few repositories on this machine, for the real client: what it answers over HTTP, and nothing else."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def hub(repositories: dict[str, Path], gated: str, commits: dict[str, str]) -> Iterator[str]:
    """Serve folders as repositories, each at the commit that `commits` says now; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, body: bool) -> None:
            name, _, rest = self.path.lstrip("/").partition("/resolve/")
            path = repositories[name] / rest.partition("/")[2] if name in repositories else None
            gone = path is not None and rest.partition("/")[0] not in ("main", commits[name])
            if path is None or gone or not path.is_file():
                error = "GatedRepo" if name == gated else "EntryNotFound" if path else "RepoNotFound"
                error = "RevisionNotFound" if gone else error
                self.send_response(403 if name == gated else 404)
                self.send_header("X-Error-Code", error)
                self.send_header("X-Error-Message", error)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = path.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", commits[name])
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
