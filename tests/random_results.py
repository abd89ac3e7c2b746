"""The results of random runs, in every transform."""

import copy
import functools
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from random_runs import Numbers, RandomRun, TRANSFORMS
from torch import nn, Tensor
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

import geir
from geir import surrogates
from geir._util.state import leaves, map_state
from geir.wrappers import CellMixin

Results = dict[str, Tensor]


class _Joined(torch.autograd.Function):
    """The identity of several tensors. If one of them has a gradient, the others have zeros."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(t.clone() for t in tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return gradients


def joined_reference(stepper: Any, xs: Tensor, state: Any, record_states: bool = False) -> tuple[Tensor, Any]:
    """The reference loop with zeros for gradients that do not exist, as kernels have.

    Zero times infinity is not a number, but a gradient that does not exist is not multiplied.
    """

    def step(x: Tensor, state: Any, *prepared: Any) -> tuple[Tensor, Any]:
        # A step that does not read the state passes zeros back to the steps before, too.
        x, *parts = _Joined.apply(x, *state)
        z, after = stepper.step(x, type(state)(*parts), *prepared)
        z, *parts = _Joined.apply(z, *after)
        return z, type(after)(*parts)

    return geir.reference(stepper._replace(step=step), xs, state, record_states)


LOOPS = (geir.reference, joined_reference)


def define(source: str) -> type[geir.Neuron[Any]]:
    """The class `Fuzzed` of a source."""
    space: dict[str, Any] = {
        "__name__": "fuzzed",
        "torch": torch,
        "F": nn.functional,
        "Tensor": Tensor,
        "NamedTuple": NamedTuple,
    }
    space |= {"geir": geir, "surrogates": surrogates, "functools": functools}
    exec(compile(source, "fuzzed.py", "exec"), space)
    return space["Fuzzed"]


def build(kind: type[Any], surrogate: str, run: RandomRun, unroll: Any) -> Any:
    """The neuron of a run, with its parameters and buffers."""
    dtype = torch.float64 if run.wide_parameters or run.dtype == "float64" else torch.float32
    if run.transform == "cell" and unroll not in LOOPS:
        kind = type("FuzzedCell", (CellMixin, kind), {"__module__": "fuzzed"})
    neuron = kind(surrogate=eval(surrogate, vars(surrogates) | {"torch": torch}))
    if unroll in LOOPS or run.transform != "cell":
        neuron.unroll = unroll
    for name, given in zip(("p0", "p1", "c0", "m0", "i0"), run.parameters, strict=True):
        values = Numbers("normal", given.layout).tensor(given.shape, run.seed, name, dtype)
        if name == "p0":
            values = values.abs() + 0.2
        if name == "m0":
            values = values > 0
        if name == "i0":
            values = (2 * values).round().long()
        if given.form == "number":
            values = values.flatten()[0].item() if values.numel() else 0.7
            values = torch.tensor(values) if name in ("c0", "m0", "i0") else values
        elif given.form == "parameter":
            values = nn.Parameter(values)
        elif given.form == "learnable":
            values = geir.learnable(values)
        setattr(neuron, name, values)
    return neuron.to(dtype)


class Data:
    """The tensors of a run, new for every call."""

    def __init__(self, run: RandomRun, neuron: Any, widen: bool = False):
        dtype = getattr(torch, run.dtype)
        self.run = run
        self.xs = run.input.tensor((run.steps, *run.shape), run.seed, "xs", dtype)
        self.state = None
        state_dtype = neuron.state_dtype(self.xs)
        if widen:
            self.xs = self.xs.to(state_dtype)
        if run.state is not None:
            start = neuron.rest()
            tensors = {name: run.state.tensor(run.shape, run.seed, name, state_dtype) for name, _ in leaves(start)}
            self.state = type(start)(**tensors)

    def inputs(self, neuron: Any) -> Results:
        """Tensors with a gradient: the input, the state and the parameters."""
        inputs = dict(neuron.named_parameters())
        if self.run.learn_input:
            self.xs = self.xs.requires_grad_()
            inputs["xs"] = self.xs
            if self.state is not None:
                self.state = map_state(lambda part: part.requires_grad_(), self.state)
                inputs |= dict(leaves(self.state))
        return inputs

    def gradient(self, name: str, of: Tensor) -> Tensor:
        """The gradient of a result."""
        return self.run.gradient.tensor(tuple(of.shape), self.run.seed, f"grad {name}", of.dtype)

    def differentiable(self, results: Results) -> Results:
        """The results that have a gradient."""
        return {name: t for name, t in results.items() if self.is_wanted(name)}

    def is_wanted(self, name: str) -> bool:
        """Whether a result has a gradient."""
        return self.run.outputs == "all" or (self.run.outputs == "z") == (name == "zs")

    def loss(self, results: Results) -> Tensor:
        """A weighted sum of results."""
        parts = self.differentiable(results)
        return torch.stack([(self.gradient(name, t) * t).double().sum() for name, t in parts.items()]).sum()


def named(run: RandomRun, zs: Tensor, state: Any) -> Results:
    """Output and state by name."""
    return {"zs": zs, **dict(leaves(state))}


def gradients(data: Data, results: Results, inputs: Results, **keywords: Any) -> Results:
    """The gradients of inputs; zeros where there is none."""
    given = {name: t for name, t in data.differentiable(results).items() if t.requires_grad}
    extra = (3,) if keywords.get("is_grads_batched") else ()
    if not given or not inputs:
        return {f"grad {name}": t.new_zeros((*extra, *t.shape)) for name, t in inputs.items()}
    cotangents = [data.gradient(name, t) for name, t in given.items()]
    if extra:
        cotangents = [torch.stack([c, -2 * c, torch.zeros_like(c)]) for c in cotangents]
    found = torch.autograd.grad([*given.values()], [*inputs.values()], cotangents, allow_unused=True, **keywords)
    return {
        f"grad {name}": t.new_zeros((*extra, *t.shape)) if grad is None else grad
        for (name, t), grad in zip(inputs.items(), found, strict=True)
    }


def _plain(neuron: Any, data: Data) -> Results:
    inputs = data.inputs(neuron)
    results = named(data.run, *neuron(data.xs, data.state))
    return results | gradients(data, results, inputs)


def _no_grad(neuron: Any, data: Data) -> Results:
    with torch.no_grad():
        return named(data.run, *neuron(data.xs, data.state))


def _inference(neuron: Any, data: Data) -> Results:
    with torch.inference_mode():
        return {name: t.clone() for name, t in named(data.run, *neuron(data.xs, data.state)).items()}


def _record(neuron: Any, data: Data) -> Results:
    neuron.record_states = True
    return _plain(neuron, data)


def _chunks(neuron: Any, data: Data) -> Results:
    inputs, outputs, state = data.inputs(neuron), [], data.state
    if neuron.unroll in LOOPS or not len(data.xs):
        return _plain(neuron, data)
    for xs in data.xs.split(max(1, len(data.xs) // 3)):
        zs, state = neuron(xs, state)
        outputs.append(zs)
    results = named(data.run, torch.cat(outputs), state)
    return results | gradients(data, results, inputs)


def _cell(neuron: Any, data: Data) -> Results:
    if neuron.unroll in LOOPS or not len(data.xs):
        return _plain(neuron, data) if len(data.xs) else {}
    inputs, outputs, state = data.inputs(neuron), [], data.state
    for x in data.xs:
        z, state = neuron(x, state)
        outputs.append(z)
    results = named(data.run, torch.stack(outputs), state)
    return results | gradients(data, results, inputs)


def _checkpoint(neuron: Any, data: Data) -> Results:
    inputs = data.inputs(neuron)
    results = named(data.run, *checkpoint(neuron, data.xs, data.state, use_reentrant=False))
    return results | gradients(data, results, inputs)


def _saved_tensors_hooks(neuron: Any, data: Data) -> Results:
    def unpack(tensor: Tensor) -> Tensor:
        return torch.stack([tensor, tensor], -1)[..., 0]

    inputs = data.inputs(neuron)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        results = named(data.run, *neuron(data.xs, data.state))
    return results | gradients(data, results, inputs)


def _backward_twice(neuron: Any, data: Data) -> Results:
    inputs = data.inputs(neuron)
    results = named(data.run, *neuron(data.xs, data.state))
    first = gradients(data, results, inputs, retain_graph=True)
    return results | {f"first {name}": t for name, t in first.items()} | gradients(data, results, inputs)


def _batched_grad(neuron: Any, data: Data) -> Results:
    inputs = data.inputs(neuron)
    results = named(data.run, *neuron(data.xs, data.state))
    return results | gradients(data, results, inputs, is_grads_batched=True)


def _direct_calls(neuron: Any, data: Data) -> Results:
    """Small runs again and again, while parameters, buffers and settings change in every way."""
    rng, results = random.Random(data.run.seed), Results()
    learn = rng.random() < 0.3 and data.run.learn_input
    for k in range(8):
        again = Data(data.run, neuron)
        inputs = {"xs": again.xs.requires_grad_(learn)} if learn else {}
        with torch.enable_grad() if learn and k % 2 else torch.no_grad():
            found = named(data.run, *neuron(again.xs, again.state))
        found |= gradients(again, found, inputs)
        results |= {f"{name} of call {k}": t.detach() for name, t in found.items()}
        if k > 2:
            _change(neuron, rng)
    return results


def _change(neuron: Any, rng: random.Random) -> None:
    """Change a tensor, a number or an object of a neuron."""
    tensors = {**dict(neuron.named_parameters()), **dict(neuron.named_buffers())}
    tensor = tensors[rng.choice(sorted(tensors))]
    factor = rng.choice((0.5, 1.25, 2.0))
    match rng.randrange(9):
        case 0:
            with torch.no_grad():
                tensor.copy_(tensor * factor)
        case 1:
            tensor.data.fill_(factor)
        case 2:
            tensor.data = tensor.data * factor if tensor.is_floating_point() else tensor.data.clone()
        case 3 if tensor.is_contiguous():
            tensor.detach().numpy()[...] = factor
        case 4:
            neuron.k0 += 0.5
        case 5:
            neuron.flag = not neuron.flag
        case 6:
            type(neuron).helper = rng.choice((lambda self, v: v * 0.5, lambda self, v: v - 1))
        case 7:
            neuron.p0 = torch.tensor(0.3 * factor, dtype=neuron.c0.dtype)
        case 8:
            neuron.surrogate = surrogates.SuperSpike(alpha=10 * factor)


def _vmap(neuron: Any, data: Data) -> Results:
    inputs = data.inputs(neuron)
    call = torch.vmap(neuron, in_dims=(1, None if data.state is None else 0), out_dims=(1, 0), randomness="same")
    results = named(data.run, *call(data.xs, data.state))
    return results | gradients(data, results, inputs)


def _vmap_parameters(neuron: Any, data: Data) -> Results:
    parameters = {**dict(neuron.named_parameters()), **dict(neuron.named_buffers())}
    stacked = {
        name: torch.stack([t.detach(), t.detach() + 0.125 if t.is_floating_point() else t])
        for name, t in parameters.items()
    }
    inputs = {name: t.requires_grad_() for name, t in stacked.items() if t.is_floating_point()}
    results = named(
        data.run, *torch.vmap(lambda values: functional_call(neuron, values, (data.xs, data.state)))(stacked)
    )
    return results | gradients(data, results, inputs)


def _grad(neuron: Any, data: Data) -> Results:
    def loss(parameters: Results, xs: Tensor) -> Tensor:
        zs, state = functional_call(neuron, parameters, (xs, data.state))
        return data.loss(named(data.run, zs, state))

    parameters = {name: p.detach() for name, p in neuron.named_parameters()}
    grads, grad = torch.func.grad(loss, argnums=(0, 1))(parameters, data.xs)
    return {"grad xs": grad} | {f"grad {name}": t for name, t in grads.items()}


def _vmap_grad(neuron: Any, data: Data) -> Results:
    def loss(parameters: Results, xs: Tensor, state: Any) -> Tensor:
        results = named(data.run, *functional_call(neuron, parameters, (xs, state)))
        return data.loss(results)

    parameters = {name: p.detach() for name, p in neuron.named_parameters()}
    in_dims = (None, 1, None if data.state is None else 0)
    each = torch.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims, randomness="same")
    grads, grad = each(parameters, data.xs, data.state)
    return {"grad xs": grad} | {f"grad {name}": t for name, t in grads.items()}


def _jacrev(neuron: Any, data: Data) -> Results:
    def outputs(parameters: Results, xs: Tensor) -> Tensor:
        results = named(data.run, *functional_call(neuron, parameters, (xs, data.state)))
        return torch.cat([t.double().flatten()[-12:] for t in data.differentiable(results).values()])

    parameters = {name: p.detach() for name, p in neuron.named_parameters()}
    jacobians, jacobian = torch.func.jacrev(outputs, argnums=(0, 1))(parameters, data.xs)
    return {"jacobian xs": jacobian} | {f"jacobian {name}": t for name, t in jacobians.items()}


_RUNNERS: dict[str, Callable[[Any, Data], Results]] = {name: globals()[f"_{name}"] for name in TRANSFORMS}


def results_of(neuron: Any, run: RandomRun, widen: bool = False) -> Results:
    """The results of a run by name: outputs, states and gradients."""
    neuron = copy.deepcopy(neuron)
    return {name: t.detach() for name, t in _RUNNERS[run.transform](neuron, Data(run, neuron, widen)).items()}
