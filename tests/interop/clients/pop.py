"""poplib of Python: host port tls|stls user password keep|delete folder"""

import poplib
import ssl
import sys
from pathlib import Path

host, port, tls, user, password, act, folder = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
poplib._MAXLINE = 1024 * 1024  # type: ignore[attr-defined]  # noqa: SLF001 - docs/quirks.md
client: poplib.POP3
if tls == "tls":
    client = poplib.POP3_SSL(host, int(port), context=context, timeout=60)
else:
    client = poplib.POP3(host, int(port), timeout=60)
    client.stls(context)
client.utf8()
client.user(user)
client.pass_(password)
for line in client.uidl()[1]:
    number, uid = line.decode().split()
    octets = b"".join(line + b"\r\n" for line in client.retr(int(number))[1])
    (Path(folder) / uid).write_bytes(octets)
    if act == "delete":
        client.dele(int(number))
client.quit()
