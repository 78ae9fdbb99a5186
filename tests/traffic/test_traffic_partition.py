from __future__ import annotations

import numpy as np
import pytest

from wardround.errors import ConfigError
from wardround.rng import stream
from wardround.traffic.partition import (
    STRATEGIES,
    ClientShare,
    Dirichlet,
    Family,
    Iid,
    Natural,
    Partition,
    Quantity,
    Shards,
    label_histograms,
    label_skew,
)
from wardround.traffic.split import Groups, Split, Stratified
from wardround.traffic.table import Column, Labels, Schema, Table

NAMES = ("Benign", "Recon-OS_Scan", "Recon-VulScan", "MQTT-Malformed", "ARP_Spoofing")
GROUPS = ("north", "south", "east", "west")


def world(rows: int = 6000, *, benign: int | None = 0, groups: bool = True) -> tuple[Table, Split]:
    rng = stream(1, "world")
    y = rng.choice(5, rows, p=[0.4, 0.2, 0.2, 0.15, 0.05]).astype(np.int64)
    group = rng.integers(-1 if groups else 0, 4, rows).astype(np.int32)
    x = rng.normal(size=(rows, 2)).astype(np.float32)
    schema = Schema("test", (Column("a"), Column("b")))
    t = Table(schema, Labels(NAMES, benign), x, y, group, GROUPS if groups else ())
    return t, Stratified(test=0.3, validation=0.2).assign(t, stream(1, "split"))


def rows_of(shares: tuple[ClientShare, ...], part: str) -> list[int]:
    return sorted(int(row) for share in shares for row in getattr(share, part))


@pytest.mark.parametrize(
    "strategy",
    [
        Iid(7),
        Dirichlet(7, 0.3),
        Dirichlet(7, 0.3, benign="everywhere"),
        Shards(7),
        Quantity(7),
        Family(),
        Family(2, "as_is"),
    ],
)
def test_every_row_of_a_part_goes_to_exactly_one_client(strategy: Partition) -> None:
    t, split = world()
    shares = strategy.deal(t, split, stream(1, "partition"))
    for part in ("train", "validation", "test"):
        assert rows_of(shares, part) == getattr(split, part).tolist()
    assert len({share.name for share in shares}) == len(shares)
    again = strategy.deal(t, split, stream(1, "partition"))
    assert all(np.array_equal(a.train, b.train) for a, b in zip(shares, again, strict=True))


@pytest.mark.parametrize("strategy", [Dirichlet(5, 0.5), Shards(5), Quantity(5, 1.0), Family()])
def test_a_clients_parts_have_the_same_class_shares(strategy: Partition) -> None:
    t, split = world(20_000)
    for share in strategy.deal(t, split, stream(2, "partition")):
        train, test = (np.bincount(t.y[part], minlength=5) for part in (share.train, share.test))
        expected = train * (len(split.test) / len(split.train))
        assert np.abs(test - expected).max() <= 2.5  # rounding of both parts


def test_iid_deals_evenly() -> None:
    t, split = world()
    shares = Iid(10).deal(t, split, stream(1, "partition"))
    histograms = label_histograms(t, shares)
    assert (histograms.max(0) - histograms.min(0)).max() <= 1
    assert label_skew(histograms) < 0.02


def test_dirichlet_skew_falls_with_alpha() -> None:
    t, split = world()
    skews = [
        label_skew(label_histograms(t, Dirichlet(10, alpha, 1).deal(t, split, stream(1, "p"))))
        for alpha in (0.1, 1, 100)
    ]
    assert skews[0] > 0.4 > skews[1] > 0.1 > skews[2]


@pytest.mark.parametrize("seed", range(5))
def test_dirichlet_keeps_min_rows_even_where_no_draw_does(seed: int) -> None:
    t, split = world()
    shares = Dirichlet(20, 0.05, 100).deal(t, split, stream(seed, "partition"))
    assert min(len(share.train) for share in shares) >= 100


def test_dirichlet_says_when_min_rows_cannot_be() -> None:
    t, split = world()
    with pytest.raises(ConfigError, match="fewer clients or a smaller min_rows"):
        Dirichlet(50, 0.5, 100).deal(t, split, stream(1, "partition"))


@pytest.mark.parametrize("strategy", [Dirichlet(8, 0.1, benign="everywhere"), Family(2)])
def test_benign_everywhere_is_even(strategy: Partition) -> None:
    t, split = world()
    benign = label_histograms(t, strategy.deal(t, split, stream(1, "partition")))[:, 0]
    assert benign.max() - benign.min() <= 1


@pytest.mark.parametrize("strategy", [Dirichlet(8, benign="everywhere"), Family()])
def test_benign_everywhere_needs_a_benign_class(strategy: Partition) -> None:
    t, split = world(benign=None)
    with pytest.raises(ConfigError, match="no benign class"):
        strategy.deal(t, split, stream(1, "partition"))


@pytest.mark.parametrize(("clients", "each"), [(5, 2), (20, 1), (2, 3), (2, 1)])
def test_shards_give_few_classes(clients: int, each: int) -> None:
    t, split = world()
    held = (label_histograms(t, Shards(clients, each).deal(t, split, stream(1, "p"))) > 0).sum(1)
    if clients * each >= 5:
        assert (held == each).all()
    else:
        assert held.sum() == 5  # no class is lost where there are too few seats


def test_shards_say_when_there_are_not_enough_classes() -> None:
    t, split = world()
    with pytest.raises(ConfigError, match="5 classes"):
        Shards(3, 6).deal(t, split, stream(1, "partition"))


def test_quantity_spreads_sizes_within_the_ratio() -> None:
    t, split = world(20_000)
    sizes = np.array([len(s.train) for s in Quantity(10, 3.0, 50).deal(t, split, stream(1, "p"))])
    assert 20 < sizes.max() / sizes.min() < 70
    even = [len(s.train) for s in Quantity(10, 3.0, 1).deal(t, split, stream(1, "p"))]
    assert max(even) - min(even) <= 5


def test_quantity_with_alpha_skews_labels_as_well() -> None:
    t, split = world()
    plain, skewed = (label_histograms(t, Quantity(10, alpha=a).deal(t, split, stream(1, "p"))) for a in (0.0, 0.3))
    assert label_skew(skewed) > 3 * label_skew(plain)
    assert skewed.sum(1).min() >= 1


def test_family_groups_labels_up_to_the_last_hyphen() -> None:
    t, split = world()
    shares = Family().deal(t, split, stream(1, "partition"))
    assert [share.name for share in shares] == ["Recon", "MQTT", "ARP_Spoofing"]
    assert (label_histograms(t, shares) > 0).tolist() == [
        [True, True, True, False, False],
        [True, False, False, True, False],
        [True, False, False, False, True],
    ]
    as_is = Family(2, "as_is").deal(t, split, stream(1, "partition"))
    assert [share.name for share in as_is][:3] == ["Benign 1", "Benign 2", "Recon 1"]
    assert (label_histograms(t, as_is)[:2, 1:] == 0).all()


def test_natural_follows_the_data_and_leaves_strays_out() -> None:
    t, split = world()
    shares = Natural().deal(t, split, stream(1, "partition"))
    assert [share.name for share in shares] == list(GROUPS)
    for code, share in enumerate(shares):
        assert np.array_equal(share.train, split.train[t.group[split.train] == code])
        assert (t.group[share.test] == code).all()
    assert sum(len(s.train) for s in shares) == (t.group[split.train] >= 0).sum() < len(split.train)


def test_a_site_held_back_is_no_client() -> None:
    t, _ = world()
    split = Groups(("east",)).assign(t, stream(1, "split"))
    assert [s.name for s in Natural().deal(t, split, stream(1, "p"))] == ["north", "south", "west"]


def test_natural_says_what_is_missing() -> None:
    t, split = world(groups=False)
    with pytest.raises(ConfigError, match="no natural clients"):
        Natural().deal(t, split, stream(1, "partition"))
    t, split = world()
    with pytest.raises(ConfigError, match="no client has 9999"):
        Natural(9999).deal(t, split, stream(1, "partition"))


def test_skew_of_known_histograms() -> None:
    assert label_skew(np.array([[5, 5], [50, 50]])) == 0
    assert label_skew(np.array([[0, 0], [0, 0]])) == 0
    # two clients with one class each: divergence of (1, 0) to (1/2, 1/2) is 1 - (3/4) log2 3 + 1/2 ... by hand 0.3113
    assert label_skew(np.array([[7, 0], [0, 7]])) == pytest.approx(0.311278**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (Iid, {"clients": 0}),
        (Dirichlet, {"alpha": 0.0}),
        (Dirichlet, {"min_rows": -1}),
        (Shards, {"classes_per_client": 0}),
        (Quantity, {"ratio": 0.5}),
        (Family, {"clients_per_family": 0}),
        (Natural, {"min_rows": -1}),
    ],
)
def test_impossible_keys_are_refused(kind: type, keys: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        kind(**keys)


def test_names_are_distinct() -> None:
    assert len({strategy.name for strategy in STRATEGIES}) == len(STRATEGIES) == 6
