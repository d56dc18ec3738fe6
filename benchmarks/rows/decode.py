"""Decoding and resizing, one thread: foldline's (which checks what it reads) against OpenCV's two calls."""

from pathlib import Path

from rows.kit import Row, Side, main, rate

ROW = Row("decode and resize JPEG, 300 to 160 px, one thread", "images/s", ("foldline", "bare"))


def foldline(folder: Path, small: bool) -> float:
    """By `images/files/decode.py`."""
    from foldline.images.files.decode import decode, resize

    path, times = _picture(folder), 20 if small else 300

    def work() -> int:
        for _ in range(times):
            resize(decode(path, 3), 160, 160)
        return times

    return rate(work)


def bare(folder: Path, small: bool) -> float:
    """cv2.imread, cv2.cvtColor, cv2.resize by area."""
    import cv2

    path, times = _picture(folder), 20 if small else 300

    def work() -> int:
        for _ in range(times):
            picture = cv2.imread(str(path))
            assert picture is not None
            cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (160, 160), interpolation=cv2.INTER_AREA)
        return times

    return rate(work)


def _picture(folder: Path) -> Path:
    import cv2
    import numpy as np

    cv2.setNumThreads(1)
    path = folder / "noise.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (300, 300), interpolation=cv2.INTER_CUBIC))
    return path


SIDES: dict[str, Side] = {"foldline": foldline, "bare": bare}

if __name__ == "__main__":
    main(SIDES)
