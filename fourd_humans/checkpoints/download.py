"""Fetches files over HTTP: goes on where an earlier attempt stopped, and tells how far it is."""

from __future__ import annotations

import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path

from fourd_humans import __version__
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.budget import one_line

Progress = Callable[[int, int | None], None]  # bytes so far, and altogether if the server says
ATTEMPTS = 4  # without a single byte of progress between them
TIMEOUT = 60.0  # seconds without a byte
BLOCK = 2**20


def fetch(url: str, destination: Path, progress: Progress = lambda done, total: None, wait: float = 2.0) -> None:
    """Download `url` to `destination`, which appears only when it is complete.

    What has come so far is kept beside it as ``.part`` and used by the next attempt, if the server confirms that the
    file is still the same. wait: seconds before trying again after a broken connection.
    Raises: UsageError for an address that is not http(s); FourDHumansError if the server refuses, the connection keeps
    breaking or the disk is too small.
    """
    _check_address(url)
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    failures, furthest = 0, _size(part)
    while True:
        before = _size(part)
        try:
            _go_on(url, part, progress)
            break
        except urllib.error.HTTPError as error:
            if error.code != 416 or not before:
                raise _refused(url, f"{error.code} {one_line(error.reason)}") from error
            part.unlink()  # it is not a part of what is there now
            reason: object = f"{error.code} {error.reason}"
        except (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
        except ValueError as error:  # a redirection to an address that is none
            raise _refused(url, one_line(error)) from error
        # Only what has never been reached before is progress: a server may cut the file at the same place for ever.
        failures = 0 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures == ATTEMPTS:
            raise _refused(url, one_line(str(reason)) if str(reason) else type(reason).__name__)
        time.sleep(wait * failures)
    part.replace(destination)
    _notes(part).unlink(missing_ok=True)


def _check_address(url: str) -> None:
    """Raises: UsageError for what is no web address."""
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        url.encode("ascii")
        parts.netloc.encode("idna")
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise UsageError(f"'{one_line(url)}' is not a http(s) address; for files on this machine use --from FOLDER")


def _go_on(url: str, part: Path, progress: Progress) -> None:
    """One attempt. Raises ConnectionError if it ends early."""
    have, validator = _size(part), _validator_of(part, url)
    request = urllib.request.Request(url, headers={"User-Agent": f"4dhumans/{__version__}"})
    if have and validator:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        continues = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        done = have if continues else 0
        if response.headers.get_content_type() == "text/html":
            raise _refused(url, "the server sends a web page instead of the file")
        length = response.headers.get("Content-Length")
        if length is not None and not (length.strip().isdecimal() and len(length) < 16):
            raise _refused(url, f"the server gives the length '{one_line(length, 20)}'")
        total = None if length is None else done + int(length)
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - done > free:
            raise FourDHumansError(
                f"{url} needs {(total - done) / 1e9:.1f} GB and {part.parent} has {free / 1e9:.1f} GB free; "
                "set FOURD_HUMANS_HOME to a folder on a larger disk"
            )
        _notes(part).write_text(json.dumps({"url": url, "validator": _validator(response.headers)}), encoding="utf-8")
        with part.open("ab" if continues else "wb") as file:
            progress(done, total)
            while block := response.read(BLOCK):
                file.write(block)
                done += len(block)
                progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _validator(headers: Message) -> str | None:
    """What the server can tell by whether its file is still the same; weak ETags do not promise the same bytes."""
    tag = headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def _validator_of(part: Path, url: str) -> str | None:
    try:
        notes = json.loads(_notes(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return notes.get("validator") if notes.get("url") == url else None


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _refused(url: str, reason: str) -> FourDHumansError:
    return FourDHumansError(
        f"{url}: {reason}; try again later, give an address with --mirror URL, or files you have with --from FOLDER"
    )
