"""The lab must not be too easy: these checks fail the build where a column, a small tree or a strong model solves it.

A test bed that a model solves to 99 % only shows that its labels leaked into its features (Arp et al., USENIX Security
2022). Addresses, hops and hours: test_lab_recording.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score
from sklearn.tree import DecisionTreeClassifier

from wardround.arrays import F64, Bool
from wardround.drivers.sources.ciciomt2024 import CLASSES, FAMILY_OF, LABEL_SETS
from wardround.drivers.sources.lab import source
from wardround.drivers.sources.lab.recording import Recording, record
from wardround.drivers.sources.lab.source import ATTACK_PACKETS, Lab, windows_of
from wardround.rng import stream
from wardround.traffic.partition import Natural, label_histograms, label_skew
from wardround.traffic.pkt import PacketFeatures
from wardround.traffic.split import Groups
from wardround.traffic.table import Table
from wardround.traffic.windows import Windows

SETTINGS = Lab(wards=6, unseen=1, sessions=4, minutes=7, labels="19class", cache=False)
SIX = np.array([LABEL_SETS["6class"].index(FAMILY_OF[name]) for name in CLASSES])
TOLD_AT = 200
"""Rows a class must have: fewer are those of one or two incidents, and an AUC would judge their rates, not the lab."""


@pytest.fixture(scope="module")
def table() -> Table:
    return SETTINGS.load(None, stream(1, "data"))


@pytest.fixture(scope="module")
def ward() -> tuple[Recording, Windows]:
    recording = record(SETTINGS, 1, 4)
    return recording, windows_of(recording, PacketFeatures(5, classes=len(CLASSES)))


def area(values: F64, positive: Bool) -> float:
    """ROC-AUC of a single column, whichever way it points."""
    ranks, n = rankdata(values), int(positive.sum())
    found = (ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n))
    return float(max(found, 1 - found))


def test_no_single_column_tells_attack_or_class(table: Table) -> None:
    worst: dict[tuple[str, str], float] = {}
    targets = {"attack": table.y > 0}
    targets |= {name: SIX[table.y] == k for k, name in enumerate(LABEL_SETS["6class"])}
    targets |= {name: table.y == k for k, name in enumerate(CLASSES)}
    for index, column in enumerate(table.schema.columns):
        values = np.nan_to_num(table.x[:, index].astype(np.float64), nan=-1.0)
        for name, positive in targets.items():
            if TOLD_AT <= positive.sum() <= len(positive) - TOLD_AT:
                worst[column.name, name] = area(values, positive)
    assert len(worst) > 1000
    assert {name for _, name in worst} >= {"attack", *LABEL_SETS["6class"][:5]}
    assert max(worst.values()) < 0.98, max(worst.items(), key=lambda item: item[1])


def test_a_tree_of_depth_three_fails(table: Table) -> None:
    x, y = np.nan_to_num(table.x, nan=-1.0), SIX[table.y]
    half = stream(1, "half").random(len(y)) < 0.5
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x[half], y[half])
    assert f1_score(y[~half], tree.predict(x[~half]), average="macro") < 0.8


def test_a_strong_centralised_model_is_good_but_not_perfect(table: Table) -> None:
    """Rows split at random: the split that flatters most."""
    y = SIX[table.y]
    part = stream(1, "part").random(len(y)) < 0.5
    model = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.12,
        max_leaf_nodes=15,
        early_stopping=False,
        class_weight="balanced",
        random_state=0,
    )
    model.fit(table.x[part], y[part])
    score = f1_score(y[~part], model.predict(table.x[~part]), average="macro")
    assert 0.7 < score < 0.95


def test_windows_have_one_length_for_all_classes(ward: tuple[Recording, Windows]) -> None:
    lengths = ward[1].end - ward[1].start
    assert set(lengths.tolist()) == {5_000_000_000}
    assert set((ward[1].start % 5_000_000_000).tolist()) == {0}


def test_every_labelled_packet_is_in_some_row(ward: tuple[Recording, Windows]) -> None:
    recording, windows = ward
    counted = windows.label_counts.sum(axis=0)
    packets = np.bincount(recording.frames["label"], minlength=len(CLASSES))
    seen = packets > 0
    assert (counted[seen] > 0).all()
    assert (counted[~seen] == 0).all()
    assert (counted <= 2 * packets).all()  # once for its sender, once for its receiver


def test_rows_with_a_packet_or_two_of_an_attack_are_left_out(ward: tuple[Recording, Windows]) -> None:
    y, told = source.classes_of(ward[1])
    attack = ward[1].label_counts[:, 1:].sum(axis=1)
    assert ((attack > 0) & (attack < ATTACK_PACKETS) == ~told).all()
    assert ((attack >= ATTACK_PACKETS) == (y > 0)).all()
    mixed = (y > 0) & (ward[1].label_counts[:, 0] > 0)
    assert mixed.sum() > 0.5 * (y > 0).sum()  # attacks share their windows with normal traffic


def test_harmless_oddities_reach_into_the_range_of_attacks(table: Table) -> None:
    at = [c.name for c in table.schema.columns].index("packets in")
    rate = table.x[:, at]
    attacks = rate[table.y > 0]
    assert np.quantile(rate[table.y == 0], 0.995) > np.median(attacks)
    assert np.quantile(attacks, 0.25) < np.quantile(rate[table.y == 0], 0.8)


def test_wards_differ_in_their_labels_and_the_unseen_one_is_held_back(table: Table) -> None:
    split = Groups(leave_out=(table.groups[-1],), validation=0.1).assign(table, stream(1, "split"))
    assert set(table.group[split.test].tolist()) == {6}
    shares = [share for share in Natural().deal(table, split, stream(1, "partition")) if len(share.train)]
    assert len(shares) == 6
    assert label_skew(label_histograms(table, shares)) > 0.03
    attacks = [set(table.y[share.train].tolist()) - {0} for share in shares]
    assert len({frozenset(each) for each in attacks}) > 3
    assert len(set(table.y[split.test].tolist())) > 8


def test_the_cache_gives_the_same_table(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(source.CACHE, str(tmp_path))
    settings = Lab(wards=1, unseen=0, sessions=1, minutes=2)
    made, kept = (settings.load(None, stream(3, "data")) for _ in range(2))
    assert np.array_equal(made.x, kept.x, equal_nan=True)
    assert np.array_equal(made.y, kept.y)
    assert made.groups == kept.groups
    next(iter(source._cache_folder().glob("lab-*.npz"))).write_bytes(b"damaged")
    again = settings.load(None, stream(3, "data"))
    assert np.array_equal(made.x, again.x, equal_nan=True)
    assert Lab(wards=1, unseen=0, sessions=1, minutes=2, labels="binary").load(
        None, stream(3, "data")
    ).labels.names == (
        "Benign",
        "Attack",
    )
    by_device = Lab(wards=1, unseen=0, sessions=1, minutes=2, clients="device").load(None, stream(3, "data"))
    assert any("broker" in name for name in by_device.groups)
