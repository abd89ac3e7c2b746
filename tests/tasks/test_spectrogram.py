"""Spectrograms on the mel scale: `geir.tasks.spectrogram`."""

import numpy as np
import torch

from geir.tasks.spectrogram import log_mel, mel_filters

RATE, WINDOW, HOP = 8000, 256, 80


def tone(frequency, seconds=0.5):
    return torch.sin(2 * torch.pi * frequency * torch.arange(int(seconds * RATE)) / RATE)


def test_filters_are_triangles_whose_centers_are_equally_spaced_in_mels():
    filters = mel_filters(20, 4096, RATE).double().numpy()
    mels = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 4000 / 700), 22)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.arange(2049) * RATE / 4096
    for k, row in enumerate(filters):
        expected = np.interp(frequencies, edges[k : k + 3], [0, 1, 0], left=0, right=0)
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_a_tone_is_in_the_band_whose_center_is_nearest():
    filters = mel_filters(40, WINDOW, RATE)
    mels = torch.linspace(*(2595 * np.log10(1 + f / 700) for f in (100, 4000)), 42)[1:-1]
    centers = 700 * (10 ** (mels / 2595) - 1)
    for frequency in (500.0, 1000.0, 2000.0, 3000.0):
        frames = log_mel(tone(frequency), filters, HOP, floor=1e-2)
        assert frames.shape == (51, 40)
        loudest = frames[10:-10].mean(0).argmax()
        # A Fourier transform of 32 ms resolves 31 Hz.
        assert abs(centers[loudest] - frequency) <= (centers - frequency).abs().min() + RATE / WINDOW


def test_power_is_that_of_the_windowed_signal_and_silence_is_zero():
    # A filter that passes everything; Parseval's theorem gives the power, which is counted twice but for the two ends.
    passing = torch.ones(1, WINDOW // 2 + 1)
    passing[0, 1:-1] = 2
    audio = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    frames = log_mel(audio, passing, HOP, floor=10.0)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    part = audio[10 * HOP - WINDOW // 2 : 10 * HOP + WINDOW // 2].double().numpy()
    power = WINDOW * ((hann * part) ** 2).sum()
    np.testing.assert_allclose(frames[10, 0], np.log10(1 + power / 10), rtol=1e-5)
    assert not log_mel(torch.zeros(800), passing, HOP, floor=10.0).any()
