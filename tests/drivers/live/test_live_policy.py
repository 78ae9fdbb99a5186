from pathlib import Path

import pytest

from wardround.detect.detector import Budget
from wardround.drivers.live.policy import Watching, parse, read
from wardround.errors import ConfigError, UsageError

FULL = """
[detector]
false_alarm_rate = 0.002
shares = { model = 0.4, guard = 0.3, baseline = 0.1, volume = 0.1, norms = 0.1 }
[incidents]
votes = 4
quiet_s = 120.0
[[device]]
name = "02:00:00:00:00:01"
type = "infusion pump"
ward = "ICU 2"
criticality = 1
[[allow]]
device = "10.0.0.66"
family = "scan"
until = 2030-01-01T00:00:00+01:00
reason = "weekly scan"
[[maintenance]]
device = "mri*"
start = 2026-11-27T22:00:00
end = 2026-11-27T23:00:00Z
"""


def test_a_whole_policy() -> None:
    found = parse(FULL, "p")
    assert found.budget == Budget(0.002, (0.4, 0.3, 0.1, 0.1, 0.1))
    assert (found.policy.rules.votes, found.policy.rules.quiet_s, found.policy.rules.span) == (4, 120.0, 6)
    assert found.devices[0].type == "infusion pump"
    assert found.policy.allow[0].until == 1_893_452_400_000_000_000
    assert found.policy.maintenance[0].end - found.policy.maintenance[0].start == 3_600_000_000_000
    assert read(None) == Watching()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "not valid TOML"),
        ("[detektor]", "detektor"),
        ("[detector]\nrate = 1", "rate"),
        ("[detector]\nfalse_alarm_rate = 0.9", "between 0 and 0.5"),
        ("[detector]\nshares = { model = 1.0 }", "shares"),
        ("[incidents]\nvotes = 0", "votes"),
        ("[incidents]\nvoters = 3", "voters"),
        ('[[allow]]\nfamily = "flod"', "flood"),
        ("[[allow]]\ndevice = 3", "device is a text"),
        ("[[maintenance]]\nstart = 2026-01-01T00:00:00Z", "needs start and end"),
        ('[[maintenance]]\nstart = "soon"\nend = "later"', "date and time"),
        ("[[maintenance]]\nstart = 2026-01-02T00:00:00Z\nend = 2026-01-01T00:00:00Z", "ends before"),
        ("[[device]]\ntype = 'x'", "needs a name"),
        ("[[device]]\nname = 'x'\ncriticality = 7", "criticality"),
        ("device = 3", "list of tables"),
        ("detector = 3", "is a table"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(text, "policy.toml")


def test_a_policy_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.toml")
