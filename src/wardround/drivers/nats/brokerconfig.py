"""The broker's configuration: one account per gateway, so that gateways share no subject at all.

A gateway's account holds seven names and nothing else, each wired to its own place in the coordinator's account:

    ask          a notice for this gateway                          <- wr.ask.TOKEN
    last         request: the last notice again (catching up)       -> direct get on stream WR_ASKS, this gateway's subject
    body.B.N     request: part N of the body B                      -> direct get on stream WR_BODIES
    answer       request: store a part of this gateway's answer     -> wr.answer.TOKEN (stream WR_ANSWERS)
    here         a sign of life                                     -> wr.here.TOKEN
    invite       the coordinator wants this gateway to authenticate <- wr.invite.TOKEN
    knock        request: a message of the handshake                -> wr.knock.TOKEN, answered by the coordinator

Why accounts and not subject permissions: a permission checks the subject that is published to, not the reply subject of
a request, so a gateway could have JetStream answer onto another gateway's subject. Between accounts there is no such name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardround.drivers.nats.keys import KeyFolder
from wardround.drivers.parties.names import COORDINATOR

ASKS, BODIES, ANSWERS = "WR_ASKS", "WR_BODIES", "WR_ANSWERS"


@dataclass(frozen=True)
class Listen:
    """Where the private broker listens and keeps its streams; ``monitor``: port of its own monitoring pages, 0: none."""

    host: str
    port: int
    store: Path
    monitor: int = 0


def accounts(public: Mapping[str, str], gateways: Sequence[str]) -> str:
    """The ``accounts`` block for the gateways' tokens; ``public`` keys by owner. Also for a broker of your own."""
    exports = "\n".join(_exports(each) for each in gateways)
    everyone = ", ".join(_account(each) for each in gateways)
    gates = "\n".join(_gateway(each, public[each]) for each in gateways)
    return f"""accounts {{
  COORDINATOR {{
    jetstream: enabled
    users: [{{nkey: {public[COORDINATOR]}}}]
    exports: [
{exports}
      {{service: "$JS.API.DIRECT.GET.{BODIES}.wr.body.>", accounts: [{everyone}]}}
    ]
  }}
{gates}
}}
"""


def private(listen: Listen, keys: KeyFolder, public: Mapping[str, str], gateways: Sequence[str]) -> str:
    """The whole configuration of the broker that the coordinator starts for itself."""
    monitor = f'http: "127.0.0.1:{listen.monitor}"\n' if listen.monitor else ""
    return f"""# written by wardround serve; changes are lost
listen: {_text(f"{listen.host}:{listen.port}")}
{monitor}server_name: "wardround"
max_payload: 1048576
jetstream {{ store_dir: {_text(listen.store)} }}
tls {{
  cert_file: {_text(keys.certificate)}
  key_file: {_text(keys.private)}
  timeout: 5
}}
{accounts(public, gateways)}"""


def _text(value: object) -> str:
    return json.dumps(str(value))


def _account(gateway: str) -> str:
    return f"GATEWAY_{gateway}"


def _exports(gateway: str) -> str:
    only = f"accounts: [{_account(gateway)}]"
    return "\n".join(
        [
            f'      {{stream: "wr.ask.{gateway}", {only}}}',
            f'      {{stream: "wr.invite.{gateway}", {only}}}',
            f'      {{service: "wr.knock.{gateway}", {only}}}',
            f'      {{service: "wr.answer.{gateway}", {only}}}',
            f'      {{service: "wr.here.{gateway}", {only}}}',
            f'      {{service: "$JS.API.DIRECT.GET.{ASKS}.wr.ask.{gateway}", {only}}}',
        ],
    )


def _gateway(gateway: str, key: str) -> str:
    def service(subject: str, to: str) -> str:
        return f'      {{service: {{account: COORDINATOR, subject: "{subject}"}}, to: "{to}"}}'

    return "\n".join(
        [
            f"  {_account(gateway)} {{",
            f"    users: [{{nkey: {key}}}]",
            "    imports: [",
            f'      {{stream: {{account: COORDINATOR, subject: "wr.ask.{gateway}"}}, to: "ask"}}',
            f'      {{stream: {{account: COORDINATOR, subject: "wr.invite.{gateway}"}}, to: "invite"}}',
            service(f"wr.knock.{gateway}", "knock"),
            service(f"wr.answer.{gateway}", "answer"),
            service(f"wr.here.{gateway}", "here"),
            service(f"$JS.API.DIRECT.GET.{ASKS}.wr.ask.{gateway}", "last"),
            service(f"$JS.API.DIRECT.GET.{BODIES}.wr.body.>", "body.>"),
            "    ]",
            "  }",
        ],
    )
