"""Transforms of events: representations as tensors, augmentations, filters.

Each transform is a function of `Events` or of a list of them, and a module with the same settings:
`count_frames(events, dt=1e-3)` is `CountFrames(dt=1e-3)(events)`. Modules compose with
`torch.nn.Sequential`. On the CPU, the expensive transforms are compiled C; on a GPU, they are
PyTorch operations.
"""

from .filters import (
    Denoise as Denoise,
    DropPixels as DropPixels,
    RefractoryFilter as RefractoryFilter,
    RemoveHotPixels as RemoveHotPixels,
    denoise as denoise,
    drop_pixels as drop_pixels,
    hot_pixels as hot_pixels,
    refractory_filter as refractory_filter,
    remove_hot_pixels as remove_hot_pixels,
)
from .geometry import (
    Affine as Affine,
    Crop as Crop,
    CropTime as CropTime,
    Downsample as Downsample,
    Flip as Flip,
    RandomAffine as RandomAffine,
    RandomCrop as RandomCrop,
    RandomFlip as RandomFlip,
    Rotate as Rotate,
    affine as affine,
    crop as crop,
    crop_time as crop_time,
    downsample as downsample,
    flip as flip,
    random_affine as random_affine,
    random_crop as random_crop,
    random_flip as random_flip,
    rotate as rotate,
)
from .perturbations import (
    DropArea as DropArea,
    DropEvents as DropEvents,
    DropTime as DropTime,
    Jitter as Jitter,
    UniformNoise as UniformNoise,
    drop_area as drop_area,
    drop_events as drop_events,
    drop_time as drop_time,
    jitter as jitter,
    uniform_noise as uniform_noise,
)
from .representations import (
    BinaryFrames as BinaryFrames,
    CountFrames as CountFrames,
    SparseFrames as SparseFrames,
    TimeSurface as TimeSurface,
    VoxelGrid as VoxelGrid,
    binary_frames as binary_frames,
    count_frames as count_frames,
    sparse_frames as sparse_frames,
    time_surface as time_surface,
    voxel_grid as voxel_grid,
)
