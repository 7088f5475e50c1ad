"""A bucket with a package in it, on a real S3 server on this machine behind a proxy that can break off."""

import hashlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from spotlight.pairs.fetch import RemoteFile, Server

ROOT = "aics/pipeline_integrated_cell"
LATEST = f".quilt/named_packages/{ROOT}/latest"
FIELDS = ("0005b3bf_3500001845_100X_20180323_2-Scene-07-P37-E07", "b+c d", "c", "d")


@dataclass
class Proxy:
    """Hands requests on to the S3 server, and does to answers what networks do to them."""

    address: tuple[str, int]
    cuts: list[int] = field(default_factory=list)  # bytes of the next bodies after which the connection is closed
    slow: float = 0.0  # seconds per 64 KiB
    ignore_range: bool = False
    status: list[int] = field(default_factory=list)  # answers to the next requests
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # path and range of every request

    def serve(self) -> ThreadingHTTPServer:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                proxy.asked.append((self.path, self.headers.get("Range")))
                if proxy.status:
                    self.send_response(proxy.status.pop(0))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                headers = {k: v for k, v in self.headers.items() if not (proxy.ignore_range and k == "Range")}
                onward = http.client.HTTPConnection(*proxy.address)
                onward.request(self.command, self.path, headers=headers)
                answer = onward.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                body = answer.read()
                onward.close()
                end = proxy.cuts.pop(0) if proxy.cuts else len(body)
                for start in range(0, end, 2**16):
                    self.wfile.write(body[start : min(start + 2**16, end)])
                    time.sleep(proxy.slow)
                self.close_connection = end < len(body)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who asked may have been killed
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


@dataclass
class Bucket:
    """A bucket with a package of four fields, on a server of its own."""

    proxy: Proxy
    endpoint: str
    client: Any
    entries: dict[str, dict[str, Any]]

    def server(self, attempts: int = 1) -> Server:
        return Server(self.endpoint, attempts=attempts)

    def put(self, key: str, content: bytes, access: str = "public-read") -> str | None:
        answer = self.client.put_object(Bucket="allencell", Key=key, Body=content, ACL=access)
        version: str | None = answer.get("VersionId")
        return version

    def publish(self) -> None:
        """Write the package's list as it is now."""
        lines = [{"version": "v0", "message": "test"}, {"logical_key": "fovs", "physical_keys": None, "meta": {}}]
        text = "\n".join(map(json.dumps, [*lines, *self.entries.values()]))
        top = hashlib.sha256(text.encode()).hexdigest()
        self.put(f".quilt/packages/{top}", text.encode())
        self.put(LATEST, f"{top}\n".encode())

    def remote(self, name: str) -> RemoteFile:
        entry = self.entries[name]
        key = f"{ROOT}/{name}"
        return RemoteFile("allencell", key, entry["size"], "SHA256", entry["hash"]["value"])

    def fields_asked(self) -> list[tuple[str, str | None]]:
        return [(path, part) for path, part in self.proxy.asked if "/fovs/" in path]
