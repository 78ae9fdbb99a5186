"""`wardround init | token | registry ...`: what an operator of the registrar does, line by line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from wardround.auth.choice import OF_SUITE
from wardround.auth.credential import FOREVER
from wardround.auth.suites import SUITES
from wardround.auth.trust import State, Turn, Verdict
from wardround.drivers.store.export import ANCHOR
from wardround.drivers.store.keys import write_private
from wardround.drivers.store.member_keys import server_public
from wardround.drivers.store.registrar import Registrar, Wish, act
from wardround.drivers.store.registry import Registry
from wardround.drivers.store.registry_audit import Head
from wardround.drivers.store.registry_rows import Device
from wardround.drivers.store.rundir import write_atomic
from wardround.drivers.store.suspicion import Suspicion, trust_moves
from wardround.errors import UsageError

FIRST_EPOCH = 1
TEMPLATE = """\
# A federation: `wardround simulate` runs it in one process, `wardround serve` and `wardround join` run it for real.
name = "{name}"

[data]
use = "hospital"
wards = 4
devices_per_ward = 2

[partition]
use = "natural"

# The coordinator learns sums of at least three gateways. A committee of four gateways opens them: one may be away, and no two
# of them may conspire with the coordinator's operator. `wardround explain secagg federation.toml` says what else would fit.
[secagg]
use = "lattice"
committee = "small"
minimum = 3

[auth]
use = "{suite}"
"""


@dataclass(frozen=True)
class Office:
    """The registrar's folder, its passphrase (empty: none), and the signs that a change of the registry is exported."""

    registrar: Registrar
    passphrase: str = field(default="", repr=False)

    def init(self, folder: Path, wish: Wish) -> Iterator[str]:
        """A federation in ``folder``: the registrar's keys and registry, the public anchor, a file to begin with.

        Raises:
            UsageError: there is one already, or the folder cannot be written.
        """
        self.registrar.create(wish, self.passphrase).close()
        yield f"made {self.registrar.path}: the registrar's keys and registry; root.key belongs offline from now on"
        keys = folder / "keys"
        keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(keys / ANCHOR, self.registrar.anchor_file.read_bytes())
        yield f"made {keys / ANCHOR}: public; coordinator and gateways need it in their keys folder"
        file = folder / "federation.toml"
        if not file.exists():
            write_atomic(
                file, TEMPLATE.format(name=_file_name(wish.name), suite=OF_SUITE[wish.suite.number].name).encode()
            )
            yield f"made {file}"

    def token(self, name: str, until: int | None) -> Iterator[str]:
        """A one-time token for a gateway; by default good in this epoch and the next."""
        with self._open() as registry:
            limit = until if until is not None else registry.epoch() + 1
            yield registry.issue_token(name, limit, act(), os.urandom).text()

    def rotate(self, which: str, until: int | None) -> Iterator[str]:
        """A token for a device's next key; the old one is revoked when the new one has finished its first handshake."""
        with self._open() as registry:
            limit = until if until is not None else registry.epoch() + 1
            yield registry.rotate(which, limit, act(), os.urandom).text()

    def publish(self, text: str, first: int | None, last: int | None) -> Iterator[str]:
        """The coordinator's key for epochs ``first`` to ``last``; by default the next epoch and all that follow."""
        with self._open() as registry:
            begin = first if first is not None else registry.epoch() + 1
            public = server_public(text, SUITES[registry.anchor.suite])
            registry.publish(public, (begin, FOREVER if last is None else last), act())
            yield f"the coordinator's key is published from epoch {begin}"
            yield from self._exported(registry)

    def turn(self, which: str, turn: Turn, reason: str) -> Iterator[str]:
        """Revoke, quarantine or release a device."""
        with self._open() as registry:
            device = registry.turn(which, turn, act(), reason)
            yield f"{device.name} ({device.device_id[:16]}) is {device.state.value}"
            yield from self._exported(registry)

    def judge(self, which: str, verdict: Verdict) -> Iterator[str]:
        """Take in a verdict of the coordinator or of a detector."""
        with self._open() as registry:
            device = registry.device(which)
            turn = registry.observe(bytes.fromhex(device.device_id), verdict, act())
            now = registry.device(device.device_id)
            yield f"{now.name} is {now.state.value}, score {registry.policy.score(now.standing):.2f}"
            if turn is not None:
                yield from self._exported(registry)

    def suspects(self, log: str, quarantine: bool) -> Iterator[str]:
        """What the coordinator's log says of gateways' trust, the last word on each; ``quarantine`` those it has quarantined.

        A coordinator may be taken over: it suspects, the registrar decides. Whoever was decided on since is left alone.

        Raises:
            UsageError: not a log of the coordinator.
        """
        moved = trust_moves(log, time.time())
        with self._open(keys=quarantine) as registry:
            known = {device.name: device for device in registry.devices()}  # the last enrolment of a name counts
            changed = False
            for word in moved:
                device = known.get(word.peer)
                state = "unknown here" if device is None else f"{device.state.value} here"
                line = f"{word.peer}: {word.after} since round {word.round} ({word.why}), {state}"
                if device is not None and quarantine and _open_case(word, device, registry):
                    reason = f"coordinator, round {word.round}: {word.why}"
                    device = registry.turn(device.device_id, Turn.QUARANTINE, act(), reason)
                    line, changed = f"{line}: quarantined", True
                yield line
            if not moved:
                yield "nothing is said about any gateway's trust"
            if changed:
                yield from self._exported(registry)

    def finish(self, devices: str) -> Iterator[str]:
        """Burn the tokens of devices that finished their first handshake: ids, one a line, as the coordinator lists them."""
        with self._open() as registry:
            count = 0
            for line in devices.split():
                try:
                    registry.finished(bytes.fromhex(line), act())
                except ValueError as error:
                    raise UsageError(
                        f"{line!r} is not a device's id; give the coordinator's authenticated.txt"
                    ) from error
                count += 1
            yield f"{count} devices have finished their first handshake"
            yield from self._exported(registry)

    def withdraw(self, token_id: str) -> Iterator[str]:
        """Make a token worthless."""
        with self._open() as registry:
            registry.withdraw(token_id, act())
            yield f"token {token_id} is withdrawn"

    def export(self, to: Path | None) -> Iterator[str]:
        """The signed roster and server key for the coordinator, to a file or to all standing exports."""
        with self._open() as registry:
            files = self.registrar.export(registry, to)
        if not files:
            raise UsageError("no file is named, and no standing export was set with wardround init --export")
        yield from (f"wrote {file} (secret: the coordinator's alone)" for file in files)

    def revocations(self, to: Path) -> Iterator[str]:
        """The signed revocation list: public."""
        with self._open() as registry:
            write_private(to, registry.revocations())
        yield f"wrote {to}"

    def audit(self, expected: str, entries: bool) -> Iterator[str]:
        """Verify the chain; ``expected`` is a head noted before."""
        with self._open(keys=False) as registry:
            head = registry.verify(_head(expected))
            if entries:
                for each in registry.log():
                    at = datetime.fromtimestamp(each.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
                    yield f"{each.number:5d}  {at}  {each.actor}  {each.action}  {each.subject[:16]}  {each.detail}"
            yield f"the audit log holds: {head.number} entries, head {head}"

    def listing(self) -> Iterator[str]:
        """Devices and open tokens."""
        with self._open(keys=False) as registry:
            yield "serial  state        committee  score  id                name"
            for d in registry.devices():
                score = registry.policy.score(d.standing)
                seat = "yes" if d.member else "no"
                yield f"{d.serial:6d}  {d.state.value:11}  {seat:9}  {score:5.2f}  {d.device_id[:16]}  {d.name}"
            for token_id, name, state in registry.tokens():
                if state in ("issued", "answered"):
                    yield f"token {token_id} ({state}) for {name}"

    def show(self, which: str) -> Iterator[str]:
        """One device."""
        with self._open(keys=False) as registry:
            yield from _shown(registry, registry.device(which))

    def _open(self, *, keys: bool = True) -> closing[Registry]:
        return closing(self.registrar.open(self.passphrase, keys=keys))

    def _exported(self, registry: Registry) -> Iterator[str]:
        for file in self.registrar.export(registry):
            yield f"exported to {file}"


def _open_case(word: Suspicion, device: Device, registry: Registry) -> bool:
    """Quarantined by the coordinator, taking part here, and nobody has decided on the device since?"""
    if word.after != State.QUARANTINED.value or device.state not in (State.ACTIVE, State.PROBATION):
        return False
    return not any(each.subject == device.device_id and each.at > word.at for each in registry.log())


def _shown(registry: Registry, device: Device) -> Iterator[str]:
    yield f"name       {device.name}"
    yield f"id         {device.device_id}"
    yield f"serial     {device.serial}"
    yield f"state      {device.state.value}"
    yield f"score      {registry.policy.score(device.standing):.2f}"
    yield f"committee  {'holds an ML-DSA-65 key' if device.member else 'no signing key'}"
    yield f"broker     {device.broker or 'no key'}"
    for each in registry.log():
        if each.subject == device.device_id:
            at = datetime.fromtimestamp(each.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
            yield f"{at}  {each.actor}: {each.action} {each.detail}"


def _head(text: str) -> Head | None:
    if not text:
        return None
    number, _, digest = text.partition(":")
    try:
        return Head(int(number), bytes.fromhex(digest))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a head as wardround registry audit prints it (NUMBER:HASH)") from error


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
