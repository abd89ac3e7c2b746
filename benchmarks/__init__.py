"""Benchmarks of speed and memory against PyTorch and other libraries, measured side by side in one process.

`python -m benchmarks` measures layers and networks on the CPU, `python -m benchmarks.gpu` on CUDA;
both write a page to `benchmarks/results`. `benchmarks.event_files`, `benchmarks.tensors`,
`benchmarks.streams` and `benchmarks.edges` measure event streams. Nothing here is a test: timings
depend on the machine and must not fail a test run.
"""
