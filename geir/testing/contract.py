"""The contract of neurons: one function for each promise, and `check_neuron`, which runs them all."""

import copy
import io
import pickle
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from .._runtime.kernels import reference
from .._util.inputs import AnyInput, first_receptor, map_input, unbind_time
from .._util.state import AnyState, leaves, map_state
from ..core.integrators import Exact
from ..core.neuron import Dynamics
from ..core.ode import ODE
from .runs import at, close, learnable_copy, run, SIZE, smooth_copy, strong_input, weighted_sum


def check_purity(neuron: Dynamics, xs: AnyInput) -> None:
    """A run changes neither the neuron nor its input nor the state it started from."""
    attributes, before, x = set(vars(neuron)), copy.deepcopy(neuron.state_dict()), map_input(Tensor.clone, xs)
    start = neuron(at(xs, slice(5)))[1]
    kept = map_state(Tensor.clone, start)
    first = neuron(xs, start)
    close(first, neuron(xs, start))
    close((dict(neuron.state_dict()), xs, start), (dict(before), x, kept))
    assert set(vars(neuron)) == attributes, f"it grew {set(vars(neuron)) - attributes}"


def check_shapes_and_dtypes(neuron: Dynamics, xs: AnyInput) -> None:
    """The output has the shape and dtype of the input, every part of the state the shape of one step."""
    for dtype, parameters, states in (
        (torch.float64, torch.float64, torch.float64),
        (torch.float32, torch.float32, torch.float32),
        (torch.bfloat16, torch.float32, torch.float32),
        (torch.float16, torch.float32, torch.float32),
    ):
        model = copy.deepcopy(neuron).to(parameters)
        zs, state = model(map_input(lambda part, dtype=dtype: part.to(dtype), xs))
        shape = first_receptor(xs).shape
        assert (zs.shape, zs.dtype) == (shape, dtype), (
            f"input {tuple(shape)}, {dtype} gave output {tuple(zs.shape)}, {zs.dtype}"
        )
        for name, part in leaves(state):
            assert (part.shape, part.dtype) == (shape[1:], states), f"{name} is {tuple(part.shape)}, {part.dtype}"


def check_independence(neuron: Dynamics, xs: AnyInput) -> None:
    """Samples and neurons do not mix."""
    every = slice(None)
    close(neuron(at(xs, every, slice(1, 2)), _start(neuron, xs, slice(1, 2)))[0], neuron(xs)[0][:, 1:2])
    if neuron.elementwise:
        last = at(xs, every, every, slice(2, None))
        close(neuron(last, _start(neuron, xs, every, slice(2, None)))[0], neuron(xs)[0][:, :, 2:])


def _start(neuron: Dynamics, xs: AnyInput, *place: Any) -> Any:
    """The initial state of some samples and neurons, which differ if there is noise."""
    return map_state(lambda part: part[place], _initial_state(neuron, xs))


def _initial_state(neuron: Dynamics, xs: AnyInput) -> Any:
    return neuron.initial_state(first_receptor(neuron.transform_input(xs, over_time=True))[0])


def check_unusual_shapes(neuron: Dynamics, xs: AnyInput) -> None:
    """Input without batch, with several batch dimensions, without steps and without neurons is valid."""
    every, none, first = slice(None), slice(0), first_receptor(xs)
    close(neuron(at(xs, every, 0))[0], neuron(xs)[0][:, 0])
    close(neuron(at(xs, every, every, None))[0], neuron(xs)[0][:, :, None])
    zs, state = neuron(at(xs, none))
    assert zs.shape == first[:0].shape, f"no steps gave output {tuple(zs.shape)}"
    close(state, neuron.initial_state(first[0]))
    assert neuron(at(xs, every, none))[0].shape == first[:, :0].shape
    if neuron.elementwise:
        close(neuron(at(xs, every, 0, 0))[0], neuron(xs)[0][:, 0, 0])
        assert neuron(at(xs, every, every, none))[0].shape == first[:, :, :0].shape
    strided = map_input(lambda part: part.transpose(1, 2).contiguous().transpose(1, 2), xs)
    close(neuron(strided)[0], neuron(xs)[0])


def check_step(neuron: Dynamics, xs: AnyInput) -> None:
    """A run is the repeated step, and `record_states` returns the state after each."""
    state, outputs, states = _initial_state(neuron, xs), [], []
    for x in unbind_time(xs):
        z, state = neuron.step(neuron.transform_input(x, over_time=False), state, *neuron.prepare())
        outputs.append(z)
        states.append(state)
    close(neuron(xs), (torch.stack(outputs), state))
    recording = copy.deepcopy(neuron)
    recording.record_states = True
    close(recording(xs)[1], map_state(lambda *parts: torch.stack(parts), *states))


def check_kernel(neuron: Dynamics, xs: AnyInput) -> None:
    """The kernels agree with the reference loop, all gradients included."""
    model = learnable_copy(neuron)
    actual = run(model, xs)
    model.unroll = reference
    close(actual, run(model, xs))


def check_continuation(neuron: Dynamics, xs: AnyInput) -> None:
    """A run in two parts equals one run."""
    first, middle = neuron(at(xs, slice(23)))
    second, last = neuron(at(xs, slice(23, None)), middle)
    close((torch.cat([first, second]), last), neuron(xs))


def check_causality(neuron: Dynamics, xs: AnyInput) -> None:
    """Input affects the output from its own step on, not before."""
    for receptor in [None] if isinstance(xs, Tensor) else xs._fields:
        changed = map_input(Tensor.clone, xs)
        part = changed if receptor is None else getattr(changed, receptor)
        # A receptor may have a small effect on one step, such as one that gates another.
        part[slice(30, 31 if receptor is None else None)] += 10 * part.abs().max()
        zs, other = neuron(xs)[0], neuron(changed)[0]
        close(zs[:30], other[:30])
        at_receptor = "" if receptor is None else f" at receptor {receptor}"
        assert not torch.equal(zs[30:], other[30:]), f"a strong input{at_receptor} from step 30 on changed nothing"


def check_gradients(neuron: Dynamics, xs: AnyInput) -> None:
    """Gradients equal finite differences, with a smooth spike and nothing detached."""
    size = 2 if neuron.elementwise else SIZE
    model = learnable_copy(smooth_copy(neuron), (size,))
    parameters = dict(model.named_parameters())

    def outputs(*arguments: Tensor) -> tuple[Tensor, ...]:
        parts = iter(arguments)
        x = map_input(lambda _: next(parts), xs)
        zs, state = functional_call(model, dict(zip(parameters, parts, strict=True)), (x,))
        return zs, *(part for _, part in leaves(state))

    values = [p.detach().clone().requires_grad_() for p in parameters.values()]
    # Stronger input would saturate the smooth spikes, and the test would see no gradient.
    x = map_input(lambda part: (part[:4, 0, :size] / 2).requires_grad_(), xs)
    receptors = (x,) if isinstance(x, Tensor) else x
    assert torch.autograd.gradcheck(outputs, (*receptors, *values), atol=1e-6, rtol=1e-4)


def check_parameter_gradients(neuron: Dynamics, xs: AnyInput) -> None:
    """Every parameter gets a gradient per neuron; that of a scalar parameter is their sum."""
    each = run(learnable_copy(neuron), xs)
    total = run(learnable_copy(neuron, ()), xs)
    for name in (name for name in total if name.endswith(".grad") and name != "xs.grad"):
        if each[name] is not None:
            close(each[name].sum(), total[name].sum(), 1e-7)
            assert each[name].isfinite().all(), f"the gradient of {name.removesuffix('.grad')} is not finite"


def check_module_interface(neuron: Dynamics, xs: AnyInput) -> None:
    """Pickling, deep copies, saving and loading work."""
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


def check_function_transforms(neuron: Dynamics, xs: AnyInput) -> None:
    """`functional_call`, `vmap` and `torch.func.grad` work."""
    parameters = dict(neuron.named_parameters()) | dict(neuron.named_buffers())
    close(functional_call(neuron, parameters, (xs,)), neuron(xs))
    in_dims = (map_input(lambda _: 1, xs), 0)
    close(vmap(neuron, in_dims=in_dims, out_dims=(1, 0))(xs, _start(neuron, xs, ...)), neuron(xs))
    if parameters:
        close(_ensemble(neuron, parameters, xs), neuron(xs)[0])
    model = learnable_copy(neuron)
    expected = run(model, xs)

    def loss(xs: AnyInput) -> Tensor:
        zs, state = model(xs)
        return weighted_sum(zs, *(part for _, part in leaves(state)))

    close(torch.func.grad(loss)(xs), expected["xs.grad"])


def _ensemble(neuron: Dynamics, parameters: dict[str, Tensor], xs: AnyInput) -> Tensor:
    """The output for the present parameters, from `vmap` over two sets of parameters."""
    stacked = {name: torch.stack([value, value * 1.1]) for name, value in parameters.items()}
    both, _ = vmap(lambda values: functional_call(neuron, values, (xs,)))(stacked)
    return both[0]


def check_affine(neuron: Dynamics, xs: AnyInput) -> None:
    """A model declared affine has an affine derivative."""
    if not (isinstance(neuron, ODE) and isinstance(neuron.integrator, Exact)):
        return
    generator = torch.Generator().manual_seed(1)
    rest = map_state(lambda part: part.expand(SIZE).to(torch.float64), neuron.rest())

    def random_point() -> tuple[AnyInput, AnyState]:
        return map_input(lambda _: torch.randn(SIZE, generator=generator).double(), xs), map_state(
            lambda p: torch.randn(p.shape, generator=generator).double(), rest
        )

    (x, s), (y, r) = random_point(), random_point()
    between = map_input(lambda a, b: 0.3 * a + 0.7 * b, x, y)
    middle = neuron.derivative(between, map_state(lambda a, b: 0.3 * a + 0.7 * b, s, r))
    close(middle, map_state(lambda a, b: 0.3 * a + 0.7 * b, neuron.derivative(x, s), neuron.derivative(y, r)))


def check_compiles(neuron: Dynamics, xs: AnyInput) -> None:
    """The step compiles without a graph break, forward and backward."""
    torch.compiler.reset()

    def step(x: AnyInput, state: AnyState) -> tuple[Tensor, AnyState]:
        return neuron.step(x, state, *neuron.prepare())

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    state = neuron.initial_state(first_receptor(xs)[0])
    x, twin = (map_input(lambda part: part[0].clone().requires_grad_(), xs) for _ in range(2))
    (z, after), (expected, expected_after) = compiled(x, state), step(twin, state)
    close((z, after), (expected, expected_after))
    (z.sum() + sum(part.sum() for _, part in leaves(after))).backward()
    (expected.sum() + sum(part.sum() for _, part in leaves(expected_after))).backward()
    close(map_input(lambda part: part.grad, x), map_input(lambda part: part.grad, twin))


CHECKS: tuple[Callable[[Dynamics, Tensor], None], ...] = (
    check_purity,
    check_shapes_and_dtypes,
    check_independence,
    check_unusual_shapes,
    check_step,
    check_kernel,
    check_continuation,
    check_causality,
    check_gradients,
    check_parameter_gradients,
    check_module_interface,
    check_function_transforms,
    check_affine,
)


def check_neuron(neuron: Dynamics, compiled: bool = False) -> None:
    """Raise `AssertionError` if a model breaks the contract, naming the broken promise.

    It checks shapes and dtypes, that nothing is changed in place, that samples and neurons do not mix,
    causality, that a run is the repeated step and can be split, gradients against finite differences, kernels
    against the reference loop, saving, loading and copying, and function transforms.

    Args:
        neuron: A layer over time, with any parameters; it is not changed. A model with noise needs a seed.
        compiled: Also compile its step without graph breaks, which takes seconds.

    Raises:
        AssertionError: If a check fails.
        TypeError: If `neuron` is not a neuron, for example a class.
    """
    if not isinstance(neuron, Dynamics):
        hint = f"; call it: {neuron.__name__}()" if isinstance(neuron, type) else ""
        raise TypeError(f"check_neuron expected a neuron such as geir.LIF(), got {neuron!r}{hint}.")
    neuron = copy.deepcopy(neuron).double()
    for input_type in neuron.input_types:
        xs = strong_input(copy.deepcopy(neuron), input_type=input_type)
        for check in (*CHECKS, check_compiles) if compiled else CHECKS:
            try:
                check(neuron, xs)
            except Exception as error:
                detail = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
                promise = (check.__doc__ or check.__name__).splitlines()[0].rstrip(".")
                given = "" if isinstance(xs, Tensor) else f" with input {input_type.__name__}"
                name = type(neuron).__name__
                raise AssertionError(f"{name}{given} breaks the contract: {promise}: {detail}") from error
