"""bench.datasets: what is written, what is promised of the splits, and one sentence for each thing that can go wrong.

Nothing here reaches beyond 127.0.0.1: torchvision's mirrors are replaced by an address where nobody answers.
"""

import contextlib
import errno
import gzip
import hashlib
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision.datasets
import yaml

from bench import __main__ as command_line
from bench.cell.data import PARTS, load
from bench.errors import BenchError
from bench.names import DATASETS
from bench.prepare import datasets

ROOT = Path(__file__).parents[2]
COUNTS = {"train-images": 200, "train-labels": 200, "t10k-images": 40, "t10k-labels": 40}
FILES = [f"{part}-idx{3 if 'images' in part else 1}-ubyte" for part in COUNTS]
TRAIN_IMAGES, TRAIN_LABELS = FILES[:2]
Handler = type[http.server.BaseHTTPRequestHandler]


def idx(values: torch.Tensor) -> bytes:
    """A uint8 tensor as an IDX file: 0, 0, type 8, number of dimensions, each size as 4 bytes, then the values."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.numpy().tobytes()


def small_content() -> dict[str, bytes]:
    """Four IDX files by name: 200 training and 40 test images, each different, twenty and four of each class."""
    generator = torch.Generator().manual_seed(0)
    contents: list[torch.Tensor] = []
    for count in COUNTS.values():
        labels = torch.arange(count, dtype=torch.uint8) % 10
        images = torch.randint(256, (count, 28, 28), generator=generator, dtype=torch.uint8)
        contents.append(labels if len(contents) % 2 else images)
    return {file: idx(values) for file, values in zip(FILES, contents, strict=True)}


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address where nobody answers, which stands for torchvision's mirrors; the user's mirror is unset."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken but not listened to: refused, and nobody else gets it meanwhile
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        for source in (torchvision.datasets.MNIST, torchvision.datasets.FashionMNIST):
            monkeypatch.setattr(source, "mirrors", [address])
        monkeypatch.delenv(datasets.MIRROR, raising=False)
        monkeypatch.setenv("no_proxy", "*")
        yield address


@pytest.fixture
def mirror(tmp_path: Path, nobody: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory mirror with small files, which pass for the official MNIST; returns the folder that holds them."""
    folder = tmp_path / "mirror" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    contents = small_content()
    for file, content in contents.items():
        (folder / f"{file}.gz").write_bytes(gzip.compress(content))
    hashes = {file: {"sha256": hashlib.sha256(content).hexdigest()} for file, content in contents.items()}
    monkeypatch.setitem(datasets.SOURCES, "mnist", datasets.SOURCES["mnist"] | {"validation": 20, "files": hashes})
    monkeypatch.setenv(datasets.MIRROR, str(tmp_path / "mirror"))
    return folder


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; yields the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def files_of(directory: Path, asked: list[str]) -> Handler:
    """A handler that serves a directory and notes each path it is asked for."""

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(directory))

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    return Files


def told(action: Callable[[], object], *words: str) -> str:
    """The sentence that `action` fails with; it is one line and holds each of `words`."""
    with pytest.raises(BenchError) as caught:
        action()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence
    return sentence


def failing(data: Path, *words: str) -> str:
    """The sentence that preparing mnist fails with; nothing is left that could be taken for finished."""
    sentence = told(lambda: datasets.prepare("mnist", data), *words)
    left = [path for path in data.rglob("*") if path.is_file()] if data.is_dir() else []
    for path in left:  # files that came before the one that failed may stay: they are whole
        assert hashlib.sha256(path.read_bytes()).hexdigest() == datasets.SOURCES["mnist"]["files"][path.name]["sha256"]
    return sentence


# What is written


def test_digits_sizes_classes_and_disjointness(tmp_path: Path) -> None:
    prepared = load(datasets.prepare("digits", tmp_path))
    assert [len(split.labels) for split in prepared[:3]] == [1257, 180, 360]
    assert prepared.class_names == tuple("0123456789")
    for split in prepared[:3]:
        assert split.images.dtype == torch.uint8
        assert split.images.shape == (len(split.labels), 28, 28)
        assert split.labels.dtype == torch.long
    images = torch.cat([split.images for split in prepared[:3]]).flatten(1)
    assert len(images.unique(dim=0)) == 1797  # all of them, none in two splits
    counts = torch.stack([split.labels.bincount(minlength=10) for split in prepared[:3]])
    shares = counts / counts.sum(1, keepdim=True)
    whole = counts.sum(0) / counts.sum()
    assert (shares - whole).abs().max() < 1 / 180  # off by less than one image of the smallest split


def test_digits_by_hand() -> None:
    """Output pixel i lies at (i + ½)·8/20 − ½ of the input: 1 at 0.1, 2 at 0.5, 3 at 0.9; 0, at −0.3, is clamped."""
    image = torch.zeros(1, 8, 8, dtype=torch.float64)
    image[0, 0, 0] = 16
    enlarged = datasets.enlarge(image)
    assert enlarged.shape == (1, 28, 28)
    assert enlarged.dtype == torch.uint8
    weights = torch.tensor([1, 0.9, 0.5, 0.1, 0], dtype=torch.float64)
    expected = torch.zeros(28, 28, dtype=torch.uint8)
    # 255 × .9 × .5 = 114.75 and so on; 255 × .5 = 127.5 and 255 × .1 = 25.5 lie halfway and go up.
    expected[4:9, 4:9] = (255 * torch.outer(weights, weights) + 0.5 + 1e-9).floor().to(torch.uint8)
    assert expected[4, 4:9].tolist() == [255, 230, 128, 26, 0]
    assert torch.equal(enlarged[0], expected)


def test_digits_keep_their_brightness_and_margin() -> None:
    enlarged = datasets.enlarge(torch.full((2, 8, 8), 16.0))
    assert enlarged[:, 4:24, 4:24].eq(255).all()
    assert enlarged.sum().item() == 2 * 400 * 255


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    """In another process, too, where strings hash differently; which also shows that nothing is imported too early."""
    first = datasets.prepare("digits", tmp_path / "first").read_bytes()
    torch.manual_seed(5)
    assert datasets.prepare("digits", tmp_path / "second").read_bytes() == first
    code = (
        "import sys, bench.__main__; assert 'torch' not in sys.modules;"  # for the sake of --help
        "import bench.prepare.datasets; assert not {'sklearn', 'torchvision'} & set(sys.modules);"
        "bench.__main__.main()"
    )
    command = [sys.executable, "-c", code, "prepare", "digits", "--directory", str(tmp_path / "third")]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    assert "1,257 train, 180 validation, 360 test" in done.stdout
    assert (tmp_path / "third" / "digits.safetensors").read_bytes() == first


def test_what_the_file_says_about_itself(tmp_path: Path) -> None:
    with safetensors.safe_open(datasets.prepare("digits", tmp_path), framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about["dataset"] == "digits"
    assert "Alpaydin" in about["source"]
    assert about["licence"] == "CC BY 4.0"


def test_mnist_like_round_trip(mirror: Path, tmp_path: Path) -> None:
    """Every image comes through unchanged with its own label, in one split; validation has two of each class."""
    prepared = load(datasets.prepare("mnist", tmp_path / "data"))
    assert [len(split.labels) for split in prepared[:3]] == [180, 20, 40]
    assert prepared.validation.labels.bincount().tolist() == [2] * 10
    contents = small_content()
    train = torch.frombuffer(bytearray(contents[TRAIN_IMAGES][16:]), dtype=torch.uint8).view(200, 28, 28)
    labels = {image.numpy().tobytes(): number % 10 for number, image in enumerate(train)}
    found = [
        (image.numpy().tobytes(), int(label))
        for split in (prepared.train, prepared.validation)
        for image, label in zip(split.images, split.labels, strict=True)
    ]
    assert len(found) == len(labels) == 200
    assert dict(found) == labels
    assert idx(prepared.test.images) == contents[FILES[2]]
    assert idx(prepared.test.labels.to(torch.uint8)) == contents[FILES[3]]


def test_unzipped_files_will_do(mirror: Path, tmp_path: Path) -> None:
    zipped = datasets.prepare("mnist", tmp_path / "zipped").read_bytes()
    for file, content in small_content().items():
        (mirror / f"{file}.gz").unlink()
        (mirror / file).write_bytes(content)
    assert datasets.prepare("mnist", tmp_path / "unzipped").read_bytes() == zipped


def test_another_gzip_header_is_no_other_file(mirror: Path, tmp_path: Path) -> None:
    expected = datasets.prepare("mnist", tmp_path / "usual").read_bytes()
    content, packed = small_content()[TRAIN_IMAGES], (mirror / f"{TRAIN_IMAGES}.gz").read_bytes()
    (mirror / f"{TRAIN_IMAGES}.gz").write_bytes(gzip.compress(content, compresslevel=1, mtime=12345))
    assert (mirror / f"{TRAIN_IMAGES}.gz").read_bytes() != packed
    assert datasets.prepare("mnist", tmp_path / "data").read_bytes() == expected


def test_an_address_as_mirror_and_nothing_fetched_twice(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with serving(files_of(tmp_path / "mirror", asked)) as address:
        monkeypatch.setenv(datasets.MIRROR, f"{address}/")
        first = datasets.prepare("mnist", tmp_path / "data").read_bytes()
        assert asked == [f"/MNIST/raw/{file}.gz" for file in FILES]
        asked.clear()
        cached = tmp_path / "data" / "raw" / "MNIST" / "raw"
        assert sorted(path.name for path in cached.iterdir()) == sorted(FILES)
        (cached / TRAIN_LABELS).write_bytes(b"damaged since")
        assert datasets.prepare("mnist", tmp_path / "data").read_bytes() == first
    assert asked == [f"/MNIST/raw/{TRAIN_LABELS}.gz"]
    assert datasets.prepare("mnist", tmp_path / "data").read_bytes() == first  # nobody serves any more


@pytest.mark.parametrize("form", ["a directory", "an address"])
def test_torchvisions_mirrors_come_after_the_users(
    form: str, mirror: Path, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked only for what the user's mirror lacks, the second of them only if the first does not have it."""
    public = tmp_path / "public"
    shutil.copytree(mirror, public)
    (mirror / f"{TRAIN_LABELS}.gz").unlink()
    asked: list[str] = []
    with serving(files_of(public, asked)) as address, serving(files_of(tmp_path / "mirror", [])) as users:
        if form == "an address":
            monkeypatch.setenv(datasets.MIRROR, users)
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [nobody, f"{address}/"])
        datasets.prepare("mnist", tmp_path / "data")
    assert set(asked) == {f"/{TRAIN_LABELS}.gz"}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_official_files(name: str, tmp_path: Path) -> None:
    if not os.environ.get(datasets.MIRROR):
        pytest.skip(f"set {datasets.MIRROR} to a directory or an address with MNIST/raw and FashionMNIST/raw")
    source = datasets.SOURCES[name]
    prepared = load(datasets.prepare(name, tmp_path))
    assert [len(split.labels) for split in prepared[:3]] == [55_000, 5_000, 10_000]
    assert prepared.class_names == tuple(source["class_names"])
    folder = tmp_path / "raw" / source["folder"] / "raw"
    for file, known in source["files"].items():
        assert int.from_bytes((folder / file).read_bytes()[4:8], "big") == known["count"]
    counts = torch.stack([split.labels.bincount(minlength=10) for split in prepared[:2]])
    assert (counts[1] - counts.sum(0) * 5_000 / 60_000).abs().max() < 1
    # The images of train and validation together are the official 60,000, each as often as there.
    official = torch.frombuffer(bytearray((folder / TRAIN_IMAGES).read_bytes()[16:]), dtype=torch.uint8).view(-1, 784)
    split = torch.cat([prepared.train.images, prepared.validation.images]).flatten(1)
    assert sorted(map(hash, map(bytes, official.numpy()))) == sorted(map(hash, map(bytes, split.numpy())))


def test_every_dataset_is_a_stage() -> None:
    stage = yaml.safe_load((ROOT / "data" / "dvc.yaml").read_text("utf-8"))["stages"]["prepare"]
    assert stage["matrix"]["name"] == list(DATASETS)


# What fails, and how it is told


def test_no_network(mirror: Path, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(datasets.MIRROR)
    failing(
        tmp_path / "data",
        f"{TRAIN_IMAGES} of mnist could not be found ({nobody}{TRAIN_IMAGES}.gz: Connection refused)",
        f"check the network, or set {datasets.MIRROR}",
        f"MNIST/raw/{TRAIN_IMAGES}.gz",
    )


def test_no_such_host(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv(datasets.MIRROR, "http://mirror.invalid")
    failing(tmp_path / "data", "http://mirror.invalid/MNIST/raw", "Name or service not known", "check the network")


def silent_from(start: bool, done: threading.Event) -> Handler:
    """A handler that goes silent: before its answer or, after a `start`, when it has sent 2 of 1,000 bytes."""

    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not start:
                done.wait(10)
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"\x1f\x8b")
            self.wfile.flush()
            done.wait(10)

        def log_message(self, *args: object) -> None:
            pass

    return Silent


@pytest.mark.parametrize("start", [False, True], ids=["before the answer", "in its middle"])
def test_a_server_that_goes_silent(start: bool, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "TIMEOUT_S", 0.2)
    done = threading.Event()
    with serving(silent_from(start, done)) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        try:
            failing(
                tmp_path / "data", f"{address}/MNIST/raw/{TRAIN_IMAGES}.gz: no answer for 0.2 s", "check the network"
            )
        finally:
            done.set()


def test_a_server_that_hangs_up(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a file: what came is not taken for the whole."""

    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            packed = (mirror / f"{TRAIN_IMAGES}.gz").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed[:1000])

        def log_message(self, *args: object) -> None:
            pass

    with serving(Short) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        failing(tmp_path / "data", f"{address}/MNIST/raw/{TRAIN_IMAGES}.gz is cut short or damaged")


def test_what_is_no_web_server(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mumbling(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b"mumble\r\n\r\n")

    with serving(Mumbling) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        failing(tmp_path / "data", f"{address}/MNIST/raw/{TRAIN_IMAGES}.gz: mumble", "check the network")


def test_an_address_that_lacks_the_file(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (mirror / f"{TRAIN_LABELS}.gz").unlink()
    with serving(files_of(tmp_path / "mirror", [])) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        failing(tmp_path / "data", f"{TRAIN_LABELS} of mnist", f"{address}/MNIST/raw/{TRAIN_LABELS}.gz: HTTP 404")


def test_a_directory_that_lacks_the_file(mirror: Path, nobody: str, tmp_path: Path) -> None:
    (mirror / f"{TRAIN_LABELS}.gz").unlink()
    failing(tmp_path / "data", f"{TRAIN_LABELS} of mnist", f"{mirror / TRAIN_LABELS}.gz: no such file", nobody)


@pytest.mark.parametrize("address", ["http://[::1", "http://127.0.0.1:port", "http://two words"])
def test_an_address_that_is_none(address: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(datasets.MIRROR, address)
    failing(tmp_path / "data", f"{address}/MNIST/raw/{TRAIN_IMAGES}.gz: ", "check the network")


@pytest.mark.parametrize("place", ["/no/such/place", "s3://bucket/data", "~nosuchuser/data"])
def test_a_mirror_that_is_not_there(place: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(datasets.MIRROR, place)
    failing(tmp_path / "data", f"{datasets.MIRROR} is '{place}', which is neither a directory nor", "mend or unset it")


def test_a_file_that_cannot_be_read(mirror: Path, tmp_path: Path) -> None:
    (mirror / f"{TRAIN_LABELS}.gz").unlink()
    (mirror / f"{TRAIN_LABELS}.gz").mkdir()
    failing(tmp_path / "data", f"{mirror / TRAIN_LABELS}.gz cannot be read (Is a directory)", "make it readable")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda packed: packed[:-1000], "end-of-stream"),
        (lambda packed: packed[:500] + bytes(500) + packed[1000:], "CRC"),
        (lambda packed: packed[:10] + b"\xff" * 100, "Error -3"),
        (lambda packed: b"<html>log in first</html>", "Not a gzipped file"),
    ],
    ids=["cut short", "zeros inside", "noise inside", "a web page"],
)
def test_damaged_gzip(damage: Callable[[bytes], bytes], reason: str, mirror: Path, tmp_path: Path) -> None:
    path = mirror / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    failing(tmp_path / "data", f"{path} is cut short or damaged (", reason, "fetch it again, or name another place in")


def test_altered_content(mirror: Path, tmp_path: Path) -> None:
    content = bytearray(small_content()[TRAIN_LABELS])
    content[-1] ^= 1
    path = mirror / f"{TRAIN_LABELS}.gz"
    path.write_bytes(gzip.compress(content))
    failing(
        tmp_path / "data",
        f"{path} is not the official {TRAIN_LABELS} of mnist",
        f"sha256 of its content {hashlib.sha256(content).hexdigest()[:12]}…",
        f"expected {datasets.SOURCES['mnist']['files'][TRAIN_LABELS]['sha256'][:12]}…",
        "fetch it again",
    )


@pytest.fixture
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no official file had more than 1 MiB; the small ones have 157 KB."""
    monkeypatch.setattr(datasets, "LIMIT", 2**20)


@pytest.mark.usefixtures("low_limit")
def test_a_gzip_bomb_is_unpacked_no_further_than_the_largest_official_file(mirror: Path, tmp_path: Path) -> None:
    path = mirror / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(gzip.compress(bytes(2**26)))
    tracemalloc.start()
    failing(tmp_path / "data", f"{path} holds more than 1 MiB, and no official file does: name another place in")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


@pytest.mark.usefixtures("low_limit")
def test_a_large_file_is_not_read_to_its_end(mirror: Path, tmp_path: Path) -> None:
    (mirror / f"{TRAIN_IMAGES}.gz").unlink()
    (mirror / TRAIN_IMAGES).write_bytes(b"")
    os.truncate(mirror / TRAIN_IMAGES, 2**40)  # a hole of 1 TiB
    failing(tmp_path / "data", f"{mirror / TRAIN_IMAGES} holds more than 1 MiB")


def test_a_pipe_is_not_waited_for(mirror: Path, tmp_path: Path) -> None:
    path = mirror / f"{TRAIN_IMAGES}.gz"
    path.unlink()
    os.mkfifo(path)
    failing(tmp_path / "data", f"{path} is not a file")


def sending(piece: bytes, every_s: float) -> Handler:
    """A handler whose file has no end."""

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(piece)
                    time.sleep(every_s)

        def log_message(self, *args: object) -> None:
            pass

    return Endless


@pytest.mark.usefixtures("low_limit")
def test_a_download_without_end(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(sending(bytes(2**16), 0)) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        failing(tmp_path / "data", f"{address}/MNIST/raw/{TRAIN_IMAGES}.gz holds more than 1 MiB")


def test_headers_that_trickle(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait is short, so that no timeout of the connection ends them."""

    class Trickling(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                for piece in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300:
                    self.wfile.write(bytes([piece]))
                    time.sleep(0.01)

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(datasets, "DEADLINE_S", 0.2)
    with serving(Trickling) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        failing(tmp_path / "data", f"{address}/MNIST/raw/{TRAIN_IMAGES}.gz: not whole after 0.2 s", "check the network")


def test_a_download_that_trickles(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "DEADLINE_S", 0.2)
    with serving(sending(b"x", 0.01)) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        failing(tmp_path / "data", f"{address}/MNIST/raw/{TRAIN_IMAGES}.gz: not whole after 0.2 s", "check the network")


def test_misnamed_file(mirror: Path, tmp_path: Path) -> None:
    path = mirror / f"{TRAIN_IMAGES}.gz"
    shutil.copy(mirror / f"{TRAIN_LABELS}.gz", path)
    failing(tmp_path / "data", f"{path} holds {TRAIN_LABELS} of mnist: give each file its own name")


def full_disk(monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """Let writing files whose name holds `suffix` stop halfway, for want of space."""
    whole = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        if suffix not in path.name:
            return whole(path, content)
        whole(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", half)


@pytest.mark.parametrize("suffix", [TRAIN_LABELS, "mnist.safetensors"], ids=["fetching", "writing"])
def test_full_disk(suffix: str, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, suffix)
    failing(tmp_path / "data", f"{suffix} cannot be written (No space left on device): free some space")


def test_full_disk_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = datasets.prepare("digits", tmp_path)
    before = path.read_bytes()
    full_disk(monkeypatch, "digits")
    told(lambda: datasets.prepare("digits", tmp_path), "No space left on device")
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_full_disk_during_a_download(mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk(monkeypatch, TRAIN_IMAGES)
    with serving(files_of(tmp_path / "mirror", [])) as address:
        monkeypatch.setenv(datasets.MIRROR, address)
        failing(tmp_path / "data", "cannot be written (No space left on device): free some space")


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_place_that_cannot_be_written(name: str, mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a directory")
    told(
        lambda: datasets.prepare(name, tmp_path / "data"), f"{tmp_path / 'data'}/", "cannot be written (", "--directory"
    )
    assert (tmp_path / "data").is_file()


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a patch: root may write everywhere."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "write_bytes", denied)
    told(lambda: datasets.prepare("digits", tmp_path), "digits.safetensors cannot be written (Permission denied)")


def test_unknown_name(tmp_path: Path) -> None:
    told(
        lambda: datasets.prepare("fashion", tmp_path),
        "unknown dataset 'fashion': choose one of digits, mnist, fashion_mnist, decoy_digits, decoy_mnist,"
        " decoy_fashion_mnist, decoy_mnist_99, decoy_mnist_95, decoy_mnist_90, color_mnist;"
        " did you mean 'fashion_mnist'?",
    )
    assert not list(tmp_path.iterdir())


# Reading


def test_load_a_missing_file(tmp_path: Path) -> None:
    missing = Path("data/no-such-set.safetensors")
    assert told(lambda: load(missing)) == (f"{missing} is missing: python -m bench prepare no-such-set makes it")
    told(lambda: load(tmp_path / "mnist.safetensors"), f"prepare mnist --directory {tmp_path} makes it")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: b"\xff" * len(content),
    ],
    ids=["cut short", "empty", "something else"],
)
def test_load_a_damaged_file(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = datasets.prepare("digits", tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    told(lambda: load(path), f"{path} is damaged (", "python -m bench prepare digits", "makes it again")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"train_images": torch.zeros(3, 28, 27, dtype=torch.uint8)},
            "train_images must be uint8 (N,28,28), got uint8",
        ),
        ({"train_images": torch.zeros(3, 28, 28)}, "train_images must be uint8 (N,28,28), got float32"),
        ({"train_images": torch.zeros(0, 28, 28, dtype=torch.uint8)}, "(0, 28, 28)"),
        ({"test_labels": torch.zeros(2, dtype=torch.uint8)}, "test_labels must be uint8 (3,) below 10"),
        ({"test_labels": torch.zeros(3)}, "test_labels must be uint8 (3,) below 10, got float32"),
        (
            {"validation_labels": torch.full((3,), 10, dtype=torch.uint8)},
            "validation_labels must be uint8 (3,) below 10",
        ),
        ({"validation_labels": None}, "validation_labels"),
        ({"about": None}, "is damaged"),
    ],
)
def test_load_what_prepare_did_not_write(change: dict[str, torch.Tensor | None], reason: str, tmp_path: Path) -> None:
    tensors: dict[str, torch.Tensor] = {}
    for part in PARTS:
        tensors[f"{part}_images"] = torch.zeros(3, 28, 28, dtype=torch.uint8)
        tensors[f"{part}_labels"] = torch.zeros(3, dtype=torch.uint8)
    about = None if "about" in change else {"about": json.dumps({"class_names": list("0123456789")})}
    path = tmp_path / "digits.safetensors"
    safetensors.torch.save_file(tensors, path, {"about": json.dumps({"class_names": ["0"]})})
    load(path)  # whole so far
    changed = {name: tensor for name, tensor in {**tensors, **change}.items() if tensor is not None}
    safetensors.torch.save_file(changed, path, about)
    told(lambda: load(path), reason, "makes it again")


# The command line


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of `python -m bench` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    return int(caught.value.code or 0)


def test_help_names_what_is_read_and_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "prepare", "--help") == 0
    shown = capsys.readouterr().out
    for word in (*datasets.SOURCES, "decoy_", datasets.MIRROR, "--directory", "Reads:", "Writes:"):
        assert word in shown


def test_an_error_is_one_line_and_exit_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "prepare", "mnits", "--directory", str(tmp_path)) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == (
        f"error: unknown dataset 'mnits': choose one of {', '.join(DATASETS)}; did you mean 'mnist'?\n"
    )


def test_an_interruption_is_one_line_and_exit_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    assert run(monkeypatch, "prepare", "digits", "--directory", str(tmp_path)) == 130
    assert capsys.readouterr().err == "interrupted: the same command resumes\n"
    assert not list(tmp_path.iterdir())


def test_other_digits_than_the_known_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn import datasets as sklearn_datasets

    changed = sklearn_datasets.load_digits()
    changed.images[0, 0, 0] += 1
    monkeypatch.setattr(sklearn_datasets, "load_digits", lambda: changed)
    with pytest.raises(BenchError, match=r"scikit-learn's digits are not the known ones .*images"):
        datasets.prepare("digits", tmp_path)
    assert not list(tmp_path.iterdir())
