"""An interactive page for every neuron, derived from its step."""

from .page import explore as explore
