"""Files as streams of bytes, decompressed on the way, that never give more than the file's size justifies."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import IO, Any

from fourd_humans.files.budget import Budget

CHUNK = 1 << 17
LZMA_MEMORY = 100 << 20  # a header may ask for 4 GB


class Stream:
    """The contents of an open file, decompressed where it is zlib, gzip, bz2, lzma or xz.

    A damaged or cut-off file gives what can be had of it and then ends. plain: it is not compressed, whatever its
    first bytes are.
    """

    def __init__(self, file: IO[bytes], budget: Budget, plain: bool = False) -> None:
        self._file, self._budget = file, budget
        self._codec = None if plain else _decompressor(file)

    def read(self) -> bytes:
        """The next piece, of at most `CHUNK` bytes; empty at the end. Raises: TooLargeError, OSError."""
        data = self._file.read(CHUNK) if self._codec is None else self._decompressed()
        self._budget.unpack(len(data))
        return data

    def _decompressed(self) -> bytes:
        codec: Any = self._codec
        while not codec.eof:
            if isinstance(codec, _Zlib):
                packed = codec.rest or self._file.read(CHUNK)
            else:
                packed = self._file.read(CHUNK) if codec.needs_input else b""
            try:
                data: bytes = codec.decompress(packed, CHUNK)
            except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError):
                return b""
            if data:
                return data
            if not packed:
                return b""
        return b""


class _Zlib:
    """zlib's or gzip's decompressor with the interface of the other two, but for the input that it leaves."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # either header

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def rest(self) -> bytes:
        return self._inflate.unconsumed_tail

    def decompress(self, data: bytes, length: int) -> bytes:
        return self._inflate.decompress(data, length)


def _decompressor(file: IO[bytes]) -> _Zlib | bz2.BZ2Decompressor | lzma.LZMADecompressor | None:
    magic = file.read(6)
    file.seek(0)
    if magic.startswith((b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")):
        return _Zlib()
    if magic.startswith(b"BZh"):
        return bz2.BZ2Decompressor()
    if magic.startswith((b"\xfd7zXZ", b"\x5d\x00")):
        return lzma.LZMADecompressor(memlimit=LZMA_MEMORY)
    if magic.startswith(b"\x04\x22\x4d\x18"):
        raise ValueError("it is compressed with lz4; write it anew with joblib.dump(..., compress=3)")
    return None
