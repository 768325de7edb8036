"""Messages of mixed shape, as senders really make them. Canonical: what is sent is what is kept."""

import base64
import random

_TEXT = (
    b"Dear all,\r\n\r\nthe minutes of the last meeting are attached. Please read them before\r\n"
    b"Thursday, and tell me what is missing.\r\n\r\nYours,\r\nBob\r\n"
)


def message(number: int, *, big: int = 5 * 1024 * 1024) -> bytes:
    """The number-th of an endless mixed series; every hundredth carries an attachment of `big`."""
    chance = random.Random(number)
    head = (
        f"From: Bob <bob@example.net>\r\nTo: Ann <ann@example.test>\r\n"
        f"Subject: Mixed shapes, number {number}\r\n"
        f"Date: Mon, 23 Nov 2026 09:00:00 +0000\r\n"
        f"Message-ID: <shape-{number}@example.net>\r\nMIME-Version: 1.0\r\n"
    ).encode()
    plain = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    if number % 100 == 7:
        return head + _attachment(chance.randbytes(big))
    match number % 8:
        case 0:
            return head + plain + _TEXT
        case 1:  # 8-bit text, and octets that are no text at all
            octets = bytes(octet for octet in chance.randbytes(4000) if octet not in b"\r\n\0")
            return head + plain + "Grüße aus Köln\r\n".encode() + octets + b"\r\n"
        case 2:  # lines that begin with dots, and a lone dot
            return head + plain + b".\r\n..\r\n.hidden\r\nmiddle\r\n...\r\n.\r\n"
        case 3:  # lines above 998 octets (RFC 5322 section 2.1.1), as real mail has them
            # Not above 8,000: fetchmail breaks those itself (docs/quirks.md).
            return head + plain + b"x" * chance.randrange(999, 8000) + b"\r\n" + _TEXT
        case 4:  # no body at all
            return head + plain
        case 5:  # many lines, some empty
            return head + plain + b"\r\n".join([b"", b"line"] * 3000) + b"\r\n"
        case 6:  # a folded subject and a long list of receivers in the header
            copies = b",\r\n ".join(b"person%d@example.net" % n for n in range(200))
            return head + b"Cc: " + copies + b"\r\n" + plain + _TEXT
        case _:
            return head + plain + _TEXT * chance.randrange(1, 400)


def _attachment(octets: bytes) -> bytes:
    encoded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    return (
        b'Content-Type: multipart/mixed; boundary="edge"\r\n\r\n'
        b"--edge\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n"
        b"--edge\r\nContent-Type: application/octet-stream\r\n"
        b'Content-Disposition: attachment; filename="data.bin"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded + b"--edge--\r\n"
    )
