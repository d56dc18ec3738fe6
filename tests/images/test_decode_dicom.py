"""DICOM files of every kind of pixels, written here by pydicom: known numbers in, known uint8 out."""

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, Sequence
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from foldline.core.errors import FoldlineError
from foldline.images.cache import open_cache
from foldline.images.files import dicom as dicom_module
from foldline.images.files import header as header_module
from foldline.images.files.decode import BadImageError, decode, decode_bytes
from foldline.images.files.intensity import Intensity, to_bytes
from old_records import write_manifest

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (40, 60), dtype=np.uint16)  # 12 bits
GRAY = RNG.integers(0, 256, (40, 60), dtype=np.uint8)
RGB = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.stack(np.meshgrid(np.arange(60) * 4, np.arange(40) * 6), axis=2)[:, :, [0, 1, 0]].astype(np.uint8)


def dataset(
    pixels: NDArray[Any], bits: int | None = None, syntax: UID = ExplicitVRLittleEndian, **facts: Any
) -> Dataset:
    """[height, width], or [height, width, 3] of colour; further facts overwrite what is found here."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.7")
    made.SOPInstanceUID = generate_uid()
    made.Rows, made.Columns = pixels.shape[:2] if facts.get("NumberOfFrames") is None else pixels.shape[1:3]
    made.BitsAllocated = pixels.dtype.itemsize * 8
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    colour = pixels.shape[-1] == 3
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def written(made: Dataset, *, preamble: bool = True) -> bytes:
    stream = BytesIO()
    if preamble:
        made.save_as(stream, enforce_file_format=True)
    else:
        meta, made.file_meta = made.file_meta, FileMetaDataset()
        made.save_as(stream, implicit_vr=meta.TransferSyntaxUID.is_implicit_VR, little_endian=True)
    return stream.getvalue()


def gray(made: Dataset, intensity: Intensity = "auto") -> NDArray[np.uint8]:
    return decode_bytes(written(made), 1, intensity)[:, :, 0]


def stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    return to_bytes(values[:, :, None].astype(np.float64), "minmax")[:, :, 0]


def near(pixels: NDArray[Any], expected: NDArray[Any], tolerance: float = 1.0) -> bool:
    return bool(pixels.shape == expected.shape and np.abs(pixels.astype(np.float64) - expected).max() <= tolerance)


def test_eight_bits_are_untouched() -> None:
    assert np.array_equal(gray(dataset(GRAY)), GRAY)
    assert np.array_equal(decode_bytes(written(dataset(RGB)), 3), RGB)
    assert np.array_equal(decode_bytes(written(dataset(GRAY)), 3), np.repeat(GRAY[:, :, None], 3, axis=2))
    with pytest.raises(BadImageError, match="3 channels, not the 2"):
        decode_bytes(written(dataset(RGB)), 2)


def test_without_a_window_the_own_range() -> None:
    assert np.array_equal(gray(dataset(DEEP // 4 + 100, 12)), stretched(DEEP // 4))
    signed = DEEP.astype(np.int16) - 2000
    assert np.array_equal(gray(dataset(signed)), stretched(signed))


def test_full_is_what_the_bits_can_hold() -> None:
    assert near(gray(dataset(DEEP // 4, 12), "full"), DEEP // 4 / 4095 * 255, 0.5)
    signed = (DEEP // 4).astype(np.int16) - 500
    assert near(gray(dataset(signed, 12), "full"), (signed + 2048) / 4095 * 255, 0.5)


@pytest.mark.parametrize("representation", [np.uint16, np.int16])
def test_the_window_is_applied_after_the_rescale(representation: Any) -> None:
    made = dataset(DEEP.astype(representation), 13)
    made.RescaleSlope, made.RescaleIntercept = "1", "-1024"
    made.WindowCenter, made.WindowWidth = "40", "400"  # CT, soft tissue
    units = DEEP.astype(np.float64) - 1024
    expected = np.clip(((units - 39.5) / 399 + 0.5) * 255, 0, 255)  # PS3.3, C.11.2.1.2.1
    assert near(gray(made), expected, 0.51)
    assert np.array_equal(gray(made, "minmax"), stretched(DEEP))


def test_of_several_windows_the_first_and_an_empty_one_is_none() -> None:
    made = dataset(DEEP, 12, WindowCenter=["2048", "100"], WindowWidth=["4096", "10"])
    assert near(gray(made), DEEP / 4095 * 255, 0.51)
    assert np.array_equal(gray(dataset(DEEP, 12, WindowCenter=None, WindowWidth=None)), stretched(DEEP))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"WindowCenter": "2000", "WindowWidth": "0"}, "Window Width must be"),
        ({"WindowCenter": "2000", "WindowWidth": "-5"}, "Window Width must be"),
        ({"WindowCenter": "nan", "WindowWidth": "100"}, "no finite range"),
        ({"WindowCenter": "2000", "WindowWidth": "inf"}, "no finite range"),
        ({"RescaleSlope": "nan", "RescaleIntercept": "0"}, "no finite number"),
        ({"RescaleSlope": "1", "RescaleIntercept": "-inf"}, "no finite number"),
    ],
)
def test_a_window_or_rescale_that_is_none_is_refused(facts: dict[str, Any], words: str) -> None:
    made = dataset(DEEP, 12, **facts)
    with pytest.raises(BadImageError, match=words):
        gray(made)
    assert near(gray(made, "full"), DEEP / 4095 * 255, 0.5)
    if "WindowWidth" in facts:
        assert np.array_equal(gray(made, "minmax"), stretched(DEEP))


def test_a_window_beside_all_numbers_shows_what_a_viewer_shows() -> None:
    assert not gray(dataset(DEEP, 12, WindowCenter="90000", WindowWidth="100")).any()
    assert not gray(dataset(DEEP, 12, PixelPaddingValue=0, PixelPaddingRangeLimit=4095)).any()


def test_sigmoid_window() -> None:
    made = dataset(DEEP, 12, WindowCenter="2000", WindowWidth="800", VOILUTFunction="SIGMOID")
    assert near(gray(made), 255 / (1 + np.exp(-4 * (DEEP - 2000.0) / 800)), 0.51)  # PS3.3, C.11.2.1.3.1


def test_voi_lut() -> None:
    item = Dataset()
    table = np.linspace(1023, 0, 4096).round().astype(np.uint16)  # 10 bits, dark where the picture is bright
    item.add_new("LUTDescriptor", "US", [4096, 0, 10])
    item.add_new("LUTData", "OW", table.tobytes())
    made = dataset(DEEP, 12, VOILUTSequence=Sequence([item]), WindowCenter="1", WindowWidth="2")
    assert near(gray(made), table[DEEP] / 1023 * 255, 0.51)


@pytest.mark.parametrize("intensity", ["auto", "full", "minmax", "percentile"])
def test_monochrome1_is_the_negative(intensity: Intensity) -> None:
    windows: list[dict[str, Any]] = [{}, {"WindowCenter": "2000", "WindowWidth": "3000"}]
    for facts in windows:
        positive = dataset(DEEP, 12, **facts)
        negative = dataset(DEEP, 12, PhotometricInterpretation="MONOCHROME1", **facts)
        assert np.array_equal(gray(negative, intensity), 255 - gray(positive, intensity))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_range(photometric: str) -> None:
    signed = DEEP.astype(np.int16)
    signed[:3] = -30000
    made = dataset(signed, PhotometricInterpretation=photometric)
    made.add_new("PixelPaddingValue", "SS", -30000)
    pixels = gray(made)
    assert (pixels[:3] == 0).all()
    inner = stretched(signed[3:])
    assert np.array_equal(pixels[3:], 255 - inner if photometric == "MONOCHROME1" else inner)


def test_the_middle_frame() -> None:
    frames = np.stack([GRAY // 4 + i for i in range(5)])
    assert np.array_equal(gray(dataset(frames, NumberOfFrames=5)), GRAY // 4 + 2)


def test_a_frame_has_its_own_window() -> None:
    def group(center: int) -> Dataset:
        window, rescale, made = Dataset(), Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 1001
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 2, 0, "US"
        made.FrameVOILUTSequence = Sequence([window])
        made.PixelValueTransformationSequence = Sequence([rescale])
        return made

    frames = np.stack([DEEP, DEEP, DEEP])
    made = dataset(frames, 12, NumberOfFrames=3)
    made.PerFrameFunctionalGroupsSequence = Sequence([group(500), group(2000), group(7000)])
    assert near(gray(made), np.clip(((DEEP * 2 - 1999.5) / 1000 + 0.5) * 255, 0, 255), 0.51)


def test_ybr_and_planes() -> None:
    ybr = cv2.cvtColor(RGB, cv2.COLOR_RGB2YCrCb)[:, :, [0, 2, 1]]
    assert near(decode_bytes(written(dataset(ybr, PhotometricInterpretation="YBR_FULL")), 3), RGB, 3)
    planes = dataset(RGB, PlanarConfiguration=1)
    planes.PixelData = RGB.transpose(2, 0, 1).tobytes()
    assert np.array_equal(decode_bytes(written(planes), 3), RGB)


def test_a_palette_becomes_colours() -> None:
    made = dataset(GRAY, PhotometricInterpretation="PALETTE COLOR")
    table = RNG.integers(0, 65536, (3, 256), dtype=np.uint16)
    for name, entries in zip(("Red", "Green", "Blue"), table, strict=True):
        made.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, 16])
        made.add_new(f"{name}PaletteColorLookupTableData", "OW", entries.tobytes())
    assert near(decode_bytes(written(made), 3), table.T[GRAY] / 257, 0.51)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_a_file_may_begin_without_its_header(syntax: UID) -> None:
    assert np.array_equal(decode_bytes(written(dataset(GRAY, syntax=syntax), preamble=False), 1)[:, :, 0], GRAY)


def test_big_endian() -> None:
    made = dataset(DEEP, 12, syntax=ExplicitVRBigEndian)
    made.PixelData = DEEP.byteswap().tobytes()
    assert np.array_equal(gray(made), stretched(DEEP))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_without_loss(syntax: UID) -> None:
    made = dataset(DEEP, 12)
    made.compress(syntax)
    assert np.array_equal(gray(made), stretched(DEEP))
    colour = dataset(RGB)
    colour.compress(syntax)
    assert near(decode_bytes(written(colour), 3), RGB, 0)


def test_compressed_with_loss() -> None:
    made = dataset(SMOOTH[:, :, 0].astype(np.uint16) * 16, 12, syntax=ExplicitVRLittleEndian)
    made.compress(JPEG2000, j2k_psnr=[60])
    assert near(gray(made), stretched(SMOOTH[:, :, 0]), 3)


def test_a_jpeg_that_ends_the_process_in_gdcm_is_not_given_to_it() -> None:
    made = dataset(GRAY)
    for syntax in (RLELossless, JPEGBaseline8Bit, JPEG2000Lossless, JPEG2000, JPEGLSLossless):
        made.file_meta.TransferSyntaxUID = syntax
        assert dicom_module._decoder(made) != "gdcm"
    for syntax in (JPEGExtended12Bit, JPEGLosslessSV1):  # nothing else reads them
        made.file_meta.TransferSyntaxUID = syntax
        assert dicom_module._decoder(made) == "gdcm"


@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_inside(colour: bool) -> None:
    picture = SMOOTH if colour else SMOOTH[:, :, 1]
    done, jpeg = cv2.imencode(".jpg", picture[:, :, ::-1] if colour else picture, [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert done
    made = dataset(picture, syntax=JPEGBaseline8Bit)
    made.PixelData = encapsulate([jpeg.tobytes()])
    made["PixelData"].is_undefined_length = True
    if colour:
        made.PhotometricInterpretation = "YBR_FULL_422"
    pixels = decode_bytes(written(made), 3 if colour else 1)
    assert np.abs(pixels.astype(int).squeeze() - picture).mean() < 3


WHOLE: dict[str, Dataset] = {"plain": dataset(DEEP, 12), "8 bits": dataset(GRAY), "colour": dataset(RGB)}
for _name, _syntax in (("rle", RLELossless), ("jpeg 2000", JPEG2000Lossless), ("jpeg-ls", JPEGLSLossless)):
    WHOLE[_name] = dataset(DEEP, 12)
    WHOLE[_name].compress(_syntax)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_truncated_file_is_no_picture(kind: str) -> None:
    content = written(WHOLE[kind])
    decode_bytes(content, 1)
    for share in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.97):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(BadImageError):
                decode_bytes(content[: int(len(content) * share)], 1)


def test_damaged_headers_are_bad_images_and_nothing_else() -> None:
    """Every byte of the header changed in turn: a picture or a BadImageError, never another error."""
    content = written(dataset(DEEP, 12, WindowCenter="2000", WindowWidth="3000"))
    start = content.find(DEEP.tobytes())
    outcomes = set()
    for at in range(128, start):
        for value in (0, 255, content[at] ^ 1):
            damaged = content[:at] + bytes([value]) + content[at + 1 :]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    decode_bytes(damaged, 1)
                    outcomes.add("picture")
                except BadImageError:
                    outcomes.add("bad")
    assert outcomes == {"picture", "bad"}


def test_reports_and_giants_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    report = dataset(GRAY)
    del report.PixelData
    with pytest.raises(BadImageError, match="no pixels"):
        gray(report)
    monkeypatch.setattr(header_module, "MAX_PIXELS", 2399)
    monkeypatch.setattr(dicom_module, "_read", lambda *_: pytest.fail("decoded"))
    with pytest.raises(BadImageError, match="60 x 40 px is larger"):
        gray(dataset(GRAY))


def folder(root: Path, made: Dataset) -> list[str]:
    names = [f"1.2.826.{i}" for i in range(3)]  # names without an extension
    for name in names:
        (root / name).write_bytes(written(made))
    write_manifest(root / "manifest.json", [])
    return names


def test_threads_give_what_one_thread_gives(tmp_path: Path) -> None:
    for kind in ("rle", "jpeg 2000", "jpeg-ls"):
        (tmp_path / kind).write_bytes(written(WHOLE[kind]))
        with ThreadPoolExecutor(4) as pool:
            pictures = list(pool.map(lambda path: decode(path, 1), [tmp_path / kind] * 16))
        assert all(np.array_equal(picture[:, :, 0], stretched(DEEP)) for picture in pictures)


def test_dicoms_go_through_the_cache(tmp_path: Path) -> None:
    names = folder(tmp_path, dataset(DEEP, 12))
    cache = open_cache(tmp_path, tmp_path / ".cache", names, (40, 60), 1)
    assert np.array_equal(cache.pixels[0][:, :, 0], stretched(DEEP))


def test_without_pydicom_one_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = folder(tmp_path, dataset(DEEP, 12))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    dicom_module._require_pydicom.cache_clear()
    with pytest.raises(FoldlineError, match=r"pip install 'foldline\[dicom\]'") as caught:
        open_cache(tmp_path, tmp_path / ".cache", names, (40, 60), 1, bad_images="skip")
    assert str(caught.value).count("pip") == 1


def test_without_a_decoder_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(WHOLE["jpeg 2000"])
    from pydicom.pixels.decoders.base import get_decoder

    monkeypatch.setattr(get_decoder(JPEG2000Lossless), "_available", {})
    with pytest.raises(FoldlineError, match=r"JPEG 2000[\s\S]*pip install 'foldline\[dicom\]'"):
        decode_bytes(content, 1)
