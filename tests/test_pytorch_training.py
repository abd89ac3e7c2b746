"""Training loops of others: DataLoader workers, DistributedDataParallel, Lightning."""

import datetime
import gc
import multiprocessing
import warnings

import pytest
import torch
from small_networks import LABELS, network, XS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import geir

SAMPLES = TensorDataset(XS.transpose(0, 1), LABELS)


def test_dataloader_with_workers_feeds_a_network():
    model = network()
    for xs, labels in DataLoader(SAMPLES, batch_size=2, num_workers=2, timeout=50):
        assert model(xs.transpose(0, 1))[0].shape == (25, len(labels), 3)


def _train_in_one_of_two_processes(rank, folder):
    warnings.simplefilter("ignore")
    # The processes meet through a file, so no port is needed. If one fails, the other gives up after the timeout.
    timeout = datetime.timedelta(seconds=30)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2, timeout=timeout
    )
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(network())
    loss = model(XS[:, 2 * rank : 2 * rank + 2])[0].square().sum()
    loss.backward()
    if rank == 0:
        torch.save({name: p.grad for name, p in model.module.named_parameters()}, f"{folder}/grads.pt")
    torch.distributed.barrier()
    # The model must be gone before the process group. Its reducer shares ownership of the group; if it is the last
    # owner, it destroys the group while it holds the GIL, and so joins gloo's thread while that thread may be waiting
    # for the GIL to release the finished barrier: a deadlock in PyTorch.
    del loss, model
    gc.collect()
    torch.distributed.destroy_process_group()


def test_two_processes_get_the_gradients_of_one_process(tmp_path):
    # The fork server imports PyTorch and geir once, and then starts both processes quickly.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "geir"])
    processes = [
        context.Process(target=_train_in_one_of_two_processes, args=(rank, str(tmp_path)), daemon=True)
        for rank in range(2)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=50)
        codes = [process.exitcode for process in processes]
        assert codes == [0, 0], f"exit codes of the two processes, None if one still runs after 50 s: {codes}"
    finally:
        for process in processes:
            if process.is_alive():
                process.kill()
                process.join(timeout=10)
    torch.manual_seed(0)
    model = network()
    model(XS)[0].square().sum().backward()
    grads = torch.load(tmp_path / "grads.pt", weights_only=True)
    assert set(grads) == set(dict(model.named_parameters()))
    for name, p in model.named_parameters():
        # DistributedDataParallel averages over the processes, whose losses are sums over samples.
        torch.testing.assert_close(2 * grads[name], p.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("default")
def test_lightning_module_trains_a_network_and_restores_its_checkpoint(tmp_path):
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
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **options)
    trainer.fit(module, DataLoader(SAMPLES, batch_size=2))
    assert module.model[1].log_tau_mem.item() != before
    restored = Classifier.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
    torch.testing.assert_close(restored.model(XS), module.model(XS))
