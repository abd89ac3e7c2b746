"""Does a neuron keep the contract? `check_neuron` tries everything that the library promises of one; a user's own neuron too.

>>> from geir import LIF
>>> check_neuron(LIF())
"""

import copy
import io
import pickle
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn, Tensor
from torch.func import functional_call, vmap

from ._runtime.kernels import reference
from ._util.state import leaves, map_state
from .core.integrators import Exact
from .core.neuron import Dynamics, Neuron
from .core.ode import ODE
from .core.parameters import Declared
from .core.resets import Reset

STEPS, BATCH, SIZE = 60, 3, 4


def check_neuron(neuron: Dynamics[Any], compiled: bool = False) -> None:
    """Raise `AssertionError`, naming the promise, if the neuron breaks one.

    Args:
        neuron: A layer over time, with whatever parameters; it is not changed. One with noise needs a seed, to do the same again.
        compiled: Also compile its step without graph breaks; takes seconds.
    """
    neuron = copy.deepcopy(neuron).double()
    xs = strong_input(copy.deepcopy(neuron))
    checks = [check for name, check in globals().items() if name.startswith("_check_")]
    for check in checks + ([compiles_without_graph_break] if compiled else []):
        try:
            check(neuron, xs)
        except Exception as error:
            if not isinstance(error, AssertionError):
                raise AssertionError(
                    f"{type(neuron).__name__} breaks the contract: {_sentence(check)}: {type(error).__name__}: {error}"
                ) from error
            raise AssertionError(f"{type(neuron).__name__} breaks the contract: {_sentence(check)}: {error}") from error


def _sentence(check: Callable[..., None]) -> str:
    return (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")


def strong_input(neuron: Dynamics[Any], seed: int = 0) -> Tensor:
    """Random input, float64, shape (time, batch, neurons), strong enough that a spiking neuron spikes often but not always.

    Raises:
        AssertionError: If no strength of input makes it do so.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(STEPS, BATCH, SIZE, generator=generator, dtype=torch.float64)
    if not isinstance(neuron, Neuron) and not hasattr(neuron, "surrogate"):
        return noise
    with torch.no_grad():
        # A model with a fine step has time for one spike of each neuron.
        for least, gain in ((least, 2.0**k) for least in (0.03, 0.01) for k in range(-4, 12)):
            zs, _ = neuron(gain * noise)
            if least < zs.mean() < 0.9:
                return gain * noise
    raise AssertionError(
        f"{type(neuron).__name__} spikes at no strength of input from 1/16 to 2048, or at almost every step."
    )


def run(neuron: Dynamics[Any], xs: Tensor, **keywords: Any) -> dict[str, Any]:
    """Output, last state, and the gradients of a weighted sum of both for the input and every parameter."""
    neuron.zero_grad()
    xs = xs.detach().clone().requires_grad_()
    zs, state = neuron(xs, **keywords)
    parts = dict(leaves(state))
    _weighted_sum(zs, *parts.values()).backward()
    return {"zs": zs, **parts, "xs.grad": torch.zeros_like(xs) if xs.grad is None else xs.grad} | {
        f"{name}.grad": p.grad for name, p in neuron.named_parameters()
    }


def _weighted_sum(*tensors: Tensor) -> Tensor:
    return torch.stack([(torch.linspace(-1, 1, t.numel(), dtype=t.dtype).view_as(t) * t).sum() for t in tensors]).sum()


def learnable_copy(neuron: Dynamics[Any], shape: tuple[int, ...] = (SIZE,)) -> Dynamics[Any]:
    """A copy whose declared parameters are all learnable, with one value per neuron."""
    neuron = copy.deepcopy(neuron)
    for module in neuron.modules():
        if isinstance(module, Declared):
            for name, value in module.declared_parameters().items():
                setattr(module, name, nn.Parameter(value.detach().expand(shape).clone()))
    return neuron


def close(actual: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Assert equality to a tolerance, of anything nested, shapes and dtypes included."""
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def _check_no_trace(neuron: Dynamics[Any], xs: Tensor) -> None:
    """A run changes neither the neuron nor its input nor the state it started from."""
    attributes, before, x = set(vars(neuron)), copy.deepcopy(neuron.state_dict()), xs.clone()
    start = neuron(xs[:5])[1]
    kept = map_state(Tensor.clone, start)
    first = neuron(xs, start)
    close(first, neuron(xs, start))
    close((dict(neuron.state_dict()), xs, start), (dict(before), x, kept))
    assert set(vars(neuron)) == attributes, f"it grew {set(vars(neuron)) - attributes}"


def _check_shapes_and_dtypes(neuron: Dynamics[Any], xs: Tensor) -> None:
    """Output has the shape and dtype of the input, every part of the state that of one step."""
    for dtype, parameters, states in (
        (torch.float64, torch.float64, torch.float64),
        (torch.float32, torch.float32, torch.float32),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.float32, torch.float32),
    ):
        model = copy.deepcopy(neuron).to(parameters)
        zs, state = model(xs.to(dtype))
        assert (zs.shape, zs.dtype) == (xs.shape, dtype), (
            f"input {tuple(xs.shape)}, {dtype} gave output {tuple(zs.shape)}, {zs.dtype}"
        )
        for name, part in leaves(state):
            assert (part.shape, part.dtype) == (xs.shape[1:], states), f"{name} is {tuple(part.shape)}, {part.dtype}"


def _check_samples_apart(neuron: Dynamics[Any], xs: Tensor) -> None:
    """Samples and neurons do not mix."""
    close(neuron(xs[:, 1:2], _start(neuron, xs, slice(1, 2)))[0], neuron(xs)[0][:, 1:2])
    if neuron.elementwise:
        close(neuron(xs[:, :, 2:], _start(neuron, xs, slice(None), slice(2, None)))[0], neuron(xs)[0][:, :, 2:])


def _start(neuron: Dynamics[Any], xs: Tensor, *place: Any) -> Any:
    """The state of some samples and neurons at rest: with noise, no two are alike."""
    return map_state(lambda part: part[place], neuron.initial_state(neuron.transform_input(xs, over_time=True)[0]))


def _check_without_batch_or_time_or_neurons(neuron: Dynamics[Any], xs: Tensor) -> None:
    """No batch, several batch dimensions, no steps and no neurons are all fine."""
    close(neuron(xs[:, 0])[0], neuron(xs)[0][:, 0])
    close(neuron(xs[:, :, None])[0], neuron(xs)[0][:, :, None])
    zs, state = neuron(xs[:0])
    assert zs.shape == xs[:0].shape, f"no steps gave output {tuple(zs.shape)}"
    close(state, neuron.initial_state(xs[0]))
    assert neuron(xs[:, :0])[0].shape == xs[:, :0].shape
    if neuron.elementwise:
        close(neuron(xs[:, 0, 0])[0], neuron(xs)[0][:, 0, 0])
        assert neuron(xs[:, :, :0])[0].shape == xs[:, :, :0].shape
    close(neuron(xs.transpose(1, 2).contiguous().transpose(1, 2))[0], neuron(xs)[0])


def _check_every_step_is_the_step(neuron: Dynamics[Any], xs: Tensor) -> None:
    """A run is the step again and again, and `record_states` returns the state after each."""
    state, outputs, states = neuron.initial_state(neuron.transform_input(xs, over_time=True)[0]), [], []
    for x in xs:
        z, state = neuron.step(neuron.transform_input(x, over_time=False), state)
        outputs.append(z)
        states.append(state)
    close(neuron(xs), (torch.stack(outputs), state))
    recording = copy.deepcopy(neuron)
    recording.record_states = True
    close(recording(xs)[1], map_state(lambda *parts: torch.stack(parts), *states))


def _check_kernel_is_the_reference(neuron: Dynamics[Any], xs: Tensor) -> None:
    """What runs it over time agrees with the reference loop, all gradients included."""
    model = learnable_copy(neuron)
    actual = run(model, xs)
    model.unroll = reference
    close(actual, run(model, xs))


def _check_two_parts(neuron: Dynamics[Any], xs: Tensor) -> None:
    """Running in two parts is running once."""
    first, middle = neuron(xs[:23])
    second, last = neuron(xs[23:], middle)
    close((torch.cat([first, second]), last), neuron(xs))


def _check_causal(neuron: Dynamics[Any], xs: Tensor) -> None:
    """Input acts on the output from its own step on, and not before."""
    changed = xs.clone()
    changed[30] += 10 * xs.abs().max()
    zs, other = neuron(xs)[0], neuron(changed)[0]
    close(zs[:30], other[:30])
    assert not torch.equal(zs[30:], other[30:]), "a strong input at step 30 changed nothing"


def _check_gradients(neuron: Dynamics[Any], xs: Tensor) -> None:
    """Gradients are those of finite differences, with a smooth spike and nothing detached."""
    size = 2 if neuron.elementwise else SIZE
    model = learnable_copy(_smooth(neuron), (size,))
    parameters = dict(model.named_parameters())

    def outputs(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        zs, state = functional_call(model, dict(zip(parameters, values, strict=True)), (x,))
        return zs, *(part for _, part in leaves(state))

    values = [p.detach().clone().requires_grad_() for p in parameters.values()]
    # Not too strong, else the smooth spikes saturate and the test sees no gradient.
    x = (xs[:4, 0, :size] / 2).requires_grad_()
    assert torch.autograd.gradcheck(outputs, (x, *values), atol=1e-6, rtol=1e-4)


def _smooth(neuron: Dynamics[Any]) -> Dynamics[Any]:
    neuron = copy.deepcopy(neuron)
    for module in neuron.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Reset):
                setattr(module, name, type(value)(detach=False))
        if isinstance(module, Neuron):
            module.surrogate = torch.sigmoid
    return neuron


def _check_parameters_learn(neuron: Dynamics[Any], xs: Tensor) -> None:
    """Every parameter gets a gradient for every neuron, and a scalar one the sum of theirs."""
    each = run(learnable_copy(neuron), xs)
    total = run(learnable_copy(neuron, ()), xs)
    for name in (name for name in total if name.endswith(".grad") and name != "xs.grad"):
        if each[name] is not None:
            close(each[name].sum(), total[name].sum(), 1e-7)
            assert each[name].isfinite().all(), f"the gradient of {name.removesuffix('.grad')} is not finite"


def _check_module_manners(neuron: Dynamics[Any], xs: Tensor) -> None:
    """It pickles, deep-copies, saves and loads like any module."""
    expected = neuron(xs)
    buffer = io.BytesIO()
    torch.save(neuron.state_dict(), buffer)
    buffer.seek(0)
    loaded = copy.deepcopy(neuron)
    for tensor in (*loaded.parameters(), *loaded.buffers()):
        with torch.no_grad():
            tensor.mul_(random.Random(0).uniform(1.1, 1.2))
    assert len(loaded.load_state_dict(torch.load(buffer, weights_only=True)).missing_keys) == 0
    for twin in (pickle.loads(pickle.dumps(neuron)), copy.deepcopy(neuron), loaded):
        close(twin(xs), expected)
    assert repr(neuron).startswith(type(neuron).__name__)


def _check_function_transforms(neuron: Dynamics[Any], xs: Tensor) -> None:
    """It works under `functional_call`, `vmap` and `torch.func.grad`."""
    parameters = dict(neuron.named_parameters()) | dict(neuron.named_buffers())
    close(functional_call(neuron, parameters, (xs,)), neuron(xs))
    close(vmap(neuron, in_dims=(1, 0), out_dims=(1, 0))(xs, _start(neuron, xs, ...)), neuron(xs))
    if parameters:
        close(_ensemble(neuron, parameters, xs), neuron(xs)[0])
    model = learnable_copy(neuron)
    expected = run(model, xs)

    def loss(xs: Tensor) -> Tensor:
        zs, state = model(xs)
        return _weighted_sum(zs, *(part for _, part in leaves(state)))

    close(torch.func.grad(loss)(xs), expected["xs.grad"])


def _ensemble(neuron: Dynamics[Any], parameters: dict[str, Tensor], xs: Tensor) -> Tensor:
    """Output with the parameters as they are, by way of `vmap` over two sets of them."""
    stacked = {name: torch.stack([value, value * 1.1]) for name, value in parameters.items()}
    both, _ = vmap(lambda values: functional_call(neuron, values, (xs,)))(stacked)
    return both[0]


def _check_affine(neuron: Dynamics[Any], xs: Tensor) -> None:
    """A model declared affine has an affine derivative."""
    if not (isinstance(neuron, ODE) and isinstance(neuron.integrator, Exact)):
        return
    generator = torch.Generator().manual_seed(1)
    rest = map_state(lambda part: part.expand(SIZE).to(torch.float64), neuron.rest())

    def random_point() -> tuple[Tensor, Any]:
        return torch.randn(SIZE, generator=generator).double(), map_state(
            lambda p: torch.randn(p.shape, generator=generator).double(), rest
        )

    (x, s), (y, r) = random_point(), random_point()
    middle = neuron.derivative(0.3 * x + 0.7 * y, map_state(lambda a, b: 0.3 * a + 0.7 * b, s, r))
    close(middle, map_state(lambda a, b: 0.3 * a + 0.7 * b, neuron.derivative(x, s), neuron.derivative(y, r)))


def compiles_without_graph_break(neuron: Dynamics[Any], xs: Tensor) -> None:
    """Its step compiles without a graph break, forward and backward."""
    torch.compiler.reset()
    step = torch.compile(neuron.step, fullgraph=True, backend="aot_eager")
    state = neuron.initial_state(xs[0])
    x, twin = xs[0].clone().requires_grad_(), xs[0].clone().requires_grad_()
    (z, after), (expected, expected_after) = step(x, state), neuron.step(twin, state)
    close((z, after), (expected, expected_after))
    (z.sum() + sum(part.sum() for _, part in leaves(after))).backward()
    (expected.sum() + sum(part.sum() for _, part in leaves(expected_after))).backward()
    close(x.grad, twin.grad)
