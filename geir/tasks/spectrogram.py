"""Spectrograms on the mel scale, as the ear resolves frequencies."""

import math

import torch
from torch import Tensor


def mel_filters(bands: int, window: int, rate: float, lowest: float = 100.0) -> Tensor:
    r"""Triangular filters, equally spaced on the mel scale, :math:`m(f) = 2595 \log_{10}(1 + f / 700\,\text{Hz})`.

    Each filter rises from the center of its lower neighbor to 1 at its own, and falls to the center of the next.

    Reference: S. Davis & P. Mermelstein, *Comparison of parametric representations for monosyllabic word recognition in
    continuously spoken sentences*, 1980.

    Args:
        bands: Number of filters.
        window: Number of samples of the Fourier transform whose power is filtered.
        rate: Samples per second.
        lowest: Frequency in Hz at which the first filter begins; the last ends at half of `rate`.

    Returns:
        Shape (bands, window // 2 + 1).
    """
    low_mel, high_mel = (2595 * math.log10(1 + frequency / 700) for frequency in (lowest, rate / 2))
    mels = torch.linspace(low_mel, high_mel, bands + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    low, center, high = (edges[k : bands + k, None] for k in range(3))
    frequencies = torch.fft.rfftfreq(window, 1 / rate, dtype=torch.float64)
    rise, fall = (frequencies - low) / (center - low), (high - frequencies) / (high - center)
    return torch.minimum(rise, fall).clamp(min=0).float()


def log_mel(audio: Tensor, filters: Tensor, hop: int, floor: float) -> Tensor:
    r"""Logarithm of the power in each band and frame, :math:`\log_{10}(1 + p / p_0)`: silence is 0, and so is padding.

    Args:
        audio: Samples, shape (samples,). Frames are centered at every `hop`-th sample and weighted by a Hann window.
        filters: From `mel_filters`, shape (bands, window // 2 + 1).
        hop: Number of samples between frames.
        floor: Power :math:`p_0` below which a sound is hardly visible.

    Returns:
        Shape (frames, bands).
    """
    window = 2 * (filters.shape[1] - 1)
    spectrum = torch.stft(
        audio, window, hop, window=torch.hann_window(window), pad_mode="constant", return_complex=True
    )
    return torch.log10(1 + filters @ spectrum.abs().square() / floor).T
