"""A graph becomes the bytes of an ONNX file. Nothing is written here."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from foldline import __version__
from foldline.core.errors import FoldlineError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18  # of ONNX; read by onnxruntime 1.18 and later, and by what else reads files of 2023
LARGEST = 2**31 - 2**20  # bytes: one protobuf message holds less than 2 GiB
INSTALL = "pip install 'foldline[onnx]'"
SMALL = 1024  # numbers: tensors below are not worth a cast
PICTURES, METADATA = "pictures", "metadata"


def require_packages() -> None:
    """Raises FoldlineError where a package of the extra `onnx` is missing."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if find_spec(package) is None:
            raise FoldlineError(f"the package {package} is missing", where="export onnx", next=INSTALL)


def to_onnx(graph: nn.Module, inputs: tuple[Tensor, ...], output: str) -> "ModelProto":
    """The module as ONNX, any number of pictures at a time; without names of files and lines of this machine.

    Args:
        inputs: two pictures, and their metadata where the graph takes any.
        output: the name of what it gives.

    Raises:
        FoldlineError: the network does something that ONNX or torch's exporter has not, or fixes how many pictures it
            takes.
    """
    names = [PICTURES, METADATA][: len(inputs)]
    batch = torch.export.Dim("batch")
    try:
        with _quiet(), torch.inference_mode():
            program = torch.onnx.export(
                graph, inputs, input_names=names, output_names=[output], opset_version=OPSET, dynamo=True,
                dynamic_shapes=tuple({0: batch} for _ in inputs), verbose=False,
            )  # fmt: skip
    except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError, LookupError) as error:
        raise FoldlineError(
            f"this network cannot be written as ONNX: {_reason(error)}",
            where="model.name, model.head, loss.name",
            next="export a folder (foldline export folder), which foldline.load reads; or change what the network does",
        ) from error
    assert program is not None
    model: ModelProto = program.model_proto
    _require_any_batch(model)
    _forget_this_machine(model)
    return model


def opset_of(model: "ModelProto") -> int:
    """The version of ONNX's operators that a runtime must know."""
    return next(int(opset.version) for opset in model.opset_import if not opset.domain)


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line: torch wraps it in advice to file a bug with it."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 300 else text[:300] + ' ...'}"


@contextmanager
def _quiet() -> Iterator[None]:
    """torch's exporter and the packages that it calls warn of what they do themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _require_any_batch(model: "ModelProto") -> None:
    for value in [*model.graph.input, *model.graph.output]:
        if not value.type.tensor_type.shape.dim[0].dim_param:
            raise FoldlineError(
                "this network fixes how many pictures it takes at a time",
                where="model.name",
                next="let it ask for x.shape[0] and not for len(x), or reshape with -1",
            )


def _forget_this_machine(model: "ModelProto") -> None:
    """Takes out what torch notes of each node: stack traces with the paths of this machine's files."""
    graph = model.graph
    values = [*graph.value_info, *graph.input, *graph.output, *graph.initializer]
    for part in (model, graph, *graph.node, *values, *model.functions, *(n for f in model.functions for n in f.node)):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def halve(model: "ModelProto") -> None:
    """Stores weights in half precision, in place: each is made float32 when the file is loaded, and so are all
    computations. Small tensors, and those that hold a number beyond half precision, stay as they are."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < SMALL or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def to_bytes(model: "ModelProto", properties: Mapping[str, str]) -> bytes:
    """The file.

    Args:
        properties: its metadata, by name.

    Raises:
        FoldlineError: it would be larger than one file may be.
    """
    from onnx import checker, helper

    helper.set_model_props(model, dict(properties))
    model.producer_name, model.producer_version = "foldline", __version__
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > LARGEST:
        raise FoldlineError(
            f"the file would have {size / 2**30:.1f} GiB, and an ONNX file has less than 2",
            where="export onnx",
            next="write one file a fold (--each), or half the weights' precision (--half)",
        )
    checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
