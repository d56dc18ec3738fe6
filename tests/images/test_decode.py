"""Files of every kind but DICOM: known numbers in, known uint8 out, and every way in which a file can be no picture."""

import hashlib
import struct
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from foldline.core.errors import FoldlineError
from foldline.images.cache import open_cache
from foldline.images.files import decode as decode_module
from foldline.images.files import header as header_module
from foldline.images.files.decode import BadImageError, decode, decode_bytes, of_values, preview, resize
from foldline.images.files.header import read_header
from foldline.images.files.intensity import Intensity, to_bytes
from old_records import write_manifest

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (20, 30, 1), dtype=np.uint8)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
SMOOTH = np.stack(np.meshgrid(np.arange(60) * 4, np.arange(40) * 6), axis=2)[:, :, [0, 1, 0]].astype(np.uint8)


def encoded(picture: NDArray[Any], extension: str, *options: int) -> bytes:
    """By OpenCV, which takes BGR(A)."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(picture.shape[2])
    done, content = cv2.imencode(extension, picture[:, :, order] if order else picture, options)
    assert done
    return bytes(content)


def npy(array: NDArray[Any]) -> bytes:
    stream = BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def tif(array: NDArray[Any], **options: Any) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def gif(*frames: NDArray[np.uint8]) -> bytes:
    stream = BytesIO()
    first, *rest = [Image.fromarray(frame[:, :, 0]) for frame in frames]
    first.save(stream, "gif", save_all=True, append_images=rest)
    return stream.getvalue()


def gray_of(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """ITU-R BT.601 luma."""
    luma: NDArray[np.float64] = rgb.astype(np.float64) @ np.array([[0.299], [0.587], [0.114]])
    return luma


LOSSLESS = {
    "png": encoded(RGB, ".png"),
    "bmp": encoded(RGB, ".bmp"),
    "tif": encoded(RGB, ".tif"),
    "webp": encoded(RGB, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101),
    "npy": npy(RGB),
    "npy, channels first": npy(RGB.transpose(2, 0, 1)),
    "planar tif": tif(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
    "big-endian tif": tif(RGB, photometric="rgb", byteorder=">"),
    "BigTIFF": tif(RGB, photometric="rgb", bigtiff=True),
    "LZW tif": tif(RGB, photometric="rgb", compression="lzw"),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_what_is_stored_without_loss_comes_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wrong"  # the name says nothing
    path.write_bytes(LOSSLESS[kind])
    assert np.array_equal(decode(path, 3), RGB)
    gray = decode(path, 1)
    assert gray.shape == (20, 30, 1)
    assert np.abs(gray - gray_of(RGB)).max() < 1.01
    assert np.array_equal(preview(path), RGB)


@pytest.mark.parametrize("kind", [".jpg", ".jp2", ".webp"])
def test_what_is_stored_with_loss_is_near(kind: str) -> None:
    content = encoded(SMOOTH, kind)
    assert np.abs(decode_bytes(content, 3).astype(int) - SMOOTH).mean() < 3
    assert np.abs(decode_bytes(content, 1) - gray_of(SMOOTH)).mean() < 3


def test_a_gif_is_its_first_frame() -> None:
    content = gif(GRAY, 255 - GRAY)
    assert np.array_equal(decode_bytes(content, 1), GRAY)
    assert np.array_equal(decode_bytes(content, 3), np.repeat(GRAY, 3, axis=2))


def test_gray_becomes_three_equal_channels() -> None:
    for content in (
        encoded(GRAY, ".png"),
        npy(GRAY),
        npy(GRAY[:, :, 0]),
        encoded(GRAY, ".tif"),
        npy(GRAY[None, :, :, 0]),
    ):
        assert np.array_equal(decode_bytes(content, 1), GRAY)
        assert np.array_equal(decode_bytes(content, 3), np.repeat(GRAY, 3, axis=2))


@pytest.mark.parametrize("kind", [".png", ".tif", ".webp"])
def test_alpha_is_dropped_or_kept(kind: str) -> None:
    opaque = RGBA.copy()
    opaque[:, :, 3] = np.maximum(RGBA[:, :, 3], 1)  # webp may change the colour of what cannot be seen
    content = encoded(opaque, kind, *([cv2.IMWRITE_WEBP_QUALITY, 101] if kind == ".webp" else []))
    assert np.array_equal(decode_bytes(content, 4), opaque)
    assert np.array_equal(decode_bytes(content, 3), opaque[:, :, :3])
    assert np.abs(decode_bytes(content, 1) - gray_of(opaque[:, :, :3])).max() < 1.01


def test_deep_alpha_has_no_part_in_the_range() -> None:
    values = np.dstack([DEEP // 4, np.full((20, 30), 65535, dtype=np.uint16)])
    for content in (encoded(values, ".png"), encoded(values, ".tif")):
        assert decode_bytes(content, 3, "minmax").max() == 255
        assert np.array_equal(decode_bytes(content, 3, "minmax"), to_bytes(DEEP // 4, "minmax"))
        assert np.array_equal(decode_bytes(content, 4, "full"), to_bytes(values, "full"))


def exif(orientation: int) -> bytes:
    """An EXIF block with nothing but tag 274."""
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_exif_rotation_is_applied(kind: str, orientation: int) -> None:
    block = np.frombuffer(exif(orientation), dtype=np.uint8)
    picture = SMOOTH if kind == ".jpg" else np.dstack([SMOOTH, SMOOTH[:, :, 0]])
    bgr = picture[:, :, [2, 1, 0, 3][: picture.shape[2]]]
    content = bytes(cv2.imencodeWithMetadata(kind, bgr, [cv2.IMAGE_METADATA_EXIF], [block])[1])
    turned = {  # row 0 and column 0 of the stored picture, seen: Exif 2.3, 4.6.4
        1: SMOOTH,
        2: SMOOTH[:, ::-1],
        3: SMOOTH[::-1, ::-1],
        4: SMOOTH[::-1],
        5: SMOOTH.transpose(1, 0, 2),
        6: np.rot90(SMOOTH, -1),
        7: SMOOTH[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(SMOOTH),
    }[orientation]
    for channels in (3,) if kind == ".jpg" else (3, 4):
        pixels = decode_bytes(content, channels)
        assert pixels.shape[:2] == turned.shape[:2]
        assert np.abs(pixels[:, :, :3].astype(int) - turned).mean() < 6


@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_sixteen_bits(kind: str) -> None:
    expected = np.rint(DEEP / 257).astype(np.uint8)
    assert np.array_equal(decode_bytes(encoded(DEEP, kind), 3), expected)
    assert np.abs(decode_bytes(encoded(DEEP, kind), 1) - gray_of(expected)).max() < 1.01
    twelve = DEEP[:, :, :1] // 16  # a camera's 12 bits: dark by the type's range
    assert np.array_equal(decode_bytes(encoded(twelve, kind), 1), np.rint(twelve / 4095 * 255))
    assert decode_bytes(encoded(twelve, kind), 1, "full").max() < 17


def test_jp2_of_sixteen_bits() -> None:
    values = SMOOTH.astype(np.uint16) * 257
    assert np.abs(decode_bytes(encoded(values, ".jp2"), 3).astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_tif_of_other_numbers_is_scaled_by_its_own_range(dtype: Any) -> None:
    values = RNG.normal(0, 500, (20, 30, 3)).astype(dtype)
    low, high = float(values.min()), float(values.max())
    assert np.array_equal(decode_bytes(encoded(values, ".tif"), 3), np.rint((values - low) / (high - low) * 255))


BANDS = RNG.integers(0, 256, (20, 30, 7), dtype=np.uint8)


@pytest.mark.parametrize("bands", [2, 4, 5, 7])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("deep", [False, True])
def test_tif_of_many_bands(bands: int, planar: str, deep: bool) -> None:
    values = BANDS[:, :, :bands].astype(np.uint16) * 257 if deep else BANDS[:, :, :bands]
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    content = tif(stored, photometric="minisblack", planarconfig=planar, extrasamples=[0] * (bands - 1))
    assert np.array_equal(decode_bytes(content, bands), BANDS[:, :, :bands])
    for wrong in (1, 3, 6):
        with pytest.raises(BadImageError, match=f"{bands} channels, not the {wrong} .* data.channels={bands}"):
            decode_bytes(content, wrong)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_deep_planar_colours_are_not_mixed_up(planar: str) -> None:
    stored = DEEP if planar == "contig" else DEEP.transpose(2, 0, 1)
    content = tif(stored, photometric="rgb", planarconfig=planar)
    assert np.array_equal(decode_bytes(content, 3), np.rint(DEEP / 257))


def test_a_fourth_band_that_is_no_alpha_is_not_dropped() -> None:
    infrared = tif(RGBA, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(decode_bytes(infrared, 4), RGBA)
    with pytest.raises(BadImageError, match="4 channels, not the 3"):
        decode_bytes(infrared, 3)
    alpha = tif(RGBA, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(decode_bytes(alpha, 4), RGBA)
    assert decode_bytes(alpha, 3).shape == (20, 30, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tif_whose_zero_is_white_is_inverted(dtype: Any) -> None:
    values = GRAY[:, :, 0].astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    assert np.array_equal(decode_bytes(tif(values, photometric="miniswhite"), 1), 255 - GRAY)


def test_gray_pages_are_channels() -> None:
    content = tif(BANDS.transpose(2, 0, 1), photometric="minisblack")
    assert np.array_equal(decode_bytes(content, 7), BANDS)
    assert np.array_equal(decode_bytes(content, 1), BANDS[:, :, :1]), "the first page"
    with pytest.raises(BadImageError, match="7 channels, not the 5"):
        decode_bytes(content, 5)
    stream = BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(GRAY[:, :, 0])
        writer.write(GRAY[:10, :, 0])
    with pytest.raises(BadImageError, match=r"2 pages .* differ in size"):
        decode_bytes(stream.getvalue(), 2)


@pytest.mark.parametrize("channels", [2, 4, 5, 20])
@pytest.mark.parametrize("first", [False, True])
def test_arrays_of_any_channels(channels: int, first: bool) -> None:
    values = RNG.integers(0, 256, (30, 40, channels), dtype=np.uint8)
    content = npy(values.transpose(2, 0, 1) if first else values)
    assert np.array_equal(decode_bytes(content, channels), values)


def test_colour_that_is_asked_for_as_two_says_so() -> None:
    for content in (encoded(RGB, ".png"), encoded(RGB, ".jpg"), npy(RGB)):
        with pytest.raises(BadImageError, match=r"3 channels, not the 2 .* set data\.channels=3"):
            decode_bytes(content, 2)
    with pytest.raises(BadImageError, match="1 channel, not the 5"):
        decode_bytes(encoded(GRAY, ".tif"), 5)
    with pytest.raises(BadImageError, match=r"4 channels \(the last is alpha\), not the 5"):
        decode_bytes(encoded(RGBA, ".png"), 5)


def test_a_preview_shows_the_first_of_many(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(npy(BANDS))
    assert np.array_equal(preview(tmp_path / "a"), np.repeat(BANDS[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[{}]], dtype=object), "object"),
        (np.zeros((4, 4), dtype=np.complex64), "complex64"),
        (np.array([["a"]]), "real numbers"),
        (np.zeros(4), "shape"),
        (np.zeros((2, 3, 4, 5)), "shape"),
        (np.zeros((0, 4)), "shape"),
    ],
)
def test_arrays_that_are_no_pictures(array: NDArray[Any], message: str) -> None:
    with pytest.raises(BadImageError, match=message):
        decode_bytes(npy(array), 1)


def test_an_array_never_runs_code() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (pytest.fail, ("the array was unpickled",))

    stream = BytesIO()
    np.save(stream, np.array([[Evil()]]), allow_pickle=True)
    with pytest.raises(BadImageError, match="object"):
        decode_bytes(stream.getvalue(), 1)


WHOLE = {
    **LOSSLESS,
    "jpg": encoded(SMOOTH, ".jpg"),
    "jp2": encoded(SMOOTH, ".jp2"),
    "avif": encoded(SMOOTH, ".avif"),
    "ppm": encoded(SMOOTH, ".ppm"),
    "gif": gif(GRAY),
    "webp with loss": encoded(SMOOTH, ".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
    "tif in strips": tif(RGB, photometric="rgb", rowsperstrip=3, compression="zlib"),
    "tif in tiles": tif(RGB, photometric="rgb", tile=(16, 16)),
    "tif of fractions": encoded(RGB.astype(np.float32), ".tif"),
    "bands": tif(BANDS, photometric="minisblack", extrasamples=[0] * 6),
    "deep": encoded(DEEP, ".png"),
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.1, 0.3, 0.5, 0.9])
def test_a_truncated_file_is_no_picture(kind: str, share: float) -> None:
    content = WHOLE[kind]
    with pytest.raises(BadImageError):
        decode_bytes(content[: int(len(content) * share)], 7 if kind == "bands" else 3)


FILM = b"MotionPhoto_Data\0\0\0\x18ftypmp42" + bytes(range(200)) * 30
NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["jpg", "progressive jpg", "jpg with restarts", "png"])
@pytest.mark.parametrize("tail", [FILM, bytes(4096), b"\xff" * 2000])
def test_what_lies_behind_the_end_of_a_whole_picture_changes_nothing(kind: str, tail: bytes) -> None:
    restarts = (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)
    options = {"progressive jpg": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), "jpg with restarts": restarts}
    whole = encoded(NOISE, ".png" if kind == "png" else ".jpg", *options.get(kind, ()))
    assert np.array_equal(decode_bytes(whole + tail, 3), decode_bytes(whole, 3))
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(BadImageError):
            decode_bytes(whole[: int(len(whole) * share)] + bytes(4096), 3)


def test_other_files_are_no_pictures(tmp_path: Path) -> None:
    for content in (
        b"hello",
        b"BM",
        b"GIF89a",
        b"RIFF1234WEBP",
        b"RIFF1234WAVE",
        b"II*\0",
        b"\x93NUMPY",
        b"\xff\xd8\xff\xd9",
    ):
        with pytest.raises(BadImageError):
            decode_bytes(content, 3)
    with pytest.raises(BadImageError, match="No such file"):
        decode(tmp_path / "none.png", 3)


def test_sizes_are_read_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("png", "bmp", "tif", "big-endian tif", "BigTIFF"):
        assert (read_header(LOSSLESS[kind]).height, read_header(LOSSLESS[kind]).width) == (20, 30), kind
    for kind in (".jpg", ".gif"):
        assert (read_header(encoded(SMOOTH, kind)).height, read_header(encoded(SMOOTH, kind)).width) == (40, 60), kind
    monkeypatch.setattr(header_module, "MAX_PIXELS", 599)
    monkeypatch.setattr(decode_module, "_opencv", lambda *_, **__: pytest.fail("decoded"))
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("decoded"))
    for kind in ("png", "bmp", "tif", "npy", "npy, channels first"):
        with pytest.raises(BadImageError, match="30 x 20 px is larger than 599"):
            decode_bytes(LOSSLESS[kind], 3)


def test_a_header_that_promises_more_than_the_file_has_reserves_no_memory() -> None:
    content = npy(np.zeros((4, 4))).replace(b"(4, 4)", b"(9999, 9999)")
    content = content.replace(b" " * 10 + b"\n", b" " * 4 + b"\n")  # the header keeps its length
    with pytest.raises(BadImageError, match="truncated"):
        decode_bytes(content, 1)


LADDER = [
    ("auto", np.uint8, [0, 7, 255], [0, 7, 255]),
    ("auto", np.int64, [0, 7, 255], [0, 7, 255]),
    ("auto", np.uint16, [0, 819, 4095], [0, 51, 255]),
    ("auto", np.uint16, [0, 4096, 65535], [0, 16, 255]),
    ("auto", np.uint32, [100, 70000, 70100], [0, 255, 255]),
    ("auto", np.int16, [-1000, 0, 1000], [0, 128, 255]),
    ("auto", np.float32, [-1, 0, 1], [0, 128, 255]),
    ("auto", np.bool_, [0, 1, 1], [0, 255, 255]),
    ("full", np.uint8, [0, 7, 100], [0, 7, 100]),
    ("full", np.uint16, [0, 257, 4095], [0, 1, 16]),
    ("full", np.int8, [-128, 0, 127], [0, 128, 255]),
    ("full", np.float64, [-1, 0.2, 3], [0, 51, 255]),
    ("minmax", np.uint8, [10, 20, 30], [0, 128, 255]),
    ("minmax", np.float64, [5, 5, 5], [0, 0, 0]),
    ("minmax", np.float64, [np.nan, 0, 10], [0, 0, 255]),
    ("minmax", np.float64, [-np.inf, 0, 10], [0, 0, 255]),
    ("minmax", np.float64, [np.inf, 0, 10], [255, 0, 255]),
]


@pytest.mark.parametrize(("intensity", "dtype", "numbers", "expected"), LADDER)
def test_intensity(intensity: Intensity, dtype: Any, numbers: list[float], expected: list[int]) -> None:
    values = np.array(numbers).astype(dtype).reshape(1, 3, 1)
    assert to_bytes(values, intensity).ravel().tolist() == expected
    assert decode_bytes(npy(values[:, :, 0]), 1, intensity).ravel().tolist() == expected


NOTHING = np.array([[np.nan, np.inf, -np.inf]] * 3)


CUT = np.dstack([RGB, np.linspace(0, 255, 30).round().astype(np.uint8)[None].repeat(20, axis=0)])


def over_white(picture: Image.Image) -> NDArray[np.uint8]:
    """By Pillow."""
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    white.alpha_composite(picture.convert("RGBA"))
    return np.asarray(white.convert("RGB"))


@pytest.mark.parametrize("kind", ["rgba", "gray and alpha", "palette", "webp", "opaque"])
def test_on_white_shows_no_colour_that_lies_under_alpha(kind: str) -> None:
    picture = Image.fromarray(CUT)
    if kind == "gray and alpha":
        picture = picture.convert("LA")
    elif kind == "palette":
        picture = Image.fromarray(
            np.where(CUT[:, :, 3:] < 128, [[[0, 0, 0, 0]]], [[[200, 50, 10, 255]]]).astype(np.uint8)
        )
        picture = picture.quantize(4)
    elif kind == "opaque":
        picture = picture.convert("RGB")
    stream = BytesIO()
    picture.save(
        stream,
        "webp" if kind == "webp" else "png",
        **({"lossless": True, "exact": True} if kind == "webp" else {}),
    )
    shown = decode_bytes(stream.getvalue(), 3, "on_white")
    assert np.abs(shown.astype(int) - over_white(picture)).max() <= 1
    assert (shown[:, 0] == 255).all() == (kind != "opaque")
    gray = decode_bytes(stream.getvalue(), 1, "on_white")
    assert (gray[:, 0] == 255).all() == (kind != "opaque")


def test_on_white_takes_16_bits_and_turns_as_exif_says() -> None:
    deep = np.dstack([DEEP, np.where(np.arange(30) < 15, 0, 65535)[None].repeat(20, axis=0)]).astype(np.uint16)
    shown = decode_bytes(encoded(deep, ".png"), 3, "on_white")
    assert (shown[:, :15] == 255).all()
    assert np.abs(shown[:, 15:].astype(int) - DEEP[:, 15:] / 257).max() <= 1
    exif = Image.Exif()
    exif[274] = 6
    stream = BytesIO()
    Image.fromarray(CUT).save(stream, "png", exif=exif)
    assert decode_bytes(stream.getvalue(), 3, "on_white").shape == (30, 20, 3)


@pytest.mark.parametrize("how", ["auto", "full", "minmax", "percentile"])
def test_a_picture_without_a_finite_number_is_none(how: Intensity) -> None:
    for content in (npy(NOTHING), npy(NOTHING.astype(np.float16)), tif(NOTHING.astype(np.float32))):
        with pytest.raises(BadImageError, match="no finite number"):
            decode_bytes(content, 1, how)
    some = np.where(np.arange(9).reshape(3, 3) == 4, 0.5, NOTHING).astype(np.float32)
    assert decode_bytes(tif(some), 1, "full").ravel().tolist() == [0, 255, 0, 0, 128, 0, 0, 255, 0]


def test_a_range_that_no_float_holds_is_refused() -> None:
    for wide in ([-1.7e308, 0, 1.7e308], [0, 0, 1e-310]):
        with pytest.raises(BadImageError, match="cannot be made 0 to 255"):
            decode_bytes(npy(np.array([wide])), 1, "minmax")


def test_percentiles_leave_outliers_out() -> None:
    values = np.append(np.linspace(0, 1, 998), [-1e6, 1e6]).reshape(10, 100, 1)
    assert to_bytes(values, "minmax")[0, :, 0].std() < 1
    pixels = to_bytes(values, "percentile")
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert pixels.std() > 60


def test_colours_share_a_range_and_bands_do_not() -> None:
    values = np.dstack([np.linspace(0, top, 12).reshape(3, 4) for top in (1.0, 2.0, 4.0)])
    assert to_bytes(values, "minmax").max(axis=(0, 1)).tolist() == [64, 128, 255]
    assert to_bytes(values[:, :, :2], "minmax").max(axis=(0, 1)).tolist() == [255, 255]


@pytest.mark.parametrize("size", [(10, 12), (40, 50)])
def test_resize_takes_any_number_of_channels(size: tuple[int, int]) -> None:
    whole = resize(BANDS, *size)
    assert whole.shape == (*size, 7)
    for i in range(7):
        assert np.abs(whole[:, :, i].astype(int) - resize(BANDS[:, :, i : i + 1], *size)[:, :, 0]).max() <= 1


@pytest.mark.parametrize("size", [(100, 2000), (2000, 100)])
def test_the_side_that_shrinks_is_smoothed_though_the_other_grows(size: tuple[int, int]) -> None:
    """Stripes of 1 px across the long side are gray at 224 px: sampled without smoothing, they would be bands."""
    image = np.zeros((*size, 1), dtype=np.uint8)
    image[(slice(None, None, 2),) if size[0] > size[1] else (slice(None), slice(None, None, 2))] = 255
    assert resize(image, 224, 224).std() < 10


@pytest.mark.parametrize(("size", "method"), [((10, 12), cv2.INTER_AREA), ((40, 50), cv2.INTER_CUBIC)])
def test_sides_that_shrink_or_grow_alike_are_resized_at_once(size: tuple[int, int], method: int) -> None:
    expected = cv2.resize(BANDS[:, :, :3], size[::-1], interpolation=method)
    assert np.array_equal(resize(BANDS[:, :, :3], *size), expected)


def write_files(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).write_bytes(content)
    write_manifest(root / "manifest.json", [])


def test_the_cache_keeps_intensities_apart(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.npy": npy(DEEP[:, :, :2] // 16), "b.npy": npy(DEEP[:, :, :2])})
    folder = tmp_path / ".cache"
    auto = open_cache(tmp_path, folder, ["a.npy", "b.npy"], (20, 30), 2)
    full = open_cache(tmp_path, folder, ["a.npy", "b.npy"], (20, 30), 2, intensity="full")
    assert auto.key != full.key
    assert auto.pixels[0].max() > 200 > 20 > full.pixels[0].max()
    assert np.array_equal(auto.pixels[1], full.pixels[1])


def test_files_of_several_channels_are_stacked(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.npy": npy(BANDS[:, :, :2]), "b.npy": npy(BANDS[:, :, 2:4]), "c.npy": npy(BANDS)})
    cache = open_cache(tmp_path, tmp_path / ".cache", ["a.npy|b.npy"], (20, 30), 2)
    assert np.array_equal(cache.pixels[0], BANDS[:, :, :4])
    with pytest.raises(FoldlineError, match=r"different numbers of files: 1 in 'c\.npy', 2 in 'a\.npy\|b\.npy'"):
        open_cache(tmp_path, tmp_path / ".cache", ["a.npy|b.npy", "c.npy"], (20, 30), 2)
    with pytest.raises(FoldlineError, match=r"7 channels, not the 2 .*data\.channels=7"):
        open_cache(tmp_path, tmp_path / ".cache", ["c.npy"], (20, 30), 2)


@pytest.mark.parametrize("intensity", ["minmax", "percentile"])
def test_colours_given_as_numbers_are_gray_before_their_range_is_looked_for(
    tmp_path: Path, intensity: Intensity
) -> None:
    """As those of a file are: else a picture that Pillow opened would be another one than its file."""
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 200, (24, 24, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), colours[:, :, ::-1])
    of_file = decode(tmp_path / "a.png", 1, intensity).astype(int)
    assert np.abs(of_values(colours, 1, intensity) - of_file).max() <= 3  # gray levels, rounded and then stretched
    with_alpha = np.dstack([colours, rng.integers(0, 255, (24, 24, 1)).astype(np.uint8)])
    assert (of_values(with_alpha, 1, intensity, has_alpha=True) == of_values(colours, 1, intensity)).all()


def test_the_default_cache_keeps_its_key(tmp_path: Path) -> None:
    content = encoded(GRAY, ".png")
    write_files(tmp_path, {"a.png": content})
    named = {"path": "a.png", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    write_manifest(tmp_path / "manifest.json", [named])
    key = open_cache(tmp_path, tmp_path / ".cache", ["a.png"], (8, 8), 1).key
    assert key == "69ff04f3a444b760", "everybody's caches would be built anew"


def test_without_tifffile_one_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = tif(BANDS, photometric="minisblack", extrasamples=[0] * 6)
    write_files(tmp_path, {"a.tif": content, "b.tif": content})
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(FoldlineError, match=r"pip install 'foldline\[tif\]'") as caught:
        open_cache(tmp_path, tmp_path / ".cache", ["a.tif", "b.tif"], (8, 8), 7, bad_images="skip")
    assert str(caught.value).count("pip") == 1
