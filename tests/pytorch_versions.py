"""Features of the installed version of PyTorch that geir needs."""

import pytest
import torch
from torch.torch_version import TorchVersion

COMPILES = TorchVersion(torch.__version__) >= "2.13"

# For tests that compile or export a layer, or trace a step that passes a shape on.
requires_compile = pytest.mark.skipif(not COMPILES, reason="torch.compile and torch.export of layers need PyTorch 2.13")
