"""Online learning: gradients at every step, with memory that does not depend on the number of steps."""

from .online import Online as Online
from .rules import OnlineRule as OnlineRule, OSTL as OSTL, SLTT as SLTT
