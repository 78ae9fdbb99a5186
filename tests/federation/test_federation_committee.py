"""Who is on the committee: named, or drawn from different sites by everybody alike."""

import pytest

from wardround.errors import ConfigError
from wardround.federation.committee import members, site
from wardround.secagg.parameters import Lattice

NAMES = tuple(f"{house}/{ward}" for house in ("north", "south", "east", "west", "mid") for ward in ("icu", "er", "lab"))


def test_one_gateway_each_of_different_sites_and_the_same_for_everybody() -> None:
    drawn = members(Lattice(), NAMES, 7)
    assert len(drawn) == 5
    assert {site(name) for name in drawn} == {"north", "south", "east", "west", "mid"}
    assert members(Lattice(), tuple(reversed(NAMES)), 7) == drawn, "whatever the order in which names are listed"
    assert len({members(Lattice(), NAMES, seed) for seed in range(20)}) > 5
    small = members(Lattice(committee="small"), NAMES, 7)
    assert len({site(name) for name in small}) == 4


def test_names_without_a_slash_are_sites_of_their_own() -> None:
    assert site("radiology 1") == "radiology 1"
    assert len(members(Lattice(committee="small"), tuple("abcdef"), 1)) == 4


def test_too_few_sites_say_what_would_fit() -> None:
    with pytest.raises(ConfigError, match='belong to 4: committee = "small" would fit'):
        members(Lattice(), NAMES[:12], 1)
    with pytest.raises(ConfigError, match="belong to 2: name the members"):
        members(Lattice(committee="small"), NAMES[:6], 1)


def test_named_members_are_taken_as_they_are_and_must_be_as_many_as_the_preset_has() -> None:
    named = ("a", "b", "c", "registrar")
    assert members(Lattice(committee="small", members=named), ("a", "b", "c"), 1) == named
    for wrong in (("a", "b"), ("a", "b", "c", "a")):
        with pytest.raises(ValueError, match="has 4 different members"):
            Lattice(committee="small", members=wrong)
