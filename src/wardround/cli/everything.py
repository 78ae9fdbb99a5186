"""The whole command line in one object, for the documentation and for tests."""

from __future__ import annotations

from wardround.cli.commands import build

app = build()
