"""The CUBA and COBA networks of Brian2's examples, built as a C++ program that `populations.py` runs.

python -m benchmarks.populations_brian2 coba 4000 1.0 float64 folder
"""

import sys


def build(name: str, size: int, seconds: float, dtype: str, folder: str) -> None:
    """Build the network `name` in a folder, as the program `main`; every run of it draws another network."""
    import brian2  # pyright: ignore[reportMissingImports]  (optional)
    import numpy
    from brian2 import ms, mV, NeuronGroup, second, SpikeMonitor, Synapses  # pyright: ignore[reportMissingImports]

    brian2.set_device("cpp_standalone", directory=folder, build_on_run=False)
    brian2.prefs.core.default_float_dtype = getattr(numpy, dtype)
    brian2.defaultclock.dt = 0.1 * ms
    parameters = {"taum": 20 * ms, "taue": 5 * ms, "taui": 10 * ms, "Vt": -50 * mV, "Vr": -60 * mV}
    probability = 0.02 * 4000 / size
    if name == "cuba":
        equations = """
        dv/dt = (ge + gi - (v - El)) / taum : volt (unless refractory)
        dge/dt = -ge / taue : volt
        dgi/dt = -gi / taui : volt
        """
        parameters |= {"El": -49 * mV, "we": 1.62 * mV, "wi": -9 * mV}
    else:
        equations = """
        dv/dt = (ge * (Ee - v) + gi * (Ei - v) - (v - El)) / taum : volt (unless refractory)
        dge/dt = -ge / taue : 1
        dgi/dt = -gi / taui : 1
        """
        parameters |= {"El": -60 * mV, "Ee": 0 * mV, "Ei": -80 * mV, "we": 0.6, "wi": 6.7}
    neurons = NeuronGroup(
        size,
        equations,
        threshold="v > Vt",
        reset="v = Vr",
        refractory=5 * ms,
        method="exact" if name == "cuba" else "exponential_euler",
        namespace=parameters,
    )
    if name == "cuba":
        neurons.v = "Vr + rand() * (Vt - Vr)"
    else:
        neurons.v = "El + (randn() * 5 - 5) * mV"
        neurons.ge = "randn() * 1.5 + 4"
        neurons.gi = "randn() * 12 + 20"
    excitatory = Synapses(neurons, neurons, on_pre="ge += we", namespace=parameters)
    inhibitory = Synapses(neurons, neurons, on_pre="gi += wi", namespace=parameters)
    excitatory.connect(f"i < {4 * size // 5}", p=probability)
    inhibitory.connect(f"i >= {4 * size // 5}", p=probability)
    monitor = SpikeMonitor(neurons)
    brian2.Network(neurons, excitatory, inhibitory, monitor).run(seconds * second)
    brian2.device.build(directory=folder, compile=True, run=False)


if __name__ == "__main__":
    build(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4], sys.argv[5])
