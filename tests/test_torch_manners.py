"""A spiking network is a PyTorch module like any other."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geir
from geir import LI, LICell, LIF, LIFCell, LIFRecurrent, Lift, SequentialState
from geir._util.state import leaves


def network():
    return SequentialState(
        Lift(nn.Linear(5, 8)), LIF(tau_mem=geir.learnable(8e-3)), LIFRecurrent(8, 6), Lift(nn.Linear(6, 3)), LI()
    )


def cells():
    return SequentialState(nn.Linear(5, 8), LIFCell(tau_mem=geir.learnable(8e-3)), nn.Linear(8, 3), LICell())


# Each sample drives two inputs of its own.
XS = 32 * torch.rand(25, 4, 5, generator=torch.Generator().manual_seed(0)) * (torch.eye(5)[:4] + torch.eye(5)[1:])


def spikes(model):
    model.return_hidden = True
    outputs, _ = model(XS)
    model.return_hidden = False
    return [y.sum() for m, y in zip(model, outputs, strict=True) if isinstance(m, geir.Neuron)]


def test_the_input_is_strong_enough_for_these_tests():
    assert all(s > 20 for s in spikes(network()))


def test_parameters_and_buffers_are_listed():
    names = set(dict(network().named_parameters()))
    assert names == {
        "0.module.weight",
        "0.module.bias",
        "1.log_tau_mem",
        "2.input_weights",
        "2.recurrent_weights",
        "3.module.weight",
        "3.module.bias",
    }
    assert {"1.tau_syn", "1.v_th", "2.tau_mem", "4.tau_mem"} <= set(dict(network().named_buffers()))


def test_an_optimizer_trains_weights_and_time_constants():
    model = network()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = geir.decode.max_potential_loss(model(XS)[0], torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(dict(model.named_parameters()))


def test_learnable_time_constants_stay_positive_under_a_wild_optimizer():
    lif = LIF(tau_mem=geir.learnable(2e-3), tau_syn=geir.learnable(torch.full((5,), 5e-3)))
    optimizer = torch.optim.SGD(lif.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        lif(XS)[1].v.sum().backward()
        optimizer.step()
        assert lif.tau_mem > 0
        assert (lif.tau_syn > 0).all()


def test_a_bounded_parameter_stays_between_its_bounds():
    class Bounded(LIF):
        share: geir.Parameter = geir.parameter(default=0.5, at_least=-1.0, below=2.0)

    neuron = Bounded(share=geir.learnable(0.3))
    assert set(dict(neuron.named_parameters())) == {"logit_share"}
    assert neuron.share.item() == pytest.approx(0.3)
    with torch.no_grad():
        for value, bound in ((50.0, 2.0), (-50.0, -1.0)):
            neuron.logit_share.fill_(value)
            assert neuron.share.item() == pytest.approx(bound)


def test_plain_parameters_and_per_neuron_values():
    lif = LIF(v_th=nn.Parameter(torch.tensor([1.0, 2.0])), tau_mem=[0.01, 0.02])
    assert set(dict(lif.named_parameters())) == {"v_th"}
    assert lif.tau_mem.dtype == torch.float32
    lif.v_th = 1.5
    assert set(dict(lif.named_parameters())) == set()
    lif.tau_mem = geir.learnable(0.03)
    assert set(dict(lif.named_parameters())) == {"log_tau_mem"}
    lif.tau_mem = 0.04
    assert set(lif.state_dict()) == set(LIF().state_dict())
    given = torch.tensor([1.0, 2.0])
    lif.v_th = given
    given[0] = 9.0
    assert lif.v_th[0] == 1.0, "a neuron does not share memory with what it was given"


def test_repr_says_what_differs_from_the_defaults():
    assert repr(LIF()) == "LIF()"
    assert repr(LIF(tau_mem=0.02, dt=5e-4)) == "LIF(tau_mem=0.02, dt=0.0005)" or "dt=0.0005" in repr(
        LIF(tau_mem=0.02, dt=5e-4)
    )
    text = repr(
        LIFRecurrent(
            3, 4, tau_syn=geir.learnable(0.004), v_th=[1.0, 2.0, 3.0, 4.0], surrogate=geir.surrogates.Triangle()
        )
    )
    for part in (
        "input_size=3, hidden_size=4",
        "tau_syn=learnable(0.004)",
        "v_th=tensor of shape (4,)",
        "surrogate=Triangle(gamma=0.3, width=1.0)",
    ):
        assert part in text


def test_state_dict_round_trip():
    model, twin = network(), network()
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    assert not torch.equal(model(XS)[0], twin(XS)[0])
    twin.load_state_dict(torch.load(buffer, weights_only=True))
    torch.testing.assert_close(twin(XS), model(XS))


def test_pickle_and_deepcopy_of_model_and_state():
    model = network()
    result = model(XS)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(XS), result)
    torch.testing.assert_close(copy.deepcopy(model)(XS), result)
    state = pickle.loads(pickle.dumps(tuple(s if s == () else type(s)(*s) for s in result[1])))
    assert isinstance(state[1], geir.neurons.LIFState)


@pytest.mark.parametrize(
    ("dtype", "state"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_to_dtype(dtype, state):
    model = network().to(dtype)
    vs, states = model(XS.to(dtype))
    assert vs.dtype == dtype
    for part in states:
        for _, tensor in leaves(part) if part else ():
            assert tensor.dtype == state
    if dtype == torch.float64:
        torch.testing.assert_close(vs.float(), copy.deepcopy(model).float()(XS)[0], rtol=1e-3, atol=1e-3)


def test_to_device():
    model = network().to("meta")
    vs, _ = model(XS.to("meta"))
    assert vs.device.type == "meta"
    assert vs.shape == (25, 4, 3)
    with torch.device("meta"):
        assert LIFRecurrent(3, 4).recurrent_weights.is_meta


def test_functional_call_and_grad_transform():
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
    models = [cells() for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(models)  # pyright: ignore[reportArgumentType]
    base = copy.deepcopy(models[0]).to("meta")
    ys, states = torch.func.vmap(lambda p, b: torch.func.functional_call(base, (p, b), (XS[0],)))(parameters, buffers)
    for k, model in enumerate(models):
        y, state = model(XS[0])
        torch.testing.assert_close(ys[k], y)
        torch.testing.assert_close(states[1].v[k], state[1].v)


def test_forward_mode_derivatives():
    model, tangent = network().double(), torch.randn(25, 4, 5).double()
    ys, slope = torch.func.jvp(lambda xs: model(xs)[0].square().sum(), (XS.double(),), (tangent,))
    (grad,) = torch.autograd.grad(model(x := XS.double().requires_grad_())[0].square().sum(), x)
    torch.testing.assert_close((grad * tangent).sum(), slope)


def test_compile_a_step_without_graph_break():
    torch.compiler.reset()
    model = cells()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    state, expected = None, None
    for x in XS[:6]:
        y, state = compiled(x, state)
        out, expected = model(x, expected)
        torch.testing.assert_close(y, out)
    y.sum().backward()
    actual = model[1].log_tau_mem.grad.clone()
    model.zero_grad()
    out.sum().backward()
    torch.testing.assert_close(actual, model[1].log_tau_mem.grad)


@pytest.mark.parametrize(
    "cell",
    [geir.LIFRecurrentCell(5, 4), geir.ALIFRecurrentCell(5, 4), geir.LIFRefracCell(), geir.AdExCell()],
    ids=lambda c: type(c).__name__,
)
def test_compile_other_forms_without_graph_break(cell):
    torch.compiler.reset()
    compiled = torch.compile(cell, fullgraph=True, backend="aot_eager")
    _, state = cell(XS[0])
    torch.testing.assert_close(compiled(XS[1], state), cell(XS[1], state))


def test_export():
    model = cells()
    _, state = model(XS[0])
    exported = torch.export.export(model, (XS[1], state))
    torch.testing.assert_close(exported.module()(XS[2], state), model(XS[2], state))


def test_autocast_runs_matrices_in_bfloat16_and_states_in_float32():
    model = network()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vs, states = model(XS)
    assert vs.dtype == torch.bfloat16
    assert states[1].v.dtype == states[2].neuron.v.dtype == states[4].v.dtype == torch.float32
    vs.float().sum().backward()
    assert model[1].log_tau_mem.grad.isfinite()


def test_a_stock_dataloader_with_workers_feeds_it():
    data = TensorDataset(XS.transpose(0, 1), torch.tensor([0, 1, 2, 0]))
    model = network()
    for xs, labels in DataLoader(data, batch_size=2, num_workers=2):
        assert model(xs.transpose(0, 1))[0].shape == (25, len(labels), 3)


def _ddp_worker(rank, folder):
    warnings.simplefilter("ignore")
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(network())
    vs, _ = model(XS[:, 2 * rank : 2 * rank + 2])
    vs.square().sum().backward()
    if rank == 0:
        torch.save({name: p.grad for name, p in model.module.named_parameters()}, f"{folder}/grads.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_two_processes_train_it_as_one(tmp_path):
    torch.multiprocessing.spawn(_ddp_worker, (str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    model = network()
    model(XS)[0].square().sum().backward()
    for name, grad in torch.load(tmp_path / "grads.pt", weights_only=True).items():
        torch.testing.assert_close(2 * grad, dict(model.named_parameters())[name].grad, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("default")
def test_a_lightning_module_trains_it(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = network()

        def training_step(self, batch, _):
            xs, labels = batch
            return geir.decode.max_potential_loss(self.model(xs.transpose(0, 1))[0], labels)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)

    module = Classifier()
    before = module.model[1].log_tau_mem.item()
    data = DataLoader(TensorDataset(XS.transpose(0, 1), torch.tensor([0, 1, 2, 0])), batch_size=2)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **options)
    trainer.fit(module, data)
    assert module.model[1].log_tau_mem.item() != before
    restored = Classifier.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    torch.testing.assert_close(restored.model(XS), module.model(XS))


def test_double_backward_goes_through_the_surrogate_on_the_reference_loop():
    lif = LIF(
        surrogate=geir.surrogates.Gaussian(),
        v_th=nn.Parameter(torch.tensor(1.0, dtype=torch.float64)),
        unroll=geir.reference,
    ).double()
    xs = (XS[:6, 0, :2] / 2).double().requires_grad_()
    (grad,) = torch.autograd.grad(lif(xs)[0].sum(), xs, create_graph=True)
    grad.square().sum().backward()
    assert lif.v_th.grad.abs() > 0


shapes = st.lists(st.integers(0, 4), min_size=0, max_size=3).map(tuple)


@given(
    steps=st.integers(0, 6),
    shape=shapes,
    per_neuron=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    data=st.data(),
)
def test_any_shape_layout_and_dtype(steps, shape, per_neuron, dtype, data):
    values = torch.full(shape[-1:], 8e-3) if per_neuron else 8e-3
    model = data.draw(st.sampled_from([geir.LIF, geir.ALIF, geir.AdEx, geir.LIFRefrac]))(tau_mem=values)
    if dtype == torch.float64:
        model = model.double()
    xs = (torch.rand(steps, *shape) * 5).to(dtype)
    if len(shape) > 1 and data.draw(st.booleans()):
        xs = xs.transpose(-1, -2).contiguous().transpose(-1, -2)
    zs, state = model(xs)
    assert zs.shape == xs.shape
    assert zs.dtype == dtype
    middle = data.draw(st.integers(0, steps))
    first, between = model(xs[:middle])
    second, last = model(xs[middle:], between)
    torch.testing.assert_close(torch.cat([first, second]), zs)
    torch.testing.assert_close(last, state)
