"""What Suricata 7.0.10 itself wrote of a scan in the lab (samples/README.md) through reader, flow features and the watch."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from wardround.drivers.sources import feeds
from wardround.drivers.sources.eve import EveReader
from wardround.traffic import flows as fl
from wardround.traffic import windows as w
from wardround.traffic.flow import FlowFeatures
from wardround.traffic.packets import address_text

SAMPLE = Path(__file__).parent / "samples" / "suricata-7.0.10-scan.eve.json.gz"
SCANNER, WARD = "10.1.3.164", "10.28.40."


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("eve") / "eve.json"
    path.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
    return path


def test_every_flow_that_suricata_saw_is_read(log: Path) -> None:
    reader = EveReader()
    found = reader.read(log.read_bytes().splitlines())
    assert (len(found), reader.malformed) == (1222, 0)
    assert int(found.packets_out.sum() + found.packets_in.sum()) == 3083
    assert (found.end >= found.start).all()
    scan = np.array([address_text(*a) == SCANNER for a in found.source.tolist()])
    assert scan.sum() == 1173
    states = {fl.STATES[code] for code in found.state[scan].tolist()}
    assert states <= {"attempt", "rejected", "reset", "established", "closed"}
    assert "rejected" in states


def test_the_scan_stands_out_in_the_flow_features(log: Path) -> None:
    feed = feeds.eve(log, FlowFeatures(step=10))
    windows = w.concat(list(feed))
    ports = windows.facts.ports_out
    row = int(ports.argmax())
    assert windows.name(row) == SCANNER
    assert address_text(*windows.peer[row].tolist()).startswith(WARD)
    assert ports[row] > 20 * np.sort(ports)[-2]
    assert feed.stats.malformed == 0
