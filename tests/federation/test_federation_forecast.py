"""What is forecast is what is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from federation_pair import Pair, with_schedule  # type: ignore[import-not-found]
from test_federation_codecs import coded  # type: ignore[import-not-found]

from wardround.compress.codec import Size
from wardround.compress.feedback import ErrorFeedback
from wardround.compress.quantise import Integer
from wardround.compress.rotation import Eden
from wardround.compress.sparsify import SparseTernary, TopK
from wardround.compress.supports import Importance
from wardround.compress.table import Compress
from wardround.drivers.simulation.secure import Called, SecureSum
from wardround.federation import forecast
from wardround.federation.algorithms import FedNova
from wardround.federation.forecast import Sums
from wardround.federation.messages import Answer
from wardround.federation.ring import priced
from wardround.federation.server import Phase
from wardround.secagg.parameters import Lattice
from wardround.wire import encode

OPEN = Sums(None, 4, 0)


def line(found: Any, beginning: str) -> Size:
    (only,) = [each.size for each in found if each.what.startswith(beginning)]
    return only  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "compress",
    [
        Compress(up=(ErrorFeedback(), SparseTernary(0.1)), down=(TopK(0.3), Integer(8))),
        Compress(up=(Eden(1),)),
        Compress(up=(Importance(0.3), Integer(4)), down=(Importance(0.3, weigh=False), Integer(8))),
    ],
)
@pytest.mark.parametrize("algorithm", [None, FedNova()])
def test_every_message_of_an_open_round_lies_within_the_forecast(compress: Compress, algorithm: Any) -> None:
    pair = Pair(with_schedule(coded(compress, algorithm=algorithm), rounds=9, measure_every=9)).until(Phase.TRAINING)
    found = forecast.lines(pair.plan, pair.server.prepared, OPEN)
    up, down = line(found, "up:"), line(found, "down:")
    snapshot = line(found, "down, to who")
    for round_ in range(5):
        asks = pair.ask()
        for peer, ask in asks.items():
            if round_ == 0:
                assert len(encode(ask)) == snapshot.most + len(ask.packed)
            elif pair.server.phase is Phase.TRAINING:
                assert down.least <= len(encode(ask)) <= down.most
            answer = pair.reply(peer, ask)
            assert up.least <= len(encode(answer)) <= up.most
            pair.deliver(peer, answer)
        pair.close()


def test_dense_is_what_an_empty_table_sends() -> None:
    pair = Pair(coded(Compress())).until(Phase.TRAINING)
    found = forecast.lines(pair.plan, pair.server.prepared, OPEN)
    asks = pair.ask()
    assert line(found, "up, dense").most == len(encode(pair.reply("gw0", asks["gw0"])))
    assert line(found, "down, dense").most == len(encode(asks["gw0"])) - asks["gw0"].preparation.nbytes - 5


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_secure_sum_s_forecast_is_its_contribution_to_the_byte(share: float) -> None:
    lattice, names = Lattice(bits=6), tuple(f"gateway-{i:08d}" for i in range(4))
    pair = Pair(coded(Compress(up=(Importance(share),)), ring=priced(lattice, 4, 0))).until(Phase.TRAINING)
    found = forecast.lines(pair.plan, pair.server.prepared, Sums(lattice, 4, 0))
    answer = pair.reply("gw0", pair.ask()["gw0"])
    assert isinstance(answer, Answer)
    sums = SecureSum(lattice, names, 1).sum(
        iter([(name, answer) for name in names]), Called(names, frozenset(names), 0)
    )
    assert line(found, "up:").most == sums.bytes_up / 4
    assert "sharing values takes" in forecast.text(found)


def test_a_budget_under_a_secure_sum_counts_shares_and_proofs() -> None:
    lattice = Lattice(bits=6)
    for budget in (700, 1500, 5000):
        plan = coded(Compress(budget_bytes=budget), ring=priced(lattice, 4, 0))
        pair = Pair(plan).until(Phase.TRAINING)
        (bought,) = pair.server.prepared.coder.links
        size = line(forecast.lines(plan, pair.server.prepared, Sums(lattice, 4, 0)), "up:").most
        frame = size - bought.message_bytes
        assert 0 < frame < 200
        assert bought.message_bytes <= budget * bought.every


def test_the_table_is_readable() -> None:
    pair = Pair(coded(Compress(up=(Eden(1),)))).until(Phase.TRAINING)
    text = forecast.text(forecast.lines(pair.plan, pair.server.prepared, OPEN))
    widths = {len(row) for row in text.split("\n")[:-1] if row}
    assert len(widths) == 1
    assert "eden(bits=1)" in text
    assert np.isfinite(float(text.split("\n")[2].split()[-1].rstrip("%")))
