"""All parties of secure aggregation in one process: the real machines, for simulations, tests and measurements.

``Parties`` holds the keys of an epoch; ``lattice_sum`` runs one round. Messages pass as objects, as large as they would be
on the wire (``measure`` counts the bytes); who vanishes when is an argument, and so are the clock and the entropy.
Law: the sums are those of the clients that uploaded and were not refused, within the quantiser's error.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from wardround.crypto.sampling import stream_bytes, subseed
from wardround.errors import RemoteProtocolError, RoundError
from wardround.secagg import descriptor, epoch, keys, transcript
from wardround.secagg.client import Client, Plain
from wardround.secagg.decryptor import Decryptor
from wardround.secagg.messages import (
    Contribution,
    Descriptor,
    EpochContacts,
    EpochInvitation,
    Roster,
    RosterEntry,
    RoundStart,
)
from wardround.secagg.parameters import PRESETS, Lattice
from wardround.secagg.server import Server
from wardround.secagg.server_state import Opened
from wardround.secagg.step import Send, Step
from wardround.wire import decode, encode

Clock = Callable[[], float]


Carry = Callable[
    [str, bytes], bytes | None
]  # takes a client's encoded message to the server; None: it was refused there
Source = Callable[[str], Plain]  # where a client's values come from, asked only when its turn comes


@dataclass
class Ledger:
    """Bytes sent and seconds spent, by role (``client``, ``member``, ``server``): sums over all of that role; ``named``: the
    clients that were left out for what they sent, each with the reason.
    """

    measure_bytes: bool = False
    clock: Clock = float
    sent_bytes: dict[str, int] = field(default_factory=dict)
    spent_s: dict[str, float] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)

    def sent(self, role: str, message: Any, copies: int = 1) -> None:
        if self.measure_bytes:
            self.sent_bytes[role] = self.sent_bytes.get(role, 0) + copies * len(encode(message))

    def timed(self, role: str, work: Callable[..., Any], *arguments: Any) -> Any:
        begun = self.clock()
        result = work(*arguments)
        self.spent_s[role] = self.spent_s.get(role, 0.0) + self.clock() - begun
        return result


@dataclass(frozen=True)
class Absences:
    """Who vanishes when: clients that never upload; members from a server state on (``checking`` ... ``opening``)."""

    clients: frozenset[str] = frozenset()
    members: Mapping[int, str] = field(default_factory=dict)

    def silent(self, member: int, state: str) -> bool:
        since = self.members.get(member)
        return since is not None and _ORDER.index(state) >= _ORDER.index(since)


_ORDER = ("collecting", "checking", "voting", "beacon", "partition", "opening", "done", "failed")
EVERYBODY = Absences()


class Parties:
    """The clients and the committee of one epoch, with keys agreed. ``seed``: 32 bytes from which all keys come (simulation);
    ``kinds``: by name, machines of clients that are not as they should be.
    """

    def __init__(
        self,
        names: Sequence[str],
        config: Lattice,
        seed: bytes,
        session: bytes = b"simulation",
        *,
        kinds: Mapping[str, type[Client]] = MappingProxyType({}),
    ) -> None:
        members = PRESETS[config.committee].members
        self.config, self.session, self._seed = config, session, seed
        self.server_signer = keys.Signer(subseed(seed, b"server"))
        client_signers = {name: keys.Signer(subseed(seed, b"client" + name.encode())) for name in names}
        member_signers = [keys.Signer(subseed(seed, b"member" + bytes([j]))) for j in range(1, members + 1)]
        self.roster = Roster(
            tuple(RosterEntry(name, signer.public) for name, signer in client_signers.items()),
            tuple(signer.public for signer in member_signers),
            self.server_signer.public,
        )
        self.clients = {
            name: kinds.get(name, Client)(name, signer, self.roster, config, session)
            for name, signer in client_signers.items()
        }
        self.members = {
            j: Decryptor(j, signer, self.roster, config, session) for j, signer in enumerate(member_signers, start=1)
        }
        self.epoch, self.number = 0, 0
        self.invitation = EpochInvitation(())
        self.new_epoch(1)

    def new_epoch(self, number: int) -> None:
        """Fresh keys for everybody."""
        stamp = number.to_bytes(8, "big")
        offers = tuple(
            member.offer(number, subseed(self._seed, b"epoch" + stamp + bytes([j])))
            for j, member in self.members.items()
        )
        self.epoch, self.number, self.invitation = number, 0, EpochInvitation(offers)
        agreed = [
            client.join(self.invitation, entropy_of(subseed(self._seed, b"join" + stamp + name.encode())))
            for name, client in self.clients.items()
        ]
        for j, member in self.members.items():
            member.committee(self.invitation)
            answer = member.meet(EpochContacts(number, tuple(epoch.contact(one, j) for one in agreed)))
            if answer.refused:
                raise RoundError(f"member {j} refuses {answer.refused[0].client}: {answer.refused[0].reason}")

    def start(
        self, clients: int, cohort: int, sizes: tuple[int, int], model: bytes = bytes(32), codec: bytes = b""
    ) -> RoundStart:
        """The signed descriptor of the next round for ``sizes`` = (update values, counts); a new epoch where one ends."""
        if self.number >= epoch.SKIP:
            self.new_epoch(self.epoch + 1)
        wish = descriptor.Wish(
            self.session,
            self.epoch,
            self.number,
            clients,
            cohort,
            *sizes,
            offers=transcript.offers_digest(self.invitation.offers),
            roster=transcript.roster_digest(self.roster),
            model=model,
            codec=codec,
        )
        self.number += 1
        described: Descriptor = descriptor.describe(self.config, wish)
        return RoundStart(described, self.server_signer.sign(transcript.round_id(described)))


def lattice_sum(
    parties: Parties,
    start: RoundStart,
    source: Source,
    entropy: bytes,
    *,
    invited: Sequence[str] | None = None,
    absences: Absences = EVERYBODY,
    ledger: Ledger | None = None,
    carry: Carry | None = None,
) -> Opened:
    """One round over ``invited`` (all clients of ``parties``); ``entropy``: 32 secret bytes, fresh for the round.

    ``carry`` takes each contribution to the server in a layer of its own.

    Raises:
        RoundError: too few clients or members were left; nothing was opened.
    """
    ledger = ledger or Ledger()
    server = Server(start, invited or tuple(parties.clients), parties.roster, subseed(entropy, b"server"))
    now = 0.0
    invite = server.begin(now)
    ledger.sent("server", start, len(invite.send[0].clients))
    queue: list[Send] = []
    for name in invite.send[0].clients:
        if name in absences.clients:
            continue
        contribution = _contribute(parties, start, source, (name, entropy), ledger)
        if carry is not None:
            arrived = carry(name, encode(contribution))
            if arrived is None:
                continue
            contribution = decode(arrived, Contribution)
        try:
            step: Step = ledger.timed("server", server.contribution, contribution, now)
        except RemoteProtocolError as error:  # as a live server does: the round goes on without it
            ledger.named[name] = str(error)
            continue
        queue += step.send
        _serve(parties, server, queue, absences, ledger)
    while server.result is None:
        now += 1000.0
        step = ledger.timed("server", server.expire, now)
        queue += step.send
        _serve(parties, server, queue, absences, ledger)
    ledger.named |= server.result.refused
    return server.result


def _contribute(
    parties: Parties, start: RoundStart, source: Source, who: tuple[str, bytes], ledger: Ledger
) -> Contribution:
    name, entropy = who
    plain = source(name)
    secret = subseed(entropy, b"client" + name.encode())
    contribution: Contribution = ledger.timed("client", parties.clients[name].contribute, start, plain, secret)
    ledger.sent("client", contribution)
    return contribution


def _serve(parties: Parties, server: Server, queue: list[Send], absences: Absences, ledger: Ledger) -> None:
    """Deliver what the server sends to members and their answers, until all is quiet."""
    while queue:
        send = queue.pop(0)
        ledger.sent("server", send.message, len(send.members))
        for j in send.members:
            if absences.silent(j, server.state):
                continue
            answer = ledger.timed("member", parties.members[j].receive, send.message)
            ledger.sent("member", answer)
            step: Step = ledger.timed("server", server.answer, answer, 0.0)
            queue += step.send


def entropy_of(seed: bytes) -> keys.Entropy:
    """Successive draws from ``seed``: never the same bytes twice."""
    draws = itertools.count()

    def draw(count: int) -> bytes:
        return stream_bytes(subseed(seed, next(draws).to_bytes(4, "big")), count)

    return draw
