"""Run our models' equations in Brian2 and keep the potentials, which `test_biophysical_neurons.py` compares with ours.

Run it by hand, in a separate environment, because Brian2 pins other versions:

    pip install brian2==2.9.0 "numpy<2.4"
    python tests/brian2_traces.py
"""

# ruff: noqa: C408  (quantities by name)

import json
from pathlib import Path

import brian2 as b2
import numpy as np

ADEX = """
dv/dt = (v_rest - v + delta_T * exp((clip(v, -inf, v_peak) - v_th) / delta_T) - w + i_syn) / (tau_mem * second) : 1
di_syn/dt = -i_syn / (tau_syn * second) : 1
dw/dt = (a * (v - v_rest) - w) / (tau_adapt * second) : 1
"""
IZHIKEVICH = """
dv/dt = (0.04 * v**2 + 5 * v + 140 - u + x) / ms : 1
du/dt = a * (b * v - u) / ms : 1
x : 1
"""
COBA = """
dv/dt = (v_rest - v + g_exc * (E_exc - v) + g_inh * (E_inh - v)) / (tau_mem * second) : 1
dg_exc/dt = -g_exc / (tau_exc * second) : 1
dg_inh/dt = -g_inh / (tau_inh * second) : 1
"""
HODGKIN_HUXLEY = """
dv/dt = (g_Na * m**3 * h * (E_Na - v) + g_K * n**4 * (E_K - v) + g_L * (E_L - v) + x) / C / ms : 1
dm/dt = (1 / exprel(-(v + 40) / 10) * (1 - m) - 4 * exp(-(v + 65) / 18) * m) / ms : 1
dh/dt = (0.07 * exp(-(v + 65) / 20) * (1 - h) - 1 / (1 + exp(-(v + 35) / 10)) * h) / ms : 1
dn/dt = (0.1 / exprel(-(v + 55) / 10) * (1 - n) - 0.125 * exp(-(v + 65) / 80) * n) / ms : 1
x : 1
"""


def steady(v):
    """The gates of Hodgkin and Huxley's model in equilibrium."""
    opens = [
        (v + 40) / 10 / -np.expm1(-(v + 40) / 10),
        0.07 * np.exp(-(v + 65) / 20),
        (v + 55) / 100 / -np.expm1(-(v + 55) / 10),
    ]
    closes = [4 * np.exp(-(v + 65) / 18), 1 / (1 + np.exp(-(v + 35) / 10)), 0.125 * np.exp(-(v + 65) / 80)]
    return dict(zip("mhn", (a / (a + b) for a, b in zip(opens, closes, strict=True)), strict=True))


random = np.random.default_rng(0)
# Equations, what a step receives, threshold, reset, methods, dt, input, start and parameters.
CASES = {
    "AdEx": dict(
        equations=ADEX, receive="i_syn += given(t)", threshold="v > v_peak", reset="v = v_reset; w += b", methods=["euler", "rk4"], dt=1e-4,
        x=0.3 * random.random(800), start=dict(v=0.05),
        parameters=dict(tau_mem=9e-3, tau_syn=4e-3, tau_adapt=120e-3, delta_T=0.12, a=0.2, b=0.15, v_rest=0.05, v_th=0.9, v_peak=1.4, v_reset=-0.1),
    ),
    "Izhikevich": dict(
        equations=IZHIKEVICH, receive="x = given(t)", threshold="v > v_peak", reset="v = c; u += d", methods=["euler", "rk4"], dt=1e-4,
        x=20 * random.random(800), start=dict(v=-68.0, u=-68.0 * 0.21), parameters=dict(a=0.03, b=0.21, c=-60.0, d=5.0, v_peak=28.0, v_rest=-68.0),
    ),
    "CobaLIF": dict(
        equations=COBA, receive="g_exc += clip(given(t), 0, inf); g_inh += clip(-given(t), 0, inf)", threshold="v > v_th", reset="v = v_reset",
        methods=["euler", "rk4", "exponential_euler"], dt=1e-4, x=(0.5 + random.standard_normal(800)) * (random.random(800) < 0.3), start=dict(v=0.1),
        parameters=dict(tau_mem=18e-3, tau_exc=4e-3, tau_inh=9e-3, E_exc=5.5, E_inh=-2.1, v_rest=0.1, v_th=0.9, v_reset=-0.05),
    ),
    "HodgkinHuxley": dict(
        equations=HODGKIN_HUXLEY, receive="x = given(t)", threshold="v > v_th", reset="", methods=["rk4", "exponential_euler"], dt=25e-6,
        x=10 + 5 * random.random(1600), start=dict(v=-65.0, **steady(-65.0)),
        parameters=dict(C=1.1, g_Na=115.0, g_K=35.0, g_L=0.31, E_Na=51.0, E_K=-76.0, E_L=-54.0, v_th=-5.0),
    ),
}  # fmt: skip


def run(case, method):
    """The potential after every step, and the steps of the spikes."""
    b2.start_scope()
    dt = case["dt"] * b2.second
    namespace = {"given": b2.TimedArray(case["x"], dt), **case["parameters"]}
    # Without a reset it would spike at every step above threshold.
    refractory = False if case["reset"] else case["threshold"]
    group = b2.NeuronGroup(
        1,
        case["equations"],
        method=method,
        threshold=case["threshold"],
        reset=case["reset"],
        refractory=refractory,
        namespace=namespace,
        dt=dt,
    )
    for name, value in case["start"].items():
        setattr(group, name, value)
    # Held during a step, as ours is; within one, Runge and Kutta would see the next.
    group.run_regularly(case["receive"], when="start")
    potential, spikes = b2.StateMonitor(group, "v", record=0, when="end"), b2.SpikeMonitor(group)
    b2.Network(group, group.contained_objects, potential, spikes).run(len(case["x"]) * dt)
    return {"v": potential.v[0], "spikes": np.round(spikes.t / dt).astype(int)}


def main():
    b2.prefs.codegen.target = "numpy"
    traces = {}
    for name, case in CASES.items():
        traces |= {f"{name}/x": case["x"], f"{name}/parameters": json.dumps({"dt": case["dt"], **case["parameters"]})}
        for method in case["methods"]:
            traces |= {f"{name}/{method}/{part}": values for part, values in run(case, method).items()}
            print(name, method, len(traces[f"{name}/{method}/spikes"]), "spikes")
    np.savez_compressed(Path(__file__).parent / "data" / "brian2.npz", **traces)


if __name__ == "__main__":
    main()
