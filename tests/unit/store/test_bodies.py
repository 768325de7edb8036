"""Packed bodies: what comes out is what went in, or nothing comes out."""

import hashlib
import random
import tracemalloc

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from mail.errors import MessageDamaged
from store.bodies import CHUNK_OCTETS, Packed, pack, unpack

CONTENT = random.Random(1).randbytes(5000) + b"Subject: x\r\n" * 500


def unpacked(packed: Packed) -> bytes:
    sizes = [CHUNK_OCTETS] * (packed.octets // CHUNK_OCTETS)
    if packed.octets % CHUNK_OCTETS:
        sizes.append(packed.octets % CHUNK_OCTETS)
    return b"".join(unpack(*part) for part in zip(packed.frames, sizes, strict=True))


def test_chunks_are_those_of_the_storage_format() -> None:
    assert CHUNK_OCTETS == 255 * 1024


@pytest.mark.parametrize(
    "octets",
    [0, 1, CHUNK_OCTETS - 1, CHUNK_OCTETS, CHUNK_OCTETS + 1, 2 * CHUNK_OCTETS, 1_000_000],
)
@pytest.mark.parametrize("random_octets", [False, True])
def test_bodies_of_every_size_come_back(octets: int, *, random_octets: bool) -> None:
    content = random.Random(octets).randbytes(octets) if random_octets else b"x" * octets
    packed = pack(content)
    assert unpacked(packed) == content
    assert packed.octets == octets
    assert packed.sha256 == hashlib.sha256(content).digest()
    assert packed.stored == sum(map(len, packed.frames))
    assert len(packed.frames) == -(-octets // CHUNK_OCTETS)


@given(st.binary(max_size=300))
@example(b"")
def test_any_octets_come_back(content: bytes) -> None:
    assert unpacked(pack(content)) == content


def test_text_takes_less_room() -> None:
    packed = pack(b"Received: from mx.example.net\r\n" * 10_000)
    assert packed.stored < packed.octets / 20


def frame_of(content: bytes, *, stated: bool = True, checked: bool = True) -> bytes:
    return zstandard.ZstdCompressor(
        level=1, write_content_size=stated, write_checksum=checked
    ).compress(content)


FRAME = frame_of(CONTENT)
BOMB = zstandard.ZstdCompressor(level=1).compress(bytes(64 * 1024 * 1024))


def understated(frame: bytes, octets: int) -> bytes:
    """The frame with another content size in its header (RFC 8878 section 3.1.1.1)."""
    # Frames of 256 to 65,791 octets state their size, less 256, in two octets behind the magic
    # number and the descriptor.
    assert frame[4] >> 6 == 1
    return frame[:5] + (octets - 256).to_bytes(2, "little") + frame[7:]


def test_the_header_is_where_the_tests_look_for_it() -> None:
    assert unpack(understated(FRAME, len(CONTENT)), len(CONTENT)) == CONTENT


@pytest.mark.parametrize(
    ("frame", "octets"),
    [
        (b"", 0),
        (b"", 10),
        (b"plain text", 10),
        (FRAME[:4], len(CONTENT)),
        (FRAME[:20], len(CONTENT)),
        (FRAME[:-1], len(CONTENT)),
        (FRAME, len(CONTENT) - 1),
        (FRAME, len(CONTENT) + 1),
        (FRAME, 0),
        (FRAME + b"x", len(CONTENT)),
        (FRAME + FRAME, len(CONTENT)),
        (FRAME + FRAME, 2 * len(CONTENT)),
        (frame_of(CONTENT, stated=False), len(CONTENT)),
        (understated(FRAME, len(CONTENT) - 1), len(CONTENT) - 1),
        (understated(FRAME, len(CONTENT) + 1), len(CONTENT) + 1),
        (understated(frame_of(CONTENT, checked=False), 300), 300),
        (frame_of(bytes(CHUNK_OCTETS + 1)), CHUNK_OCTETS + 1),
        (BOMB, 64 * 1024 * 1024),
        (BOMB, CHUNK_OCTETS),
        (b"\x50\x2a\x4d\x18\x05\0\0\0hello", 5),  # a skippable frame: no content
        (b"\x50\x2a\x4d\x18\x05\0\0\0hello" + FRAME, len(CONTENT)),
    ],
)
def test_frames_that_are_not_ours(frame: bytes, octets: int) -> None:
    with pytest.raises(MessageDamaged):
        unpack(frame, octets)


def test_a_bomb_takes_no_memory() -> None:
    tracemalloc.start()
    with pytest.raises(MessageDamaged):
        unpack(BOMB, CHUNK_OCTETS)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2 * CHUNK_OCTETS


def test_no_flipped_bit_goes_unnoticed() -> None:
    packed = pack(CONTENT)
    (frame,) = packed.frames
    for bit in random.Random(2).sample(range(len(frame) * 8), 400):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            plain = unpack(bytes(damaged), packed.octets)
        except MessageDamaged:
            continue
        # A frame may hide a flip; then the checksum of the body tells, or the octets are right.
        assert plain == CONTENT or hashlib.sha256(plain).digest() != packed.sha256
