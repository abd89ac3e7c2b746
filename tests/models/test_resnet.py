from functools import partial

import pytest
import torch
from model_helpers import random_spikes
from torch import nn

from geir import LIF, LIFCell, models


def test_batch_normalization_computes_its_statistics_over_time():
    model, seen = models.resnet18(), []
    model.bn1.register_forward_hook(lambda module, args, out: seen.append(out))
    model(torch.randn(6, 2, 3, 32, 32) * torch.arange(1.0, 7).view(6, 1, 1, 1, 1))
    (ys,) = seen
    scale = model.bn1.weight
    torch.testing.assert_close(ys.mean((0, 2, 3)), torch.zeros(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(ys.std((0, 2, 3), correction=0), scale.detach(), rtol=1e-3, atol=0)
    assert ys[:2].std() < 0.5 * ys[-2:].std()


def test_the_joins_have_their_truth_tables():
    branch, shortcut = torch.tensor([0.0, 0, 1, 1]), torch.tensor([0.0, 1, 0, 1])
    assert models.sew_add(branch, shortcut).tolist() == [0, 1, 1, 2]
    assert models.sew_and(branch, shortcut).tolist() == [0, 0, 0, 1]
    assert models.sew_iand(branch, shortcut).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("join", [models.sew_add, models.sew_iand])
def test_a_block_with_a_silent_branch_passes_spikes_on_unchanged(join):
    block = models.ResidualBlock(4, 4, 1, False, join, LIF, nn.BatchNorm2d)
    zs = random_spikes(10, 2, 4, 6, 6)
    nn.init.constant_(block.bn1.weight, 2.0)
    nn.init.constant_(block.bn2.weight, 2.0)
    assert not torch.equal(block(zs)[0], zs)
    nn.init.zeros_(block.bn2.weight)
    torch.testing.assert_close(block(zs)[0], zs)


@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize("join", [None, models.sew_add, models.sew_and])
def test_a_block_equals_its_definition_step_by_step(join, bottleneck):
    block = models.ResidualBlock(4, 4, 2, bottleneck, join, partial(LIF, v_th=0.01), nn.BatchNorm2d).eval()
    xs = 10 * random_spikes(15, 2, 4, 6, 6)
    count = 3 if bottleneck else 2
    cells = [LIFCell(v_th=0.01) for _ in range(count + 1)]
    states, expected = [None] * (count + 1), []
    for x in xs:
        y = x
        for k in range(count):
            y = getattr(block, f"bn{k + 1}")(getattr(block, f"conv{k + 1}")(y))
            if k < count - 1:
                y, states[k] = cells[k](y, states[k])
        s = block.downsample[1](block.downsample[0](x))
        if join is None:
            z, states[-1] = cells[-1](y + s, states[-1])
        else:
            y, states[-2] = cells[-2](y, states[-2])
            s, states[-1] = cells[-1](s, states[-1])
            z = join(y, s)
        expected.append(z)
    expected = torch.stack(expected)
    assert expected.sum() > 10
    torch.testing.assert_close(block(xs)[0], expected)
