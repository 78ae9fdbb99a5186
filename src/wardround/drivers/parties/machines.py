"""The round's machines as a deployed process makes them, from the file and what was stored; the same for every transport.

Course.desk        the server's machine behind the desk that sums as the file says
gateway            a gateway's far end (federation/answering.py)
"""

from __future__ import annotations

from dataclasses import dataclass

from wardround.config import Experiment
from wardround.drivers.parties.securing import Securing, kept_server
from wardround.drivers.site import Site
from wardround.federation.answering import Answering, PlainGateway, SecureGateway
from wardround.federation.buffered import server_for
from wardround.federation.buffered_client import client_for
from wardround.federation.buffered_desk import ahead, in_front
from wardround.federation.client import ClientState
from wardround.federation.desk import Desk, PlainDesk
from wardround.federation.plan import Plan
from wardround.federation.root import RootRows
from wardround.federation.secure_client import SecureClientState
from wardround.federation.secure_server import TURNS_PER_EXCHANGE
from wardround.wire import decode


@dataclass(frozen=True, eq=False)
class Course:
    """What is fixed for a run at the coordinator: the file, the plan made from it, the gateways' names, the secure sum's
    parties (None: plain sums), the coordinator's own root rows.
    """

    experiment: Experiment
    plan: Plan
    names: tuple[str, ...]
    securing: Securing | None
    root: RootRows | None

    def desk(self, run: str, saved: bytes | None) -> Desk:
        """The desk of ``run``, fresh or as its ``to_bytes`` left it.

        Raises:
            DecodeError: ``saved`` is damaged.
        """
        e = self.experiment
        kept = kept_server(saved) if saved is not None and self.securing is not None else None
        data = kept.server if kept is not None else saved
        kind = server_for(self.plan)
        if data is None:
            server = kind.new(self.plan, e.participation, self.names, e.seed)
        else:
            server = kind.from_bytes(self.plan, e.participation, self.names, e.seed, data)
        if self.root is not None:
            server.hold(self.root)
        if self.securing is None:
            return in_front(PlainDesk(server, self.names), self.names, 1)
        return in_front(self.securing.desk(server, run, kept), self.names, TURNS_PER_EXCHANGE)


@dataclass(frozen=True, eq=False)
class Seated:
    """A gateway among the others: its number, its name, and the secure sum's parties (None: plain sums)."""

    index: int
    name: str
    securing: Securing | None


def gateway(site: Site, seed: int, who: Seated, run: str, saved: bytes | None) -> Answering:
    """The machine of gateway ``who`` for ``run``, fresh or as its ``to_bytes`` left it.

    Raises:
        UsageError: a key is missing. DecodeError: ``saved`` is damaged.
    """
    kept = decode(saved, SecureClientState) if saved is not None and who.securing is not None else None
    plain = kept.client if kept is not None else saved
    kind = client_for(site.plan)
    fresh = ClientState(who.index)
    client = kind(site.plan, seed, fresh) if plain is None else kind.from_bytes(site.plan, seed, plain)
    if who.securing is None:
        return PlainGateway(client, site.rows, site.engine)
    secured = SecureGateway(who.securing.gateway(who.name, client, run, kept), site.rows, site.engine)
    return ahead(client, secured, site.rows, site.engine)
