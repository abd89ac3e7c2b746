"""Checks shared by UDP inputs and outputs."""

from .layouts import Layout

# Upper bound of the size of a datagram in bytes.
MAX_DATAGRAM = 1 << 16


def check_layout(caller: str, layout: Layout) -> Layout:
    """Return the layout.

    Raises:
        TypeError: If it is not a layout.
    """
    if not isinstance(layout, Layout):
        raise TypeError(f"{caller}.layout must be SPIF(), T32() or T64(), got {layout!r}.")
    return layout


def check_port(caller: str, port: int, lowest: int) -> int:
    """Return the port number.

    Raises:
        ValueError: If it does not lie between `lowest` and 65535.
    """
    if not isinstance(port, int) or not lowest <= port < 1 << 16:
        raise ValueError(f"{caller}.port must be a number from {lowest} to 65535, got {port!r}.")
    return port
