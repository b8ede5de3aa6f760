"""Grad-CAM inside a training loop: vectorised, differentiable, with the Batch-CAM regularisers.

The method is that of Ignesti, Moroni and Martinelli, *Batch-CAM* (arXiv 2510.00664).
"""

from batchcam import distances, layouts
from batchcam.cam import grad_cam
from batchcam.colors import overlay
from batchcam.inference import explain, grad_cam_loop
from batchcam.losses import BatchCAMLoss, PrototypeLoss
from batchcam.maps import normalize_maps, resize_maps
from batchcam.prototypes import class_prototypes, class_sums, prototypes_from_sums
from batchcam.recording import Captured, capture

__all__ = [
    "BatchCAMLoss",
    "Captured",
    "PrototypeLoss",
    "capture",
    "class_prototypes",
    "class_sums",
    "distances",
    "explain",
    "grad_cam",
    "grad_cam_loop",
    "layouts",
    "normalize_maps",
    "overlay",
    "prototypes_from_sums",
    "resize_maps",
]
