"""One error tree, named by who must react.

    WardroundError
      UsageError            the operator changes a file or a flag
        ConfigError         ... in the experiment or federation file
      DataError             this file or row cannot be read: drop it, count it, go on (or name it and stop)
      ProtocolError
        LocalProtocolError  our own bug: loud
        RemoteProtocolError the peer broke the rules: refuse the peer
          DecodeError       its bytes are not a message
          AuthError         its bytes do not prove who it is
      RoundError            give up this round, try the next

Every class carries a stable ``code`` used in events, exit codes and docs/reference/errors.md.
"""

from __future__ import annotations

from collections.abc import Iterable


class WardroundError(Exception):
    """Root of the tree. ``code`` is stable across versions; ``exit_status`` is what the command line returns."""

    code = "wardround"
    exit_status = 1


class UsageError(WardroundError):
    """The operator must change a file or a flag; the text says which and to what."""

    code = "usage"
    exit_status = 2


class ConfigError(UsageError):
    """The experiment or federation file is wrong; the text names the key."""

    code = "config"


class DataError(WardroundError):
    """A data file cannot be used; the text names file, line and column where they are known."""

    code = "data"
    exit_status = 3


class ProtocolError(WardroundError):
    """Somebody broke the protocol; raised only as one of its two children."""

    code = "protocol"
    exit_status = 4


class LocalProtocolError(ProtocolError):
    """We called a machine against its transition table: a bug of ours."""

    code = "protocol.local"


class RemoteProtocolError(ProtocolError):
    """A peer sent what the protocol does not allow; the peer is refused and nothing else changes."""

    code = "protocol.remote"


class DecodeError(RemoteProtocolError):
    """Bytes that are not the one accepted encoding of a message."""

    code = "protocol.decode"


class AuthError(RemoteProtocolError):
    """A proof of identity or integrity failed; deliberately says no more than that."""

    code = "protocol.auth"


class RoundError(WardroundError):
    """A round that cannot be finished; the federation goes on with the next."""

    code = "round"
    exit_status = 5


class Stopped(Exception):  # noqa: N818 - not an error: the user asked for it
    """Ctrl-C or SIGTERM: the run was left at a checkpoint."""


def nearest(word: str, names: Iterable[str]) -> str:
    """``; did you mean 'x'?`` where a name is near, else nothing: the end of a sentence that refuses ``word``."""
    from difflib import get_close_matches  # a process that refuses nothing does not hold it

    close = get_close_matches(word, list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
