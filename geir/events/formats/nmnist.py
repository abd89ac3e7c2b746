"""N-MNIST's format, which is also that of N-Caltech101: events of 40 bits and nothing else."""

from .reader import RecordReader


class NMnist(RecordReader):
    """Events of 40 bits, after Orchard, Jayawant, Cohen & Thakor, "Converting static image datasets to spiking neuromorphic datasets using
    saccades" (2015). The files say nothing about themselves: they are known by their names, and taken for N-MNIST's in size.
    """

    name, suffixes, decoder, record = "nmnist", (".bin", ".bs2"), "nmnist", 5

    @classmethod
    def recognizes(cls, head: bytes, suffix: str) -> bool:
        return suffix in cls.suffixes

    def open(self) -> None:
        pass

    def stated_size(self) -> tuple[int, int]:
        return 34, 34
