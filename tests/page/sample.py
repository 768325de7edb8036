"""A mailbox that looks like somebody's, for the pictures and for tests that need some mail."""

# ruff: noqa: E501 - a letter is read as it was written

import asyncio
import base64
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address as Person
from email.message import EmailMessage

from sqlalchemy import update

from api.call import Sample
from intake.deliver import Arrival, deliver
from intake.recipients import resolve
from mail.address import Address
from mail.ident import UniqueId
from store import schema
from store.changes import Wanted
from store.delivery import SUSPECTED
from store.records import Folder, Proof
from tests.kit import Live

YOU = "you@example.test"


def picture(width: int, height: int, *colors: tuple[int, int, int]) -> bytes:
    """A PNG of stripes."""
    rows = b""
    for y in range(height):
        color = colors[y * len(colors) // height]
        rows += b"\0" + bytes(color) * width

    def chunk(kind: bytes, octets: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + octets))
        return struct.pack(">I", len(octets)) + kind + octets + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


SEA = picture(
    480, 300, (120, 170, 214), (158, 196, 226), (206, 222, 232), (64, 110, 150), (46, 88, 128)
)
FIELD = picture(480, 300, (236, 214, 170), (240, 226, 196), (150, 176, 104), (112, 146, 78))


@dataclass(frozen=True, slots=True)
class Letter:
    sender: str
    address: str
    subject: str
    text: str
    hours: float = 1
    to: str = YOU
    html: str = ""
    pictures: tuple[tuple[str, str, bytes], ...] = ()  # cid or "", name, octets
    unread: bool = False
    starred: bool = False
    folder: Folder = Folder.INBOX
    proof: Proof = Proof.UNCHECKED
    suspected: bool = False

    def content(self, at: datetime) -> bytes:
        message = EmailMessage()
        local, _, domain = self.address.partition("@")
        message["From"] = Person(self.sender, local, domain)
        message["To"] = self.to
        message["Subject"] = self.subject
        message["Date"] = at
        message["Message-ID"] = f"<{at.timestamp()}@{domain}>"
        message.set_content(self.text)
        if self.html:
            message.add_alternative(self.html, subtype="html")
            part = message.get_payload()[1]  # type: ignore[index]
            for cid, name, octets in self.pictures:
                if cid:
                    part.add_related(octets, "image", "png", cid=f"<{cid}>", filename=name)  # type: ignore[union-attr]
        for cid, name, octets in self.pictures:
            if not cid:
                kind = ("application", "pdf") if name.endswith("pdf") else ("image", "png")
                message.add_attachment(octets, *kind, filename=name)
        return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


NEWSLETTER = """\
<html><body><h1>The Harbour Letter</h1>
<p>Good morning. The ferries run to the <b>summer timetable</b> from Monday, and the library opens
its reading garden again.</p>
<p><img src="cid:sea@harbour.example" width="480" alt="The bay in the morning"></p>
<h2>This week</h2>
<ul><li>Tuesday: the fish market moves to the north quay.</li>
<li>Thursday: <a href="https://harbour.example/tides">a talk about tides</a>, at eight, in the old hall.</li>
<li>Saturday: the boats are painted. Bring a brush.</li></ul>
<blockquote>The sea does not reward those who are too anxious, too greedy, or too impatient.</blockquote>
<table bgcolor="#eef3f8" cellpadding="14" width="100%"><tr><td><b>Tide on Sunday</b><br>High at 06:40
and 19:05, low at 12:50.</td></tr></table>
<p>Until next week, <i>Ines</i></p><img src="https://track.example/pixel.png" width="1" height="1"></body></html>
"""

LETTERS = (
    Letter("Ines Duarte", "ines@harbour.example", "The Harbour Letter, 24th week",
           "Good morning. The ferries run to the summer timetable from Monday, and the library opens"
           " its reading garden again.", 0.4, html=NEWSLETTER, proof=Proof.VERIFIED,
           pictures=(("sea@harbour.example", "bay.png", SEA),), unread=True),
    Letter("Fern Bank", "no-reply@fernbank.example", "Your sign-in code is 482913",
           "Somebody, probably you, signs in from Firefox on Linux.\n\nYour code is 482913. It is"
           " good for ten minutes.\n\nIf it was not you, do nothing.\n", 1.1, "bank@example.test",
           unread=True, proof=Proof.FAILED),
    Letter("Tomás Oliveira", "tomas@oliveira.example", "Photos from the weekend",
           "Here are two of them, the rest when I am home. The one of the field is the view from the"
           " tent at six in the morning!\n\nThe route, if you want to walk it too:\n"
           "https://maps.example/route/8842\n\n> Did you take the camera after all?\n> A.\n\nT.\n", 2.5,
           pictures=(("", "sea from the cliff.png", SEA), ("", "morning field.png", FIELD),
                     ("", "route.pdf", b"%PDF-1.4\n" + b"route" * 9000)), unread=True, starred=True),
    Letter("Cobalt Books", "orders@cobaltbooks.example", "Order 20418 is on its way",
           "Two books left our shelf this morning: The Living Mountain, and A Field Guide to Getting"
           " Lost. They should be with you on Thursday.", 5, "shop@example.test"),
    Letter("Ada Byron", "ada@analytical.example", "Re: Notes for the sketch of the engine",
           "I have gone through the third note again. The table is right as it stands, but the"
           " order of the operations should be said in words too.", 9, starred=True),
    Letter("", "reports@ci.example", "build 3121 passed on main",
           "All 1,204 tests passed in 6 min 40 s. Nothing was skipped.", 21),
    Letter("Dr. Nkemelu Okafor", "practice@okafor.example", "Your appointment on Friday at 09:15",
           "We look forward to seeing you. Please bring the letter of your last visit.", 27),
    Letter("Library of Oakhaven", "loans@oakhaven.example", "Three books are due next week",
           "You can renew them once more on our page or by telephone.", 31, "library@example.test"),
    Letter("Ingrid Solberg", "ingrid@solberg.example", "Sunday lunch?",
           "We make the long table in the garden again. Bring nothing, or bread.", 49),
    Letter("Railway", "tickets@railway.example", "Your ticket: Oakhaven to Harbour, 14 June",
           "The ticket is attached. Coach 7, seat 42, by the window.", 75, "travel@example.test",
           pictures=(("", "ticket.pdf", b"%PDF-1.4\n" + b"x" * 30000),)),
    Letter("Grace Murray", "grace@compiler.example", "A bug, found and pressed",
           "I taped it into the log book, as one does.", 99),
    Letter("Oat & Rye", "hello@oatandrye.example", "This week: dark rye, and cardamom buns on Friday",
           "Orders until Wednesday evening.", 120, "bread@example.test"),
    Letter("Water Works", "billing@waterworks.example", "Your statement for the spring",
           "There is nothing to pay: your account has a credit of 12.40.", 168,
           pictures=(("", "statement.pdf", b"%PDF-1.4\n" + b"y" * 64000),)),
    Letter("Mei Tanaka", "mei@tanaka.example", "写真をありがとう", "とても きれいでした。また 会いましょう。", 210),
    Letter("Paper Garden", "news@papergarden.example", "New notebooks have come in",
           "With dotted pages, and with none at all.", 260, "shop@example.test"),
    Letter("Ada Byron", "ada@analytical.example", "Notes for the sketch of the engine",
           "The first draft is done. I would like your eye on the third note.", 290),
    Letter("Fern Bank", "no-reply@fernbank.example", "New terms from July",
           "In short: nothing becomes dearer, and the app asks less.", 380, "bank@example.test",
           folder=Folder.ARCHIVE),
    Letter("Win A Prize", "winner@lucky.example", "You have won!!", "Click here.", 12,
           folder=Folder.TRASH, suspected=True),
)  # fmt: skip


async def send(live: Live, letter: Letter, at: datetime) -> UniqueId:
    """Delivers a letter as if it had come at that moment."""
    arrival = Arrival(
        peer_ip="192.0.2.7",
        helo="mx." + letter.address.partition("@")[2],
        protocol="ESMTP",
        cipher=None,
        sender=Address.parse(letter.address),
        recipients=(await resolve(Address.parse(letter.to), live.store),),
        content=letter.content(at),
    )
    kept = await deliver(arrival, live.store, hostname="mail.example.test", clock=lambda: at)
    return kept.uid


async def fill(live: Live, letters: tuple[Letter, ...] = LETTERS) -> None:
    """All letters, the oldest first, marked and moved as they say."""
    drop = (await live.store.accounts.get("you")).maildrop_id
    now = datetime.now(UTC)
    for letter in sorted(letters, key=lambda each: -each.hours):
        uid = await send(live, letter, now - timedelta(hours=letter.hours))
        folder = None if letter.folder is Folder.INBOX else letter.folder
        wanted = Wanted(unread=letter.unread, starred=letter.starred, folder=folder)
        await live.store.messages.change(drop, uid, wanted)
        if letter.proof or letter.suspected:
            await asyncio.to_thread(_judged, live, letter, uid)


def _judged(live: Live, letter: Letter, uid: UniqueId) -> None:
    """As if it had been checked, which no name server here could do."""
    message = schema.message.c
    with live.store._database.writer.begin() as connection:  # noqa: SLF001 - nobody may change it
        connection.execute(
            update(schema.message)
            .where(message.uid == uid.octets)
            .values(
                proof=letter.proof.value,
                author_domain=letter.address.partition("@")[2],
                traits=message.traits.bitwise_or(SUSPECTED if letter.suspected else 0),
            )
        )


def yesterday(now: datetime) -> list[Sample]:
    """What a server might have measured over a day."""
    kept = (1, 0, 0, 0, 0, 1, 3, 8, 14, 12, 9, 11, 7, 9, 12, 10, 8, 6, 7, 4, 3, 2, 1, 2)
    stored = 180_000_000
    found = []
    for n in range(24 * 12):
        hour = kept[n // 12]
        count = hour // 12 + (n % 12 < hour % 12)
        stored += count * 38_000
        busy = 2 + hour // 3 + n * 7 % 31 // 15
        at = now - timedelta(minutes=5 * (24 * 12 - n))
        found.append(Sample(at, count, stored, busy))
    return found


PIXEL = base64.b64encode(picture(1, 1, (0, 0, 0))).decode()
