"""The section `slurm` of params.yaml: what each job gets from a cluster."""

from typing import Annotated

from pydantic import Field

from bench.sections import Section

#: What may stand in a job's options: the names that Slurm gives to things.
_Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.,&|-]*$", max_length=200)]


class Slurm(Section):
    """What each job gets; numbers do not depend on it, beyond the kind of processor."""

    time: Annotated[int, Field(ge=1, le=60 * 24 * 365)]  # minutes, after which it is requeued
    gpus: Annotated[int, Field(ge=0, le=64)] = 0
    cpus: Annotated[int, Field(ge=1, le=4096)] | None = None  # none: as many as `threads`
    memory: Annotated[int, Field(ge=1, le=100_000)] | None = None  # GB; none: the partition's own
    partition: _Word | None = None
    account: _Word | None = None
    qos: _Word | None = None
    constraint: _Word | None = None  # such as a kind of processor: bits differ between them
