"""A member as it lies in the bundle: its weights as small as its score allows, tried on validation rows.

Reads the run's folds and pictures; writes `oof/<comp>/<run>/` of the bundle's project.
"""

from dataclasses import dataclass

import pandas as pd
import torch

from foldline.core.competition import Competition
from foldline.core.cores import usable_cores
from foldline.core.paths import Layout
from foldline.core.progress import say
from foldline.core.tables import remove
from foldline.engine.bundle.budget import CORES, Load, Plan, speed_there
from foldline.engine.bundle.heads_trial import require_alike, try_heads
from foldline.engine.bundle.members import AnyMember, HeadsMember
from foldline.engine.bundle.trial import Trial, half_moves, resnet50_per_second, some_rows, try_member
from foldline.engine.finished.copies import copy_heads, of_weights, write_run
from foldline.engine.finished.heads import open_heads
from foldline.engine.machine.device import prepare_device
from foldline.engine.problem import open_problem


@dataclass(frozen=True)
class Built:
    """A member in the bundle.

    Attributes:
        half: whether its weights are in half precision.
        tried: the validation rows of the trial, with their labels.
    """

    member: AnyMember
    half: bool
    trial: Trial
    tried: pd.DataFrame


def build_member(
    layout: Layout, facts: Competition, outputs: list[str], member: AnyMember, oof: pd.DataFrame, inside: Layout,
    device: torch.device,
) -> Built:  # fmt: skip
    """Writes a member's folds, in half precision where its score holds; says whether it does.

    Args:
        oof: the ensemble's OOF predictions.
        inside: the project in the bundle.
    """
    prepare_device(device)
    comp, run = member.cv.comp, member.run
    if isinstance(member, HeadsMember):
        return _build_heads(layout, member, oof, inside, device)
    problem = open_problem(layout, comp, member.choices, device)
    numbers = member.numbers
    tried = some_rows(oof if member.choices.on_all_rows else oof[oof["fold"].isin(numbers)])
    folder = inside.run(comp, run)
    metas = write_run(folder, member.folds, half=True)
    halves = {inside.fold(comp, run, meta.fold): meta for meta in metas}
    trial = try_member(problem, member.folds, halves, tried, member.views)
    half, words = half_moves(trial, tried, facts, outputs, member.cv.interval)
    if not half:
        remove(folder)
        metas = write_run(folder, member.folds, half=False)
    say(f"{run}: {'half precision holds' if half else 'the weights stay float32, not in half precision'}: {words}")
    of_weights(member.cv, metas, views=member.views).write(inside.run(comp, run) / "cv.json")
    return Built(member, half, trial, tried)


def _build_heads(layout: Layout, member: HeadsMember, oof: pd.DataFrame, inside: Layout, device: torch.device) -> Built:
    """Writes heads and networks as they are."""
    comp, run = member.cv.comp, member.run
    folder = inside.run(comp, run)
    heads = copy_heads(member.folder, member.record, member.cv, folder, member.numbers)
    tried = some_rows(oof[oof["fold"].isin(member.numbers)])
    trial = try_heads(layout, comp, open_heads(folder, heads, device), tried, member.views)
    words = require_alike(member, trial.mean, tried)
    say(f"{run}: heads and their networks stay float32: {words}")
    return Built(member, False, trial, tried)


def plan_of(built: list[Built], rows: int, gpu: str, device: torch.device) -> Plan:
    """The work of the notebook there, by the speed of the trials here.

    Args:
        rows: pictures of the hidden test set.
        gpu: Kaggle's; none: CPUs as fast as those of here.
    """
    resnet50 = 0.0 if gpu == "none" else resnet50_per_second(device)
    loads, decoding = [], {}
    for one in built:
        member = one.member
        heads = isinstance(member, HeadsMember)
        first = None if isinstance(member, HeadsMember) else next(iter(member.folds.values()))
        speed = one.trial.images_per_second
        if gpu != "none":
            mixed = first is not None and first.precision.choice == "fp16" and device.type == "cpu"
            speed = speed_there(speed, resnet50, gpu, mixed=mixed)
        numbers, views = tuple(member.numbers), tuple(member.views)
        if heads:
            numbers, views = numbers[:1], views[:1]
        loads.append(Load(member.run, numbers, views, speed, whole=heads))
        size: tuple[object, ...] = (member.run,)
        if first is not None:
            size = (*first.height_width, first.channels, first.intensity, first.framing)
        decoding[size] = 1 / one.trial.decoded_per_second
    cores = usable_cores() if gpu == "none" else CORES
    return Plan(rows, tuple(loads), cores / sum(decoding.values()))
