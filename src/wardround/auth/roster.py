"""The server's view of the registry: who is enrolled, with which key, in which standing.

The registrar signs a ``RosterExport`` and the server takes it in; a server that is broken into can refuse devices, but it
holds no key that would enrol one. Laws: a roster's version and revocation epoch never go back; a revoked device never
comes back under its id.

What it does not do: change standings by its own judgement; verdicts go to the registrar (trust.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from wardround.auth.suites import Suite
from wardround.auth.trust import MAY_AUTHENTICATE, WEIGHT, State
from wardround.crypto.kem import Recipient
from wardround.errors import RemoteProtocolError
from wardround.wire import message


@message(0x3402)
@dataclass(frozen=True)
class EntryBytes:
    device_id: bytes
    name: str
    public: bytes
    psk: bytes = field(repr=False)
    state: str
    member: bytes = b""
    broker: str = ""


@message(0x3401)
@dataclass(frozen=True)
class RosterBytes:
    """All enrolled devices at one version of the registry; secret, because of the pre-shared keys."""

    federation: bytes
    suite: int
    version: int
    revocation_epoch: int
    entries: tuple[EntryBytes, ...]

    def __post_init__(self) -> None:
        ids = [entry.device_id for entry in self.entries]
        if ids != sorted(set(ids)):
            raise ValueError("a roster's devices must stand in ascending order, each once")
        unknown = {entry.state for entry in self.entries} - {state.value for state in State}
        if unknown:
            raise ValueError(f"a roster names unknown states {sorted(unknown)}")


@dataclass(frozen=True)
class Entry:
    """One device as the server knows it.

    ``member``: its ML-DSA-65 key for a seat on a committee, empty where it has none; ``broker``: its public key towards the
    message broker.
    """

    suite: Suite = field(repr=False)
    device_id: bytes
    name: str
    public: bytes = field(repr=False)
    psk: bytes = field(repr=False)
    state: State = State.ACTIVE
    member: bytes = field(default=b"", repr=False)
    broker: str = ""

    @cached_property
    def recipient(self) -> Recipient:
        """Its KEM key, loaded once."""
        return self.suite.kem.load(self.public)


class Roster:
    """Devices by id. ``psk_of`` answers for unknown ids too, so that refusing them takes the same steps."""

    def __init__(
        self, suite: Suite, entries: Iterable[Entry] = (), version: int = 0, revocation_epoch: int = 0
    ) -> None:
        self.suite, self.version, self.revocation_epoch = suite, version, revocation_epoch
        self._entries = {entry.device_id: entry for entry in entries}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, device_id: bytes) -> Entry | None:
        return self._entries.get(device_id)

    def state(self, device_id: bytes) -> State | None:
        entry = self._entries.get(device_id)
        return entry.state if entry else None

    def may_authenticate(self, device_id: bytes) -> bool:
        state = self.state(device_id)
        return state is not None and MAY_AUTHENTICATE[state]

    def weight(self, device_id: bytes) -> float:
        """What an update of this device counts: 1, 0.5 on probation, 0 for everybody else."""
        state = self.state(device_id)
        return 0.0 if state is None else WEIGHT[state]

    def set_state(self, device_id: bytes, state: State) -> None:
        """Change one standing at once (the registrar's next export confirms it).

        Raises:
            RemoteProtocolError: unknown device, or a revoked one is to come back.
        """
        entry = self._entries.get(device_id)
        if entry is None:
            raise RemoteProtocolError(f"device {device_id.hex()[:16]} is not in the roster")
        if entry.state is State.REVOKED and state is not State.REVOKED:
            raise RemoteProtocolError(
                f"device {device_id.hex()[:16]} is revoked for good; it must enrol with a new key"
            )
        if entry.state is not state:
            self._entries[device_id] = replace(entry, state=state)
            self.revocation_epoch += state in (State.REVOKED, State.QUARANTINED)

    def update(self, packed: RosterBytes) -> tuple[bytes, ...]:
        """Take in a newer export; gives the ids that may no longer authenticate.

        Raises:
            RemoteProtocolError: an older version, or one that un-revokes a device.
        """
        if packed.version < self.version:
            raise RemoteProtocolError(f"the roster went back from version {self.version} to {packed.version}")
        fresh = {e.device_id: _entry(self.suite, e, self._entries.get(e.device_id)) for e in packed.entries}
        for device_id, old in self._entries.items():
            new = fresh.get(device_id)
            if old.state is State.REVOKED and new is not None and new.state is not State.REVOKED:
                raise RemoteProtocolError(f"the roster un-revokes device {device_id.hex()[:16]}")
        lost = tuple(i for i in self._entries if i not in fresh or not MAY_AUTHENTICATE[fresh[i].state])
        self._entries, self.version = fresh, packed.version
        # a local revocation may be ahead of the registrar's export; devices must never see this number fall
        self.revocation_epoch = max(self.revocation_epoch, packed.revocation_epoch)
        return lost

    def pack(self, federation: bytes) -> RosterBytes:
        """The export form of this roster."""
        entries = sorted(self._entries.values(), key=lambda entry: entry.device_id)
        rows = tuple(
            EntryBytes(e.device_id, e.name, e.public, e.psk, e.state.value, e.member, e.broker) for e in entries
        )
        return RosterBytes(federation, self.suite.number, self.version, self.revocation_epoch, rows)


def _entry(suite: Suite, packed: EntryBytes, old: Entry | None) -> Entry:
    state = State(packed.state)
    if old is not None and old.public == packed.public and old.psk == packed.psk:
        return old if old.state is state else replace(old, state=state)
    return Entry(suite, packed.device_id, packed.name, packed.public, packed.psk, state, packed.member, packed.broker)
