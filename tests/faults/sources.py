"""Faulty sources of the data: a directory, and a server that misbehaves."""

import contextlib
import gzip
import http.server
import os
import signal
import socket
import socketserver
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .child import bench
from .tries import Try, refusal

FILE = "MNIST/raw/train-images-idx3-ubyte.gz"
#: Of a connection, and of a file that trickles.
TIMEOUT_S, DEADLINE_S = 1.0, 2.0
#: Nobody listens there: what a faulty source lacks is not fetched from the world.
NOWHERE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}


def zeros(gibibytes: int) -> bytes:
    """A gzip file of so many GiB of zeros, a thousandth of that in size: gzip files in a row are one."""
    return gzip.compress(bytes(2**26)) * 16 * gibibytes


PACKED = gzip.compress(bytes(range(256)) * 400)
#: Contents of the first file, and what of the sentence must be there; each as a file and over HTTP.
CONTENTS: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "cut short|damaged|not the official"),
    "cut short": (lambda: PACKED[:-20], "is cut short or damaged"),
    "no gzip": (lambda: b"<html>log in first</html>", "is cut short or damaged"),
    "a bit flipped": (lambda: PACKED[:200] + bytes([PACKED[200] ^ 4]) + PACKED[201:], "is cut short or damaged"),
    "another content": (lambda: PACKED, "is not the official train-images"),
    "a gzip bomb, 4 GiB": (lambda: zeros(4), "holds more than 64 MiB"),
    "a gzip bomb in a gzip bomb": (lambda: gzip.compress(zeros(1)), "is not the official train-images"),
    "200 MB, not packed": (lambda: os.urandom(2**20) * 200, "holds more than 64 MiB"),
}


def directories() -> Iterator[tuple[str, Callable[[Path], None], str]]:
    """Name of each fault, what makes it at the file's path, and what of the sentence must be there."""

    def written(content: Callable[[], bytes]) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            path.write_bytes(content())

        return write

    for name, (content, words) in CONTENTS.items():
        yield name, written(content), words
    yield "no such file", lambda path: None, "could not be found"
    yield "a directory", lambda path: path.mkdir(), "cannot be read \\(Is a directory\\)"
    yield "a pipe", os.mkfifo, "is not a file"
    yield "a link to itself", lambda path: path.symlink_to(path.name), "cannot be read \\(Too many levels"
    yield "a link to nowhere", lambda path: path.symlink_to("nowhere"), "could not be found"
    yield "/dev/zero", lambda path: path.symlink_to("/dev/zero"), "is not a file"


def in_directories() -> list[Try]:
    """Each faulty directory, once."""
    return [
        _prepared(lambda mirror, make=make: contextlib.nullcontext(_filled(mirror, make)), words)  # type: ignore[misc]
        for _, make, words in directories()
    ]


def _filled(mirror: Path, make: Callable[[Path], None]) -> str:
    path = mirror / FILE
    path.parent.mkdir(parents=True)
    make(path)
    return str(mirror)


def _answer(code: int, content: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {code} Words", *(headers or (f"Content-Length: {len(content)}",)), "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + content


def _slowly(content: bytes, every_s: float) -> Callable[[socketserver.StreamRequestHandler], None]:
    def send(handler: socketserver.StreamRequestHandler) -> None:
        for i in range(len(content)):
            handler.wfile.write(content[i : i + 1])
            time.sleep(every_s)

    return send


def _forever(start: bytes, piece: bytes) -> Callable[[socketserver.StreamRequestHandler], None]:
    def send(handler: socketserver.StreamRequestHandler) -> None:
        handler.wfile.write(start)
        while True:
            handler.wfile.write(piece)

    return send


def _reset(handler: socketserver.StreamRequestHandler) -> None:
    handler.wfile.write(_answer(200, PACKED[:50], "Content-Length: 1000"))
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _silent(handler: socketserver.StreamRequestHandler) -> None:
    time.sleep(60)


Reply = bytes | Callable[[socketserver.StreamRequestHandler], None]

#: What a server sends, and what of the sentence must be there.
REPLIES: dict[str, tuple[Reply, str]] = {
    "silence": (_silent, "no answer for 1 s"),
    "silence after a start": (_slowly(_answer(200, PACKED)[:60], 0.01), "."),
    "a byte now and then": (_slowly(_answer(200, PACKED, "Content-Length: 99999"), 0.01), "not whole after 2 s"),
    "headers now and then": (_slowly(_answer(200, PACKED, f"X-A: {'b' * 9999}"), 0.01), "not whole after 2 s"),
    "an endless file": (_forever(_answer(200, b"", "X-Length: none"), bytes(2**16)), "holds more than 64 MiB"),
    "endless chunks": (
        _forever(_answer(200, b"", "Transfer-Encoding: chunked"), b"10000\r\n" + bytes(2**16) + b"\r\n"),
        "holds more than 64 MiB",
    ),
    "endless headers": (_forever(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"b" * 1000 + b"\r\n"), "more than 100 headers"),
    "a header without end": (_forever(b"HTTP/1.1 200 OK\r\nX: ", b"b" * 2**16), "more than 65536 bytes"),
    "a connection that is reset": (_reset, "Connection reset by peer|cut short or damaged"),
    "an answer cut short": (_answer(200, PACKED[:-50], f"Content-Length: {len(PACKED)}"), "cut short or damaged"),
    "chunks cut short": (
        _answer(200, b"100\r\n" + PACKED[:50], "Transfer-Encoding: chunked"),
        "could not be found|cut short or damaged",
    ),
    "chunks of no length": (_answer(200, b"zz\r\n", "Transfer-Encoding: chunked"), "could not be found"),
    "no HTTP": (b"220 ftp ready\r\n", "could not be found"),
    "nothing": (b"", "could not be found"),
    **{f"HTTP {code}": (_answer(code), f"HTTP {code}") for code in (400, 401, 403, 404, 410, 429, 500, 502, 503)},
    "a redirection to itself": (_answer(302, b"", f"Location: /{FILE}"), "HTTP 302"),
    "a redirection to a file": (_answer(302, b"", "Location: file:///etc/passwd"), "HTTP 302"),
    "a redirection nowhere": (_answer(302, b"", "Location: http://127.0.0.1:9/"), "Connection refused"),
    "a redirection without address": (_answer(302), "HTTP 302"),
    "codes for the terminal": (_answer(200)[:-4].replace(b"200 Words", b"404 \x1b[2J"), "HTTP 404"),
}


def over_http() -> list[Try]:
    """Each faulty content and reply, once."""
    replies: dict[str, tuple[Reply, str]] = {
        name: (_answer(200, content()), words) for name, (content, words) in CONTENTS.items()
    }
    return [
        _prepared(lambda _, reply=reply: serving(reply), words)  # type: ignore[misc]
        for reply, words in (replies | REPLIES).values()
    ]


@contextmanager
def serving(reply: Reply) -> Iterator[str]:
    """A server, in a process of its own, that answers every request so; yields its address."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                while self.rfile.readline() not in (b"\r\n", b"\n", b""):
                    pass
                if callable(reply):
                    reply(self)
                else:
                    self.wfile.write(reply)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        child = os.fork()
        if child == 0:
            server.serve_forever()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _prepared(source: Callable[[Path], contextlib.AbstractContextManager[str]], words: str) -> Try:
    """`prepare mnist` from a faulty source: refused, and nothing left behind."""
    from bench.prepare import datasets

    datasets.TIMEOUT_S, datasets.DEADLINE_S = TIMEOUT_S, DEADLINE_S  # in this process and its forks
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with source(place / "mirror") as mirror:
            ended = bench("prepare", "mnist", cwd=place, environment={**NOWHERE, datasets.MIRROR: mirror})
        tried = refusal(ended, words)
        left = [path for path in (place / "data").rglob("*") if not path.is_dir()]
        return tried._replace(wrong=f"left behind: {left[0]}") if left and not tried.wrong else tried
