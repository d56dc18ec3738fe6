"""Commands that are more than one stage: stages never import each other, so what joins them stands here."""

from importlib import import_module
from inspect import signature
from typing import Any

from foldline.core.errors import FoldlineError
from foldline.core.paths import Layout

EXPORTS = {"folder": "export_folder:export_folder", "onnx": "export_onnx:export_onnx"}


def ensemble(layout: Layout, comp: str, *, run: str, runs: list[str], **options: Any) -> None:
    """The submission, and the report where it changed."""
    from foldline.stages.ensemble import ensemble as blended

    name, changed = blended(layout, comp, runs or [run], **options)
    if changed or not (layout.run(comp, name) / "report.html").is_file():
        from foldline.stages.report import report

        report(layout, comp, name)


def submit(layout: Layout, comp: str, name: str, *, kernel: bool, force: bool, **options: Any) -> None:
    """A file, or a notebook."""
    from foldline.stages.submit import submit as submit_file
    from foldline.stages.submit_kernel import submit_kernel

    if kernel:
        submit_kernel(layout, comp, name, force=force, **options)
    elif force:
        raise FoldlineError(
            "--force is for notebooks", where="--force", next="add --kernel (KERNEL=1), or leave it out"
        )
    else:
        submit_file(layout, comp, name, **options)


def soup(layout: Layout, comp: str, *, run: str, runs: list[str], name: str, device: str) -> None:
    """The soup's folds, their predictions, and its score beside that of the ensemble."""
    from foldline.stages.predict import predict
    from foldline.stages.soup import beside
    from foldline.stages.soup import soup as made

    name = made(layout, comp, runs or [run], name=name, device=device)
    predict(layout, comp, name, overrides=[], device=device)
    beside(layout, comp, runs or [run], name)


def export(layout: Layout, comp: str, run: str, *, format: str, **options: Any) -> None:
    """The exporter of the format, with the options that it has."""
    module, name = EXPORTS[format].split(":")
    write = getattr(import_module(f"foldline.stages.{module}"), name)
    known = signature(write).parameters
    odd = [key for key, value in options.items() if key not in known and value and key != "device"]
    if odd:
        raise FoldlineError(f"--{odd[0]} is not for an export as {format}", where="export", next="leave it out")
    write(layout, comp, run, **{key: value for key, value in options.items() if key in known})
