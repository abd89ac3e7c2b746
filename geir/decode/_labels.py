"""Checks of class labels."""

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack


def check_labels(caller: str, scores: Tensor, labels: object, *, soft: bool = False) -> Tensor:
    """The labels as class indices, checked against scores or outputs of one step, shape (batch, classes).

    Args:
        caller: Name of the calling function.
        scores: Scores, shape (batch, classes, ...), or (classes,).
        labels: Class labels, shape (batch, ...).
        soft: Whether probabilities of the shape of `scores` are accepted too.

    Raises:
        TypeError: If the labels are not a tensor of integers.
        ValueError: If they do not have the shape of the batch, or one is not a class.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f"{caller} expected a tensor of class labels, got {type(labels).__name__}.")
    shape: tuple[int, ...] = tuple(scores.shape)
    if labels.is_floating_point():
        if soft and labels.shape == scores.shape:
            return labels
        raise TypeError(
            f"{caller} expected class labels as integers, shape (batch,), got {labels.dtype} of shape "
            f"{tuple(labels.shape)}; convert them with .long(), or one-hot labels with .argmax(-1)."
        )
    if scores.dim() == 0:
        raise ValueError(f"{caller} expected an input of shape (time, batch, classes), got one without classes.")
    expected: tuple[int, ...] = (*shape[:1], *shape[2:]) if len(shape) > 1 else ()
    if labels.shape != expected:
        hint = " Time is the first dimension: if the batch is, pass xs.transpose(0, 1)." if expected else ""
        raise ValueError(
            f"{caller} expected labels of shape {expected}, one for each sample of the output, which has shape "
            f"(time, batch, classes) = (..., {', '.join(map(str, shape))}); got {tuple(labels.shape)}.{hint}"
        )
    labels = labels.long()
    classes = scores.shape[min(1, scores.dim() - 1)]
    # Where the labels are numbers at hand: reading them elsewhere would wait for a GPU, or is impossible.
    known = labels.device.type == "cpu" and not torch.compiler.is_compiling() and peek_interpreter_stack() is None
    if known and labels.numel() and not isinstance(labels, torch._subclasses.FakeTensor):
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"{caller} expected labels from 0 to {classes - 1} for {classes} classes, got "
                f"{low if low < 0 else high}; count classes from 0, and check the number of outputs."
            )
    return labels
