"""Memory for large results."""

import copy
import pickle
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize("neurons", [4, 2 * memory.MIN_BYTES], ids=["small", "large"])
def test_results_are_no_views_and_can_be_changed_in_place_at_every_size(neurons):
    xs = torch.linspace(0, 4, 5 * neurons).view(5, neurons)

    def gradient(change, unroll):
        x = xs.clone().requires_grad_()
        zs, state = geir.LIF(unroll=unroll)(x)
        assert not zs._is_view()
        change(zs, state)
        (zs.sum() + state.v.square().sum()).backward()
        return x.grad

    def add_input(zs, state):
        zs += xs

    def rectify(zs, state):
        nn.ReLU(inplace=True)(zs)

    def scale_state(zs, state):
        state.v.mul_(2.0)

    for change in (add_input, rectify, scale_state):
        expected = gradient(change, geir.reference)
        assert expected.any()
        torch.testing.assert_close(gradient(change, geir.Fused()), expected)


@pytest.mark.parametrize("size", [16, 2 * memory.MIN_BYTES], ids=["small", "large"])
def test_memory_of_every_size_is_contiguous_and_survives_copies_sharing_and_shrinking(size):
    tensor = memory.empty([2, size], torch.zeros(1)).fill_(3.0)
    assert not tensor._is_view()
    assert tensor.is_contiguous()
    copies = [copy.deepcopy(tensor), pickle.loads(pickle.dumps(tensor)), tensor.clone().share_memory_()]
    address = tensor.data_ptr()
    tensor.resize_(3)
    assert tensor.data_ptr() == address
    tensor.share_memory_()  # moves to other memory, and gives up its own
    for _ in range(2):
        memory.empty([2, size], torch.zeros(1)).fill_(5.0)
    assert tensor.tolist() == [3.0, 3.0, 3.0]
    assert all((part == 3.0).all() for part in copies)


@pytest.mark.parametrize("size", [8, 1 << 16])
def test_memory_is_on_the_device_of_the_other_tensor_whatever_the_default_device(size):
    x = torch.zeros(2)
    with torch.device("meta"):
        assert memory.empty((size,), x).device == x.device


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize("keep", [True, False])
def test_a_process_that_keeps_freed_memory_touches_it_once(keep):
    code = f"""
import resource, torch, geir
if {keep}:
    assert geir.keep_freed_memory()
before = 0
for _ in range(10):
    torch.zeros(1 << 24).fill_(1)  # 64 MiB
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    last, before = faults - before, faults
print(last)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert (int(result.stdout) < 10) == keep


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert not geir.keep_freed_memory()
