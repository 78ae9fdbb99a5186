"""The synthetic hospital must not be too easy: no column, no small tree, no strong model may solve it.

A test bed that a model solves to 99 % only shows that its labels leaked into its features (Arp et al., 2022).
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from wardround.drivers.sources.hospital import Hospital
from wardround.rng import stream
from wardround.traffic.partition import Natural, label_histograms, label_skew
from wardround.traffic.split import Split, Stratified
from wardround.traffic.table import Table


@pytest.fixture(scope="module")
def table() -> Table:
    return Hospital().load(None, stream(1, "data"))


@pytest.fixture(scope="module")
def split(table: Table) -> Split:
    return Stratified(test=0.25, validation=0.0).assign(table, stream(1, "split"))


def test_size_and_classes(table: Table) -> None:
    assert 40_000 <= len(table) <= 60_000
    assert np.bincount(table.y, minlength=6).min() > 1000
    assert 0.4 < (table.y == 0).mean() < 0.8


def test_no_single_column_tells_benign_from_attack_or_one_class_from_the_rest(table: Table) -> None:
    worst = {}
    for index, column in enumerate(table.schema.columns):
        values = np.nan_to_num(table.x[:, index], nan=-1.0)
        for code, name in enumerate(table.labels.names):
            area = roc_auc_score(table.y == code, values)
            worst[column.name, name] = max(area, 1 - area)
    assert max(worst.values()) < 0.98, max(worst.items(), key=lambda item: item[1])


def test_a_tree_of_depth_three_fails(table: Table, split: Split) -> None:
    x = np.nan_to_num(table.x, nan=-1.0)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0).fit(x[split.train], table.y[split.train])
    assert f1_score(table.y[split.test], tree.predict(x[split.test]), average="macro") < 0.8


def test_a_strong_centralised_model_is_good_but_not_perfect(table: Table, split: Split) -> None:
    few = split.train[::2]
    model = HistGradientBoostingClassifier(max_iter=40, learning_rate=0.15, random_state=0, early_stopping=False)
    model.fit(table.x[few], table.y[few])
    score = f1_score(table.y[split.test], model.predict(table.x[split.test]), average="macro")
    assert 0.75 < score < 0.95


def test_wards_differ_in_their_labels(table: Table, split: Split) -> None:
    shares = Natural().deal(table, split, stream(1, "partition"))
    assert len(shares) == 12
    assert label_skew(label_histograms(table, shares)) > 0.2


def test_harmless_oddities_are_what_makes_it_hard(table: Table) -> None:
    """Windows labelled Benign reach into the range of floods: rate alone cannot be a detector."""
    rate = table.x[:, [c.name for c in table.schema.columns].index("rate")]
    floods = rate[np.isin(table.y, [1, 2])]
    assert np.quantile(rate[table.y == 0], 0.99) > np.median(floods)
    assert np.quantile(floods, 0.2) < np.quantile(rate[table.y == 0], 0.7)
