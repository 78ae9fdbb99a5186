from __future__ import annotations

import pytest

from wardround.drivers.sinks import numerals


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (numerals.fixed(0.91249), "0.912"),
        (numerals.fixed(None), "–"),
        (numerals.fixed(float("nan")), "–"),
        (numerals.percent(0.0123), "1.2 %"),
        (numerals.count(1234567), "1,234,567"),
        (numerals.size(999), "999 B"),
        (numerals.size(1_250_000), "1.25 MB"),
        (numerals.size(3.2e15), "3.2e+03 TB"),
        (numerals.duration(0.04), "40 ms"),
        (numerals.duration(250), "4 min 10 s"),
        (numerals.duration(7500), "2 h 5 min"),
        (numerals.percent(None), "–"),
        (numerals.count(float("nan")), "–"),
        (numerals.size(None), "–"),
        (numerals.duration(None), "–"),
    ],
)
def test_numbers_as_people_read_them(text: str, wanted: str) -> None:
    assert text == wanted
