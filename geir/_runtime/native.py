"""Compiled C for other packages: compile and load it, and call it on threads."""

from .compiler import load as load, NoCompilerError as NoCompilerError
from .threads import call as call
