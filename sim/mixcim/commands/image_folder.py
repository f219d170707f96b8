"""A folder of pictures as inputs: what people have of ImageNet and the like."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import MixcimError

SUFFIXES = (".jpg", ".jpeg", ".png")
_CLASS = re.compile(r"(\d{1,9})_")


def read_image_folder(folder: Path) -> dict[str, np.ndarray]:
    """Pictures of a folder in the order of their names: `images` uint8 (N, height, width, 3), RGB, all of one size.

    `labels` int64 (N,), if every name begins with a class number and an underscore (`281_cat.jpg`). Raises MixcimError
    if there is no picture, one cannot be read or has more than 8 bits a sample, or sizes differ.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise MixcimError(f"folder '{folder}' has no pictures ({', '.join(SUFFIXES)}): give a folder that has some")
    images = [_read(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise MixcimError(
                f"picture '{path}' has {image.shape[0]} x {image.shape[1]} pixels, '{paths[0].name}' "
                f"{images[0].shape[0]} x {images[0].shape[1]}: resize them all to the network's input"
            )
    arrays = {"images": np.stack(images)}
    classes = [_CLASS.match(path.name) for path in paths]
    if all(classes):
        arrays["labels"] = np.array([int(match[1]) for match in classes if match], np.int64)
    return arrays


def _read(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise MixcimError(f"picture '{path}' has more than 8 bits a sample: convert it to 8 bits")
            return np.asarray(image.convert("RGB"))
    # What Pillow raises for damaged files, and for a size that no honest picture has.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise MixcimError(f"picture '{path}' cannot be read ({str(error).splitlines()[0]})") from None
