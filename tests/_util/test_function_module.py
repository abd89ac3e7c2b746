import pickle

import pytest
import torch
from torch import nn

from geir._util.function_module import module_of


def scale(x, factor=2.0, *, offset=None, transform=None):
    y = factor * x
    y = y if offset is None else y + offset
    return y if transform is None else transform(y)


class Scale(module_of(scale)):
    pass


def test_settings_are_attributes_with_the_defaults_of_the_function():
    module = Scale(3.0, offset=1.0)
    assert (module.factor, module.offset, module.transform) == (3.0, 1.0, None)
    assert module(torch.ones(2)).tolist() == [4.0, 4.0]
    assert Scale()(torch.ones(2)).tolist() == [2.0, 2.0]
    module.factor = 5.0
    assert module(torch.ones(2)).tolist() == [6.0, 6.0]


def test_settings_that_are_modules_are_submodules():
    module = Scale(transform=nn.Linear(2, 3))
    assert module(torch.ones(2)).shape == (3,)
    assert set(module.state_dict()) == {"transform.weight", "transform.bias"}


def test_the_representation_shows_settings_that_are_given():
    assert repr(Scale(3.0)) == "Scale(factor=3.0)"
    assert repr(Scale(offset=1.0)) == "Scale(factor=2.0, offset=1.0)"


def test_modules_can_be_pickled():
    copy = pickle.loads(pickle.dumps(Scale(3.0, offset=1.0)))
    assert copy(torch.ones(2)).tolist() == [4.0, 4.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Scale(1.0, 2.0), "Scale: too many positional arguments"),
        (lambda: Scale(faktor=1.0), "Scale: got an unexpected keyword argument 'faktor'"),
        (lambda: module_of(lambda x, factor: x)(), "missing a required argument: 'factor'"),
        (lambda: module_of(lambda x, *, factor: x)(3), "too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_the_signature_raise(call, message):
    with pytest.raises(TypeError, match=message):
        call()
