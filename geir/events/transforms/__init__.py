"""Transforms of events: representations as tensors, augmentations, filters.

Each transform is a function of `Events` or of a list of them, and a module with the same settings:
`count_frames(events, dt=1e-3)` is `CountFrames(dt=1e-3)(events)`. Modules compose with
`torch.nn.Sequential`. On the CPU, the expensive transforms are compiled C; on a GPU, they are
PyTorch operations.
"""

from .filters import (
    Denoise as Denoise,
    denoise as denoise,
    drop_pixels as drop_pixels,
    DropPixels as DropPixels,
    hot_pixels as hot_pixels,
    refractory_filter as refractory_filter,
    RefractoryFilter as RefractoryFilter,
    remove_hot_pixels as remove_hot_pixels,
    RemoveHotPixels as RemoveHotPixels,
)
from .geometry import (
    Affine as Affine,
    affine as affine,
    Crop as Crop,
    crop as crop,
    crop_time as crop_time,
    CropTime as CropTime,
    Downsample as Downsample,
    downsample as downsample,
    Flip as Flip,
    flip as flip,
    random_affine as random_affine,
    random_crop as random_crop,
    random_flip as random_flip,
    RandomAffine as RandomAffine,
    RandomCrop as RandomCrop,
    RandomFlip as RandomFlip,
    Rotate as Rotate,
    rotate as rotate,
)
from .perturbations import (
    drop_area as drop_area,
    drop_events as drop_events,
    drop_time as drop_time,
    DropArea as DropArea,
    DropEvents as DropEvents,
    DropTime as DropTime,
    Jitter as Jitter,
    jitter as jitter,
    uniform_noise as uniform_noise,
    UniformNoise as UniformNoise,
)
from .representations import (
    binary_frames as binary_frames,
    BinaryFrames as BinaryFrames,
    count_frames as count_frames,
    CountFrames as CountFrames,
    sparse_frames as sparse_frames,
    SparseFrames as SparseFrames,
    time_surface as time_surface,
    TimeSurface as TimeSurface,
    voxel_grid as voxel_grid,
    VoxelGrid as VoxelGrid,
)
