"""Matrix products that exploit sparse spikes and sparse connectivity."""

from .connect import connect as connect, dense as dense
from .conv2d import conv2d as conv2d
from .linear import linear as linear, product as product, transposed as transposed
