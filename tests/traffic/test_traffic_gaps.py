"""Clients that lack columns: who lacks what, and what the federation's sums make of it."""

from typing import Any

import numpy as np
import pytest

from wardround.drivers.sources.hospital import Hospital
from wardround.errors import ConfigError
from wardround.rng import stream
from wardround.traffic.gaps import Gaps, lacking, without
from wardround.traffic.partition import Natural
from wardround.traffic.scaling import Moments, Quantile
from wardround.traffic.split import Stratified

TABLE = Hospital(wards=6, devices_per_ward=2, windows_per_device=40).load(None, stream(1, "data"))
SHARES = Natural().deal(TABLE, Stratified().assign(TABLE, stream(1, "split")), stream(1, "partition"))
COLUMNS = len(TABLE.schema.columns)


def lacks(gaps: Gaps, seed: int = 1) -> Any:
    return lacking(gaps, TABLE.schema, len(SHARES), stream(seed, "gaps"))


def test_without_gaps_nothing_changes() -> None:
    assert without(TABLE, SHARES, lacks(Gaps())) is TABLE
    assert not lacks(Gaps(columns=0.5)).any()


def test_the_asked_share_of_clients_lacks_the_asked_share_of_columns() -> None:
    found = lacks(Gaps(clients=0.5, columns=0.3))
    assert sorted(found.sum(1)) == [0] * 3 + [round(0.3 * COLUMNS)] * 3
    assert len({row.tobytes() for row in found if row.any()}) == 3
    assert np.array_equal(found, lacks(Gaps(clients=0.5, columns=0.3)))
    assert lacks(Gaps(clients=1.0, columns=0.999)).sum(1).max() == COLUMNS - 1


def test_named_columns_are_missing_from_all_parts_of_those_clients_alone() -> None:
    name = TABLE.schema.columns[2].name
    found = lacks(Gaps(clients=0.34, names=(name,)))
    table = without(TABLE, SHARES, found)
    for share, short in zip(SHARES, found.any(1), strict=True):
        for part in (share.train, share.validation, share.test):
            assert np.isnan(table.x[part, 2]).all() == bool(short)
            assert np.array_equal(np.delete(table.x[part], 2, 1), np.delete(TABLE.x[part], 2, 1), equal_nan=True)
    assert any("gaps: 2 of 6 clients lack 1 to 1" in note for note in table.notes)


@pytest.mark.parametrize("scaling", [Quantile(bins=64), Moments()])
def test_a_lacking_client_is_imputed_by_the_others_and_says_so_by_a_mask_bit(scaling: Any) -> None:
    name = "rate"
    found = lacks(Gaps(clients=0.5, names=(name,)))
    table = without(TABLE, SHARES, found)
    sums = sum(scaling.statistics(table.schema, table.x[share.train]) for share in SHARES)
    made = scaling.fit(table.schema, sums)
    assert f"{name} missing" in made.names
    mask, column = made.names.index(f"{name} missing"), made.names.index(name)
    for share, short in zip(SHARES, found.any(1), strict=True):
        x = made.apply(table.x[share.train])
        assert (x[:, mask] == float(short)).all()
        assert (x[:, column] == 0).all() == bool(short)  # 0 is the federation's mean or median
    rest = np.concatenate([share.train for share, short in zip(SHARES, found.any(1), strict=True) if not short])
    alone = scaling.fit(table.schema, scaling.statistics(table.schema, TABLE.x[rest]))
    assert np.allclose(made.apply(TABLE.x[rest])[:, column], alone.apply(TABLE.x[rest])[:, alone.names.index(name)])


@pytest.mark.parametrize("bad", [{"clients": 1.2}, {"columns": 1.0}])
def test_settings_out_of_range_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="must be a share"):
        Gaps(**bad)


def test_patterns_that_fit_nothing_or_everything_are_refused() -> None:
    with pytest.raises(ConfigError, match="no column is named 'nothing'"):
        lacks(Gaps(clients=0.5, names=("nothing",)))
    with pytest.raises(ConfigError, match="leave a client no column"):
        lacks(Gaps(clients=0.5, names=("*",)))
