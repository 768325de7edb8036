"""The words of a document of the search, as SQLite keeps them: compressed."""

from __future__ import annotations

import zlib


def packed(words: str) -> bytes:
    return zlib.compress(words.encode())


def unpacked(words: str | bytes) -> str:
    """Those of documents made before step 2026.7 are text."""
    return words if isinstance(words, str) else zlib.decompress(words).decode()
