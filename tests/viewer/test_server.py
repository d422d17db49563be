"""The server gives the page and the video, in parts where asked, to this machine, and nothing else."""

import http.client
import socket
from urllib.parse import urlsplit

import pytest

from fourd_humans.errors import UsageError
from fourd_humans.viewer.server import byte_range, serve
from fourd_humans.viewer.video import BrowserVideo

CONTENT = bytes(range(256)) * 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "walk.mp4").write_bytes(CONTENT)
    (folder / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def ask(folder):
    with serve("<p>é</p>", BrowserVideo(folder / "walk.mp4", "video/mp4", "walk.mp4", 30)) as url:
        address = urlsplit(url)

        def ask(path="/", method="GET", **headers):
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            body = response.read()
            connection.close()
            return response, body

        yield ask


def test_the_page(ask):
    response, body = ask()
    assert (response.status, body.decode()) == (200, "<p>é</p>")
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"


def test_the_whole_video(ask):
    response, body = ask("/video")
    assert (response.status, body) == (200, CONTENT)
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Type"] == "video/mp4"


@pytest.mark.parametrize(
    ("asked", "part", "said"),
    [
        ("bytes=0-0", CONTENT[:1], "bytes 0-0/2560"),
        ("bytes=100-199", CONTENT[100:200], "bytes 100-199/2560"),
        ("bytes=2550-", CONTENT[2550:], "bytes 2550-2559/2560"),
        ("bytes=2550-9999", CONTENT[2550:], "bytes 2550-2559/2560"),
        ("bytes=-5", CONTENT[-5:], "bytes 2555-2559/2560"),
    ],
)
def test_parts_of_the_video(ask, asked, part, said):
    response, body = ask("/video", Range=asked)
    assert (response.status, body, response.headers["Content-Range"]) == (206, part, said)
    head, nothing = ask("/video", method="HEAD", Range=asked)
    assert (head.status, head.headers["Content-Length"], nothing) == (206, str(len(part)), b"")


def test_a_part_that_is_not_there(ask):
    response, body = ask("/video", Range="bytes=2560-")
    assert (response.status, response.headers["Content-Range"], body) == (416, "bytes */2560", b"")


@pytest.mark.parametrize(
    "header",
    ["bytes=5-2", "bytes=-", "bytes=a-b", "lines=0-5", "bytes=0-1,3-4", "bytes=" + "9" * 5000 + "-", "bytes=٣-٤", ""],
)
def test_what_is_no_range_stands_for_the_whole(header):
    assert byte_range(header, 100) is None


def test_the_whole_is_sent_for_what_is_no_range(ask):
    response, body = ask("/video", Range="bytes=5-2")
    assert (response.status, body) == (200, CONTENT)


@pytest.mark.parametrize(
    "path",
    ["/secret.txt", "/../secret.txt", "/video/../secret.txt", "/%2e%2e/secret.txt", "//secret.txt", "/video?x",
     "/walk.mp4", "/.", "secret.txt"],
)  # fmt: skip
def test_nothing_else_is_served(ask, path):
    assert ask(path)[0].status == 404


def test_only_its_own_name_is_answered(ask):
    assert ask(Host="evil.example")[0].status == 403
    assert ask("/video", Host="evil.example:80")[0].status == 403


def test_other_methods_are_refused(ask):
    assert ask(method="POST")[0].status == 501


def test_a_video_that_has_gone_is_not_found(tmp_path):
    with serve("", BrowserVideo(tmp_path / "gone.mp4", "video/mp4", "gone.mp4", 30)) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        connection.request("GET", "/video")
        assert connection.getresponse().status == 404
        connection.close()


def test_only_this_machine_is_listened_to():
    with serve("", None) as url:
        assert urlsplit(url).hostname == "127.0.0.1"


def test_a_port_in_use_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match="choose another --port"), serve("", None, taken.getsockname()[1]):
            pass
