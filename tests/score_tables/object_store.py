"""An object store for tests: the part of S3's protocol that pyarrow speaks, on this machine, in memory."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class ObjectStore(ThreadingHTTPServer):
    """Objects by `bucket/key`; `puts` lists their names in the order in which they appeared."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.puts: list[str] = []
        self.broken = False

    @property
    def query(self) -> str:
        """What an address needs to lead here."""
        return f"endpoint_override=127.0.0.1:{self.server_port}&scheme=http&region=here&allow_bucket_creation=true"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: ObjectStore

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""

    def _asked(self) -> tuple[str, dict[str, str]]:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return unquote(parts.path).lstrip("/"), query

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            found = _chunks(self.rfile)
        else:
            found = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return _chunks(io.BytesIO(found)) if "aws-chunked" in self.headers.get("Content-Encoding", "") else found

    def _missing(self) -> None:
        self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")

    def do_HEAD(self) -> None:
        """Of an object or a bucket."""
        name, _ = self._asked()
        if self.server.broken:
            self._answer(403)
        elif name in self.server.objects:
            self._answer(200, Content_Length=str(len(self.server.objects[name])), ETag='"1"', **DATE)
        elif "/" not in name.rstrip("/"):
            self._answer(200)
        else:
            self._missing()

    def do_GET(self) -> None:
        """An object, a range of it, or a list."""
        name, query = self._asked()
        bucket = name.rstrip("/")
        if self.server.broken:
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>not for you</Message></Error>")
        elif "list-type" in query:
            self._answer(200, _listed(self.server.objects, bucket, query), Content_Type="application/xml")
        elif name not in self.server.objects:
            self._missing()
        else:
            whole = self.server.objects[name]
            asked = self.headers.get("Range")
            if asked is None:
                self._answer(200, whole, ETag='"1"', **DATE)
                return
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = whole[int(first) : int(last or len(whole)) + 1]
            told = f"bytes {first}-{int(first) + len(part) - 1}/{len(whole)}"
            self._answer(206, part, Content_Range=told, ETag='"1"', **DATE)

    def do_PUT(self) -> None:
        """An object or a part of one."""
        name, query = self._asked()
        body = self._body()
        if "partNumber" in query:
            self.server.parts[query["uploadId"]][int(query["partNumber"])] = body
        elif "/" in name.rstrip("/"):
            self._appears(name, body)
        self._answer(200, ETag=f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"')

    def do_POST(self) -> None:
        """An upload in parts begins or ends; objects are deleted."""
        name, query = self._asked()
        body = self._body()
        if "uploads" in query:
            key = f"upload{len(self.server.parts)}"
            self.server.parts[key] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{key}</UploadId></InitiateMultipartUploadResult>"
        elif "uploadId" in query:
            parts = self.server.parts.pop(query["uploadId"])
            self._appears(name, b"".join(parts[number] for number in sorted(parts)))
            text = "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>"
        else:
            for key in body.decode().split("<Key>")[1:]:
                self.server.objects.pop(f"{name.rstrip('/')}/{key.split('</Key>')[0]}", None)
            text = "<DeleteResult></DeleteResult>"
        self._answer(200, text.encode(), Content_Type="application/xml")

    def do_DELETE(self) -> None:
        """An object."""
        self.server.objects.pop(self._asked()[0], None)
        self._answer(204)

    def _appears(self, name: str, body: bytes) -> None:
        self.server.objects[name] = body
        self.server.puts.append(name)


def _chunks(file: Any) -> bytes:
    found = b""
    while size := int(file.readline().split(b";")[0], 16):
        found += file.read(size)
        file.readline()
    while file.readline().strip():  # trailers, such as a checksum
        pass
    return found


DATE = {"Last_Modified": "Sat, 01 Jan 2022 00:00:00 GMT"}


def _listed(objects: dict[str, bytes], bucket: str, query: dict[str, str]) -> bytes:
    prefix, delimiter, most = query.get("prefix", ""), query.get("delimiter", ""), int(query.get("max-keys", 1000))
    keys = sorted(name.partition("/")[2] for name in objects if name.startswith(f"{bucket}/"))
    contents, folders = list[str](), list[str]()
    for key in keys:
        if not key.startswith(prefix):
            continue
        below = key[len(prefix) :]
        if delimiter and delimiter in below:
            folder = prefix + below.split(delimiter)[0] + delimiter
            folders += [] if folder in folders else [folder]
        else:
            size = len(objects[f"{bucket}/{key}"])
            contents.append(
                f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size><ETag>1</ETag>"
                "<LastModified>2022-01-01T00:00:00.000Z</LastModified></Contents>"
            )
    shared = "".join(f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders)
    count = f"<KeyCount>{len(contents[:most]) + len(folders)}</KeyCount><IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{count}{''.join(contents[:most])}{shared}</ListBucketResult>".encode()


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A store that answers as long as the block lasts."""
    server = ObjectStore()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
