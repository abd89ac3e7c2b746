"""Interactive pages: their numbers, computed in a browser, against the reference loop in float64."""

import copy
import html
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import chromium
import pytest
import torch
from model_table import MODELS
from seeding import seeded
from torch import Tensor

import geir
import geir.plot
from geir._util.state import leaves, map_state
from geir.plot.explore.__main__ import main

TOLERANCE = 1e-9
STEPS = 200
SHOWN = [model for model in MODELS if model.elementwise]
REFUSED = [model for model in MODELS if not model.elementwise]

needs_browser = pytest.mark.skipif(chromium.find() is None, reason="needs Chromium or Chrome")


class TiltedState(NamedTuple):
    v: Tensor  # membrane potential
    w: Tensor  # fatigue


class Tilted(geir.ODENeuron[TiltedState]):
    r"""Invented neuron that tires, with functions that JavaScript lacks.

    .. math:: \tau \dot v = -v + k \, \text{erf}(v) - w + x, \qquad \tau_w \dot w = \tanh(v) - w
    """

    tau: geir.Parameter = geir.parameter(default=10e-3, unit="s", above=0.0, doc="membrane time constant")
    tau_w: geir.Parameter = geir.parameter(default=100e-3, unit="s", above=0.0, doc="time constant of fatigue")
    k: geir.Parameter = geir.parameter(default=0.3, at_least=0.0, below=1.0, doc="upswing")
    new: geir.Parameter = geir.parameter(default=0.2, doc="fatigue per spike")  # a word of JavaScript
    v_th: geir.Parameter = geir.parameter(default=1.0, doc="threshold")

    def rest(self):
        return TiltedState(v=torch.zeros(()), w=torch.tanh(0.1 * self.v_th))

    def derivative(self, x, state):
        v, w = state
        coarse = torch.round(100 * w) / 100 + torch.floor(v) * 1e-3 + 1e-3 * torch.erfc(v) * torch.sign(w)
        other = torch.remainder(v, 0.3) * 1e-3 + torch.exp2(-v.abs()) * 1e-3 + torch.pow(v.abs() + 1, 0.7) * 1e-3
        return TiltedState(
            v=(-v + self.k * torch.erf(v) - coarse + other + x) / self.tau, w=(torch.tanh(v) - w) / self.tau_w
        )

    def threshold(self, before, after):
        return after.v - self.v_th

    def reset(self, z, state):
        return TiltedState(v=state.v * (1 - z), w=state.w + self.new * z)


class RingState(NamedTuple):
    v: Tensor  # membrane potential
    p: Tensor  # first echo
    q: Tensor  # second echo
    r: Tensor  # third echo


class Ring(geir.IntegrateAndFire[RingState], affine=True):
    """Invented neuron with three echoes in a ring, so that the matrix of its equation has no triangular form."""

    tau: geir.Parameter = geir.parameter(default=10e-3, unit="s", above=0.0, doc="time constant")
    g: geir.Parameter = geir.parameter(default=-0.5, doc="echo")
    v_th: geir.Parameter = geir.parameter(default=1.0, doc="threshold")
    v_reset: geir.Parameter = geir.parameter(default=0.0, doc="potential after a spike")

    def rest(self):
        return RingState(*(torch.zeros(()) for _ in range(4)))

    def derivative(self, x, state):
        v, p, q, r = state
        return RingState(*((-a + b) / self.tau for a, b in ((v, self.g * r + x), (p, v), (q, p), (r, q))))

    def threshold(self, before, after):
        return after.v - self.v_th


USERS = [Tilted(), Ring()]


def twin_of(neuron, settings):
    """Neurons in float64 with other parameters, one for each setting, on the reference loop."""
    twin = copy.deepcopy(neuron).double()
    for name in settings[0].keys() - {"dt"}:
        owner, _, attribute = name.rpartition(".")
        numbers = torch.tensor([values[name] for values in settings], dtype=torch.float64)
        setattr(twin.get_submodule(owner), attribute, torch.nn.Parameter(numbers, requires_grad=False))
    (dt,) = {values["dt"] for values in settings}
    for module in twin.modules():
        if "dt" in vars(module):
            module.dt = dt
        if isinstance(module, geir.Dynamics):
            module.unroll = geir.reference
    twin.record_states = True
    return twin


def run_reference(neuron, settings, xs):
    """Outputs and states of a run from rest for each setting, shape (time, settings)."""
    twin = twin_of(neuron, settings)
    inputs = xs[:, None].expand(-1, len(settings))
    state = twin.initial_state(inputs[0])
    # Every neuron of a layer has its own random numbers; a page has those of the first.
    names = iter([name for name, _ in leaves(state)])
    state = map_state(lambda part: part[:1].expand_as(part) if "generator" in next(names) else part, state)
    with torch.no_grad():
        return twin(inputs, state)


def strong_input(neuron):
    """Random input of a strength that makes the neuron spike."""
    steps = STEPS if neuron.dt > 1e-4 else 2 * STEPS
    noise = torch.rand(steps, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if not neuron.spiking:
        return noise
    for gain in (2.0**k for k in range(-4, 14)):
        zs, _ = neuron(gain * noise.float())
        if zs.sum() >= (4 if steps == STEPS else 1):
            return gain * noise
    raise AssertionError("does not spike")


def run_in_page(page, xs, values):
    """Results of `geir.run` in the page, as tensors."""
    text = page.evaluate(
        f"""(() => {{
            const text = (value) => (Number.isFinite(value) ? value : String(value));
            const numbers = (values) => Array.from(values, text);
            const {{ zs, states }} = geir.run({json.dumps(xs.tolist())}, {json.dumps(values)});
            const parts = Object.entries(states).map(([name, values]) => [name, numbers(values)]);
            return JSON.stringify({{ zs: numbers(zs), states: Object.fromEntries(parts) }});
        }})()"""
    )

    def tensor(numbers):
        return torch.tensor([float(str(number).replace("Infinity", "inf")) for number in numbers], dtype=torch.float64)

    result = json.loads(text)
    return tensor(result["zs"]), {name: tensor(numbers) for name, numbers in result["states"].items()}


def check_runs(page, neuron, settings, xs):
    zs, states = run_reference(neuron, settings, xs)
    for k, values in enumerate(settings):
        found_zs, found_states = run_in_page(page, xs, values)
        close(found_zs, zs[:, k])
        for name, part in leaves(states):
            close(found_states[name], part[:, k])
    return zs


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)


@pytest.fixture(scope="module")
def browser():
    with chromium.Page("about:blank") as page:
        yield page


@pytest.fixture
def show(browser, tmp_path):
    """Opens the page of a neuron in the browser."""

    def show(neuron, **options):
        path = tmp_path / f"{type(neuron).__name__}.html"
        geir.plot.explore(neuron, path, **options)
        browser.errors.clear()
        browser.call("Page.navigate", url=path.as_uri())
        browser.until(f"location.pathname.endsWith('{path.name}') && document.readyState === 'complete'")
        return browser

    return show


def facts_of(neuron, **options):
    """The JSON that a page holds."""
    page = geir.plot.explore(neuron, **options).html
    return json.loads(re.search(r'<script id="model" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def settings_of(facts):
    """Settings, grouped by step size: the defaults, equal time constants, and each slider at either end, one after the
    other and all together."""
    defaults = {p["name"]: p["value"] for p in facts["parameters"]}
    taus = [p["name"] for p in facts["parameters"] if p["keyword"].startswith("tau")]
    equal = dict.fromkeys(taus, 13e-3)
    one = [{p["name"]: p[end]} for p in facts["parameters"] for end in ("low", "high")]
    both = [{p["name"]: p[end] for p in facts["parameters"]} for end in ("low", "high")]
    groups = {}
    for values in ({}, equal, *one, *both):
        setting = defaults | values
        groups.setdefault(setting["dt"], []).append(setting)
    return groups.values()


@needs_browser
@pytest.mark.parametrize("neuron", SHOWN + USERS, ids=repr)
def test_javascript_equals_the_reference_also_at_the_ends_of_the_sliders(neuron, show):
    groups = settings_of(facts_of(neuron))
    xs = strong_input(neuron)
    page = show(neuron)
    spikes = [check_runs(page, neuron, settings, xs)[:, 0].sum() for settings in groups]
    assert not neuron.spiking or spikes[0] > 0, "the input is too weak for this test to see a spike"
    assert page.errors == []


@needs_browser
@pytest.mark.parametrize("neuron", [geir.LIF(), geir.Izhikevich(), geir.Noisy(geir.LIF(), seed=1), USERS[0]], ids=repr)
def test_every_slider_changes_what_is_shown(neuron, show):
    page = show(neuron)
    for name in [p["name"] for p in facts_of(neuron)["parameters"]]:
        shown = "(update(), JSON.stringify([Array.from(result.zs), result.states.map((s) => Array.from(s))]))"
        slider = f"document.getElementById('slider-{name}')"
        before, position = page.evaluate(shown), page.evaluate(f"{slider}.value")
        page.evaluate(f"{slider}.value = 800; {slider}.dispatchEvent(new Event('input'))")
        assert page.evaluate(shown) != before, name
        assert f"{name.rpartition('.')[2]}=" in page.evaluate("document.getElementById('expression').textContent")
        page.evaluate("document.getElementById('reset').click()")
        assert page.evaluate(f"{slider}.value") == position
        assert page.evaluate(shown) == before, name


@needs_browser
def test_a_number_outside_of_the_declared_range_is_refused(show):
    page = show(geir.LIF())
    field = "document.getElementById('number-tau_mem')"
    page.evaluate(f"{field}.value = -1; {field}.dispatchEvent(new Event('change'))")
    assert page.evaluate(f"{field}.parentElement.querySelector('.error').textContent") == "tau_mem must be > 0 ms."
    assert page.evaluate("geir.model.parameters[0].value") == 0.01
    # beyond the end of the slider, but in range
    page.evaluate(f"{field}.value = 500; {field}.dispatchEvent(new Event('change'))")
    assert page.evaluate("geir.model.parameters[0].value") == 0.5
    for call, message in (
        ("geir.run([1], {tau: 1})", "LIF has no parameter 'tau'. It has: tau_mem, tau_syn"),
        ("geir.run([1], {tau_mem: 0})", "LIF.tau_mem must be > 0, got 0."),
        ("geir.run([1], {v_th: NaN})", "LIF.v_th must be a number, got NaN."),
    ):
        with pytest.raises(RuntimeError, match=re.escape(message)):
            page.evaluate(call)


@needs_browser
def test_the_page_fetches_nothing_and_draws_everything(show):
    page = show(geir.AdEx())
    drawn = "[...document.getElementById('{}').getContext('2d').getImageData(0, 0, 300, 150).data].some(Boolean)"
    for canvas in ("traces", "plane", "curve"):
        page.until(drawn.format(canvas))
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
    forbidden = """new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
        fetch("https://example.org").catch(() => setTimeout(() => resolve("nothing"), 2000));
    })"""
    assert page.evaluate(forbidden) == "connect-src"
    assert page.errors == []


@needs_browser
def test_the_cursor_moves_by_keyboard_and_spikes_are_listed_as_text(show):
    page = show(geir.LIF())
    canvas = "document.getElementById('traces')"
    press = f"{canvas}.dispatchEvent(new KeyboardEvent('keydown', {{key: '%s'}}))"
    page.evaluate(press % "End")
    assert page.evaluate("cursor") == 199
    page.evaluate(press % "ArrowLeft")
    assert page.evaluate("cursor") == 198
    page.evaluate(press % "Escape")
    assert page.evaluate("cursor") is None
    listed = page.evaluate("document.querySelector('#spike-times p').textContent")
    assert listed.count(",") + 1 == page.evaluate("sum(result.zs)") > 0
    assert "spikes in 200 ms" in page.evaluate(f"{canvas}.getAttribute('aria-label')")


@pytest.mark.parametrize("neuron", [*SHOWN, *USERS], ids=repr)
def test_a_page_is_small_and_names_no_other_host(neuron):
    page = geir.plot.explore(neuron)
    assert len(page.html.encode()) < 300_000
    # the name space of MathML
    assert set(re.findall(r"https?://[\w./]+", page.html)) <= {"http://www.w3.org/1998/Math/MathML"}
    assert not re.search(r"\{\{|\bsrc=|@import|<code>\\\\", page.html)


def test_a_notebook_shows_the_page_in_a_frame():
    page = geir.plot.explore(geir.LIF())
    frame = page._repr_html_()
    assert frame.startswith("<iframe")
    assert frame.endswith("</iframe>")
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == page.html


def test_sliders_stay_within_declared_ranges_and_follow_ranges():
    facts = {p["name"]: p for p in facts_of(Tilted(), ranges={"tau": (1e-3, 20e-3), "v_th": (0.0, 2.0)})["parameters"]}
    assert (facts["tau"]["low"], facts["tau"]["high"]) == (1e-3, 20e-3)
    assert (facts["v_th"]["low"], facts["v_th"]["high"]) == (0.0, 2.0)
    assert facts["k"]["low"] == 0.0
    assert 0.99 < facts["k"]["high"] < 1.0
    assert facts["tau_w"]["low"] > 0.0


@pytest.mark.parametrize("neuron", REFUSED, ids=repr)
def test_neurons_that_influence_each_other_are_refused(neuron):
    with pytest.raises(ValueError, match="explore shows single neurons, but those of"):
        geir.plot.explore(neuron)


class Reading(geir.LIF):
    def threshold(self, before, after):
        return after.v - (self.v_th if float(after.v) > 0 else 2 * self.v_th)


class Fixed(geir.IAF):
    """A neuron whose step needs its step size as a number."""

    def step(self, x, state):
        return super().step(x * math.exp(-self.dt), state)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"explore cannot show Reading: its step lets Python read the data of a tensor", [Reading()]),
        (ValueError, "LIFRecurrent is recurrent", [seeded(lambda: geir.LIFRecurrent(2, 2))]),
        (ValueError, r"LIF.tau_mem has shape \(3,\)", [geir.LIF(tau_mem=torch.full((3,), 0.01))]),
        (TypeError, r"got the class LIF; pass LIF\(\)", [geir.LIF]),
        (TypeError, r"expected a neuron such as LIF\(\), got ReLU", [torch.nn.ReLU()]),
    ],
    ids=str,
)
def test_what_cannot_be_shown_gets_a_clear_error(error, message, arguments):
    with pytest.raises(error, match=message):
        geir.plot.explore(*arguments)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"tau": (1.0, 2.0)}, "LIF has no parameter 'tau'. It has: dt, tau_mem"),
        ({"tau_mem": (-1.0, 2.0)}, r"LIF.tau_mem must be > 0.0 s, got -1.0"),
        ({"v_th": (2.0, 1.0)}, r"must be \(low, high\) with low < high, got \(2.0, 1.0\)"),
    ],
    ids=str,
)
def test_wrong_ranges_get_a_clear_error(ranges, message):
    with pytest.raises(ValueError, match=message):
        geir.plot.explore(geir.LIF(), ranges=ranges)


def test_a_step_size_that_is_needed_as_a_number_has_no_slider():
    assert "dt" not in [p["name"] for p in facts_of(Fixed())["parameters"]]
    assert "dt" in [p["name"] for p in facts_of(geir.IAF())["parameters"]]


def test_the_description_has_the_equations_and_the_summary():
    page = geir.plot.explore(geir.LIFRefrac()).html
    assert page.count('display="block"') >= 1
    assert "Leaky integrate-and-fire neuron with a synaptic current." in page
    assert "W. Gerstner et al., <em>Neuronal Dynamics</em>" in page
    assert "Args:" not in page
    assert ":math:" not in page


def test_without_latex2mathml_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    with pytest.raises(ImportError, match=r"pip install 'geir\[plot\]'"):
        geir.plot.explore(geir.LIF())


def test_the_command_line_writes_a_page(tmp_path):
    (tmp_path / "mine.py").write_text("import geir\nclass Mine(geir.LIF):\n    'My neuron.'\n")
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(geir.__file__).parents[1]), str(tmp_path)])}

    def run(*arguments):
        command = [sys.executable, "-m", "geir.plot.explore", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | paths, check=False
        )

    done = run("mine:Mine")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "Mine.html", "")
    assert "My neuron." in (tmp_path / "Mine.html").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LIFF", "There is no neuron LIFF. Did you mean LIF?"),
        ("nowhere:LIF", "The module nowhere cannot be imported"),
        ("LIFRecurrent", "LIFRecurrent needs input_size, hidden_size; call geir.plot.explore in Python instead."),
    ],
)
def test_the_command_line_explains_a_wrong_name(name, message):
    with pytest.raises(SystemExit, match=re.escape(message)):
        main([name])


class FitzHughNagumo(geir.ODENeuron[TiltedState]):
    """A neuron that strong input silences."""

    dt = 0.1e-3

    def rest(self):
        return TiltedState(v=torch.tensor(-1.2), w=torch.tensor(-0.625))

    def derivative(self, x, state):
        v, w = state
        return TiltedState(v=(v - v**3 / 3 - w + x) / 1e-3, w=(v + 0.7 - 0.8 * w) / 12.5e-3)

    def threshold(self, before, after):
        return torch.where(before.v > 1, 1 - before.v, after.v - 1)

    def reset(self, z, state):
        return state


@needs_browser
def test_the_first_input_makes_the_neuron_spike_but_does_not_silence_it(show):
    page = show(FitzHughNagumo())
    assert page.evaluate("sum(result.zs)") == 4
    page.until("document.getElementById('curve-value').value")
    assert page.evaluate("[...measureCurve(0.35)].at(-1).inputs.at(-1)") < 5
