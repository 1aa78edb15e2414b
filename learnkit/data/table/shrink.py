"""Shrinking an image file in place, in its own format."""

from pathlib import Path

from learnkit.atomic_files import write_atomically
from learnkit.errors import ImageError

__all__ = ["shrink_file"]

OPTIONS = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}}


def shrink_file(file: Path, max_size: int) -> tuple[int, int]:
    """Shrink the image in a file so that its longer side is `max_size` pixels; it is written upright, or not at all.

    Colors, transparency and their profile are kept, other metadata is not.

    Returns:
        (width, height) of the new image.

    Raises:
        ImageError: an animation, whose other frames would be lost, or a format that Pillow cannot write.
        WriteError: a full disk, or a folder that cannot be written to.
    """
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        kind, profile = image.format or "", image.info.get("icc_profile")
        if getattr(image, "n_frames", 1) > 1 or kind not in Image.SAVE:
            raise ImageError(f"several frames, or a format that cannot be written ({kind})")
        small = ImageOps.exif_transpose(image)
    indexed = small.mode in ("P", "1")
    small.thumbnail((max_size, max_size), Image.Resampling.NEAREST if indexed else Image.Resampling.LANCZOS)
    options = {**OPTIONS.get(kind, {}), **({"icc_profile": profile} if profile else {})}
    write_atomically(file, lambda out: small.save(out, kind, **options))
    return small.size
