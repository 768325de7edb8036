"""Rights are given up for good once the ports are open."""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from pathlib import Path

from server.trouble import Trouble

# linux/prctl.h, linux/capability.h
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522


def drop(user: str) -> None:
    """Becomes `user`, and can never again become another or gain a right.

    Before any thread begins, because some of it holds for one thread and those that it starts. Root
    without `user`, which serves loopback only, stays root. Raises Trouble.
    """
    if user:
        _become(user)
    if os.geteuid() != 0 and sys.platform == "linux":
        _give_up_capabilities()


def _become(user: str) -> None:
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise Trouble(
            f"There is no account {user} on this machine.",
            "server.user names it.",
            f"Make it: useradd --system --shell /usr/sbin/nologin {user}",
            exit_code=4,
        ) from error
    if os.geteuid() == account.pw_uid != 0:
        return
    if os.geteuid() != 0 or account.pw_uid == 0:
        raise Trouble(
            f"This process cannot become {user}.",
            "Only root can, and root is nobody to become.",
            "Start it as root with another server.user, or as that user itself.",
            exit_code=4,
        )
    os.initgroups(user, account.pw_gid)
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise Trouble(
        "The rights of root could not be given up.",
        f"This process became {user}, and could become root again.",
        "Start it as a user of its own, under systemd or with CAP_NET_BIND_SERVICE.",
        exit_code=4,
    )


def _give_up_capabilities() -> None:
    """CAP_NET_BIND_SERVICE has done its work by now."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = [libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)]
    if _has_capabilities():
        done.append(_clear_capabilities(libc))
    if any(done):
        raise Trouble(
            "Rights of this process could not be given up.",
            os.strerror(ctypes.get_errno()),
            "Start it without any: sockets from systemd, or ports above 1023.",
            exit_code=4,
        )


def _has_capabilities() -> bool:
    """Without them the call that gives them up need not be allowed."""
    fields = (line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return any(int(value, 16) for name, value in fields if name in ("CapInh", "CapPrm", "CapAmb"))


def _clear_capabilities(libc: ctypes.CDLL) -> int:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    none = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, 32 bits twice
    ambient: int = libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    others: int = libc.capset(header, none)
    return ambient or others
