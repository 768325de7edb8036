"""PROXY headers, versions 1 and 2: octets from the published specification."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net.limits import Peer
from net.proxy import BadHeader, read

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
V4 = bytes.fromhex("C0000201 CB007105 9C40 0019")
V6 = bytes.fromhex("20010DB8000000000000000000000001 20010DB8000000000000000000000002 9C40 0019")


def v2(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2, "big") + block


GOOD = [
    (b"PROXY TCP4 192.0.2.1 203.0.113.5 40000 25\r\n", Peer("192.0.2.1", 40000)),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", Peer("2001:db8::1", 40000)),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", None),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (v2(0x21, 0x11, V4), Peer("192.0.2.1", 40000)),
    (v2(0x21, 0x21, V6), Peer("2001:db8::1", 40000)),
    (v2(0x21, 0x11, V4 + b"\x04\0\x01x"), Peer("192.0.2.1", 40000)),  # a TLV behind
    (v2(0x20, 0x00, b""), None),  # LOCAL
    (v2(0x20, 0x11, V4), None),
    (v2(0x21, 0x00, b"whatever"), None),  # UNSPEC
]
GOOD[2] = (GOOD[2][0], Peer("255.255.255.255", 65535))


@pytest.mark.parametrize(("header", "client"), GOOD)
def test_the_client_is_named(header: bytes, client: Peer | None) -> None:
    assert read(header + b"EHLO x\r\n") == (len(header), client)
    for cut in range(len(header)):
        assert read(header[:cut]) is None


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO mx.example\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 192.0.2.1 203.0.113.5 40000 25\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.5 40000\r\n",
        b"PROXY TCP4 192.0.2.1  203.0.113.5 40000 25\r\n",
        b"PROXY TCP4 192.0.2.256 203.0.113.5 40000 25\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 40000 25\r\n",
        b"PROXY TCP6 192.0.2.1 203.0.113.5 40000 25\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.5 65536 25\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.5 040 25\r\n",
        b"PROXY TCP4 192.0.2.1 203.0.113.5 40000 25 \r\n",
        b"PROXY UNKNOWN \0\r\n",
        b"PROXY UNKNOWN " + b"x" * 100,
        b"PROXY UDP4 192.0.2.1 203.0.113.5 40000 25\r\n",
        v2(0x11, 0x11, V4),  # version 1 of the binary form does not exist
        v2(0x22, 0x11, V4),
        v2(0x21, 0x12, V4),  # UDP
        v2(0x21, 0x31, bytes(216)),  # a Unix socket
        v2(0x21, 0x11, V4[:11]),
        v2(0x21, 0x21, V6[:35]),
        v2(0x21, 0x11, V4 + bytes(600)),
    ],
)
def test_anything_else_is_refused(octets: bytes) -> None:
    with pytest.raises(BadHeader):
        read(octets)


@given(st.binary(max_size=600))
def test_any_octets_are_judged(octets: bytes) -> None:
    for start in (b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21"):
        try:
            found = read(start + octets)
        except BadHeader:
            continue
        assert found is None or found[0] <= len(start + octets)
        assert found is not None or len(start + octets) < 600
