import pytest

from wardround.detect.community import community_id
from wardround.detect.findings import Reason, number
from wardround.detect.inventory import Device, Inventory
from wardround.detect.tags import FAMILIES, family
from wardround.detect.volume import MEASURES
from wardround.drivers.sources.ciciomt2024 import FAMILY_OF

EXPECTED = {"DDoS": "flood", "DoS": "flood", "Spoofing": "arp-spoofing"}


@pytest.mark.parametrize("label", [name for name in FAMILY_OF if name != "Benign"])
def test_every_class_of_ciciomt2024_has_its_family(label: str) -> None:
    found = family(label).name
    wanted = EXPECTED.get(FAMILY_OF[label])
    if wanted is None:
        wanted = {
            "Recon-Ping_Sweep": "scan",
            "Recon-Port_Scan": "scan",
            "Recon-OS_Scan": "probe",
            "Recon-VulScan": "probe",
        }.get(label, "malformed" if "Malformed" in label else "flood")
    assert found == wanted


def test_every_rule_has_a_family_and_every_known_attack_has_tags() -> None:
    assert {family(m.label).name for m in MEASURES} == {"flood", "scan"}
    for f in FAMILIES.values():
        assert bool(f.techniques) == (f.name not in {"attack", "anomaly"})
        assert {t.matrix for t in f.techniques} <= {"enterprise", "ics"}
    assert family("something else").name == "attack"


def test_community_id_as_published() -> None:
    # github.com/corelight/community-id-spec, baseline data
    assert community_id("128.232.110.120", "66.35.250.204", 6, (34855, 80)) == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
    assert community_id("66.35.250.204", "128.232.110.120", 6, (80, 34855)) == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
    assert community_id("192.168.0.89", "192.168.0.1", 1, (8, 0)) == "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="
    assert community_id("aa:bb:cc:dd:ee:ff", "192.168.0.1", 6, (1, 2)) is None
    with pytest.raises(ValueError, match="out of range"):
        community_id("10.0.0.1", "10.0.0.2", 6, (70000, 1))


def test_numbers_and_reasons_read_as_people_say_them() -> None:
    assert Reason("SYN share", 0.97, 0.02, 0.08, 0.5).text == "SYN share 0.97, usually 0.02-0.08"
    assert Reason("rate", 12345.6, 3.0, 9.0, 0.5, "packets/s").text == "rate 12,346 packets/s, usually 3-9 packets/s"
    assert Reason("gap", float("nan"), 1, 2, 0.1).text == "gap missing, usually 1-2"
    assert [number(v) for v in (0, 0.5, 1e-7, 999.4, 2e12)] == ["0", "0.5", "1.00e-07", "999", "2.00e+12"]


def test_the_operators_word_stands_above_the_guess() -> None:
    inventory = Inventory({"m": Device("m", guessed="camera")})
    assert inventory.get("m").kind == "camera"
    inventory.tell("m", "infusion pump", "ICU 2", 1)
    assert (inventory.get("m").kind, inventory.get("m").weight) == ("infusion pump", 1)
    inventory.tell("m")
    assert inventory.get("m").ward == "ICU 2"
    assert inventory.get("unseen").weight == 3
