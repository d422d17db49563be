"""A server for one page and its video, on this machine only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Thread
from typing import IO

from fourd_humans.errors import UsageError
from fourd_humans.viewer.video import BrowserVideo

ADDRESS = "127.0.0.1"
VIDEO_URL = "video"
BLOCK = 2**18  # bytes sent at once
LONGEST_NUMBER = 18  # digits of a position in a file


@contextmanager
def serve(page: str, video: BrowserVideo | None, port: int = 0) -> Iterator[str]:
    """Serve the page at ``/`` and the video at ``/video``, and nothing else, until the block is left; gives the URL.

    port: 0 for any that is free. Only requests that name this server as their host are answered, so that no page from
    elsewhere can read the video by giving its own name this machine's address.

    Raises: UsageError where the port cannot be had.
    """
    handler = partial(_Handler, page.encode(), video)
    try:
        server = ThreadingHTTPServer((ADDRESS, port), handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot serve at {ADDRESS}:{port}: {error}; choose another --port") from error
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{ADDRESS}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds that a silent connection is kept

    def __init__(self, page: bytes, video: BrowserVideo | None, *connection: object) -> None:
        self._page, self._video = page, video
        super().__init__(*connection)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        """Requests are not printed."""

    def _answer(self, with_body: bool) -> None:
        port = self.connection.getsockname()[1]
        if self.headers.get("Host") not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        try:
            if self.path == "/":
                self._send(BytesIO(self._page), len(self._page), "text/html; charset=utf-8", with_body)
            elif self.path == f"/{VIDEO_URL}" and self._video is not None:
                with self._video.path.open("rb") as file:
                    self._send(file, self._video.path.stat().st_size, self._video.type, with_body)
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
        except ConnectionError:  # browsers stop reading a video when it is sought in
            self.close_connection = True
        except OSError:  # the video has gone
            self.send_error(HTTPStatus.NOT_FOUND)

    def _send(self, file: IO[bytes], size: int, type_: str, with_body: bool) -> None:
        """The whole of a file, or the part that the request's Range header names."""
        part = byte_range(self.headers.get("Range", ""), size)
        first, last = part or (0, size - 1)
        if part is not None and first >= size:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT)
        if part is not None:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Type", type_)
        self.send_header("Content-Length", str(last - first + 1))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if not with_body:
            return
        file.seek(first)
        left = last - first + 1
        while left and (block := file.read(min(BLOCK, left))):
            self.wfile.write(block)
            left -= len(block)


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """First and last byte that a Range header asks for of a file of `size` bytes; the first is not below `size` where
    there is no such part.

    None for no range, several, and what is not a valid one: the whole file is sent then (RFC 9110, 14.2).

    >>> byte_range("bytes=0-99", 1000), byte_range("bytes=900-", 1000), byte_range("bytes=-10", 1000)
    ((0, 99), (900, 999), (990, 999))
    """
    digits = rf"([0-9]{{0,{LONGEST_NUMBER}}})"
    match = re.fullmatch(rf"bytes={digits}-{digits}", header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if first == "":
        return size - min(int(last), size), size - 1
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last), size - 1) if last else size - 1
