"""Spiking networks under `torch.func`, `torch.compile`, `torch.export` and autocast."""

import copy

import pytest
import torch
from pytorch_versions import requires_compile
from seeding import seeded
from small_networks import cells, network, XS
from torch import nn

import geir
from geir import LIF


def test_functional_call_and_grad_transform_give_the_gradients_of_backward():
    model = network()
    parameters = {k: v.detach() for k, v in model.named_parameters()}

    def loss(parameters, xs):
        return torch.func.functional_call(model, parameters, (xs,))[0].square().sum()

    grads = torch.func.grad(loss)(parameters, XS)
    model(XS)[0].square().sum().backward()
    for name, p in model.named_parameters():
        torch.testing.assert_close(grads[name], p.grad, rtol=1e-4, atol=1e-5)
    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 1))(parameters, XS[:, :, None])
    torch.testing.assert_close(per_sample["1.log_tau_mem"].sum(), grads["1.log_tau_mem"], rtol=1e-3, atol=1e-4)
    assert per_sample["0.module.weight"].shape == (4, 8, 5)


def test_vmap_over_models():
    models: list[nn.Module] = [cells() for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)
    base = copy.deepcopy(models[0]).to("meta")
    ys, states = torch.func.vmap(lambda p, b: torch.func.functional_call(base, (p, b), (XS[0],)))(parameters, buffers)
    for k, model in enumerate(models):
        y, state = model(XS[0])
        torch.testing.assert_close(ys[k], y)
        torch.testing.assert_close(states[1].v[k], state[1].v)


def test_forward_mode_derivative_agrees_with_reverse_mode():
    model, tangent = network().double(), torch.randn(25, 4, 5).double()
    _, derivative = torch.func.jvp(lambda xs: model(xs)[0].square().sum(), (XS.double(),), (tangent,))
    xs = XS.double().requires_grad_()
    (grad,) = torch.autograd.grad(model(xs)[0].square().sum(), xs)
    torch.testing.assert_close((grad * tangent).sum(), derivative)


def test_double_backward_differentiates_the_surrogate_on_the_reference_loop():
    lif = LIF(
        surrogate=geir.surrogates.Gaussian(),
        v_th=nn.Parameter(torch.tensor(1.0, dtype=torch.float64)),
        unroll=geir.reference,
    ).double()
    xs = (XS[:6, 0, :2] / 2).double().requires_grad_()
    (grad,) = torch.autograd.grad(lif(xs)[0].sum(), xs, create_graph=True)
    grad.square().sum().backward()
    assert lif.v_th.grad.abs() > 0


@requires_compile
def test_compile_runs_a_network_of_cells_without_graph_break():
    torch.compiler.reset()
    model = cells()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    state, expected_state = None, None
    for x in XS[:4]:
        y, state = compiled(x, state)
        expected, expected_state = model(x, expected_state)
        torch.testing.assert_close(y, expected)
    y.sum().backward()
    grad = model[1].log_tau_mem.grad.clone()
    model.zero_grad()
    expected.sum().backward()
    torch.testing.assert_close(grad, model[1].log_tau_mem.grad)


@requires_compile
@pytest.mark.parametrize(
    "cell",
    seeded(lambda: [geir.LIFRecurrentCell(5, 4), geir.ALIFRecurrentCell(5, 4), geir.LIFRefracCell(), geir.AdExCell()]),
    ids=lambda cell: type(cell).__name__,
)
def test_compile_runs_other_kinds_of_cells_without_graph_break(cell):
    torch.compiler.reset()
    compiled = torch.compile(cell, fullgraph=True, backend="aot_eager")
    _, state = cell(XS[0])
    torch.testing.assert_close(compiled(XS[1], state), cell(XS[1], state))


@requires_compile
def test_export():
    model = cells()
    _, state = model(XS[0])
    exported = torch.export.export(model, (XS[1], state))
    torch.testing.assert_close(exported.module()(XS[2], state), model(XS[2], state))


@requires_compile
@pytest.mark.skipif(not hasattr(torch.compiler, "is_exporting"), reason="PyTorch 2.6 needs torch.no_grad for it")
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "layer",
    seeded(
        lambda: [
            geir.LIF(),
            geir.ALIF(tau_mem=geir.learnable(0.02)),
            geir.Refractory(geir.LIF()),
            geir.LIFRecurrent(4, 4, v_th=0.5),
            geir.ALIFRecurrent(4, 4, tau_mem=geir.learnable(0.02)),
        ]
    ),
    ids=repr,
)
def test_a_layer_is_exported_for_any_number_of_steps(layer, strict):
    layer = copy.deepcopy(layer)
    for weights in (p for p in layer.parameters() if p.dim() == 2):
        nn.init.normal_(weights)  # not those that were drawn when this file was imported

    class Outputs(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)[0]

    dynamic = {"x": {0: torch.export.Dim("T")}}
    exported = torch.export.export(Outputs(), (torch.rand(7, 3, 4),), dynamic_shapes=dynamic, strict=strict).module()
    for steps in (2, 7, 31, 32, 33, 100):
        xs = 5 * torch.rand(steps, 3, 4)
        zs = layer(xs)[0]
        torch.testing.assert_close(exported(xs), zs, rtol=0, atol=0)
    assert zs.sum() > 10


def test_autocast_runs_matrix_products_in_bfloat16_and_keeps_states_in_float32():
    model = network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vs, states = model(XS)
    assert vs.dtype == torch.bfloat16
    assert states[1].v.dtype == states[2].neuron.v.dtype == states[4].v.dtype == torch.float32
    vs.float().sum().backward()
    assert model[1].log_tau_mem.grad.isfinite()
