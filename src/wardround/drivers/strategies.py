"""All strategies there are: the core's, the data sources, and those of installed third parties."""

from __future__ import annotations

from importlib.metadata import entry_points

from wardround.catalogue import CORE, GROUP, Catalogue, with_entry_points
from wardround.drivers.sources.listed import SOURCES


def full() -> Catalogue:
    """The catalogue that the command line uses.

    Raises:
        UsageError: an installed third party's strategy is broken or clashes.
    """
    return with_entry_points(CORE.extended("source", SOURCES), list(entry_points(group=GROUP)))
