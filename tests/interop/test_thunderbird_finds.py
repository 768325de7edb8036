"""Thunderbird is given an address and a password, and nothing else.

Its own modules do what its window for new accounts does: find, verify, create. Names lead to this
machine through a SOCKS proxy, and the authority of the test is trusted.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from net.listen import Endpoint
from tests.authority import Authority
from tests.interop.marionette import Marionette
from tests.interop.socks import socks
from tests.kit import CONFIG, PASSWORD, Live, live_server
from tests.shapes import message
from tests.waiting import free_port, until

Needs = Callable[[str], str]
ANN = "ann@example.test"
HOST, AUTOCONFIG = "mail.example.test", "autoconfig.example.test"

SET_UP = """
const [address, password] = given;
const folder = "resource:///modules/accountcreation";
const { FindConfig } = ChromeUtils.importESModule(`${folder}/FindConfig.sys.mjs`);
const { AccountConfig } = ChromeUtils.importESModule(`${folder}/AccountConfig.sys.mjs`);
const { ConfigVerifier } = ChromeUtils.importESModule(`${folder}/ConfigVerifier.sys.mjs`);
const { CreateInBackend } = ChromeUtils.importESModule(`${folder}/CreateInBackend.sys.mjs`);
const signal = new AbortController().signal;
const found = await FindConfig.parallelAutoDiscovery("example.test", address, signal).next();
const config = found.value;
if (!config) { return null; }
const named = AccountConfig.replaceVariables(config, "Ann", address, password) || config;
named.rememberPassword = true;
const verified = await new ConfigVerifier(null, signal).verifyConfig(named, false);
await CreateInBackend.createAccountInBackend(verified);
const { incoming, outgoing } = verified;
return {
  source: config.source,
  incoming: [incoming.type, incoming.hostname, incoming.port, incoming.username],
  leave: [incoming.leaveMessagesOnServer, incoming.daysToLeaveMessagesOnServer],
  outgoing: [outgoing.type, outgoing.hostname, outgoing.port],
};
"""

FETCH = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const server = MailServices.accounts.defaultAccount.incomingServer;
const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
const ended = await new Promise(resolve => {
  MailServices.pop3.GetNewMail(null, {
    OnStartRunningUrl() {},
    OnStopRunningUrl(_url, status) { resolve(status); },
  }, inbox, server.QueryInterface(Ci.nsIPop3IncomingServer));
});
return [ended, inbox.getTotalMessages(false), inbox.filePath.path];
"""

SEND = """
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const identity = MailServices.accounts.defaultAccount.defaultIdentity;
const fields = Cc["@mozilla.org/messengercompose/composefields;1"]
  .createInstance(Ci.nsIMsgCompFields);
fields.from = identity.email;
fields.to = "bob@example.net";
fields.subject = "from here";
identity.doFcc = false;
const send = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
send.createAndSendMessage(
  null, identity, "", fields, false, false, Ci.nsIMsgCompDeliverMode.Now, null,
  "text/plain", "text\\r\\n", null, null, null, "", "", Ci.nsIMsgCompType.New
).catch(() => {});
"""


@contextmanager
def serving(folder: Path, authority: Authority) -> Iterator[Live]:
    cert_file, key_file = authority.issue(HOST, AUTOCONFIG)
    text = CONFIG.format(smtp=0, pop3=0, http=0).replace(
        "[api]\n", '[api]\nlisten = ["127.0.0.1:0"]\n'
    )
    pair = f'cert_file = "{cert_file}"\nkey_file = "{key_file}"\n'
    (folder / "config.toml").write_text(f'{text}[tls]\nmode = "files"\n{pair}')
    with live_server(folder) as live:
        live.add_user("ann", ANN)
        yield live


def profile(folder: Path, authority: Authority, *, proxy: int, marionette: int) -> Path:
    """Nothing but whom to trust, and by which way to go."""
    made = folder / "profile"
    made.mkdir()
    database = f"sql:{made}"
    subprocess.run(["certutil", "-N", "-d", database, "--empty-password"], check=True)
    trust = ["-n", "test", "-t", "CT,,", "-i", str(authority.ca_file)]
    subprocess.run(["certutil", "-A", "-d", database, *trust], check=True)
    preferences: dict[str, object] = {
        "network.proxy.type": 1,
        "network.proxy.socks": "127.0.0.1",
        "network.proxy.socks_port": proxy,
        "network.proxy.socks_version": 5,
        "network.proxy.socks_remote_dns": True,
        "marionette.port": marionette,
        "mail.provider.suppress_dialog_on_startup": True,
        "mailnews.start_page.enabled": False,
        "app.update.enabled": False,
        "datareporting.policy.dataSubmissionEnabled": False,
    }
    lines = (
        f"user_pref({json.dumps(key)}, {json.dumps(preferences[key])});" for key in preferences
    )
    (made / "user.js").write_text("\n".join(lines))
    return made


@contextmanager
def thunderbird(program: str, made: Path, port: int) -> Iterator[Marionette]:
    options = ("--headless", "--no-remote", "--marionette", "--remote-allow-system-access")
    running = subprocess.Popen(
        [program, *options, "--profile", made],
        env={"HOME": str(made.parent), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    sessions: list[Marionette] = []

    def answers() -> bool:
        with suppress(OSError):
            sessions.append(Marionette(port))
        return bool(sessions)

    try:
        until(answers, "thunderbird can be told what to do")
        with sessions[0] as session:
            yield session
    finally:
        os.killpg(running.pid, signal.SIGTERM)  # a group of its own, with all its processes
        running.wait(60)


def test_an_address_is_enough(tmp_path: Path, needs: Needs) -> None:
    program = needs("thunderbird")
    needs("certutil")
    authority = Authority(tmp_path)
    with serving(tmp_path, authority) as live:
        https, refuser = live.https, live.refuser
        assert https
        assert refuser
        for number in range(3):
            live.send(message(number, big=3000), ANN)
        places: dict[tuple[str, int], Endpoint] = {
            (AUTOCONFIG, 443): https,
            (HOST, live.pop3.port): live.pop3,
            (HOST, refuser.port): refuser,
        }
        port = free_port()
        with socks(places) as proxy:
            made = profile(tmp_path, authority, proxy=proxy, marionette=port)
            with thunderbird(program, made, port) as session:
                assert session.run(SET_UP, ANN, PASSWORD) == {
                    "source": "xml",
                    "incoming": ["pop3", HOST, live.pop3.port, ANN],
                    "leave": [True, 3650],
                    "outgoing": ["smtp", HOST, refuser.port],
                }
                status, count, inbox = session.run(FETCH)
                assert (status, count) == (0, 3)
                stored = Path(inbox).read_bytes().replace(b"\r\n", b"\n")
                for octets in live.fetch(ANN).values():
                    assert octets.replace(b"\r\n", b"\n") in stored
                session.run(SEND)
                told: list[str] = []

                def shown() -> bool:
                    told.extend(filter(None, [session.alert()]))
                    return bool(told)

                until(shown, "a dialog")
        assert "This account only receives mail; pick another outgoing server" in told[0]
        assert len(live.fetch(ANN)) == 3
