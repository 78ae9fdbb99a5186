"""What an attack class means to a security desk: family, ATT&CK techniques (Enterprise and ICS), severity, on whom it is keyed.

Class names of CICIoMT2024, of the generated hospital, of the packet lab and of the rules are read by the words in them, so a
federation that names its classes alike gets tags without a table of its own. Techniques: ATT&CK v15 ids, research/ids.md 4. An
anomaly that no class explains gets none, and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Technique:
    """One ATT&CK technique. ``matrix``: "enterprise" or "ics"."""

    matrix: Literal["enterprise", "ics"]
    id: str
    name: str
    tactic: str


@dataclass(frozen=True)
class Family:
    """A kind of attack. ``keyed``: incidents are one per ``target`` (floods: sources may be spoofed) or per ``source`` (scans,
    spoofing: one attacker, many victims). ``severity``: 1 (high) to 3 (low), as Suricata counts.
    """

    name: str
    text: str
    keyed: Literal["target", "source"]
    severity: int
    techniques: tuple[Technique, ...] = ()


def _e(id_: str, name: str, tactic: str) -> Technique:
    return Technique("enterprise", id_, name, tactic)


def _i(id_: str, name: str, tactic: str) -> Technique:
    return Technique("ics", id_, name, tactic)


_DISCOVERY = (
    _e("T1046", "Network Service Discovery", "Discovery"),
    _e("T1018", "Remote System Discovery", "Discovery"),
    _i("T0846", "Remote System Discovery", "Discovery"),
)
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "flood",
            "Flood: far more packets or connections than this device sees",
            "target",
            1,
            (
                _e("T1498", "Network Denial of Service", "Impact"),
                _e("T1499", "Endpoint Denial of Service", "Impact"),
                _i("T0814", "Denial of Service", "Inhibit Response Function"),
            ),
        ),
        Family("scan", "Scan: many ports or many devices tried", "source", 2, _DISCOVERY),
        Family(
            "probe",
            "Probe: the system or its weaknesses are being found out",
            "source",
            2,
            (
                _e("T1595.002", "Active Scanning: Vulnerability Scanning", "Reconnaissance"),
                _e("T1046", "Network Service Discovery", "Discovery"),
                _i("T0888", "Remote System Information Discovery", "Discovery"),
            ),
        ),
        Family(
            "arp-spoofing",
            "ARP spoofing: an address is claimed by a second device",
            "source",
            1,
            (
                _e("T1557.002", "Adversary-in-the-Middle: ARP Cache Poisoning", "Credential Access"),
                _i("T0830", "Adversary-in-the-Middle", "Collection"),
            ),
        ),
        Family(
            "malformed",
            "Malformed application messages",
            "target",
            2,
            (
                _e("T1499.004", "Endpoint Denial of Service: Application or System Exploitation", "Impact"),
                _i("T0814", "Denial of Service", "Inhibit Response Function"),
            ),
        ),
        Family(
            "brute-force", "Passwords are being tried", "source", 2, (_e("T1110", "Brute Force", "Credential Access"),)
        ),
        Family(
            "control-writes",
            "Burst of writes to a controller",
            "target",
            1,
            (_i("T0806", "Brute Force I/O", "Impair Process Control"),),
        ),
        Family(
            "exfiltration",
            "Far more data leaves than usual",
            "source",
            1,
            (_e("T1048", "Exfiltration Over Alternative Protocol", "Exfiltration"),),
        ),
        Family("attack", "An attack of a class without tags", "target", 2),
        Family("anomaly", "Unlike this device's normal traffic; no known attack explains it", "source", 3),
    )
}
ANOMALY, ATTACK = FAMILIES["anomaly"], FAMILIES["attack"]

# the first word that occurs decides; order matters: "MQTT-DoS-Connect_Flood" is a flood, "Recon-OS_Scan" a probe
_WORDS = (
    (r"malform|fuzz", "malformed"),
    (r"brute|password|login", "brute-force"),
    (r"modbus.*write|write.?burst", "control-writes"),
    (r"exfil", "exfiltration"),
    (r"os.?scan|vul|fingerprint|banner|probe", "probe"),
    (r"scan|sweep|recon|discover|okiru|hide.?and.?seek", "scan"),
    (r"arp|spoof", "arp-spoofing"),
    (r"flood|ddos|dos\b|dos[-_ ]|slow|syn|icmp|udp|tcp", "flood"),
    (r"anomal|unknown|novel", "anomaly"),
)
_READ = tuple((re.compile(words, re.IGNORECASE), name) for words, name in _WORDS)


def family(label: str) -> Family:
    """The family that a class name or a rule's name means; ``ATTACK`` where no word is known."""
    for words, name in _READ:
        if words.search(label):
            return FAMILIES[name]
    return ATTACK
