"""Images from a list of addresses, each checked, and a table of what became of them."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learnkit.atomic_files import make_folder, write_atomically
from learnkit.checks import check_int
from learnkit.data.download import address_of, check_address, fetch, origin
from learnkit.data.image.read import open_image
from learnkit.errors import LearnkitError, MissingFileError, UsageError
from learnkit.types import PathLike

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["download_images"]

SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}


def download_images(
    urls: PathLike | Iterable[str],
    dest: PathLike,
    *,
    names: Iterable[str] | None = None,
    max_pics: int | None = None,
    num_threads: int = 8,
    max_bytes: int = 50 * 2**20,
) -> "pd.DataFrame":
    """Fetch images into a folder; one that cannot be fetched or read is left out and named in the table.

    Each file is opened before it is kept. Its suffix is that of its content. A file that is there already is not
    fetched again; if it was fetched from another address, that is an error in its row.

    Args:
        urls: addresses, as `download` takes them, or a text file with one in each line.
        dest: the folder, made if it is not there.
        names: names of the files, one per address, without suffix, which is that of their content; None for numbers:
            00000000, 00000001, ...
        max_pics: how many of the addresses to fetch; None for all.
        num_threads: how many are fetched at a time.
        max_bytes: a larger file is left out.

    Returns:
        one row per address, in their order: url; path, None if it failed; error, "" if it did not.

    Raises:
        UsageError: names that are not as many as addresses, not different, or not plain.
        WriteError: the folder cannot be made.

    >>> table = download_images(["https://example.com/a.jpg"], "pets/cat")  # doctest: +SKIP
    >>> table[table.error != ""]  # doctest: +SKIP
    """
    import pandas as pd

    check_int("num_threads", num_threads, 1)
    check_int("max_bytes", max_bytes, 1)
    addresses = _addresses(urls)
    stems = [f"{i:08d}" for i in range(len(addresses))] if names is None else _checked(list(names), len(addresses))
    if max_pics is not None:
        addresses = addresses[: check_int("max_pics", max_pics, 1)]
    folder = Path(dest)
    make_folder(folder)
    with ThreadPoolExecutor(num_threads) as pool:
        rows = list(pool.map(partial(_fetched, folder=folder, max_bytes=max_bytes), addresses, stems))
    return pd.DataFrame(rows, columns=["url", "path", "error"], dtype=object)


def _addresses(urls: PathLike | Iterable[str]) -> list[str]:
    if isinstance(urls, str | os.PathLike):
        if str(urls).startswith(("http:", "https:")):
            raise UsageError("urls", got=urls, expected="a list of addresses, or a text file of them")
        if not os.path.isfile(urls):
            raise MissingFileError(f"no file {urls} of addresses", fix="Pass a list of them, or a text file.")
        lines = Path(urls).read_text(encoding="utf-8-sig").splitlines()
        return [line.strip() for line in lines if line.strip()]
    if hasattr(urls, "columns") or not isinstance(urls, Iterable):
        got = f"a {type(urls).__name__}"
        raise UsageError("urls", got=got, expected="a list of addresses, a column of them, or a text file")
    return [str(url) for url in urls]


def _checked(names: list[Any], n: int) -> list[str]:
    ends = (*SUFFIXES.values(), ".jpeg")
    stems = [next((name.removesuffix(end) for end in ends if name.endswith(end)), name) for name in map(str, names)]
    if len(stems) != n or len(set(stems)) < n:
        raise UsageError("names", got=f"{len(set(stems))} different", expected=f"{n}, one per address")
    for stem in stems:
        if not stem or Path(stem).name != stem or stem.startswith("."):
            raise UsageError("names", got=stem, expected="plain names, without a folder")
    return stems


def _fetched(url: str, stem: str, folder: Path, max_bytes: int) -> tuple[str, Path | None, str]:
    """(address, file or None, why it failed)."""
    there = next((file for end in (*set(SUFFIXES.values()),) if (file := folder / f"{stem}{end}").is_file()), None)
    if there is not None:
        known = address_of(there)
        other = known not in (None, url)
        return (
            url,
            None if other else there,
            f"{there} is that of {known}: pass another dest, or names" if other else "",
        )
    raw = folder / f".{stem}.download"
    try:
        fetch(check_address(url), raw, None, max_bytes)
        suffix = _suffix_of(raw)
        open_image(raw, 3)
        file = folder / f"{stem}{suffix}"
        write_atomically(origin(file), lambda out: out.write(url.encode()))
        os.replace(raw, file)
    except (LearnkitError, OSError) as error:
        return url, None, str(error)
    finally:
        raw.unlink(missing_ok=True)
    return url, file, ""


def _suffix_of(file: Path) -> str:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            return SUFFIXES.get(image.format or "", f".{(image.format or 'img').lower()}")
    except UnidentifiedImageError:
        return ".jpg"  # `open_image` says what is wrong
