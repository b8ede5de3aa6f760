"""Grad-CAM on architectures that `batchcam` was not written for: `make architectures` writes docs/architectures.md."""
