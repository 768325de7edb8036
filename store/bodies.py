"""Body octets as zstd frames in chunk rows: packed and proved before they are queued.

Frames are read as if a stranger had written them: lengths and the body's SHA-256 decide, not the
frame's own checksum.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

import zstandard

from mail.errors import MessageDamaged

CHUNK_OCTETS = 255 * 1024
LEVEL = 1


@dataclass(frozen=True, slots=True)
class Packed:
    """A body ready to be written. `octets` plain, `stored` compressed."""

    frames: tuple[bytes, ...]
    sha256: bytes
    octets: int
    stored: int


class _Tools(threading.local):
    """Each thread's own: made anew for each body they would take a third of its time."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self.decompressor = zstandard.ZstdDecompressor()


_tools = _Tools()


def pack(content: bytes) -> Packed:
    """Compresses, then unpacks again and compares: what is queued is known to be readable."""
    frames = []
    for start in range(0, len(content), CHUNK_OCTETS):
        block = content[start : start + CHUNK_OCTETS]
        frame = _tools.compressor.compress(block)
        if unpack(frame, len(block)) != block:
            raise MessageDamaged("the message could not be packed")
        frames.append(frame)
    sha256 = hashlib.sha256(content).digest()
    return Packed(tuple(frames), sha256, len(content), sum(map(len, frames)))


def unpack(frame: bytes, octets: int) -> bytes:
    """The plain octets of one frame, which must be exactly `octets`. Raises MessageDamaged."""
    try:
        # One-shot decompression trusts the size that the frame states: look at it first.
        stated = zstandard.get_frame_parameters(frame).content_size
        if stated != octets or octets > CHUNK_OCTETS:
            raise MessageDamaged("a stored message is damaged", stated=stated, expected=octets)
        plain = _tools.decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MessageDamaged("a stored message is damaged", error=str(error)) from error
    if len(plain) != octets:
        raise MessageDamaged("a stored message is damaged", found=len(plain), expected=octets)
    return plain
