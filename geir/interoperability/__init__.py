"""Networks of other libraries, converted with their weights, time constants, thresholds and resets.

The other library itself is not imported: the modules that are passed have all that is needed.
"""

from .norse import from_norse as from_norse
from .sinabs import from_sinabs as from_sinabs
from .snntorch import from_snntorch as from_snntorch
from .spikingjelly import from_spikingjelly as from_spikingjelly
