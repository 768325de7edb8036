"""The command line on a stopped and on a running server; errors in three lines."""

import json
from pathlib import Path

import pytest

from server import control
from tests.kit import CONFIG, PASSWORD, pop3_client
from tests.program import restante, running, succeed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(CONFIG.format(smtp=0, pop3=0, http=0))
    return tmp_path


def manage(folder: Path) -> None:
    """Every command for users, domains and addresses, as its owner would go about it."""
    succeed("domain", "add", "Example.ORG", folder=folder)
    made = succeed("user", "add", "ada", "--address", "ada@example.org", folder=folder)
    assert "password  " in made
    succeed("address", "add", "shop@example.org", "ada", folder=folder)
    answer = json.loads(succeed("address", "list", "--user", "ada", "--json", folder=folder))
    found = [(row["address"], row["to"]) for row in answer["addresses"]]
    assert found == [("ada@example.org", ["ada"]), ("shop@example.org", ["ada"])]

    in_use = restante("domain", "rm", "example.org", folder=folder)
    assert in_use.returncode == 4
    assert "example.org still has 2 addresses" in in_use.stderr

    succeed("address", "rm", "shop@example.org", folder=folder)
    assert "ada@example.org" in succeed("address", "list", folder=folder)
    assert "shop@example.org" not in succeed("address", "list", folder=folder)
    shown = succeed("user", "list", folder=folder)
    assert "ada" in shown

    taken = restante("user", "add", "ada", folder=folder)
    assert taken.returncode == 4
    assert "exists already" in taken.stderr

    shown = succeed("user", "show", "ada", folder=folder)
    assert "ada, user" in shown
    assert "ada@example.org" in shown
    for size, octets in (("2G", 2 * 1024**3), ("none", 0), ("default", None)):
        told = json.loads(succeed("user", "quota", "ada", size, "--json", folder=folder))
        assert told["quota"] == octets
    assert "ada is disabled" in succeed("user", "disable", "ada", folder=folder)
    assert "disabled" in succeed("user", "show", "ada", folder=folder)
    assert "ada is open" in succeed("user", "disable", "ada", "--undo", folder=folder)
    succeed("user", "add", "root", "--admin", folder=folder)
    last = restante("user", "disable", "root", folder=folder)
    assert last.returncode == 4
    assert "the last user who may manage" in last.stderr
    succeed("domain", "set", "example.org", "--self-service", folder=folder)
    assert "users make them" in succeed("domain", "show", "example.org", folder=folder)

    asked = restante("user", "rm", "ada", folder=folder)  # no terminal, no --yes
    assert asked.returncode == 2
    assert "ada" in succeed("user", "list", folder=folder)
    succeed("user", "rm", "ada", "--yes", folder=folder)
    assert "ada" not in succeed("user", "list", "--json", folder=folder)
    succeed("user", "add", "ada", folder=folder)  # the name is free again
    succeed("domain", "rm", "example.org", "--force", folder=folder)
    assert json.loads(succeed("domain", "list", "--json", folder=folder)) == {"domains": []}


def route(folder: Path) -> None:
    """Where mail goes: catch-all, separators, an alias, a group, a closed address."""

    def told(*command: str) -> dict[str, object]:
        answer: dict[str, object] = json.loads(succeed(*command, "--json", folder=folder))
        return answer

    for login in ("ada", "bob"):
        control.ask(folder / "data", "user add", {"login": login})
    made = told("domain", "add", "example.org", "--catch-all", "ada", "--plus", "+-")
    assert {"catch_all": "ada", "plus": "+-", "alias_of": None}.items() <= made.items()
    alias = told("domain", "add", "Bücher.example", "--alias-of", "example.org")
    assert alias["name"] == "xn--bcher-kva.example"
    assert alias["alias_of"] == "example.org"
    changed = told("domain", "set", "example.org", "--catch-all", "")
    assert changed == made | {"catch_all": None}
    assert told("domain", "show", "EXAMPLE.org") == changed
    shown = succeed("domain", "list", folder=folder)
    assert "None" not in shown
    assert "xn--bcher-kva.example" in shown

    team = told("address", "add", "team@example.org", "bob", "ada", "--note", "both of us")
    assert team["to"] == ["ada", "bob"]
    assert (team["state"], team["note"]) == ("open", "both of us")
    assert told("address", "close", "Team@example.org") == team | {"state": "closed"}
    listed = succeed("address", "list", "--user", "bob", folder=folder)
    for text in ("team@example.org", "ada, bob", "closed", "both of us"):
        assert text in listed
    assert told("address", "open", "team@example.org") == team

    for command, code, why in (
        (("domain", "set", "example.org", "--plus", "%"), 4, "separators are"),
        (("address", "add", "x@bücher.example", "ada"), 4, "are those of example.org"),
        (("address", "add", "x@example.org"), 2, "Missing argument"),
    ):
        refused = restante(*command, folder=folder)
        assert (refused.returncode, why in refused.stderr) == (code, True), refused.stderr
    gone = told("domain", "rm", "example.org", "--force")
    assert gone == {"name": "example.org", "addresses_removed": 1}


def test_a_stopped_server_is_managed(folder: Path) -> None:
    manage(folder)


def test_a_running_server_is_managed(folder: Path) -> None:
    with running("serve", folder=folder) as server:
        server.listening()
        manage(folder)
        control.ask(folder / "data", "user rm", {"login": "ada"})
        route(folder)


def test_a_new_password_counts_at_once(folder: Path) -> None:
    with running("serve", folder=folder) as server:
        pop3 = server.listening()["pop3"]
        first = json.loads(succeed("user", "add", "ada", "--json", folder=folder))["password"]
        pop3_client(pop3, "ada", first).quit()
        succeed("user", "passwd", "ada", "--password-stdin", folder=folder, answer=PASSWORD)
        pop3_client(pop3, "ada", PASSWORD).quit()
        with pytest.raises(Exception, match="AUTH"):
            pop3_client(pop3, "ada", first)


def test_a_mail_app_has_a_password_of_its_own(folder: Path) -> None:
    succeed("user", "add", "ada", "--password-stdin", folder=folder, answer=PASSWORD)
    with running("serve", folder=folder) as server:
        pop3 = server.listening()["pop3"]
        made = succeed("app-password", "add", "ada", "phone", "--json", folder=folder)
        secret = json.loads(made)["password"]
        again = restante("app-password", "add", "ada", "phone", folder=folder)
        assert again.returncode == 4
        assert "phone already" in again.stderr
        pop3_client(pop3, "ada", secret).quit()
        pop3_client(pop3, "ada", secret.upper().replace("-", "")).quit()
    # A server that starts again, and one that does not run, know it too.
    listed = succeed("app-password", "list", "ada", folder=folder)
    assert "phone" in listed
    assert "127.0.0.1" in listed
    assert secret not in listed
    with running("serve", folder=folder) as server:
        pop3 = server.listening()["pop3"]
        pop3_client(pop3, "ada", secret).quit()
        succeed("app-password", "rm", "ada", "phone", folder=folder)
        with pytest.raises(Exception, match="AUTH"):
            pop3_client(pop3, "ada", secret)
        pop3_client(pop3, "ada", PASSWORD).quit()
    assert restante("app-password", "rm", "ada", "phone", folder=folder).returncode == 4


def test_status_tells_what_runs(folder: Path) -> None:
    stopped = restante("status", folder=folder)
    assert stopped.returncode == 3
    assert "not running" in stopped.stderr
    with running("serve", folder=folder) as server:
        smtp = server.listening()["smtp"]
        answer = json.loads(succeed("status", "--json", folder=folder))
        assert answer["listeners"]["smtp"] == [str(smtp)]
        assert answer["pid"] == server.process.pid
        assert server.end() == 0
    assert restante("status", folder=folder).returncode == 3


def test_three_faults_are_told_at_once(folder: Path) -> None:
    (folder / "config.toml").write_text(
        '[smtp]\nmax_message_mib = "big"\n[pop3]\nlisten = ["mail.example.org:995"]\n'
        "[limits]\nsmpt_total = 10\n"
    )
    for command in ("serve", "status"):
        refused = restante(command, folder=folder)
        assert refused.returncode == 2
        assert "3 faults" in refused.stderr
        assert 'smtp.max_message_mib = "big"' in refused.stderr
        assert "a whole number of MiB from 1 to 1024" in refused.stderr
        assert "pop3.listen" in refused.stderr
        assert "mail.example.org:995" in refused.stderr
        assert "limits.smpt_total" in refused.stderr
        assert "smtp_total" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert restante("config", "check", folder=folder).returncode == 2


def test_quickstart_makes_a_server_that_can_be_managed(tmp_path: Path) -> None:
    made = json.loads(succeed("quickstart", "Ann.Lee@example.org", "--json", folder=tmp_path))
    assert made["login"] == "ann.lee"
    config = Path(made["config"])
    listed = succeed("address", "list", "--config", config, folder=tmp_path)
    assert "Ann.Lee@example.org" in listed
    again = restante("quickstart", "ann@example.org", folder=tmp_path)
    assert again.returncode == 4
    assert "exists" in again.stderr
    assert (config.parent.stat().st_mode & 0o777) == 0o700


def test_config_shows_where_values_come_from(folder: Path) -> None:
    settings = json.loads(succeed("config", "show", "--json", folder=folder))["settings"]
    by_key = {row["key"]: row for row in settings}
    assert by_key["server.hostname"] == {
        "key": "server.hostname",
        "value": "mail.example.test",
        "source": "file",
    }
    assert by_key["pop3.max_listed"]["source"] == "default"
    assert "config.toml: no faults" in succeed("config", "check", folder=folder)


def test_a_second_server_on_the_same_store_is_refused(folder: Path) -> None:
    with running("serve", folder=folder) as server:
        server.listening()
        refused = restante("serve", folder=folder)
        assert refused.returncode == 3
        assert "in use" in refused.stderr


def test_explain_tells_cause_and_cure(folder: Path) -> None:
    told = succeed("explain", "last-admin", folder=folder)
    assert "409 last-admin" in told
    assert "Make another user an administrator first." in told
    answer = json.loads(succeed("explain", "/problems/last-admin", "--json", folder=folder))
    assert (answer["slug"], answer["status"]) == ("last-admin", 409)
    unknown = restante("explain", "lastadmin", folder=folder)
    assert unknown.returncode == 1
    assert "last-admin" in unknown.stderr
