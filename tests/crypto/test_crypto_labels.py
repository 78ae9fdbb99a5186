from __future__ import annotations

from itertools import permutations

from wardround.crypto import labels
from wardround.secagg import labels as secagg_labels

ALL = {name: value for name, value in vars(labels).items() if isinstance(value, bytes)}


def test_no_label_is_a_prefix_of_another() -> None:
    assert len(ALL) > 30
    for first, second in permutations(ALL, 2):
        assert not ALL[first].startswith(ALL[second]), (first, second)


def test_secure_aggregation_has_a_name_space_of_its_own() -> None:
    theirs = {name: value for name, value in vars(secagg_labels).items() if isinstance(value, bytes)}
    assert theirs
    for value in theirs.values():
        assert value.startswith(b"wardround secagg/1")
        assert not any(value.startswith(ours) or ours.startswith(value) for ours in ALL.values())


def test_labels_fit_a_signature_context() -> None:
    assert all(0 < len(value) <= 255 for name, value in ALL.items() if name.startswith("SIGN_"))
