"""Progressive resizing: sizes that grow, and pictures of these sizes."""

import pytest
import torch

from foldline.images.resize import shrink, side_at


@pytest.mark.parametrize("size", [(224, 224), (160, 320), (28, 28), (90, 130), (5, 7)])
@pytest.mark.parametrize("grow_from", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("epochs", [1, 3, 8, 100])
def test_sides_grow_to_the_full_size(size: tuple[int, int], grow_from: float, epochs: int) -> None:
    sides = [side_at(epoch, epochs, grow_from, size) for epoch in range(epochs)]
    step = 16 if min(size) >= 128 else 8
    for axis in (0, 1):
        along = [side[axis] for side in sides]
        assert along == sorted(along)
        assert all(0 < length <= size[axis] for length in along)
        assert all(length % step == 0 or length == size[axis] for length in along)
        assert epochs == 1 or abs(along[0] - grow_from * size[axis]) <= step
    assert all(side == size for epoch, side in enumerate(sides) if epoch >= 0.75 * epochs or epoch == epochs - 1)
    if epochs >= 8 and grow_from == 0.5 and min(size) > 16:
        assert sides[0] != size, "the setting must do something"
        assert len(set(sides)) > 2


def test_without_growing_every_epoch_has_the_full_size() -> None:
    assert {side_at(epoch, 10, 1.0, (225, 97)) for epoch in range(10)} == {(225, 97)}


def test_shrinking_keeps_flat_pictures_means_and_the_memory_format() -> None:
    x = torch.rand(2, 3, 32, 48).to(memory_format=torch.channels_last)
    small = shrink(x, (16, 24))
    assert small.shape == (2, 3, 16, 24)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(small.mean((2, 3)), x.mean((2, 3)), atol=0.02)
    assert torch.allclose(shrink(torch.full((1, 1, 32, 32), 3.0), (8, 8)), torch.full((1, 1, 8, 8), 3.0))
    assert shrink(x, (32, 48)) is x


def test_shrinking_is_antialiased() -> None:
    noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert shrink(noise, (16, 16)).std() < 0.1 < 0.12 < noise[..., ::4, ::4].std()
