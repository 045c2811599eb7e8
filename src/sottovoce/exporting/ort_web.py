"""onnxruntime-web, which runs models in browsers: its two files, from a folder, the user's cache or npm."""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from sottovoce.errors import SottovoceError, one_line
from sottovoce.files import atomic_folder, cache_folder, read_json, scratch
from sottovoce.progress import bar

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# Of the package as npm has it, in npm's own notation.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
SCRIPT, BINARY = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
MANIFEST = "package.json"
FILES = (MANIFEST, f"dist/{SCRIPT}", f"dist/{BINARY}")
FOLDER = "SOTTOVOCE_ONNXRUNTIME_WEB"  # the environment variable that names an unpacked package
PATIENCE = 300  # seconds that npm may take
NO_NETWORK = f"or let the environment variable {FOLDER} name the folder of an unpacked {PACKAGE} package"


@dataclass(frozen=True)
class Runtime:
    """An unpacked package with what a page needs of it: a script, and the WebAssembly that it runs.

    Example:
        >>> Runtime(Path("package"), "1.30.0").script.name
        'ort.wasm.bundle.min.mjs'
    """

    folder: Path
    version: str

    @property
    def script(self) -> Path:
        """The script, a module with everything but the WebAssembly."""
        return self.folder / "dist" / SCRIPT

    @property
    def binary(self) -> Path:
        """The WebAssembly: for the CPU, one thread."""
        return self.folder / "dist" / BINARY


def runtime() -> Runtime:
    """The package that a variable names, else that of the cache, else what npm fetches into it.

    Example:
        >>> runtime().version  # doctest: +SKIP
        '1.30.0'
    """
    if named := os.environ.get(FOLDER):
        return unpacked(Path(named))
    kept = cache_folder() / f"{PACKAGE}-{VERSION}"
    if not all((kept / name).is_file() for name in FILES):
        fetch(kept)
    return unpacked(kept)


def unpacked(folder: Path) -> Runtime:
    """A folder as a package, if it is one.

    Example:
        >>> unpacked(Path("nothing"))
        Traceback (most recent call last):
        sottovoce.errors.SottovoceError: 'nothing' has no package.json, ...
    """
    for name in FILES:
        if not (folder / name).is_file():
            raise SottovoceError(
                f"'{folder}' has no {name}, but the folder of an unpacked {PACKAGE} package is wanted; give another in "
                f"{FOLDER}, or unset it to let npm fetch {VERSION}."
            )
    about = read_json(folder / MANIFEST, "a package's manifest")
    if not isinstance(about, dict) or about.get("name") != PACKAGE or not isinstance(about.get("version"), str):
        raise SottovoceError(f"'{folder}' is not the package {PACKAGE}, by its {MANIFEST}; give another in {FOLDER}.")
    return Runtime(folder, about["version"])


def fetch(place: Path) -> None:
    """Let npm fetch the pinned version, and keep what a page needs of it."""
    npm = shutil.which("npm")
    if npm is None:
        raise SottovoceError(
            f"a page needs {PACKAGE} {VERSION}, and there is no npm here to fetch it; install Node.js with npm, "
            f"{NO_NETWORK}."
        )
    with bar(f"fetching {PACKAGE}"), scratch() as folder:
        archive = pack(npm, folder)
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{found}" != INTEGRITY:
            raise SottovoceError(
                f"what npm fetched as {PACKAGE} {VERSION} is not that package, by its checksum; ask another registry, "
                f"{NO_NETWORK}."
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(place) as made, tarfile.open(archive) as whole:
            (made / "dist").mkdir()
            for name in FILES:
                content = whole.extractfile(f"package/{name}")
                assert content is not None
                (made / name).write_bytes(content.read())


def pack(npm: str, folder: Path) -> Path:
    """The package as one archive, which npm writes; nothing of it is run."""
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--json", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
        said = done.stderr if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    archives = list(folder.glob("*.tgz"))
    if said or len(archives) != 1:
        raise SottovoceError(
            f"npm could not fetch {PACKAGE} {VERSION} ({one_line(said)[-200:] or 'it wrote no archive'}); try again, "
            f"{NO_NETWORK}."
        )
    return archives[0]
