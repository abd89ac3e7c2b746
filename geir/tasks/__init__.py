"""End-to-end training runs, started as `python -m geir.tasks.NAME`.

Each prints its result as one JSON object on the last line; its function `run` returns the same as a dictionary.
"""
