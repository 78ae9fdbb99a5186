import pytest
from detect_worlds import bundle_of  # type: ignore[import-not-found]

from wardround.training.bundle import Bundle


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    made: Bundle = bundle_of()
    return made
