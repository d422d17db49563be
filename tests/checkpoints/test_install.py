"""Putting models in place: whole or not at all, from archives that may be hostile."""

import errno
import functools
import hashlib
import http.server
import io
import json
import tarfile
import threading

import pytest

from fourd_humans import checkpoints
from fourd_humans.checkpoints import store
from fourd_humans.checkpoints.catalogue import ENTRIES, Download, Entry
from fourd_humans.checkpoints.install import install
from fourd_humans.errors import FourDHumansError, UsageError
from fourd_humans.files.archives import unpack

WEIGHTS = b"weights" * 1000


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FOURD_HUMANS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def site(tmp_path):
    """A folder and the address at which it is served."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def make_entry(site, monkeypatch):
    """An entry of the catalogue made of an archive with two members and a loose file."""
    folder, url = site

    def make_entry(sha256=None):
        downloads = (
            Download(f"{url}/data.tar.gz", ("deep/inside/model.ckpt", "config.yaml"), sha256),
            Download(f"{url}/mean.npy"),
        )
        entry = Entry("test", "a test", "model.ckpt", downloads, 0.1, "MIT", "nowhere")
        monkeypatch.setitem(ENTRIES, "test", entry)
        return entry

    write_archive(folder / "data.tar.gz")
    (folder / "mean.npy").write_bytes(b"mean")
    return make_entry


def write_archive(path, extra=()):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in (("deep/inside/model.ckpt", WEIGHTS), ("config.yaml", b"a: 1"), ("other", b"unwanted")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info in extra:
            tar.addfile(info, io.BytesIO(b"x" * info.size))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_installs_and_records(home, make_entry):
    entry = make_entry()
    folder = install(entry)
    assert checkpoints.find("test") == folder / "model.ckpt"
    assert (folder / "model.ckpt").read_bytes() == WEIGHTS
    assert names(folder) == ["config.yaml", "installed.json", "mean.npy", "model.ckpt"]
    recorded = json.loads((folder / "installed.json").read_text())
    assert recorded["files"]["model.ckpt"] == {"bytes": len(WEIGHTS), "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    assert recorded["downloads"]["mean.npy"]["from"] == entry.downloads[1].url
    assert names(home / "models") == ["test"]
    assert not names(home / "downloads")


def test_verifies(make_entry):
    entry = make_entry()
    folder = install(entry)
    assert store.problems("test") == []
    (folder / "model.ckpt").write_bytes(WEIGHTS[:-1] + b"?")
    (folder / "mean.npy").write_bytes(b"short")
    (folder / "config.yaml").unlink()
    found = "; ".join(store.problems("test"))
    assert "config.yaml is missing" in found
    assert "mean.npy has 5 bytes, not 4" in found
    assert "model.ckpt has changed" in found
    (folder / "installed.json").write_text("{")
    assert "no readable installed.json" in store.problems("test")[0]


def test_takes_what_has_the_right_checksum(site, make_entry):
    right = hashlib.sha256((site[0] / "data.tar.gz").read_bytes()).hexdigest()
    install(make_entry(right))


def test_refuses_and_deletes_what_has_a_wrong_checksum(home, make_entry):
    with pytest.raises(FourDHumansError, match=r"data\.tar\.gz has not the checksum.*deleted.*--mirror"):
        install(make_entry("0" * 64))
    assert not list(home.rglob("*.gz"))
    assert not checkpoints.installed("test")


def test_a_failed_installation_leaves_the_old_one_and_keeps_what_has_come(site, home, make_entry):
    entry = make_entry()
    install(entry)
    (site[0] / "mean.npy").unlink()
    write_archive(site[0] / "data.tar.gz")
    with pytest.raises(FourDHumansError, match="404"):
        install(entry)
    assert checkpoints.installed("test")
    assert names(home / "models") == ["test"]
    assert names(home / "downloads" / "test") == ["data.tar.gz"]
    (site[0] / "mean.npy").write_bytes(b"new mean")
    (site[0] / "data.tar.gz").unlink()  # not asked for again
    folder = install(entry)
    assert (folder / "mean.npy").read_bytes() == b"new mean"


def test_from_a_mirror(site, make_entry, monkeypatch):
    entry = make_entry()
    elsewhere = [Download(f"http://127.0.0.1:9/gone/{d.name}", d.members) for d in entry.downloads]
    gone = Entry("test", "", "model.ckpt", tuple(elsewhere), None, "", "")
    folder = install(gone, mirror=f"{site[1]}/")
    assert json.loads((folder / "installed.json").read_text())["downloads"]["mean.npy"]["from"] == f"{site[1]}/mean.npy"


def test_from_a_folder_with_the_downloads(site, make_entry, home):
    install(make_entry(), local=site[0])
    assert checkpoints.installed("test")
    assert names(site[0]) == ["data.tar.gz", "mean.npy"]


def test_from_a_folder_with_what_they_unpack_to(tmp_path, make_entry):
    cache = tmp_path / "cache"
    (cache / "deep" / "inside").mkdir(parents=True)
    (cache / "deep" / "inside" / "model.ckpt").write_bytes(WEIGHTS)
    (cache / "config.yaml").write_text("a: 1")
    (cache / "weights").mkdir()
    (cache / "weights" / "mean.npy").write_bytes(b"mean")
    folder = install(make_entry(), local=cache)
    assert (folder / "model.ckpt").read_bytes() == WEIGHTS
    assert store.problems("test") == []


def test_from_a_folder_that_lacks_something(tmp_path, make_entry):
    few = tmp_path / "few"
    few.mkdir()
    (few / "config.yaml").write_text("a: 1")
    with pytest.raises(UsageError, match=r"no data\.tar\.gz in .* no deep/inside/model\.ckpt$"):
        install(make_entry(), local=few)
    with pytest.raises(UsageError, match="not a folder"):
        install(make_entry(), local=tmp_path / "nowhere")


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def outside(name):
    info = tarfile.TarInfo(name)
    info.size = 1
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        outside("../escaped"),
        outside("/tmp/escaped"),
        outside("deep/../../escaped"),
        link("escape", "/etc", tarfile.SYMTYPE),
        link("escape", "../../etc", tarfile.SYMTYPE),
        link("escape", "../../etc/passwd", tarfile.LNKTYPE),
        link("device", "", tarfile.CHRTYPE),
    ],
    ids=lambda info: f"{info.name} {info.linkname}",
)
def test_refuses_archives_that_point_outside(tmp_path, home, make_entry, site, hostile):
    write_archive(site[0] / "data.tar.gz", [hostile])
    with pytest.raises(FourDHumansError, match=r"data\.tar\.gz is refused") as caught:
        install(make_entry())
    assert "\n" not in str(caught.value)
    assert not checkpoints.installed("test")
    assert names(home / "models") == []
    assert not list(tmp_path.rglob("escape*"))


def test_a_member_that_is_a_link_is_missing(tmp_path):
    with tarfile.open(tmp_path / "links.tar", "w") as tar:
        tar.addfile(link("model.ckpt", "elsewhere", tarfile.SYMTYPE))
    with pytest.raises(FourDHumansError, match=r"does not hold model\.ckpt"):
        unpack(tmp_path / "links.tar", ("model.ckpt",), tmp_path)


def test_refuses_damaged_archives(site, make_entry):
    archive = site[0] / "data.tar.gz"
    whole = archive.read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive", b""):
        archive.write_bytes(content)
        with pytest.raises(FourDHumansError, match=r"data\.tar\.gz (is damaged|does not hold)"):
            install(make_entry())
    archive.write_bytes(whole)
    install(make_entry())  # the damaged one is not used again


def test_a_full_disk_costs_no_download(site, home, make_entry, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tarfile.TarFile, "extractfile", full)
        with pytest.raises(OSError, match="No space left"):
            install(make_entry())
    assert names(home / "downloads" / "test") == ["data.tar.gz", "mean.npy"]
    assert names(home / "models") == []
    install(make_entry())


def test_the_catalogue_is_consistent():
    for name, entry in ENTRIES.items():
        assert entry.name == name
        assert entry.main in [file for download in entry.downloads for file in download.stored]
        assert all(download.url.startswith("https://") for download in entry.downloads)
        assert entry.licence
        assert entry.source
