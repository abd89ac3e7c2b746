"""Run a step over time. Knows no model."""

from .reference import reference as reference
