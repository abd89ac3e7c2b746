"""Kernels, native code and memory."""
