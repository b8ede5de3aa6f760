"""Imported once by the server that worker processes come from: all that a cell needs, and its slow imports."""

import timm  # noqa: F401

import bench.run.cells
import bench.run.estimate
import bench.run.sweep  # noqa: F401
