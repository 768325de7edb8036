"""Reading and tidying mail from the command line, on a running and on a stopped server."""

import json
import smtplib
from pathlib import Path
from typing import Any

from tests.program import restante, running, succeed

LETTER = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.net>\r\nTo: ada@example.org\r\n"
    b"Subject: The minutes \x1b[31m\r\nContent-Type: text/html\r\n\r\n"
    b"<p>Dear Ada, <b>read</b> them.</p>\r\n"
)


def told(*command: str, folder: Path) -> Any:
    return json.loads(succeed("mail", *command, "--user", "ada", "--json", folder=folder))


def tidy(folder: Path, uid: str) -> None:
    """Every command, as the owner of the mail would go about it."""
    listed = succeed("mail", "list", "--user", "ada", folder=folder)
    assert "The minutes" in listed
    assert "Jürgen" in listed
    assert "\x1b" not in listed
    [row] = told("list", folder=folder)["items"]
    assert row["id"] == uid
    assert [
        each["id"] for each in told("search", "from:jürgen is:unread", folder=folder)["items"]
    ] == [uid]
    assert told("search", "is:starred", folder=folder)["items"] == []
    shown = succeed("mail", "show", uid, "--user", "ada", folder=folder)
    assert "Dear Ada, read them." in shown
    assert "subject   The minutes" in shown
    assert told("show", uid, folder=folder)["unread"]
    raw = restante("mail", "raw", uid, "--user", "ada", folder=folder)
    assert "Dear Ada, <b>read</b> them." in raw.stdout
    assert raw.stdout.startswith("Return-Path: ")

    bad = restante("mail", "search", "frm:bob", "--user", "ada", folder=folder)
    assert (bad.returncode, 'did you mean "from:"' in bad.stderr) == (4, True)
    unsaid = restante("mail", "list", folder=folder)
    assert (unsaid.returncode, "--user" in unsaid.stderr) == (4, True)
    others = restante("mail", "show", uid, "--user", "bea", folder=folder)
    assert (others.returncode, "no such message" in others.stderr) == (4, True)
    odd = restante("mail", "show", "x", "--user", "ada", folder=folder)
    assert (odd.returncode, "no id" in odd.stderr) == (4, True)

    succeed("mail", "move", "archive", uid, "--user", "ada", folder=folder)
    assert told("list", folder=folder)["items"] == []
    [row] = told("list", "--folder", "archive", folder=folder)["items"]
    succeed("mail", "rm", uid, "--user", "ada", folder=folder)
    assert told("show", uid, folder=folder)["folder"] == "trash"
    succeed("mail", "move", "inbox", uid, "--user", "ada", folder=folder)


def test_mail_is_read_and_tidied(two_users: Path) -> None:
    with running("serve", folder=two_users) as server:
        smtp = server.listening()["smtp"]
        with smtplib.SMTP(smtp.host, smtp.port, timeout=60) as client:
            client.sendmail("j@example.net", ["ada@example.org"], LETTER)
        [row] = told("list", folder=two_users)["items"]
        uid = row["id"]
        while not told("search", "minutes", folder=two_users)["items"]:
            pass  # the index trails
        tidy(two_users, uid)
    assert "The minutes" in succeed("mail", "show", uid, "--user", "ada", folder=two_users)
    assert told("search", "minutes", folder=two_users)["items"]
    succeed("mail", "rm", uid, "--final", "--user", "ada", folder=two_users)
    assert told("list", "--folder", "all", folder=two_users)["items"] == []
    gone = restante("mail", "show", uid, "--user", "ada", folder=two_users)
    assert (gone.returncode, "deleted" in gone.stderr) == (4, True)
