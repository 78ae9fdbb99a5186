from pathlib import Path

import pytest
from live_captures import ATTACKER, arp, flood, pcap, quiet  # type: ignore[import-not-found]


@pytest.fixture(scope="session")
def calm_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of quiet."""
    made: Path = pcap(tmp_path_factory.mktemp("captures") / "calm.pcap", list(quiet(1800, 1)))
    return made


@pytest.fixture(scope="session")
def attacked_capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes; a SYN flood from 300 s on, the server's address claimed by the attacker at 450 s."""
    packets = [*quiet(600, 2, 4000), *flood(30, 4300), (4450.0, arp(ATTACKER, 2))]
    made: Path = pcap(tmp_path_factory.mktemp("captures") / "attacked.pcap", packets)
    return made
