"""The engine's contract with its driver, and its replies wherever the network cuts the octets."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.errors import BadCredentials, MessageDamaged, StorageBusy, TooMany
from pop3d import replies
from pop3d.commands import TABLE
from pop3d.engine import (
    BURST_OCTETS,
    Action,
    Close,
    Commit,
    Login,
    Send,
    SendListing,
    SendMessage,
    Session,
    StartTls,
    State,
)
from tests.dialog import SECRET, USER, EngineTalk, Stored, listed, maildrop

SIGN_IN = f"USER {USER}\r\nPASS {SECRET}\r\n".encode()


def said(actions: list[Action]) -> bytes:
    return b"".join(action.data for action in actions if isinstance(action, Send))


def signed_in(messages: list[Stored]) -> Session:
    session = Session(TABLE)
    session.receive(SIGN_IN)
    session.logged_in(listed(messages), sum(message.size for message in messages))
    return session


def test_a_login_is_asked_for_once_and_stops_everything_behind_it() -> None:
    session = Session(TABLE)
    *replies, login = session.receive(SIGN_IN + b"STAT\r\n")
    assert said(replies).count(b"\r\n") == 1
    assert login == Login(USER, SECRET)
    assert not session.wants_input
    assert session.receive(b"NOOP\r\n") == []
    answers = session.logged_in(listed(maildrop([10, 20])), 30)
    assert said(answers).split(b"\r\n")[1] == b"+OK 2 30"
    assert said(answers).count(b"\r\n") == 3
    assert session.wants_input


def test_a_secret_is_not_shown_where_an_action_is() -> None:
    assert SECRET not in repr(Login(USER, SECRET))


def test_the_challenge_of_plain_is_empty() -> None:
    # RFC 5034 section 4: "+" and a space, then the challenge
    assert Session(TABLE).receive(b"AUTH PLAIN\r\n") == [Send(b"+ \r\n")]


def test_a_temporary_refusal_of_a_login_says_so_and_when() -> None:
    session = Session(TABLE)
    session.receive(SIGN_IN)
    answer = said(session.login_refused(TooMany("slow down", retry_after_s=7)))
    assert answer.startswith(b"-ERR [SYS/TEMP] ")
    assert b" 7 " in answer


def test_the_third_refused_login_is_the_last() -> None:
    session = Session(TABLE)
    for _ in range(2):
        session.receive(SIGN_IN)
        assert session.login_refused(BadCredentials("no"))[-1] != Close("logins")
    session.receive(SIGN_IN + b"CAPA\r\n")
    answer, close = session.login_refused(StorageBusy("busy"))
    assert said([answer]).startswith(b"-ERR [SYS/TEMP] ")
    assert close == Close("logins")
    assert not session.wants_input
    assert session.receive(SIGN_IN) == []


def test_a_message_is_sent_by_the_driver_and_holds_up_what_is_behind_it() -> None:
    messages = maildrop([10, 20])
    session = signed_in(messages)
    actions = session.receive(b"RETR 2\r\nTOP 1 3\r\nNOOP\r\n")
    assert actions == [SendMessage(b"+OK 20 octets\r\n", messages[1].uid, 20, None)]
    first = replies.TOP_FOLLOWS["en"]
    assert session.sent() == [SendMessage(first, messages[0].uid, 10, 3)]
    assert not session.wants_input
    assert said(session.sent()).startswith(b"+OK")
    assert session.wants_input


def test_a_message_that_cannot_be_opened_is_refused_and_the_session_goes_on() -> None:
    session = signed_in(maildrop([10]))
    # RFC 1939 section 3 leaves it open how often; our own faults do not use up the client's budget
    for _ in range(30):
        session.receive(b"RETR 1\r\n")
        answer = session.message_failed(MessageDamaged("damaged"))
        assert said(answer).startswith(b"-ERR [SYS/TEMP] ")
        assert session.wants_input


def test_quit_is_answered_after_the_commit_only() -> None:
    # RFC 1939 section 6: the messages are removed, then the reply is sent
    messages = maildrop([10, 20, 30])
    session = signed_in(messages)
    actions = session.receive(b"DELE 3\r\nDELE 1\r\nQUIT\r\nNOOP\r\n")
    assert said(actions).count(b"+OK") == 2
    assert actions[-1] == Commit((messages[0].uid, messages[2].uid))
    answer, close = session.committed()
    assert said([answer]).startswith(b"+OK")
    assert close == Close("quit")


def test_a_failed_commit_is_told_and_closes() -> None:
    # RFC 1939 section 6: an error status, and the connection is closed all the same
    session = signed_in(maildrop([10]))
    session.receive(b"DELE 1\r\nQUIT\r\n")
    answer, close = session.commit_failed()
    assert said([answer]).startswith(b"-ERR [SYS/TEMP] ")
    assert isinstance(close, Close)


def test_replies_to_a_flood_wait_until_the_client_reads_them() -> None:
    session = signed_in(maildrop([10]))
    flood = b"NOOP\r\n" * 20_000
    answers = [said(session.receive(flood))]
    while not session.wants_input:
        answers.append(said(session.sent()))
    assert all(len(answer) < BURST_OCTETS + 100 for answer in answers)
    assert b"".join(answers).count(b"+OK") == 20_000


def test_a_large_listing_comes_in_blocks_and_holds_up_what_is_behind_it() -> None:
    # A session holds a block of it at a time, whatever the maildrop
    messages = maildrop([10] * 10_000)
    session = signed_in(messages)
    session.receive(b"DELE 1000\r\nDELE 9999\r\n")
    [listing] = session.receive(b"LIST\r\nNOOP\r\n")
    assert isinstance(listing, SendListing)
    blocks = list(listing.blocks)
    assert max(map(len, blocks)) < 64 * 1024
    first, *lines = b"".join(blocks).splitlines()
    assert first.startswith(b"+OK")
    left = [number for number in range(1, 10_001) if number not in (1000, 9999)]
    assert lines == [*(b"%d 10" % number for number in left), b"."]
    assert said(session.sent()).startswith(b"+OK")
    [uids] = session.receive(b"UIDL\r\n")
    assert isinstance(uids, SendListing)
    assert b"".join(uids.blocks).endswith(f"\r\n10000 {messages[-1].uid}\r\n.\r\n".encode())


@pytest.mark.parametrize("count", [999, 1000, 1001, 2000, 2001])
def test_a_listing_is_whole_at_the_edges_of_its_blocks(count: int) -> None:
    talk = EngineTalk(maildrop([10] * count), piece=None)
    talk.send(SIGN_IN + b"LIST\r\n")
    assert talk.said.splitlines()[3:] == [*(b"%d 10" % n for n in range(1, count + 1)), b"."]


def test_stls_with_anything_behind_it_is_refused_and_ends_the_session() -> None:
    # RFC 2595 section 4: what came in clear must not be taken for what TLS protects
    session = Session(TABLE, State.CLEARTEXT)
    refusal, close = session.receive(b"STLS\r\nU")
    assert said([refusal]).startswith(b"-ERR")
    assert close == Close("stls")


def test_stls_ends_the_session_of_the_engine() -> None:
    session = Session(TABLE, State.CLEARTEXT)
    reply, start = session.receive(b"STLS\r\n")
    assert said([reply]).startswith(b"+OK")
    assert start == StartTls()
    assert not session.wants_input
    assert session.receive(SIGN_IN) == []


def test_a_unique_id_is_what_the_rfc_allows() -> None:
    # RFC 1939 section 7: one to 70 characters in the range 0x21 to 0x7E
    session = signed_in(maildrop([10]))
    uid = said(session.receive(b"UIDL 1\r\n")).split()[2]
    assert 1 <= len(uid) <= 70
    assert all(0x21 <= octet <= 0x7E for octet in uid)


def test_a_report_that_is_not_owed_is_a_mistake_of_the_driver() -> None:
    session = Session(TABLE)
    for report in (session.sent, session.committed, session.commit_failed):
        with pytest.raises(RuntimeError):
            report()
    session.receive(SIGN_IN)
    with pytest.raises(RuntimeError):
        session.message_failed(MessageDamaged("damaged"))
    with pytest.raises(RuntimeError):
        session.sent()


# Lines that lead into every state, and pieces of which look-alikes arise.
LINES = [
    SIGN_IN,
    *(
        line.encode() + b"\r\n"
        for line in (
            f"USER {USER}",
            "PASS wrong",
            "AUTH PLAIN",
            "AUTH PLAIN =",
            "AUTH LOGIN",
            "AUTH",
            "LANG",
            "LANG de",
            "UTF8",
            "STLS",
            "AGFubkBleGFtcGxlLm9yZwBjb3JyZWN0IGhvcnNl",
            "*",
            "CAPA",
            "STAT",
            "LIST",
            "LIST 2",
            "UIDL",
            "UIDL 1",
            "RETR 1",
            "RETR 9",
            "TOP 3 1",
            "DELE 1",
            "DELE 2",
            "RSET",
            "NOOP",
            "QUIT",
            "",
            "N" * 253,
            "N" * 254,
            "A" * 4094,
            "A" * 4095,
        )
    ),
]
SCRAPS = [b"\r", b"\n", b"\r\n", b"\0", b" ", b"1", b"PASS ", b"retr ", b"\xff", b"=", b"{"]
WIRES = st.lists(st.one_of(st.sampled_from(LINES), st.sampled_from(SCRAPS), st.binary()))


def transcript(pieces: list[bytes], *, stls: bool = False) -> tuple[bytes, bool, list[Stored]]:
    """All that the server said, whether it closed, and what is left in the maildrop."""
    messages = maildrop([10, 41, 300])
    talk = EngineTalk(messages, piece=None, stls=stls)
    for piece in pieces:
        if piece and not talk.in_handshake:
            talk.send(piece)
    return talk.said, talk.closed, messages


@given(WIRES.map(b"".join), st.lists(st.integers(min_value=0), max_size=20))
def test_replies_do_not_depend_on_how_the_octets_are_cut(wire: bytes, places: list[int]) -> None:
    edges = [0, *sorted(place % (len(wire) + 1) for place in places), len(wire)]
    cut = [wire[start:stop] for start, stop in pairwise(edges)]
    assert transcript(cut) == transcript([wire])


@given(WIRES.map(b"".join))
def test_nobody_signs_in_before_tls_whatever_is_sent(wire: bytes) -> None:
    said_, _, messages = transcript([SIGN_IN, wire], stls=True)
    assert replies.LOGGED_IN["en"] not in said_
    assert replies.LOGGED_IN["de"] not in said_
    assert len(messages) == 3


@given(WIRES.map(b"".join))
def test_a_signed_in_client_gets_a_status_for_every_line_whatever_it_sends(wire: bytes) -> None:
    said_, closed, messages = transcript([SIGN_IN, wire])
    assert said_.startswith(b"+OK")
    assert said_.endswith(b"\r\n")
    assert closed or len(messages) == 3


@given(st.binary(max_size=600))
def test_no_octets_raise(wire: bytes) -> None:
    transcript([wire])
    transcript([SIGN_IN, wire])
    transcript([b"AUTH PLAIN\r\n", wire])
    transcript([b"AUTH LOGIN\r\n", wire])
    transcript([wire], stls=True)


MANY = listed(maildrop([120 + number % 7 for number in range(2500)]))


def listing(session: Session, command: str) -> bytes:
    """What the client reads; DELE of what is deleted already is refused."""
    octets = b""
    for action in session.receive(f"{command}\r\n".encode()):
        octets += b"".join(action.blocks) if isinstance(action, SendListing) else said([action])
    if not session.wants_input:
        octets += said(session.sent())
    return octets


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.one_of(
                st.sampled_from(["LIST", "UIDL", "RSET"]),
                st.integers(1, len(MANY)).map(lambda number: f"DELE {number}"),
            ),
        ),
        max_size=12,
    )
)
def test_sessions_of_one_snapshot_list_it_each_without_its_own_deletions(
    commands: list[tuple[int, str]],
) -> None:
    # RFC 1939 section 5: messages marked as deleted are not listed
    sessions = [Session(TABLE), Session(TABLE)]
    gone: list[set[int]] = [set(), set()]
    for session in sessions:
        session.receive(SIGN_IN)
        session.logged_in(MANY, MANY.octets)
    for who, command in [*commands, (0, "LIST"), (1, "LIST"), (0, "UIDL"), (1, "UIDL")]:
        octets = listing(sessions[who], command)
        verb, _, number = command.partition(" ")
        if verb == "DELE":
            gone[who].add(int(number))
        elif verb == "RSET":
            gone[who].clear()
        else:
            lines = [
                f"{n} {entry.size if verb == 'LIST' else entry.uid}"
                for n, entry in enumerate(MANY, 1)
                if n not in gone[who]
            ]
            assert octets.decode().split("\r\n")[1:] == [*lines, ".", ""]
