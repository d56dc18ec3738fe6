"""Pictures as the numbers that networks expect: the formula, its inverse, one layout and one type."""

import pytest
import torch

from foldline.images.normalise import Normaliser

CPU = torch.device("cpu")
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def pictures(channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 8, 6, channels), dtype=torch.uint8, generator=generator).permute(0, 3, 1, 2)


def formula(x: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (x.double() / 255 - mean) / std


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_normalising_is_the_formula_in_any_type_and_layout(layout: torch.memory_format, dtype: torch.dtype) -> None:
    x = pictures().contiguous(memory_format=layout)
    before = x.clone()
    result = Normaliser(MEAN, STD, CPU, dtype)(x)
    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert (x == before).all()
    assert torch.allclose(result.double(), formula(x), atol=1e-6, rtol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pictures_that_are_floats_are_normalised_alike(dtype: torch.dtype) -> None:
    x = pictures()
    normaliser = Normaliser(MEAN, STD, CPU)
    assert torch.equal(normaliser(x.to(dtype)), normaliser(x))


def test_undoing_gives_what_was_given() -> None:
    x = pictures()
    normaliser = Normaliser(MEAN, STD, CPU)
    assert torch.allclose(normaliser.undo(normaliser(x)), x.float(), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_one_mean_stands_for_all_channels(channels: int) -> None:
    x = pictures(channels)
    assert torch.allclose(Normaliser([0.5], [0.5], CPU)(x), x.float() / 127.5 - 1, atol=1e-5)


def test_nothing_is_made_from_lists_after_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    normaliser = Normaliser(MEAN, STD, CPU)
    monkeypatch.setattr(torch, "tensor", None)
    normaliser.undo(normaliser(pictures()))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_gives_the_same_numbers(dtype: torch.dtype) -> None:
    result = Normaliser(MEAN, STD, torch.device("cuda"), dtype)(pictures())
    assert result.dtype == dtype
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(result.cpu().double(), formula(pictures()), atol=1e-6, rtol=torch.finfo(dtype).eps)
