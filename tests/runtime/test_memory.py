"""Memory for large results."""

import copy
import pickle

import torch

import geir
from geir._runtime import memory


def test_memory_is_reused_when_no_tensor_uses_it():
    memory.empty_cache()
    first = memory.empty([300, 1000], torch.zeros(1))
    part, address = first[100:200], first.data_ptr()
    del first
    second = memory.empty([300, 1000], torch.zeros(1))
    assert second.data_ptr() != address  # a part is still in use
    del part
    assert memory.empty([299, 1000], torch.zeros(1)).data_ptr() == address


def test_free_memory_is_cached_up_to_a_limit(monkeypatch):
    memory.empty_cache()
    monkeypatch.setattr(memory, "MAX_CACHED_BYTES", 3 << 20)
    tensors = [memory.empty([1 << 20], torch.zeros(1, dtype=torch.uint8)) for _ in range(5)]
    del tensors
    assert sum(map(len, memory._free)) == 3 << 20


def test_results_survive_later_runs():
    lif, xs = geir.LIF(), torch.rand(50, 30, 100)
    zs, state = lif(xs)
    kept = zs.clone()
    for _ in range(3):
        lif(2 * xs)
    assert torch.equal(zs, kept)
    assert pickle.loads(pickle.dumps(zs)).equal(kept)
    assert copy.deepcopy(state.v).equal(state.v)
