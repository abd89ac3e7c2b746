"""Find out why a spiking network does not learn: silence, saturation, wrong time axes, lost gradients."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn, Tensor

from .._util.recording import Call, record_calls
from ..core.neuron import Dynamics
from ..core.parameters import Declared
from ..wrappers import CellMixin
from .diagnosis_report import Diagnosis, Finding, LayerActivity

# A neuron that spikes in at least this share of all steps is saturated.
_SATURATED = 0.5
# A layer is reported if this share of its neurons is silent, or saturated.
_SILENT_SHARE = 0.99
_SATURATED_SHARE = 0.1
# Gradients below this part of those of the last layer do not train.
_VANISHED = 1e-6

_MORE_ACTIVITY = "Call geir.init_weights(model, xs), make the input stronger, or lower v_th."
_LESS_ACTIVITY = "Call geir.init_weights(model, xs), or make the input or the weights smaller."


def diagnose(model: nn.Module, xs: Tensor, state: Any = None) -> Diagnosis:
    """Run a network once and report what keeps it from learning.

    It finds silent and saturated layers, layers with different `dt`, time constants shorter than a step or longer than
    1,000 steps, layers and cells that were given another axis than time, NaN and infinity in input, parameters and
    outputs (a neuron turns a potential of NaN into silence), and gradients that do not reach a layer or vanish on the
    way.

    The model is left as it is: buffers that the run changes are restored, gradients are not stored, and random numbers
    are drawn from a copy of the generator.

    Args:
        model: The network, called as ``model(xs)``.
        xs: Typical input, shape (time, batch, ...).
        state: State to continue from. Default: the resting state.

    Returns:
        The diagnosis. Print it; `findings` and `layers` hold the same as data.

    Raises:
        TypeError: If `model` is not a module, or `xs` is not a floating-point tensor.
        ValueError: If `xs` has no step.

    >>> import geir
    >>> model = geir.SequentialState(nn.Linear(10, 20), geir.LIF(), lift=True)
    >>> print(geir.diagnose(model, torch.zeros(50, 1, 10)))  # doctest: +SKIP
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"diagnose expected a module, got {model!r}.")
    if not isinstance(xs, Tensor) or not xs.is_floating_point():
        given = str(xs.dtype) if isinstance(xs, Tensor) else type(xs).__name__
        raise TypeError(f"diagnose expected a floating-point tensor (time, batch, ...) as input, got {given}.")
    if xs.dim() < 2 or not len(xs):
        raise ValueError(
            f"diagnose expected input of shape (time, batch, ...) with at least one step, got {tuple(xs.shape)}."
        )
    run = _Run(model, xs, state)
    layers = run.layers()
    findings = [
        *_check_numbers(model, run),
        *_check_time_constants(model),
        *_check_time_axes(run),
        *_check_activity(layers),
        *_check_gradients(layers, run),
    ]
    return Diagnosis(layers, findings)


class _Layer:
    """The calls of one stateful layer during the run."""

    def __init__(self, name: str, module: Dynamics):
        self.name, self.module = name, module
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    @property
    def is_cell(self) -> bool:
        return isinstance(self.module, CellMixin)

    def zs(self) -> Tensor:
        """Output over all calls, shape (time, ...)."""
        parts = [output.detach() for output in self.outputs]
        if self.is_cell:
            same = [part for part in parts if part.shape == parts[0].shape]
            return torch.stack(same)
        return torch.cat([part for part in parts if part.shape[1:] == parts[0].shape[1:]])


class _Run:
    """One run of a model, recorded."""

    def __init__(self, model: nn.Module, xs: Tensor, state: Any):
        self.xs = xs
        self.recorded: dict[str, _Layer] = {}
        self.not_finite: str | None = None
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        xs = xs.detach().clone().requires_grad_()
        try:
            with torch.random.fork_rng(), torch.enable_grad(), record_calls(model, self._record):
                result = model(xs) if state is None else model(xs, state)
            self.gradients = self._differentiate(result[0] if isinstance(result, tuple) else result)
        finally:
            with torch.no_grad():
                for name, buffer in model.named_buffers():
                    if name in buffers:
                        buffer.copy_(buffers[name])

    def _record(self, call: Call) -> None:
        output = call.result[0] if isinstance(call.result, tuple) else call.result
        if self.not_finite is None and isinstance(output, Tensor) and output.is_floating_point():
            inputs = [x for x in call.arguments if isinstance(x, Tensor)]
            sound = all(bool(x.isfinite().all()) for x in inputs)
            if sound and not bool(output.isfinite().all()):
                self.not_finite = f"{call.name or '(model)'}"
        if isinstance(call.module, Dynamics) and isinstance(output, Tensor):
            layer = self.recorded.setdefault(call.name, _Layer(call.name, call.module))
            x = call.arguments[0]
            layer.inputs.append(x[0] if isinstance(x, tuple) else x)
            layer.outputs.append(output)

    def _differentiate(self, output: Any) -> dict[str, list[Tensor | None]]:
        """Gradients of a random sum of the output with respect to the inputs of each layer."""
        if isinstance(output, list | tuple):
            output = output[-1]
        wanted = [(name, x) for name, layer in self.recorded.items() for x in layer.inputs if x.requires_grad]
        if not (isinstance(output, Tensor) and output.requires_grad and wanted):
            return {}
        generator = torch.Generator().manual_seed(0)
        seed = torch.randn(output.shape, generator=generator).to(output)
        grads = torch.autograd.grad(output, [x for _, x in wanted], seed, allow_unused=True)
        found: dict[str, list[Tensor | None]] = {}
        for (name, _), grad in zip(wanted, grads, strict=True):
            found.setdefault(name, []).append(grad)
        return found

    def layers(self) -> list[LayerActivity]:
        return [self._measure(layer) for layer in self.recorded.values()]

    def _measure(self, layer: _Layer) -> LayerActivity:
        zs = layer.zs()
        dt = float(layer.module.dt)
        rate = silent = saturated = None
        if layer.module.spiking and zs.numel():
            per_neuron = zs.float().flatten(2).mean((0, 1)) if zs.dim() > 2 else zs.float().mean(0)
            rate = per_neuron.mean().item() / dt
            silent = (per_neuron == 0).float().mean().item()
            saturated = (per_neuron >= _SATURATED).float().mean().item()
        gradients = [grad for grad in self.gradients.get(layer.name, []) if grad is not None]
        gradient = None
        if self.gradients:
            squares = sum((grad.double().square().sum() for grad in gradients), torch.zeros((), dtype=torch.double))
            count = sum(grad.numel() for grad in gradients)
            gradient = (squares / count).sqrt().item() if count else 0.0
        kind = type(layer.module).__name__
        return LayerActivity(layer.name, kind, dt, len(zs), rate, silent, saturated, gradient)


def _check_numbers(model: nn.Module, run: _Run) -> Iterator[Finding]:
    if not bool(run.xs.isfinite().all()):
        yield Finding("", "the input contains NaN or infinity.", "Remove them: a neuron turns NaN into silence.")
    elif not run.xs.any():
        yield Finding("", "the input is zero everywhere.", "Check the encoder and the scale of the data.")
    broken = [name for name, p in model.named_parameters() if p.is_floating_point() and not bool(p.isfinite().all())]
    if broken:
        yield Finding(
            broken[0],
            f"{len(broken)} parameter(s) contain NaN or infinity.",
            "Start again with a smaller learning rate, and clip gradients.",
        )
    elif run.not_finite is not None:
        yield Finding(
            run.not_finite,
            "its output contains NaN or infinity, though its input does not.",
            "Check its parameters; use smaller weights or a smaller dt.",
        )


def _check_time_constants(model: nn.Module) -> Iterator[Finding]:
    steps: dict[float, list[str]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, Declared) or not isinstance(dt := getattr(module, "dt", None), float | int):
            continue
        steps.setdefault(float(dt), []).append(name or type(module).__name__)
        for key, declaration in module.declarations().items():
            if declaration.unit != "s" or not key.startswith("tau"):
                continue
            values = getattr(module, key).detach().double()
            shortest, longest = values.min().item(), values.max().item()
            if shortest < dt * (1 - 1e-6):
                yield Finding(
                    name,
                    f"{key} = {shortest:.3g} s is shorter than a step, dt = {dt:.3g} s.",
                    "Times are in seconds: choose a smaller dt, or a longer time constant.",
                )
            if longest > 1000 * dt:
                yield Finding(
                    name,
                    f"{key} = {longest:.3g} s is {longest / dt:,.0f} steps of dt = {dt:.3g} s.",
                    "Times are in seconds: 20 ms is 20e-3. Ignore this if it is meant.",
                )
    if len(steps) > 1:
        listed = "; ".join(f"dt = {dt:.3g} s in {', '.join(names[:3])}" for dt, names in sorted(steps.items()))
        yield Finding("", f"modules have different step sizes: {listed}.", "Give all of them the same dt.")


def _check_time_axes(run: _Run) -> Iterator[Finding]:
    steps = len(run.xs)
    for layer in run.recorded.values():
        kind, calls = type(layer.module).__name__, len(layer.inputs)
        shape = tuple(layer.inputs[0].shape)
        if layer.is_cell:
            if calls == 1 and steps > 1 and len(shape) > 1 and shape[0] == steps:
                yield Finding(
                    layer.name,
                    f"{kind} made one step with all {steps} steps as input, shape {shape}.",
                    f"Use the layer {kind.removesuffix('Cell')}, or Lift({kind}(...)), which steps it through time.",
                )
        elif calls == steps > 1:
            yield Finding(
                layer.name,
                f"{kind} was called once for each of the {steps} steps, with shape {shape}: it took its first "
                "dimension, the batch, for time.",
                f"Use {kind}Cell in a loop, or call {kind} once with all steps.",
            )
        elif calls == 1 and shape[:1] != (steps,):
            yield Finding(
                layer.name,
                f"{kind} ran over {shape[0] if shape else 0} steps, input of shape {shape}, but the input of the "
                f"model has {steps}.",
                "Time is the first dimension everywhere. Apply modules of one step with geir.Lift, or use "
                "SequentialState(..., lift=True).",
            )


def _check_activity(layers: list[LayerActivity]) -> Iterator[Finding]:
    for layer in layers:
        if layer.rate is None or layer.silent is None or layer.saturated is None:
            continue
        if layer.rate == 0:
            yield Finding(layer.name, f"{layer.kind} is silent: no spike in {layer.steps} steps.", _MORE_ACTIVITY)
        elif layer.silent >= _SILENT_SHARE:
            yield Finding(layer.name, f"{layer.silent:.0%} of the neurons of {layer.kind} are silent.", _MORE_ACTIVITY)
        if layer.saturated >= _SATURATED_SHARE:
            yield Finding(
                layer.name,
                f"{layer.saturated:.0%} of the neurons of {layer.kind} spike in at least every second step.",
                _LESS_ACTIVITY,
            )


def _check_gradients(layers: list[LayerActivity], run: _Run) -> Iterator[Finding]:
    if not run.gradients:
        yield Finding(
            "",
            "the output does not depend on the input in a way that autograd follows.",
            "Compute spikes with the neuron's surrogate instead of a comparison such as (v > 1).float().",
        )
        return
    known = [layer for layer in layers if layer.gradient is not None]
    largest = max((layer.gradient or 0.0 for layer in known), default=0.0)
    # The layer nearest to the output that loses the gradient; those before it lose it too.
    for layer in reversed(known):
        gradient = layer.gradient or 0.0
        if gradient == 0 or gradient < _VANISHED * largest:
            problem = "no gradient passes" if gradient == 0 else f"the gradient falls to {gradient / largest:.0e}"
            yield Finding(
                layer.name,
                f"{problem} through {layer.kind}.",
                "Choose a surrogate that is wider at the distances to threshold that occur, such as "
                "geir.surrogates.ATan(), and keep the layers after it active.",
            )
            return
