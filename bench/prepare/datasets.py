"""The datasets: fetched, verified, split, and each written to one safetensors file of uint8 images and labels.

Some have the images of another one with cues (`bench.cell.cues`), drawn from a fixed seed; their files hold the images
without, and what each cue shows.

`sources.json` beside this module says where each comes from, under which licence, how it is split, and the sha256 of
every file's *decompressed* content: the same images travel in gzip files that differ in their headers.
"""

import contextlib
import errno
import gzip
import hashlib
import http.client
import io
import json
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from batchcam.checks import check_choice
from bench.cell import cues, decoys
from bench.cell.data import NUM_CLASSES, PARTS, Split
from bench.errors import BenchError
from bench.files import written_aside
from bench.names import DATASETS, Dataset, base, has_cue

SOURCES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("sources.json").read_text("utf-8"))
MIRROR = "BATCHCAM_DATA_MIRROR"
TIMEOUT_S = 30.0  # for a connection, and for each wait for the next bytes
DEADLINE_S = 900.0  # for a whole file: 11 kB/s are enough for the largest
LIMIT = 2**26  # bytes of a file, packed and unpacked: the largest official one has 47 MB

_IMAGES, _LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
_ELSEWHERE = f"name another place in {MIRROR}"


def prepare(name: str, directory: Path = Path("data")) -> Path:
    """Write `<directory>/<name>.safetensors` and return its path; the same bytes every time, on every machine.

    Raises `BenchError` for an unknown name, files that cannot be fetched or are not the official ones, and a disk that
    is full or read-only.
    """
    try:
        check_choice("dataset", name, DATASETS)
    except ValueError as error:
        raise BenchError(str(error)) from None
    origin = base(name)
    splits: tuple[Split, ...] = _digits() if origin == "digits" else _mnist_like(origin, directory / "raw")
    if has_cue(name):
        splits = _with_cues(splits, DATASETS[name])
    # One metadata key: safetensors keeps several in no fixed order, and the bytes would differ from run to run.
    about = {"dataset": name} | {key: SOURCES[origin][key] for key in ("source", "licence", "class_names")}
    content = safetensors.torch.save(_tensors(splits), {"about": json.dumps(about)})
    path = directory / f"{name}.safetensors"
    with _disk_trouble_told(path), written_aside(path) as aside:
        aside.write_bytes(content)
    return path


def _tensors(splits: tuple[Split, ...]) -> dict[str, Tensor]:
    """The splits under their names in the file, labels as uint8."""
    images = {f"{part}_images": split.images.contiguous() for part, split in zip(PARTS, splits, strict=True)}
    labels = {f"{part}_labels": split.labels.to(torch.uint8) for part, split in zip(PARTS, splits, strict=True)}
    cue = {
        f"{part}_{what}": tensor
        for part, split in zip(PARTS, splits, strict=True)
        for what, tensor in (("shown", split.shown), ("corners", split.corners))
        if tensor is not None
    }
    return images | labels | cue


def _with_cues(splits: tuple[Split, ...], dataset: Dataset) -> tuple[Split, ...]:
    """Cues that name the label in train and validation, and a label drawn at random in test.

    Where not all of them are to be true in training, the others name a label drawn at random, too.
    """
    generator = torch.Generator().manual_seed(0)
    honesty = torch.Generator().manual_seed(1)  # of its own, so that doses differ in nothing else
    found = []
    for part, split in zip(PARTS, splits, strict=True):
        corners = decoys.draw_corners(len(split.labels), generator)
        drawn = torch.randint(NUM_CLASSES, split.labels.shape, generator=generator)
        truth = 0.0 if part == "test" else dataset.truth
        honest = torch.rand(split.labels.shape, generator=honesty) < truth
        where = corners if dataset.cue == "decoy" else None
        shown = cues.naming(torch.where(honest, split.labels, drawn), where)
        found.append(Split(split.images, split.labels, shown, where))
    return tuple(found)


def _digits() -> tuple[Split, Split, Split]:
    """scikit-learn's digits as train, validation and test."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    values, labels = torch.from_numpy(bunch.images), torch.from_numpy(bunch.target)
    for what, tensor in (("images", values), ("labels", labels)):
        found = hashlib.sha256(tensor.to(torch.uint8).numpy().tobytes()).hexdigest()
        if found != SOURCES["digits"]["sha256"][what]:
            raise BenchError(
                f"scikit-learn's digits are not the known ones (sha256 of the {what} {found[:12]}…): install the"
                " version in requirements.lock"
            )
    everything = Split(enlarge(values), labels)
    rest, test = _split_off(everything, SOURCES["digits"]["test"])
    train, validation = _split_off(rest, SOURCES["digits"]["validation"])
    return train, validation, test


def enlarge(images: Tensor) -> Tensor:
    """(N,8,8) values from 0 to 16 → uint8 (N,28,28): resized to 20×20 and centred, as MNIST's digits are."""
    grey = images.double()[:, None] * 255 / 16
    resized = functional.interpolate(grey, (20, 20), mode="bilinear", antialias=True)[:, 0]
    # 4,173 of the 718,800 pixels lie halfway between two integers, where a last bit decides (in float32, 753 fall the
    # other way); no other pixel is within 1e-3 of halfway.
    rounded = (resized + 1e-4).round().to(torch.uint8)
    return functional.pad(rounded, (4, 4, 4, 4))


def _split_off(split: Split, size: int) -> tuple[Split, Split]:
    """(what remains, `size` images drawn by class), each in the source's order."""
    from sklearn.model_selection import train_test_split

    indices = torch.arange(len(split.labels)).numpy()
    parts = train_test_split(indices, test_size=size, stratify=split.labels.numpy(), random_state=0)
    rest, drawn = (torch.from_numpy(part).sort().values for part in parts)
    return Split(split.images[rest], split.labels[rest]), Split(split.images[drawn], split.labels[drawn])


def _mnist_like(name: str, cache: Path) -> tuple[Split, Split, Split]:
    """Train, validation and test of a dataset in MNIST's format; validation comes out of the official train files."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    def official(part: str) -> Split:
        images, labels = (_cached(name, f"{part}-{kind}", cache) for kind in (_IMAGES, _LABELS))
        return Split(read_image_file(str(images)), read_label_file(str(labels)))

    train, validation = _split_off(official("train"), SOURCES[name]["validation"])
    return train, validation, official("t10k")


def _cached(name: str, file: str, cache: Path) -> Path:
    """Path of the verified, decompressed IDX file below `cache`, fetched if need be.

    `cache` is laid out as torchvision's datasets want their root.
    """
    path: Path = cache / SOURCES[name]["folder"] / "raw" / file
    with _disk_trouble_told(path):
        if not path.is_file() or _sha256_of(path) != SOURCES[name]["files"][file]["sha256"]:
            with written_aside(path) as aside:
                aside.write_bytes(_fetch(name, file))
    return path


def _fetch(name: str, file: str) -> bytes:
    """The verified content of an IDX file from the first place that has it.

    A place that lacks the file or does not answer is passed over. One that holds a wrong file is an error: it should be
    mended.
    """
    misses = []
    for place in _places(name, file):
        try:
            packed = _read(place) if isinstance(place, Path) else _download(place)
        except _NotThereError as error:
            misses.append(f"{place}: {error}")
            continue
        content = _unpack(place, packed)
        _verify(place, content, name, file)
        return content
    raise BenchError(
        f"{file} of {name} could not be found ({'; '.join(misses)}): check the network, or set {MIRROR} to a directory"
        f" or an address that has {SOURCES[name]['folder']}/raw/{file}.gz"
    )


def _places(name: str, file: str) -> list[Path | str]:
    """Where an IDX file may be, in order: the user's mirror (a path or an address), then torchvision's."""
    import torchvision.datasets

    folder = SOURCES[name]["folder"]  # torchvision's name of the class, too
    public: list[Path | str] = [f"{mirror}{file}.gz" for mirror in getattr(torchvision.datasets, folder).mirrors]
    mirror = os.environ.get(MIRROR, "")
    if not mirror:
        return public
    if mirror.startswith(("http://", "https://")):
        return [f"{mirror.rstrip('/')}/{folder}/raw/{file}.gz", *public]
    raw = Path(mirror)
    with contextlib.suppress(RuntimeError):  # there is no such user
        raw = raw.expanduser()
    if not raw.is_dir():
        raise BenchError(
            f"{MIRROR} is {mirror!r}, which is neither a directory nor an http or https address: mend or unset it"
        )
    return [raw / folder / "raw" / f"{file}.gz", raw / folder / "raw" / file, *public]


class _NotThereError(Exception):
    """A place does not have the file, or does not answer; the message says which."""


def _read(path: Path) -> bytes:
    """The bytes of a file in a directory mirror."""
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe would be waited for
            raise BenchError(f"{path} is not a file: put the official one there or {_ELSEWHERE}")
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise _NotThereError("no such file") from None
    except OSError as error:
        raise BenchError(f"{path} cannot be read ({error.strerror}): make it readable or {_ELSEWHERE}") from error
    _check_size(path, content)
    return content


def _download(address: str) -> bytes:
    """The bytes at an address."""
    found: Future[bytes] = Future()

    def fetch() -> None:
        try:
            found.set_result(_answer(address))
        except BaseException as error:
            found.set_exception(error)

    # In a thread that is left behind where a server sends a byte now and then: each wait for it is a short one.
    threading.Thread(target=fetch, daemon=True).start()
    try:
        return found.result(DEADLINE_S)
    except TimeoutError:
        raise _NotThereError(f"not whole after {DEADLINE_S:g} s") from None


def _answer(address: str) -> bytes:
    content = bytearray()
    try:
        with urlopen(Request(address, headers={"User-Agent": "batchcam"}), timeout=TIMEOUT_S) as answer:
            while chunk := answer.read1(2**16):
                content += chunk
                _check_size(address, content)
    except HTTPError as error:
        raise _NotThereError(f"HTTP {error.code} {_line(error.reason)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # URLError is an OSError; ValueError: no address
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            raise _NotThereError(f"no answer for {TIMEOUT_S:g} s") from None
        raise _NotThereError(_line(getattr(reason, "strerror", None) or reason) or type(error).__name__) from None
    return bytes(content)


def _line(words: object) -> str:
    return " ".join(str(words).split())


def _unpack(place: Path | str, packed: bytes) -> bytes:
    """The content of a gzip file, or that of a file already unzipped, as the name says."""
    if not str(place).endswith(".gz"):
        return packed
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
            content = file.read(LIMIT + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise BenchError(f"{place} is cut short or damaged ({error}): fetch it again, or {_ELSEWHERE}") from error
    _check_size(place, content)
    return content


def _check_size(place: Path | str, content: bytes | bytearray) -> None:
    """Raise where there is more than any official file has, packed or unpacked."""
    if len(content) > LIMIT:
        raise BenchError(f"{place} holds more than {LIMIT >> 20} MiB, and no official file does: {_ELSEWHERE}")


def _verify(place: Path | str, content: bytes, name: str, file: str) -> None:
    """Raise unless `content` is the official one of this file; say so if it is that of another."""
    expected, found = SOURCES[name]["files"][file]["sha256"], _sha256(content)
    if found == expected:
        return
    for other, source in SOURCES.items():
        for owner, known in source.get("files", {}).items():
            if found == known["sha256"]:
                raise BenchError(f"{place} holds {owner} of {other}: give each file its own name, or {_ELSEWHERE}")
    raise BenchError(
        f"{place} is not the official {file} of {name} (sha256 of its content {found[:12]}…, expected"
        f" {expected[:12]}…): fetch it again, or {_ELSEWHERE}"
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _disk_trouble_told(path: Path) -> Iterator[None]:
    """Turn an `OSError` on the way to writing `path` into a sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space and run the command again" if full else "name a writable place with --directory"
        raise BenchError(f"{path} cannot be written ({error.strerror or error}): {advice}") from error
