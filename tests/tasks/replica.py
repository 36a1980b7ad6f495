"""A hub of one's own: serves a folder over HTTP with the addresses, headers and refusals of the Hugging Face hub.

`root/owner/name/...` is a dataset repository; the hub's real client talks to it through HF_ENDPOINT.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_replica"  # opens what is gated


class _Hub(BaseHTTPRequestHandler):
    root: ClassVar[Path]
    revisions: ClassVar[set[str]]
    gated: ClassVar[Collection[str]]
    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        del format, args

    def _answer(self, body: bool) -> None:
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.asked.append(f"{self.command} {'/'.join(parts)}")
        if parts[:2] == ["api", "datasets"] and parts[4:5] == ["revision"]:
            repository, revision, path = "/".join(parts[2:4]), "/".join(parts[5:]), None
        elif parts[:2] == ["api", "models"] and parts[4:] == ["auth-check"]:
            repository, revision, path = "/".join(parts[2:4]), "main", ""
        elif parts[:1] == ["datasets"] and parts[3:4] == ["resolve"]:
            repository, (revision, *rest) = "/".join(parts[1:3]), parts[4:]
            path = "/".join(rest)
        else:
            return self._send(404, {}, b"", body)
        folder = self.root / repository
        if not folder.is_dir():
            # The real hub does not tell strangers whether a repository exists.
            return self._send(401, {"X-Error-Code": "RepoNotFound"}, b"", body)
        if revision not in self.revisions:
            return self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"", body)
        headers = {"X-Repo-Commit": revision if len(revision) == 40 else SHA}
        if path is None:
            files = [{"rfilename": p.relative_to(folder).as_posix()} for p in sorted(folder.rglob("*")) if p.is_file()]
            content = json.dumps({"id": repository, "sha": headers["X-Repo-Commit"], "siblings": files}).encode()
            return self._send(200, headers | {"Content-Type": "application/json"}, content, body)
        if (
            f"{repository}/{path}".startswith(tuple(self.gated))
            and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            return self._send(403, {"X-Error-Code": "GatedRepo"}, b"", body)
        if path == "":
            return self._send(200, headers, b"", body)
        if not (folder / path).is_file():
            return self._send(404, headers | {"X-Error-Code": "EntryNotFound"}, b"", body)
        content = (folder / path).read_bytes()
        return self._send(200, headers | {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, content, body)

    def _send(self, status: int, headers: dict[str, str], content: bytes, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def hub(root: Path, revisions: set[str], gated: Collection[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Serve `root` for the length of the block; yield the address for HF_ENDPOINT, and what was asked for so far.

    What begins with one of `gated` (owner/name or owner/name/folder) is given to those with `TOKEN` alone.
    """
    asked: list[str] = []
    handler = type("Hub", (_Hub,), {"root": root, "revisions": revisions | {SHA}, "gated": gated, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
