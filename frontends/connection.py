"""Connection: requests and uploads to a service, tried again where the way there breaks off or the service is busy."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scratchcard.words import shortened

TOKEN = "SCRATCHCARD_TOKEN"  # noqa: S105  (the name of a variable)
"""The environment variable that holds the token where none is given."""
TRIES = 8
PIECE = 1 << 20


class Connection:
    """A way to a service.

    Args:
        server, token, timeout: see `Client`.

    Raises:
        ValueError: see `Client`.

    Examples:
        >>> Connection("http://127.0.0.1:8000/", token="").server
        'http://127.0.0.1:8000'
    """

    def __init__(self, server: str, token: str | None = None, timeout: float = 60.0) -> None:
        try:
            import httpx2
        except ImportError as error:
            raise ValueError("a client needs one more package: pip install 'scratchcard[serve]'") from error
        if not re.match(r"https?://[^/\s]", server):
            raise ValueError(f"{server!r} is no address of a service: expected one such as http://127.0.0.1:8000")
        self.server = server.rstrip("/")
        token = os.environ.get(TOKEN) if token is None else token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(base_url=self.server, headers=headers, timeout=timeout)
        self._broken, self._refused = httpx2.TransportError, httpx2.ConnectError

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, address: str, *, patience: float = 0.0, **more: Any) -> Any:
        """The answer to a request.

        Args:
            method, address, more: see `httpx2.Client.request`.
            patience: seconds for which nobody may listen there, as while a service starts again.

        Raises:
            ValueError: it is refused; the service's sentence.
            ConnectionError: the service cannot be reached, or is too busy.
        """
        until, left = time.monotonic() + patience, TRIES
        while True:
            left -= 1
            try:
                answer = self._http.request(method, address, **more)
            except self._broken as error:
                if time.monotonic() > until and (left <= 0 or isinstance(error, self._refused)):
                    raise ConnectionError(f"{self.server} cannot be reached ({error})") from error
                time.sleep(0.2 * min(TRIES - left, TRIES))
                continue
            if answer.status_code in (429, 503) and (left > 0 or time.monotonic() < until):
                time.sleep(float(answer.headers.get("Retry-After", "1")))
                continue
            self._check(answer)
            return answer

    def upload(self, address: str, path: Path, digest: str, *, kept: bool) -> None:
        """Upload a file; what broke off goes on.

        Args:
            address: of the file there.
            path: where it lies here.
            digest: its sha256.
            kept: it need not be sent where there is one at the address already.

        Raises:
            ValueError, ConnectionError: see `call`.
        """
        told = base64.b64encode(bytes.fromhex(digest)).decode()
        headers = {"Repr-Digest": f"sha-256=:{told}:", "Content-Type": "application/octet-stream"}
        size = path.stat().st_size
        for left in reversed(range(TRIES)):
            try:
                has = self._http.head(address, headers=headers)
                if has.status_code == 200 and kept:
                    return
                begin = min(int(has.headers.get("Upload-Offset", "0")), size - 1) if has.status_code == 404 else 0
                length = {"Content-Length": str(size - begin), "Content-Range": f"bytes {begin}-{size - 1}/{size}"}
                sent = self._http.put(address, content=_pieces(path, begin), headers=headers | length)
            except self._broken as error:
                if not left:
                    raise ConnectionError(f"{self.server} broke off the upload again and again ({error})") from error
                time.sleep(0.2 * (TRIES - left))
                continue
            if sent.status_code in (408, 409, 429, 503) and left:
                time.sleep(float(sent.headers.get("Retry-After", "1")))
                continue
            self._check(sent)
            return

    def _check(self, answer: Any) -> None:
        if answer.status_code < 400:
            return
        try:
            said = shortened(str(answer.json()["detail"]), 600)
        except (ValueError, KeyError, TypeError):
            said = f"it answered {answer.status_code}"
        if answer.status_code in (429,) or answer.status_code >= 500:
            raise ConnectionError(f"{self.server}: {said}")
        raise ValueError(f"{self.server}: {said}")


def _pieces(path: Path, begin: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(begin)
        while piece := file.read(PIECE):
            yield piece
