"""Every model keeps the contract of `geir.testing.check_neuron`."""

import pytest
from model_table import MODELS
from pytorch_versions import COMPILES

from geir.testing import check_neuron


@pytest.mark.parametrize("neuron", MODELS, ids=repr)
def test_every_neuron_keeps_the_contract(neuron):
    check_neuron(neuron, compiled=COMPILES)
