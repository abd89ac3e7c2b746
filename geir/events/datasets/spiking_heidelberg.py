"""The Heidelberg spiking data sets: Spiking Heidelberg Digits and Spiking Speech Commands."""

import os
from pathlib import Path
from typing import Final, Literal

from ..recording import ErrorMode
from ..spike_trains import SpikeTrains
from .origin import Origin

_PAGE: Final = 'the page "Spiking Heidelberg Datasets" of Zenke Lab'


class SHD(SpikeTrains):
    """Spiking Heidelberg Digits: spoken digits in English and German, as spikes of 700 channels of a model cochlea.

    Two of the twelve speakers are only in the test set; `speakers` has the speaker of each recording.

    Args:
        folder: The folder with the unpacked files `shd_train.h5` and `shd_test.h5`.
        split: ``"train"`` or ``"test"``.
        dt: Time step of the frames in seconds. Default: no frames, but spikes.
        steps: Number of time steps of the frames; later spikes are dropped. Default: up to the last
            spike of each recording.
        errors: See `SpikeTrains`.

    Raises:
        FileNotFoundError: If the file is missing.
        EventFileError: If the file is damaged; on access, if the recording is.
        ImportError: If h5py is not installed.
        ValueError: If an argument is invalid.

    Reference:
        Cramer, Stradmann, Schemmel & Zenke, "The Heidelberg spiking data sets for the systematic
        evaluation of spiking neural networks" (2020).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        dt: float | None = None,
        steps: int | None = None,
        errors: ErrorMode = "strict",
    ):
        origin = Origin("SHD", f"shd_{split}.h5.gz", _PAGE)
        origin.check_split(split)
        super().__init__(origin.require(Path(folder) / f"shd_{split}.h5"), dt=dt, steps=steps, errors=errors)


class SSC(SpikeTrains):
    """Spiking Speech Commands: 35 words of many speakers, as spikes of 700 channels of a model cochlea.

    Args:
        folder: The folder with the unpacked files `ssc_train.h5`, `ssc_valid.h5` and `ssc_test.h5`.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        dt: See `SHD`.
        steps: See `SHD`.
        errors: See `SpikeTrains`.

    Raises:
        FileNotFoundError: If the file is missing.
        EventFileError: If the file is damaged; on access, if the recording is.
        ImportError: If h5py is not installed.
        ValueError: If an argument is invalid.

    Reference:
        Cramer, Stradmann, Schemmel & Zenke, "The Heidelberg spiking data sets for the systematic
        evaluation of spiking neural networks" (2020).
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: Literal["train", "valid", "test"] = "train",
        *,
        dt: float | None = None,
        steps: int | None = None,
        errors: ErrorMode = "strict",
    ):
        origin = Origin("SSC", f"ssc_{split}.h5.gz", _PAGE)
        origin.check_split(split, ("train", "valid", "test"))
        super().__init__(origin.require(Path(folder) / f"ssc_{split}.h5"), dt=dt, steps=steps, errors=errors)
