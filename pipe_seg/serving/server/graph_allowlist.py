"""Checks a SavedModel before loading: only known operations and the two PipeSeg signatures.

A SavedModel is a program. PipeSeg graphs need a few dozen operations, none of which reads or writes files. A graph with
any other operation is refused without loading it. TensorFlow adds a saver, which writes files, to every SavedModel;
the saver's operations are allowed where no callable function reaches them.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

from pipe_seg.errors import Problem, RefusedError
from pipe_seg.schema import SIGNATURE_ARRAYS, SIGNATURE_BYTES
from pipe_seg.serving.store.location import GRAPH

SAVER = frozenset(("MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename"))
ALLOWED = frozenset(
    re.findall(
        r"\w+",
        """
        Add AddN AddV2 All Any Assert AssignVariableOp AvgPool BiasAdd Bincount Cast ConcatV2 Const Conv2D
        Conv2DBackpropInput DecodeImage DenseBincount DepthwiseConv2dNative EncodePng EnsureShape Equal Exp ExpandDims
        Fill FusedBatchNormV3 GatherV2 Greater GreaterEqual Identity IdentityN If LeakyRelu Less LessEqual Log
        LogicalAnd LogicalNot LogicalOr LoopCond Max MaxPool Maximum Mean Min Minimum MirrorPad Mul Neg NoOp NotEqual
        OneHot Pack Pad PadV2 PartitionedCall Placeholder Prod Range Rank ReadVariableOp RealDiv Relu Relu6 Reshape
        ResizeBilinear ResizeNearestNeighbor ReverseV2 Round Rsqrt ScaleAndTranslate Select SelectV2 Shape Sigmoid
        Sign Size Slice Split SplitV Sqrt Square Squeeze StatefulPartitionedCall StatelessIf StatelessWhile
        StaticRegexFullMatch StopGradient StridedSlice StringJoin Sub Sum Tanh TensorListFromTensor TensorListGetItem
        TensorListReserve TensorListSetItem TensorListStack Tile Transpose Unpack VarHandleOp VarIsInitializedOp Where
        While ZerosLike _Arg _Retval
        """,
    )
)
INPUTS = {SIGNATURE_ARRAYS: {"image": "DT_FLOAT"}, SIGNATURE_BYTES: {"image_bytes": "DT_STRING"}}
OUTPUTS = {
    SIGNATURE_ARRAYS: {"probabilities": "DT_FLOAT"},
    SIGNATURE_BYTES: {"defect_area_fraction": "DT_FLOAT", "mask_png_bytes": "DT_STRING", "probability": "DT_FLOAT"},
}


def check(folder: Path) -> SignatureDefMap:
    """Returns the two signatures of `folder/saved_model.pb`, which is parsed but not loaded.

    Raises:
        RefusedError: The file does not hold one graph with both signatures, or an operation is not allowed.
    """
    path = folder / GRAPH
    try:
        graphs = SavedModel.FromString(path.read_bytes()).meta_graphs
    except (OSError, DecodeError) as error:
        raise RefusedError(Problem(path, f"cannot be read: {error}")) from error
    if len(graphs) != 1:
        raise RefusedError(Problem(path, "wrong number of graphs", got=len(graphs), expected="1"))
    if not graphs[0].HasField("object_graph_def"):
        raise RefusedError(Problem(path, "a TensorFlow 1 graph, whose saver runs when it is loaded"))
    problems = [Problem(path, "operation is not allowed", got=name) for name in sorted(_disallowed(graphs[0]))]
    problems += [Problem(path, message) for message in _signature_faults(graphs[0])]
    if problems:
        raise RefusedError(*problems)
    return SignatureDefMap(signature_def={name: graphs[0].signature_def[name] for name in INPUTS})


def _disallowed(graph: Any) -> set[str]:
    """Returns the operations that are not allowed."""
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    present = {node.op for nodes in (graph.graph_def.node, *functions.values()) for node in nodes}
    called = _reached(functions, _roots(graph)) | {node.op for node in graph.graph_def.node}
    return (present - ALLOWED - SAVER - set(functions)) | (called & SAVER)


def _roots(graph: Any) -> Iterator[str]:
    """Yields the functions that can be called, except the saver's."""
    served = {
        tensor.name.partition(":")[0]
        for signature in graph.signature_def.values()
        for tensor in signature.outputs.values()
    }
    saver = {graph.saver_def.save_tensor_name.partition(":")[0], graph.saver_def.restore_op_name} - served
    for node in graph.graph_def.node:
        if node.name not in saver:
            yield from (node.op, *_calls(node))
    yield from graph.object_graph_def.concrete_functions


def _reached(functions: dict[str, Any], names: Iterable[str]) -> set[str]:
    """Returns the operations of all functions that `names` call, directly or through other functions."""
    seen, pending, operations = set(), list(names), set()
    while pending:
        name = pending.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name]:
            operations.add(node.op)
            pending += [node.op, *_calls(node)]
    return operations


def _calls(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        yield from (function.name for function in (value.func, *value.list.func) if function.name)


def _signature_faults(graph: Any) -> Iterator[str]:
    """Yields how the signatures differ from the two of PipeSeg."""
    for name in INPUTS:
        if name not in graph.signature_def:
            yield f"no signature {name}"
            continue
        found = graph.signature_def[name]
        for side, wanted in ((found.inputs, INPUTS[name]), (found.outputs, OUTPUTS[name])):
            dtypes = {key: DataType.Name(tensor.dtype) for key, tensor in side.items()}
            if dtypes != wanted:
                yield f"signature {name} has {dtypes}; expected {wanted}"
