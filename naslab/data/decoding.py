"""One image: from the bytes of a PNG or JPEG file to pixels of a size."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from naslab import checks


class Unreadable(Exception):
    """A file is not an image that Pillow can decode. The message says why."""


def height_and_width(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """(height, width)."""
    if size is None:
        return None
    height, width = size if isinstance(size, tuple) and len(size) == 2 else (size, size)
    checks.whole(4, 1025, **{"size (height)": height, "size (width)": width})
    return int(height), int(width)


def decoded(raw: bytes) -> Image.Image:
    """The image, upright, in mode L or RGB. Raises `Unreadable`."""
    if not raw:
        raise Unreadable("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw), formats=("PNG", "JPEG")) as opened:
                opened.load()
                image = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError:
        raise Unreadable("neither PNG nor JPEG") from None
    except Exception as error:  # of any type: decoders of damaged files raise many
        raise Unreadable(str(error).partition("\n")[0] or type(error).__name__) from None
    if image.mode.startswith("I"):  # 16 bits
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        colours, over = image.mode not in ("L", "LA"), image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
        return image.convert("RGB" if colours else "L")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def cut(image: Image.Image, shape: tuple[int, int]) -> Image.Image:
    """The largest centred part with the proportions of `shape`, resized to it."""
    height, width = shape
    return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)


def pixels(image: Image.Image, grey: bool) -> np.ndarray:
    """(C, H, W) uint8."""
    found = np.asarray(image.convert("L" if grey else "RGB"))
    return found[None] if grey else found.transpose(2, 0, 1)
