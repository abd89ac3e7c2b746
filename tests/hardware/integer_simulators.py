"""Integer neurons in NumPy, written from the published equations with int64 and shifts; they share nothing with geir."""

import numpy as np


def shift_toward_zero(values, bits):
    return np.sign(values) * (np.abs(values) >> bits)


def loihi_layer(inputs, du, dv, v_th, bias=0, recurrent=None):
    """Run Loihi's neuron on `inputs`, integers of shape (time, ...).

    Returns spikes, potentials before the reset, and currents, each of shape (time, ...).
    """
    i, v = np.zeros(inputs.shape[1:], np.int64), np.zeros(inputs.shape[1:], np.int64)
    z = np.zeros(inputs.shape[1:], np.int64)
    spikes, potentials, currents = [], [], []
    for x in inputs.astype(np.int64):
        if recurrent is not None:
            x = x + z @ recurrent.T
        i = shift_toward_zero(i * (4096 - (du + 1)), 12) + (x << 6)
        # 24 bits of two's complement, except that Lava keeps +2^23
        i = -((-i + 2**23) % 2**24 - 2**23)
        v = np.clip(shift_toward_zero(v * (4096 - dv), 12) + i + bias, -(2**23) + 1, 2**23 - 1)
        z = (v > (v_th << 6)).astype(np.int64)
        potentials.append(v)
        v = np.where(z, 0, v)
        spikes.append(z)
        currents.append(i)
    return np.stack(spikes), np.stack(potentials), np.stack(currents)


def xylo_leak(values, dash):
    shifted = values >> dash  # rounds toward minus infinity
    return values - np.where((shifted == 0) & (values > 0), 1, shifted)


def xylo_layer(inputs, dash_syn, dash_mem, v_th, bias=0, max_spikes=31, recurrent=None):
    """Run Xylo's neuron on `inputs`, integers of shape (time, ...).

    Returns spikes, potentials after the reset, and currents, each of shape (time, ...).
    """
    i, v = np.zeros(inputs.shape[1:], np.int64), np.zeros(inputs.shape[1:], np.int64)
    z = np.zeros(inputs.shape[1:], np.int64)
    spikes, potentials, currents = [], [], []
    for x in inputs.astype(np.int64):
        if recurrent is not None:
            x = x + z @ recurrent.T
        i = xylo_leak(np.clip(i + x, -(2**15), 2**15 - 1), dash_syn)
        v = np.clip(xylo_leak(v, dash_mem) + i + bias, -(2**15), 2**15 - 1)
        z = np.clip(v // v_th, 0, max_spikes)
        v = v - z * v_th
        spikes.append(z)
        potentials.append(v)
        currents.append(i)
    return np.stack(spikes), np.stack(potentials), np.stack(currents)
