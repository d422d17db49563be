"""Downloads from a server on this machine: interrupted, changed, refused."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fourd_humans.checkpoints.download import fetch
from fourd_humans.errors import FourDHumansError, UsageError

CONTENT = bytes(range(256)) * 4096  # a megabyte


class Server(ThreadingHTTPServer):
    """Serves one file at any path; knows Range and If-Range. `cut`: bytes after which connections break, while set."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag, self.cut, self.status, self.ranges = CONTENT, '"one"', [], 200, []
        self.no_ranges, self.length, self.kind, self.redirect = False, None, "application/octet-stream", None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/folder/file.bin"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        start = 0
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if wanted and server.no_ranges:
            self.send_error(416)
            return
        if wanted and self.headers.get("If-Range") == server.etag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        else:
            self.send_response(200)
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", server.length or str(len(server.content) - start))
        self.end_headers()
        end = server.cut.pop(0) if server.cut else len(server.content)
        self.wfile.write(server.content[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def get(server, path, **options):
    reported = []
    fetch(server.url, path, lambda done, total: reported.append((done, total)), wait=0.0, **options)
    return reported


def test_fetches_and_tells_how_far_it_is(server, tmp_path):
    reported = get(server, tmp_path / "new" / "file.bin")
    assert (tmp_path / "new" / "file.bin").read_bytes() == CONTENT
    assert reported[0] == (0, len(CONTENT))
    assert reported[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.bin"]


def test_goes_on_after_broken_connections(server, tmp_path):
    server.cut = [100_000, 400_000]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-", "bytes=400000-"]


def test_goes_on_in_the_next_run(server, tmp_path):
    server.cut = [300_000] + [0] * 4
    with pytest.raises(FourDHumansError, match="try again later"):
        get(server, tmp_path / "file.bin")
    assert not (tmp_path / "file.bin").exists()
    reported = get(server, tmp_path / "file.bin")
    assert reported[0] == (300_000, len(CONTENT))
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_starts_again_where_the_file_has_changed(server, tmp_path):
    server.cut = [300_000] + [0] * 4
    with pytest.raises(FourDHumansError):
        get(server, tmp_path / "file.bin")
    server.content, server.etag = CONTENT[::-1], '"two"'
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT[::-1]


def test_starts_again_where_the_server_cannot_tell(server, tmp_path):
    server.etag, server.cut = None, [300_000]
    get(server, tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.ranges == [None, None]


@pytest.mark.parametrize("status", [403, 404, 503])
def test_says_what_to_do_when_refused(server, tmp_path, status):
    server.status = status
    with pytest.raises(FourDHumansError, match=rf"^http://.*file.bin: {status} .*--mirror.*--from"):
        get(server, tmp_path / "file.bin")
    assert not list(tmp_path.iterdir())


def test_says_so_when_there_is_no_server(tmp_path):
    with pytest.raises(FourDHumansError, match="refused"):
        fetch("http://127.0.0.1:9/file.bin", tmp_path / "file.bin", wait=0.0)


def test_takes_only_web_addresses(tmp_path):
    with pytest.raises(UsageError, match="--from"):
        fetch("file:///etc/passwd", tmp_path / "file.bin")


def test_stops_before_the_disk_is_full(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(FourDHumansError, match="FOURD_HUMANS_HOME"):
        get(server, tmp_path / "file.bin")


def test_a_server_that_always_cuts_and_then_refuses_the_rest_is_given_up(server, tmp_path):
    server.cut, server.no_ranges = [300_000] * 100, True
    with pytest.raises(FourDHumansError, match=r"file\.bin: .*--mirror"):
        get(server, tmp_path / "file.bin")
    assert len(server.ranges) < 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "text/html; charset=utf-8"}, "web page"),
        ({"length": "many"}, "length 'many'"),
        ({"length": "-5"}, "length '-5'"),
        ({"redirect": "file.bin"}, "redirect"),
        ({"redirect": "http://[::1"}, "try again later"),
    ],
)
def test_answers_that_are_no_file_are_refused_in_one_line(server, tmp_path, changes, message):
    for name, value in changes.items():
        setattr(server, name, value)
    with pytest.raises(FourDHumansError, match=message) as caught:
        get(server, tmp_path / "file.bin")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize(
    "address",
    ["http://[broken/x", "http://host:port/x", "http:///x", "http://host/a b", "http://ho\nst/x", "ftp://h/x"],
)
def test_addresses_that_are_none(tmp_path, address):
    with pytest.raises(UsageError, match="is not a http") as caught:
        fetch(address, tmp_path / "file.bin")
    assert "\n" not in str(caught.value)
