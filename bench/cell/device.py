"""The device a cell runs on, set up so that the same machine, device and number of threads give the same bits."""

import os

import torch

from bench.cell.memory import keep_memory
from bench.errors import BenchError
from bench.params import Params


def prepare_device(params: Params) -> torch.device:
    """The device of a profile; raise `BenchError` where it is a GPU and there is none."""
    if params.device == "cuda" and not torch.cuda.is_available():
        raise BenchError(f"{params.params_file}: device is cuda, but torch finds no GPU here; set it to cpu")
    # Where CUDA has no deterministic kernel, torch warns.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # That would fill new memory in case it is read before it is written; equal bits do not need it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # TF32 keeps 10 bits: too few for SSIM, which subtracts nearly equal convolutions.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_num_threads(params.threads)
    keep_memory()
    return torch.device(params.device)
