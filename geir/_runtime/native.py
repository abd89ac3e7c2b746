from .compiler import load as load, NoCompilerError as NoCompilerError
from .threads import call as call
