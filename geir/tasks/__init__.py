"""End-to-end training runs, started as `python -m geir.tasks.NAME`.

Each prints its result as one JSON object on the last line. Its function `run` takes the settings by name, as on the
command line with underscores, and returns the same as a dictionary, in most tasks with `test_accuracy`.

A task is a module with its settings (`geir.tasks.settings`), network, data and loss. It is trained by
`geir.tasks.training.train` on a data set, also in several processes, or by `geir.tasks.epochs.train_epochs` or
`train_iterations` with updates that it defines itself. Both have the loop of `geir.tasks.loop`, with progress,
checkpoints, resuming and Ctrl-C.
"""
