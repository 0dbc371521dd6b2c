"""What a SavedModel may hold before anybody loads it: known operations, and the two signatures.

A SavedModel is a program. What ours need is a few dozen operations that read and write nothing; a graph with any other
is refused unloaded. The saver that TensorFlow puts into every SavedModel does write files: its operations are let
pass where nothing that is ever called reaches them.
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
    """Look into ``folder/saved_model.pb`` without loading it; give its two signatures.

    Raises:
        RefusedError: not one graph with our two signatures, or an operation that ours do not need.
    """
    path = folder / GRAPH
    try:
        graphs = SavedModel.FromString(path.read_bytes()).meta_graphs
    except (OSError, DecodeError) as error:
        raise RefusedError(Problem(path, f"cannot be read: {error}")) from error
    if len(graphs) != 1:
        raise RefusedError(Problem(path, "not one graph", got=len(graphs)))
    if not graphs[0].HasField("object_graph_def"):
        raise RefusedError(Problem(path, "a graph of TensorFlow 1, which runs its own saver when it is loaded"))
    problems = [
        Problem(path, "an operation that no model of ours has", got=name) for name in sorted(_strange(graphs[0]))
    ]
    problems += [Problem(path, told) for told in _unlike(graphs[0])]
    if problems:
        raise RefusedError(*problems)
    return SignatureDefMap(signature_def={name: graphs[0].signature_def[name] for name in INPUTS})


def _strange(graph: Any) -> set[str]:
    """Give the operations that may not be there."""
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    every = {node.op for nodes in (graph.graph_def.node, *functions.values()) for node in nodes}
    called = _reached(functions, _roots(graph)) | {node.op for node in graph.graph_def.node}
    return (every - ALLOWED - SAVER - set(functions)) | (called & SAVER)


def _roots(graph: Any) -> Iterator[str]:
    """Give the functions that somebody may call: all but the saver's own."""
    served = {
        tensor.name.partition(":")[0] for sign in graph.signature_def.values() for tensor in sign.outputs.values()
    }
    saver = {graph.saver_def.save_tensor_name.partition(":")[0], graph.saver_def.restore_op_name} - served
    for node in graph.graph_def.node:
        if node.name not in saver:
            yield from (node.op, *_calls(node))
    yield from graph.object_graph_def.concrete_functions


def _reached(functions: dict[str, Any], names: Iterable[str]) -> set[str]:
    """Give the operations of all functions that ``names`` call, and those that they call."""
    seen, waiting, operations = set(), list(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        for node in functions[name]:
            operations.add(node.op)
            waiting += [node.op, *_calls(node)]
    return operations


def _calls(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        yield from (function.name for function in (value.func, *value.list.func) if function.name)


def _unlike(graph: Any) -> Iterator[str]:
    """Say what is not as a signature of ours."""
    for name in INPUTS:
        if name not in graph.signature_def:
            yield f"no signature {name}"
            continue
        found = graph.signature_def[name]
        for side, wanted in ((found.inputs, INPUTS[name]), (found.outputs, OUTPUTS[name])):
            told = {key: DataType.Name(tensor.dtype) for key, tensor in side.items()}
            if told != wanted:
                yield f"signature {name} has {told}, not {wanted}"
