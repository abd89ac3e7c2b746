"""Tests of the contract, for every model of the library and for your own.

>>> from geir import LIF
>>> check_neuron(LIF())
"""

from .contract import check_neuron as check_neuron
from .runs import (
    close as close,
    learnable_copy as learnable_copy,
    run as run,
    smooth_copy as smooth_copy,
    strong_input as strong_input,
)
