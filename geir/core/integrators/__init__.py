r"""Integrators, as values: numerical methods that advance :math:`\dot s = f(x, s)` by `dt`.

The input :math:`x` is constant during a step. Coefficients that depend on parameters only are prepared once
per call, differentiably, and passed to every step.
"""

from ._phi import phi1 as phi1
from .base import Coefficients as Coefficients, Flow as Flow, Integrator as Integrator
from .exact import Exact as Exact
from .explicit import Euler as Euler, RungeKutta4 as RungeKutta4
from .exponential import ExponentialEuler as ExponentialEuler, RushLarsen as RushLarsen
