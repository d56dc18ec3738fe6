"""The wheels of a bundle: foldline's own, and those of packages that Kaggle's image lacks or has too old.

Reads what is installed here; writes `*.whl`, the same bytes for the same content. Code in Python alone is packed from
the installed files, without network; a compiled package is fetched by pip for Kaggle's Python.
"""

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import foldline
from foldline.core.errors import FoldlineError
from foldline.core.tables import scratch_folder, sha256_files, sha256_json

# What Kaggle's notebooks run on: github.com/Kaggle/docker-python at 78aaa43 (2026-08-12) asks for no other version of
# these than Colab's runtime of 2026-05-14 has: github.com/googlecolab/backend-info at 0f0755b, pip-freeze.gpu.txt.
IMAGE_DATE = "2026-05-14"
IMAGE_PYTHON = "3.12"
IMAGE = {
    "albumentations": "2.0.8",
    "jinja2": "3.1.6",
    "matplotlib": "3.10.0",
    "numpy": "2.0.2",
    "opencv-python-headless": "4.13.0.92",
    "packaging": "26.1",
    "pandas": "2.2.2",
    "pyarrow": "18.1.0",
    "pydantic": "2.12.3",
    "pyyaml": "6.0.3",
    "regex": "2025.11.3",
    "rich": "13.9.4",
    "safetensors": "0.7.0",
    "scikit-learn": "1.6.1",
    "scipy": "1.16.3",
    "tifffile": "2026.4.11",
    "timm": "1.0.26",
    "torch": "2.10.0",
    "torchvision": "0.25.0",
}
SAME = "timm"  # networks are rebuilt there by the version that built them here
NOT_THERE = ("kaggle", "six")  # packages that only downloads and submissions need
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64")

_EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a wheel
_TAG = "py3-none-any"
_OF_THE_INSTALLATION = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "WHEEL")


def write_wheels(folder: Path, extras: Iterable[str] = ()) -> dict[str, str]:
    """Writes the wheels; {package: why}, foldline's own first.

    Args:
        extras: foldline's, whose packages the competition's pictures need: `dicom`, `tif`.

    Raises:
        FoldlineError: foldline is not installed; a package is not installed here, or its wheel cannot be fetched.
    """
    own = _installed("foldline")
    folder.mkdir(parents=True, exist_ok=True)
    house = Path(foldline.__file__).parent
    write_wheel(folder, own, {f"foldline/{name}": path for name, path in _sources(house).items()})
    reasons = {"foldline": "this version"}
    requirements = needed(own.requires or [], set(extras))
    if SAME not in [requirement.name for requirement in requirements] and _installed(SAME).version != IMAGE[SAME]:
        requirements.append(Requirement(f"{SAME}=={_installed(SAME).version}"))
    for requirement in requirements:
        package = _installed(requirement.name)
        reasons[requirement.name] = _why(requirement)
        if _is_plain(package):
            write_wheel(folder, package, _files(package))
        else:
            _fetch(folder, requirement.name, package.version)
    return reasons


def own_sha256() -> str:
    """The hash of foldline's own source, as its wheel holds it."""
    house = Path(foldline.__file__).parent
    return sha256_json(sha256_files(house, _sources(house)))


def needed(requirements: Iterable[str], extras: set[str], image: Mapping[str, str] | None = None) -> list[Requirement]:
    """The requirements that Kaggle's image does not meet.

    Args:
        requirements: as a package's metadata give them.
        extras: whose requirements count, too.
        image: its packages, by default those of `IMAGE`.

    >>> wanted = ["timm>=2", "numpy>=1", "six", 'a; extra == "x"', 'b; extra == "y"']
    >>> [str(one) for one in needed(wanted, {"y"}, {"timm": "1", "numpy": "2"})]
    ['timm>=2', 'b; extra == "y"']
    """
    image = IMAGE if image is None else image
    found = []
    for requirement in map(Requirement, requirements):
        name, marker = canonicalize_name(requirement.name), requirement.marker
        counts = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
        enough = name in image and requirement.specifier.contains(image[name], prereleases=True)
        if counts and not enough and name not in NOT_THERE:
            found.append(requirement)
    return found


def _why(requirement: Requirement) -> str:
    version = IMAGE.get(canonicalize_name(requirement.name))
    lacks = (
        "Kaggle's image lacks it" if version is None else f"Kaggle's image has {version}, and {requirement} is needed"
    )
    return f"{lacks} (its packages of {IMAGE_DATE})"


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise FoldlineError(
            f"the package '{name}' is not installed, and the bundle needs its wheel",
            where="the bundle's wheels",
            next="pip install --editable ." if name == "foldline" else f"pip install {name}",
        ) from error


def _sources(house: Path) -> dict[str, Path]:
    """A package's files by their path in it: those of a source checkout and of an installation are the same."""
    paths = sorted(path for path in house.rglob("*") if path.is_file())
    return {
        path.relative_to(house).as_posix(): path
        for path in paths
        if "__pycache__" not in path.parts and path.suffix != ".pyc" and not path.name.startswith(".")
    }


def _is_plain(package: Distribution) -> bool:
    """Whether a package is Python alone, so that its files run anywhere."""
    tags = package.read_text("WHEEL") or ""
    return f"Tag: {_TAG}" in tags or "Tag: py2.py3-none-any" in tags


def _files(package: Distribution) -> dict[str, Path]:
    """The installed files of a package by their path in a wheel, without those about it and without scripts."""
    listed = {path.as_posix(): Path(str(path.locate())) for path in package.files or []}
    return {
        name: path
        for name, path in listed.items()
        if not name.startswith("..") and ".dist-info/" not in name and "__pycache__" not in name
    }


def _about(package: Distribution) -> dict[str, bytes]:
    """What a wheel says of itself: metadata, commands, licences."""
    metadata = package.read_text("METADATA") or package.read_text("PKG-INFO") or ""
    about = {
        "METADATA": metadata.encode(),
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: foldline\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode(),
    }
    for path in package.files or []:
        inside = path.as_posix().partition(".dist-info/")[2]
        place = Path(str(path.locate()))
        if inside and inside not in (*about, *_OF_THE_INSTALLATION) and place.is_file():
            about[inside] = place.read_bytes()
    return about


def write_wheel(folder: Path, package: Distribution, files: Mapping[str, Path]) -> Path:
    """Packs files as a package's wheel; its version is that of the metadata.

    Args:
        files: by their path in the wheel.
    """
    stem = f"{canonicalize_name(package.name).replace('-', '_')}-{package.version}"
    about = {f"{stem}.dist-info/{name}": content for name, content in _about(package).items()}
    contents = {name: path.read_bytes() for name, path in sorted(files.items())} | dict(sorted(about.items()))
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in contents.items())
    contents[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n".encode()
    path = folder / f"{stem}-{_TAG}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(info, content)
    return path


def _digest(content: bytes) -> str:
    """As a wheel's RECORD holds it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _fetch(folder: Path, name: str, version: str) -> None:
    """A compiled package of the version that is installed here, for Kaggle's Python."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += [f"--python-version={IMAGE_PYTHON}", *(f"--platform={platform}" for platform in PLATFORMS)]
    with scratch_folder(folder.parent, "wheel") as scratch:
        done = subprocess.run(  # noqa: S603 - no shell
            [*command, f"--dest={scratch}", f"{name}=={version}"], capture_output=True, text=True, check=False
        )
        wheels = list(scratch.glob("*.whl"))
        if done.returncode or not wheels:
            last = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise FoldlineError(
                f"the wheel of {name} {version} cannot be fetched for Kaggle's Python {IMAGE_PYTHON}",
                where=last[:300],
                next="check the network and run the command again",
            )
        for wheel in wheels:
            wheel.replace(folder / wheel.name)
