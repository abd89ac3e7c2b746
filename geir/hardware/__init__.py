"""Neuromorphic hardware: limits of the chips, quantization-aware training, integer models."""
