"""Versions of libraries: those of installed packages, wherever they are installed, and the source of geir."""

import sys
import types
from pathlib import Path

import torch
from torch import nn

from geir.events.code_versions import library_version
from geir.events.fingerprint import fingerprint


def test_pytorch_may_be_installed_in_any_folder(tmp_path, monkeypatch):
    folder = Path(torch.__file__).parent
    (tmp_path / "torch").symlink_to(folder)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] == "torch" and file and type(module) is types.ModuleType:
            monkeypatch.setattr(module, "__file__", str(tmp_path / "torch" / Path(file).relative_to(folder)))
    library_version.cache_clear()
    try:
        assert fingerprint(nn.ReLU())
    finally:
        library_version.cache_clear()


def test_modules_of_the_user_have_no_version():
    assert library_version(__name__) is None
    assert library_version("torch.nn") == library_version("torch.nn")
    assert library_version("geir.neurons") == library_version("geir") != library_version("os")
