"""Speed and memory, side by side in one process. Not tests: a machine's noise must not turn them red."""
