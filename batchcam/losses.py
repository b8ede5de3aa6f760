"""The two regularisers of the paper: each sample's map against its class, and the batch's maps against theirs."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from batchcam.checks import check_choice, check_class_indices, check_same_size, check_unit
from batchcam.distances import DISTANCES
from batchcam.precision import full_precision, no_autocast
from batchcam.ssim import similarity

#: Readings of the Batch-CAM loss, by whether they compare with prototypes.
READINGS = {"class_mean": True, "consistency": False, "batch_image": False}


class PrototypeLoss(nn.Module):
    """Prototype loss: mean over i of D(M_i, P[y_i]), each sample's map against the prototype of its class.

    Args:
        prototypes: P, (C,H,W) floating point in [0, 1] (else ValueError), from `class_prototypes`; a copy is kept as a
            buffer.
        distance: D, one of "l1", "l2", "ssim" (see `batchcam.distances`).

    Source: arXiv 2510.00664, in words; the paper's formula could not be read.

    Example:
        >>> logits, raw_maps = batchcam.explain(model, model.layer4, images)
        >>> maps = batchcam.normalize_maps(batchcam.resize_maps(raw_maps, images.shape[2:]))
        >>> loss = batchcam.PrototypeLoss(batchcam.class_prototypes(images, labels, 4), "ssim")(maps, labels)
    """

    prototypes: Tensor

    def __init__(self, prototypes: Tensor, distance: str = "ssim") -> None:
        super().__init__()
        check_choice("distance", distance, DISTANCES)
        check_unit("prototypes", prototypes, "(C,H,W)")
        self.distance = distance
        self.register_buffer("prototypes", _own(prototypes))

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        """The loss, a scalar ≥ 0 in float32 (or float64).

        Args:
            maps: M, (N,H,W) in [0, 1], resized to the prototypes' size and normalised.
            labels: y, (N,) long, in 0..C − 1.

        Raises:
            TypeError, ValueError: shapes, dtypes, values or labels that do not fit the prototypes.
        """
        maps = _check_batch(maps, labels, len(self.prototypes))
        check_same_size("maps", maps, "prototypes", self.prototypes)
        with no_autocast(maps):
            return _distances(self.distance, maps, self.prototypes.to(maps.dtype), labels).mean()

    def extra_repr(self) -> str:
        return f"distance={self.distance!r}"


class BatchCAMLoss(nn.Module):
    """Batch-CAM loss: the maps of a batch against statistics of that batch.

    The paper's text allows three readings; M̄_c and x̄_c are the mean map and mean image of class c in the batch:

    * "class_mean": mean over the classes c in the batch of D(M̄_c, P_c)
    * "consistency": mean over i of D(M_i, M̄[y_i]); M̄ is not detached; needs no prototypes
    * "batch_image": mean over i of D(M_i, x̄[y_i]); needs the images, no prototypes

    Of a class that is in the batch once, M̄_c is that one map: "class_mean" then compares it as the prototype loss does,
    and "consistency" is 0.

    Args:
        prototypes: P, (C,H,W) in [0, 1] (else ValueError), of which a copy is kept as a buffer; None for the readings
            that need none.
        distance: D, one of "l1", "l2", "ssim" (see `batchcam.distances`).
        reading: one of the three above.

    Source: arXiv 2510.00664, in words; the readings are named choices of this project.

    Example:
        >>> loss = batchcam.BatchCAMLoss(prototypes, "l1")(maps, labels)
    """

    prototypes: Tensor | None

    def __init__(self, prototypes: Tensor | None = None, distance: str = "l1", reading: str = "class_mean") -> None:
        super().__init__()
        check_choice("distance", distance, DISTANCES)
        check_choice("reading", reading, READINGS)
        if READINGS[reading] and prototypes is None:
            raise ValueError(f"the reading {reading!r} compares with prototypes: pass them, (C,H,W)")
        if prototypes is not None:
            check_unit("prototypes", prototypes, "(C,H,W)")
        self.distance = distance
        self.reading = reading
        self.register_buffer("prototypes", None if prototypes is None else _own(prototypes))

    def forward(self, maps: Tensor, labels: Tensor, images: Tensor | None = None) -> Tensor:
        """The loss, a scalar ≥ 0 in float32 (or float64).

        Args:
            maps: M, (N,H,W) in [0, 1], resized and normalised.
            labels: y, (N,) long, in 0..C − 1 where there are C prototypes.
            images: x, (N,H,W) or (N,channels,H,W) in [0, 1], for "batch_image" alone.

        Raises:
            TypeError, ValueError: shapes, dtypes, values or labels that do not fit; "batch_image" without images.
        """
        maps = _check_batch(maps, labels, None if self.prototypes is None else len(self.prototypes))
        D = partial(_distances, self.distance)
        classes, member, counts = labels.unique(return_inverse=True, return_counts=True)
        with no_autocast(maps):
            # membership (classes in the batch, N): row c holds 1 / (its number of samples) where y_i = c
            membership = one_hot(member, len(classes)).T.to(maps.dtype) / counts[:, None]
            if self.reading == "batch_image":
                mean_image = _class_means(membership, _grey(images, maps))
                return D(maps, mean_image, member).mean()
            mean_map = _class_means(membership, maps)
            if self.reading == "consistency":
                return D(maps, mean_map, member).mean()
            assert self.prototypes is not None  # by the constructor
            check_same_size("maps", maps, "prototypes", self.prototypes)
            return D(mean_map, self.prototypes.to(maps.dtype), classes).mean()

    def extra_repr(self) -> str:
        return f"distance={self.distance!r}, reading={self.reading!r}"


def _own(prototypes: Tensor) -> Tensor:
    """A copy: the caller may change its tensor later, and `load_state_dict` cannot write to one that was expanded."""
    return prototypes.detach().clone(memory_format=torch.contiguous_format)


def _distances(distance: str, maps: Tensor, references: Tensor, index: Tensor) -> Tensor:
    """D(M_i, R[i']), i' = index[i]: (N,H,W) × (C,H,W) → (N,), as `batchcam.distances` defines D."""
    if distance == "ssim":
        return 1 - similarity(maps, references, index)
    return DISTANCES[distance](maps, references[index])


def _class_means(membership: Tensor, planes: Tensor) -> Tensor:
    """(classes, N) × (N,H,W) → (classes,H,W). A product, since scatter-adds have no fixed order on CUDA."""
    return (membership @ planes.flatten(1)).reshape(-1, *planes.shape[1:])


def _grey(images: Tensor | None, maps: Tensor) -> Tensor:
    if images is None:
        raise ValueError("the reading 'batch_image' needs the images of the maps, (N,H,W) or (N,channels,H,W)")
    check_unit("images", images, "(N,H,W) or (N,channels,H,W)")
    if len(images) != len(maps):
        raise ValueError(f"images {tuple(images.shape)} and maps {tuple(maps.shape)} differ in N")
    check_same_size("maps", maps, "images", images)
    images = images.to(maps.dtype)
    return images.mean(dim=1) if images.ndim == 4 else images


def _check_batch(maps: Tensor, labels: Tensor, num_classes: int | None) -> Tensor:
    check_unit("maps", maps, "(N,H,W)")
    if len(maps) == 0:
        raise ValueError("maps must hold at least one map, got an empty batch")
    check_class_indices("labels", labels, len(maps), num_classes)
    return full_precision(maps)
