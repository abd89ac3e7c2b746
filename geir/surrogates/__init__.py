r"""Spike functions with surrogate derivatives.

The derivative of a spike with respect to the membrane potential is zero almost everywhere, so no gradient would pass
through a neuron. A surrogate replaces it. Forward, a surrogate is the Heaviside step of the distance :math:`x` to
threshold: :math:`z = 1` where :math:`x > 0`, else 0. Backward, it has a derivative of your choice.

Scale matters more than shape (F. Zenke & T. Vogels, *The remarkable robustness of surrogate gradient learning for
instilling complex function in spiking neural networks*, 2021). Every surrogate therefore states its peak, its half
width (the distance at which the derivative falls to half of its peak) and its integral over all :math:`x`. An integral
of 1 makes it the derivative of a smooth step from 0 to 1. With the default arguments:

=======================  ========  ============  ===========  ==========================================
surrogate                peak      half width    integral     shape
=======================  ========  ============  ===========  ==========================================
`SuperSpike`             1         0.00414       0.02         squared fast sigmoid
`SparseFastSigmoid`      1         0.00414       0.0196       the same, truncated
`Sigmoid`                1         0.441         1            derivative of a logistic sigmoid
`ATan`                   1         0.318         1            derivative of an arc tangent
`Triangle`               0.3       0.5           0.3          triangle
`Rectangle`              1         0.5           1            rectangle
`Gaussian`               0.798     0.589         1            normal density
`MultiGaussian`          0.878     0.571         0.85         normal density with negative side lobes
`Erfc`                   1.13      0.416         1            derivative of an error function
`Tanh`                   1         0.441         1            derivative of a hyperbolic tangent
`Circle`                 1         0.383         1            derivative of :math:`x / \sqrt{1 + x^2}`
`PiecewiseExponential`   1         0.347         1            two-sided exponential
`StraightThrough`        1         infinite      infinite     1 everywhere
`ZeroGradient`           0         none          0            0 everywhere: no gradient
`Custom`                                                      a function of your own
`MultiSpike`                                                  several spikes per step, any shape
`TernarySpike`                                                spikes of both signs, any shape
`GradedSpike`                                                 spikes that carry a value, any shape
=======================  ========  ============  ===========  ==========================================

Surrogates are immutable, and their derivatives can be differentiated again. A neuron accepts any of them, or any
function from the distance to threshold to spikes: ``LIF(surrogate=torch.sigmoid)``.
"""

from .base import Surrogate as Surrogate
from .compact import Rectangle as Rectangle, Triangle as Triangle
from .constant import Heaviside as Heaviside, StraightThrough as StraightThrough, ZeroGradient as ZeroGradient
from .custom import Custom as Custom
from .exponential import PiecewiseExponential as PiecewiseExponential
from .fast_sigmoid import SparseFastSigmoid as SparseFastSigmoid, SuperSpike as SuperSpike
from .gaussian import Gaussian as Gaussian, MultiGaussian as MultiGaussian
from .graded import GradedSpike as GradedSpike
from .multiple import MultiSpike as MultiSpike
from .smooth_steps import ATan as ATan, Circle as Circle, Erfc as Erfc, Sigmoid as Sigmoid, Tanh as Tanh
from .ternary import TernarySpike as TernarySpike
