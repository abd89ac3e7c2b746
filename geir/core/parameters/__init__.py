"""Modules that declare their parameters; constructor, validation, `repr` and learnability follow."""

from .declared import Declared as Declared
from .parameter import Learnable as Learnable, learnable as learnable, Parameter as Parameter, parameter as parameter
from .range import Range as Range
from .setting import Setting as Setting, setting as setting
