"""Device types of rows: kept in step with the rows, and told by the sources that know them."""

from dataclasses import replace

import numpy as np
import pytest

from wardround.drivers.sources.hospital import Hospital
from wardround.rng import stream
from wardround.traffic.table import concat, rows

SOURCE = Hospital(wards=2, devices_per_ward=3, windows_per_device=20)


def test_a_hospital_tells_each_rows_device_type() -> None:
    by_device = replace(SOURCE, clients="device").load(None, stream(1, "data"))
    assert by_device.device_type is not None
    for row in range(0, len(by_device), 20):
        name = by_device.groups[by_device.group[row]]
        assert by_device.device_types[by_device.device_type[row]] in name


def test_device_types_follow_their_rows() -> None:
    table = SOURCE.load(None, stream(1, "data"))
    assert table.device_type is not None
    index = np.array([70, 3, 119])
    taken, joined = rows(table, index), concat([table, table])
    assert taken.device_type is not None
    assert taken.device_type.tolist() == table.device_type[index].tolist()
    assert joined.device_type is not None
    assert len(joined.device_type) == 2 * len(table)
    with pytest.raises(ValueError, match="device_type has shape"):
        replace(table, device_type=np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="cannot be joined"):
        concat([table, replace(table, device_types=("a",))])
