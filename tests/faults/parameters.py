"""Broken params.yaml: changed at random by hypothesis, and by name."""

import functools
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bench.errors import BenchError
from bench.params import load

from .tries import Try, unreadable

ROOT = Path(__file__).parents[2]
PROFILES = [ROOT / "params.yaml", *sorted(ROOT.glob("profiles/*/params.yaml"))]
#: Nothing may take longer; the slowest takes a fraction of a second.
LIMIT_S = 20

#: Pieces that mean something to YAML, to Python or to a shell.
PIECES = [
    *("&a ", "*a", "<<: *a", "!!int ", "!!python/object:os.system ", "!!binary ", "- ", "? ", ": ", "[", "{", "}", "]"),
    *("|\n", ">\n", "---\n", "...\n", "%YAML 1.1\n", "#", "'", '"', "\t", "\0", "\x85", "\u2028", "\ufeff", "\x1b[2J"),
    *("2020-13-45", "2020-01-02", "1e400", "-0", "0x" + "f" * 5000, "9" * 5000, ".nan", "1:30", "true", "null", "~"),
    *("x; touch y", "$(touch y)", "../..", "digits", "simple_cnn", "ce", "23", "1.5", "-1", "10" * 15),
]
PIECE = st.one_of(st.sampled_from(PIECES).map(str.encode), st.binary(max_size=8))
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(PIECES))
VALUE = st.recursive(SCALAR, lambda inner: st.one_of(st.lists(inner), st.dictionaries(SCALAR, inner)), max_leaves=6)


@st.composite
def changed_bytes(draw: st.DrawFn) -> bytes:
    """A profile with some of its bytes replaced, up to five times."""
    content = draw(st.sampled_from(PROFILES)).read_bytes()
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 0, 1, 2, 8, 80, 800])))
        new = draw(st.one_of(PIECE, st.just(content[start:end] * 2)))
        content = content[:start] + new + content[end:]
    return content


@functools.cache
def _profiles() -> list[str]:
    """What each profile says, as JSON."""
    slurm = {"time": 60, "gpus": 1, "cpus": 4, "memory": 8, "partition": "a", "qos": "b", "constraint": "c|d"}
    return [json.dumps(yaml.safe_load(path.read_bytes()) | {"slurm": slurm}) for path in PROFILES]


def _dumped(content: object) -> bytes:
    text: str = yaml.dump(content, Dumper=yaml.CSafeDumper, allow_unicode=True)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def changed_values(draw: st.DrawFn) -> bytes:
    """A profile that is still YAML, with up to three keys or values replaced, added or removed."""
    content = json.loads(draw(st.sampled_from(_profiles())))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 3)):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                old = place.pop(key)
                if draw(st.booleans()):
                    place[draw(SCALAR)] = old
            else:
                place[key] = draw(VALUE)
            break
    return _dumped(content)


#: What is drawn, by the words for it in docs/faults.md.
DRAWN: dict[str, st.SearchStrategy[bytes]] = {
    "a profile with bytes replaced": changed_bytes(),
    "a profile with keys or values replaced": changed_values(),
    "any bytes, any text": st.one_of(
        st.binary(max_size=500), st.text().map(lambda text: text.encode(errors="replace"))
    ),
    "any mapping": st.dictionaries(SCALAR, VALUE).map(_dumped),
}


def drawn(strategy: st.SearchStrategy[bytes], count: int, folder: Path) -> list[Try]:
    """So many files, the same ones each time; run in `folder`."""
    tries: list[Try] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def one(content: bytes) -> None:
        tries.append(judged(content, folder))

    one()
    return tries


def judged(content: bytes, folder: Path) -> Try:
    """Load this content as the file that it says it is; `folder` is the current directory.

    Held is a refusal in readable lines that name the file, or what DVC would read as well.
    """
    path = folder / "params.yaml"
    for profile in PROFILES[1:]:  # the mutants of a profile belong to its place
        if f"params_file: profiles/{profile.parent.name}/params.yaml".encode() in content:
            path = folder / "profiles" / profile.parent.name / "params.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    start = time.monotonic()
    try:
        with _limited():
            params = load(path.relative_to(folder))
    except BenchError as error:
        wrong = unreadable(str(error))
        if not all(str(path.relative_to(folder)) in line for line in str(error).splitlines()):
            wrong = f"a line that does not name the file: {error}"
        return Try("refused", wrong, time.monotonic() - start)
    except BaseException as error:
        return Try("broken", f"{type(error).__name__} of {content[:200]!r}", time.monotonic() - start)
    finally:
        path.unlink()
    took = time.monotonic() - start
    said = parse_yaml(content.decode(), "params.yaml")
    meant = params.model_dump(exclude_unset=True)
    return Try("accepted", "" if said == meant else "DVC reads something else", took)


@contextmanager
def _limited() -> Iterator[None]:
    def too_long(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _bomb(levels: int, width: int) -> str:
    lines = ["a0: &a0 [1, 2]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


def _with(old: str, new: str) -> Callable[[], bytes]:
    def changed() -> bytes:
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        assert old in text, old
        return text.replace(old, new, 1).encode()

    return changed


def _quick(addition: str) -> Callable[[], bytes]:
    return lambda: (ROOT / "params.yaml").read_bytes() + addition.encode()


#: Files with a name of their own, and what of the sentence must be there.
NAMED: dict[str, tuple[Callable[[], bytes], str]] = {
    "not UTF-8": (lambda: b"profile: \xff\xfe", "is not UTF-8: byte 10 is 0xff"),
    "UTF-16": (lambda: (ROOT / "params.yaml").read_text().encode("utf-16"), "is not UTF-8"),
    "empty": (lambda: b"", "must hold a mapping"),
    "NUL in the file": (_with("profile: quick", "profile: qu\0ick"), "is not YAML"),
    "NUL in a name": (_with("profile: quick", 'profile: "qu\\0ick"'), "profile: string should match pattern"),
    "NUL in params_file": (_with("params_file: params.yaml", 'params_file: "a\\0b"'), "params_file must be"),
    "`!!int foo`": (_with("threads: 1", "threads: !!int foo"), "line 7: not a valid int"),
    "the date 2020-13-45": (_with("profile: quick", "profile: 2020-13-45"), "line 2: not a valid timestamp"),
    "a Python object": (_with("profile: quick", "profile: !!python/object/apply:os.system [ls]"), "not YAML: line 2"),
    "100,000 levels": (lambda: b"[" * 60_000, "more than 16 levels"),
    "levels of a block": (lambda: b"- " * 30_000, "more than 16 levels"),
    "alias bomb, 10⁹ values": (lambda: _bomb(10, 10).encode(), "more than 20,000 values"),
    "alias bomb, 2²⁴ values": (lambda: _bomb(24, 2).encode(), "more than"),
    "an alias inside itself": (lambda: b"a: &a [*a]", "stands inside what it stands for"),
    "100,000 keys": (lambda: b"".join(b"k%d: 1\n" % i for i in range(100_000)), "more than 64 KiB"),
    "7,000 keys": (lambda: b"".join(b"k%d: 1\n" % i for i in range(7_000)), r"and \d+ more"),
    "a comment of 100 MB": (lambda: b"#" * 10**8, "more than 64 KiB"),
    "a key twice": (_quick("\nthreads: 1\n"), "line 1\\d\\d: the key 'threads' is given twice"),
    "a key twice beside a merge": (
        _with("    px23: {<<: *resnet18}\n", "    px23:\n      <<: *resnet18\n      epochs: 1\n      epochs: 2\n"),
        "'epochs' is given twice",
    ),
    "`true` as learning rate": (_with("3.0e-3", "true"), "learning_rate: input should be a valid number, got True"),
    '"1" as learning rate': (_with("3.0e-3", '"1"'), "learning_rate: input should be a valid number, got '1'"),
    "`yes` for true": (_with("save_weights: false", "save_weights: yes"), "save_weights: input should be a valid bool"),
    "6.0 seeds": (_with("simple_cnn: 6", "simple_cnn: 6.0"), "simple_cnn: input should be a valid integer"),
    "10³⁰ epochs": (_with("epochs: 2", f"epochs: {10**30}"), "epochs: input should be less than or equal to"),
    "a number of 5,000 digits": (_with("epochs: 2", f"epochs: {'9' * 5000}"), "not a valid int|less than or equal"),
    "a hexadecimal number of 50,000 digits": (_with("epochs: 2", f"epochs: 0x{'f' * 50_000}"), "less than or equal to"),
    "an infinite rate": (_with("3.0e-3", ".inf"), "finite number"),
    "resolution 20,000": (_with("resolution: [20, 23]", "resolution: [20000]"), "resolution.0: input should be less"),
    "1,000 resolutions": (
        _with("resolution: [20, 23]", f"resolution: [{', '.join(map(str, range(20, 1020)))}]"),
        "grid.resolution: list should have at most 100",
    ),
    "the `root` of another folder": (_with("root: .", "root: ../.."), "root must be '.'"),
    "a `root` outside": (_with("root: .", "root: /"), "root must be '.'"),
    "another file's `params_file`": (
        _with("params_file: params.yaml", "params_file: profiles/paper/params.yaml"),
        "params_file must be 'params.yaml'",
    ),
    "a shell command as `params_file`": (
        _with("params_file: params.yaml", "params_file: params.yaml; touch y"),
        "params_file must be",
    ),
    "another profile's name": (_with("profile: quick", "profile: paper"), "profile is 'paper', which is the one in"),
    "a profile's name of 300 letters": (_with("profile: quick", f"profile: {'q' * 300}"), "at most 100 characters"),
    "a partition that is an option": (_quick("\nslurm: {time: 9, partition: --help}\n"), "slurm.partition: "),
    "a shell command as account": (_quick('\nslurm: {time: 9, account: "a; touch y"}\n'), "slurm.account: "),
    "0 minutes": (_quick("\nslurm: {time: 0}\n"), "slurm.time: input should be greater"),
    "`..` as profile": (_with("profile: quick", 'profile: ".."'), "profile: string should match pattern"),
    "a shell command as dataset": (_with("[digits]", '["x; touch y"]'), "grid.dataset.0: unknown name 'x; touch y'"),
    "a shell command as loss": (_with("[ce,", '["x; touch y",'), "grid.loss.0: unknown name 'x; touch y'"),
    "a shell command as device": (
        _with("devices: [cpu]", 'devices: ["cpu; touch y"]'),
        "devices.0: unknown name",
    ),
    "codes for the terminal as a key": (_quick('\n"\\e[2J": 1\n'), r"'\\x1b\[2J': unknown key"),
    "a name of 60,000 letters": (_with("[digits]", f"[{'x' * 60_000}]"), "unknown name 'xxx"),
    "two documents": (_quick("\n---\nprofile: quick\n"), "is not YAML"),
    "tabs": (_with("  dataset: [digits]", "\tdataset: [digits]"), "is not YAML"),
}


def named(name: str, folder: Path) -> Try:
    """One of `NAMED` as params.yaml of `folder`, the current directory."""
    make, words = NAMED[name]
    for profile in PROFILES[1:]:
        (folder / "profiles" / profile.parent.name).mkdir(parents=True, exist_ok=True)
    path = folder / "params.yaml"
    path.write_bytes(make())
    start = time.monotonic()
    try:
        with _limited():
            load(Path("params.yaml"))
    except BenchError as error:
        sentence = str(error)
        wrong = unreadable(sentence) or ("" if re.search(words, sentence) else f"not {words!r} but {sentence[:200]!r}")
    except BaseException as error:
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = "accepted"
    finally:
        path.unlink()
    return Try("refused", f"{name}: {wrong}" if wrong else "", time.monotonic() - start)
