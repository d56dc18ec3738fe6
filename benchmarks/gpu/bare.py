"""The same work by hand, in as few lines as it takes: what foldline's speed is held against."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

Scale = tuple[Sequence[float], Sequence[float]]  # mean and std of each channel, of pixels from 0 to 1


class Bare:
    """A training loop over uint8 pictures that lie on the device: autocast, fused AdamW, channels last."""

    def __init__(
        self, model: nn.Module, pixels: Tensor, targets: Tensor, scale: Scale, dtype: torch.dtype, lr: float = 1e-3
    ) -> None:
        self.model, self.pixels, self.targets, self.dtype = model, pixels, targets, dtype
        self.device = pixels.device
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05, fused=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=dtype == torch.float16)
        self.offset, self.scale = on_device(scale, self.device)

    def inputs(self, chosen: Tensor) -> Tensor:
        """[batch, channels, height, width] float32, normalised, of the chosen rows."""
        x = self.pixels[chosen].to(torch.float32, memory_format=torch.channels_last)
        return x.sub_(self.offset).div_(self.scale)

    def step(self, chosen: Tensor) -> Tensor:
        """One step; its loss, on the device."""
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(self.inputs(chosen))
        loss = functional.cross_entropy(logits.float(), self.targets[chosen])
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def epoch(self, batch: int, seed: int = 0) -> float:
        """All rows in a random order, without a last batch that is not full; the mean loss, read once."""
        order = torch.randperm(len(self.pixels), generator=torch.Generator().manual_seed(seed)).to(self.device)
        total = torch.zeros((), device=self.device)
        batches = len(order) // batch
        self.model.train()
        for number in range(batches):
            total += self.step(order[number * batch : (number + 1) * batch])
        return float(total) / batches


def on_device(scale: Scale, device: torch.device) -> tuple[Tensor, Tensor]:
    """[1, channels, 1, 1] mean and std of pixels from 0 to 255."""
    mean, std = (torch.tensor(list(values), device=device).view(1, -1, 1, 1) * 255 for values in scale)
    return mean, std


@torch.inference_mode()
def bare_predictions(
    models: list[nn.Module], pixels: Tensor, views: list[Callable[[Tensor], Tensor]], device: torch.device,
    scale: Scale, dtype: torch.dtype, batch: int,
) -> Tensor:  # fmt: skip
    """[models, rows, classes] mean probabilities over the views; `pixels` [rows, channels, height, width] uint8, on
    the host."""
    offset, width = on_device(scale, device)
    parts = []
    for start in range(0, len(pixels), batch):
        x = pixels[start : start + batch].to(device, non_blocking=True)
        x = x.to(torch.float32, memory_format=torch.channels_last).sub_(offset).div_(width)
        x = torch.cat([view(x) for view in views])
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = torch.stack([model(x) for model in models])
        prob = logits.float().softmax(-1)
        parts.append(prob.view(len(models), len(views), -1, prob.shape[-1]).mean(1))
    return torch.cat(parts, dim=1).cpu()
