"""How fast a training step is: mixed precision, and what timm publishes for the same card."""

import torch

from gpu import inside, published
from gpu.kit import Setting, median, step_seconds

NETWORKS = ("resnet50", "convnext_tiny", "vit_small_patch16_224", "tf_efficientnetv2_s")
SMALL_NETWORKS = ("test_resnet", "test_convnext", "test_vit", "test_efficientnet")
SIDE = 224


def sizes(setting: Setting) -> tuple[int, int]:
    """(side in px, batch size): as large a batch as four networks in fp32 take on a card of this memory."""
    if setting.small or not setting.on_gpu:
        return 32, 8
    gigabytes = torch.cuda.get_device_properties(setting.device).total_memory / 1e9
    return SIDE, 128 if gigabytes > 36 else 64 if gigabytes > 20 else 32


def amp(setting: Setting) -> None:
    """(c) A training step of foldline in fp32 and in mixed precision: images/s and peak memory."""
    side, batch = sizes(setting)
    mixed = inside.best_precision(setting.device) if setting.on_gpu else "bf16"
    tf32 = setting.on_gpu and torch.cuda.get_device_capability(setting.device) >= (8, 0)
    formats = ["fp32", *(["tf32"] if tf32 else []), mixed]
    for name in SMALL_NETWORKS if setting.small else NETWORKS:
        found = {precision: train_speed(setting, name, precision, side, batch) for precision in formats}
        plain, amp = found["fp32"], found[mixed]
        memory = f", {plain[1] / 1024:.1f} → {amp[1] / 1024:.1f} GiB" if setting.on_gpu else ""
        speeds = {precision: batch / seconds for precision, (seconds, _) in found.items()}
        setting.speed(
            f"{name}, {side} px, batch {batch}: images/s of a training step",
            ", ".join(f"{precision} {speed:.0f}" for precision, speed in speeds.items()) + memory,
            f"{mixed} ≥ 1.1x fp32, in less memory", plain[0] >= 1.1 * amp[0] and amp[1] < plain[1],
            f"{plain[0] / amp[0]:.2f}x", images_per_second=speeds, mib={key: peak for key, (_, peak) in found.items()},
        )  # fmt: skip


def train_speed(setting: Setting, name: str, precision: str, side: int, batch: int) -> tuple[float, float]:
    """(seconds of a training step on a batch that is on the device, peak memory in MiB)."""
    settings = f"model.name={name} data.image_size={side} train.batch_size={batch}"
    with inside.open_run(setting, settings, precision) as opened:
        if setting.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(setting.device)
        step = opened.learner()
        numbers = iter(range(10_000))
        warm, steps = (1, 1) if setting.small else (5, 10)
        seconds = step_seconds(lambda: step(next(numbers)), setting.device, warm=warm, steps=steps)
    peak = torch.cuda.max_memory_allocated(setting.device) / 2**20 if setting.on_gpu else 0.0
    return median(seconds), peak


def beside_timm(setting: Setting) -> None:
    """(k) The images/s that timm publishes for this very card, beside what is measured here."""
    card = torch.cuda.get_device_name(setting.device) if setting.on_gpu else "a CPU"
    known = published.of_card(card)
    if known is None:
        setting.skip("timm's published figures", f"none are known for {card} (known: {', '.join(published.CARDS)})")
        return
    side, batch = sizes(setting)
    for name in NETWORKS[:3]:
        for kind, figure in ((kind, known[kind].get(name)) for kind in ("train", "infer")):
            if figure is None:
                continue
            ours = _train(setting, name, side, batch) if kind == "train" else _infer(setting, name, side, batch)
            setting.judge(
                f"{name}, {side} px, {kind}: here / timm's figure", f"{ours:.0f} / {figure:.0f} images/s",
                "≥ 0.8x", ours >= 0.8 * figure, f"theirs: {known['source']}", here=ours, timm=figure,
            )  # fmt: skip


def _train(setting: Setting, name: str, side: int, batch: int) -> float:
    return batch / train_speed(setting, name, inside.best_precision(setting.device), side, batch)[0]


@torch.inference_mode()
def _infer(setting: Setting, name: str, side: int, batch: int) -> float:
    """Forward passes alone, in mixed precision, as timm measures them."""
    opened = inside.open_run(setting, f"model.name={name} data.image_size={side}")
    model, device = opened.network().eval(), opened.job.device
    x = torch.randn(4 * batch, 3, side, side, device=device).to(memory_format=torch.channels_last)

    def step() -> None:
        with opened.job.precision.autocast(device):
            model(x)

    return 4 * batch / median(step_seconds(step, setting.device, warm=5, steps=10))
