import pytest
from matplotlib.figure import Figure


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture
def ax_3d():
    return Figure().add_subplot(projection="3d")
