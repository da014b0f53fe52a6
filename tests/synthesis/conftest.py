import pytest
from tests.synthesis.tiny import TinyEncoder, TinyGenerator


@pytest.fixture
def generator() -> TinyGenerator:
    return TinyGenerator()


@pytest.fixture
def encoder() -> TinyEncoder:
    return TinyEncoder()
