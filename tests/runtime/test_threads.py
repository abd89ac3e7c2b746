"""Calling compiled functions on threads."""

import multiprocessing

import torch

import geir


def _in_child(pipe, xs):
    pipe.send(geir.LIF()(xs)[0].sum().item())


def test_kernels_run_after_a_fork():
    xs = torch.rand(100, 2000)
    expected = geir.LIF()(xs)[0].sum().item()
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(there, xs))
    child.start()
    assert here.poll(60), "the child hangs"
    assert here.recv() == expected
    child.join()
