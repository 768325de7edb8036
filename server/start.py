"""The command `restante`."""

from __future__ import annotations

import sys


def main() -> None:
    # structlog takes rich where it finds it, for tracebacks in colours that we never show: 3 MiB
    # of every process. None says that there is no such module, while structlog looks for it.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401 - see above

    del sys.modules["rich"]
    from server import cli

    cli.main()
