"""End-to-end runs, each `python -m geir.tasks.NAME`; their last line is one JSON object, and their `run` returns the same."""
