"""TensorFlow's C++ loader of SavedModels, which TF Serving uses, through the C API."""

import ctypes
from pathlib import Path

import tensorflow as tf

OK = 0


def load(folder: Path) -> int:
    """Returns the status code of `TF_LoadSessionFromSavedModel` for `folder`; 0 is OK."""
    library = ctypes.CDLL(str(next(Path(tf.__file__).parent.glob("libtensorflow_cc.so.*"))))
    for name in ("TF_NewStatus", "TF_NewSessionOptions", "TF_NewGraph", "TF_LoadSessionFromSavedModel"):
        getattr(library, name).restype = ctypes.c_void_p
    status, options, graph = library.TF_NewStatus(), library.TF_NewSessionOptions(), library.TF_NewGraph()
    tags = (ctypes.c_char_p * 1)(b"serve")
    session = library.TF_LoadSessionFromSavedModel(
        ctypes.c_void_p(options),
        None,
        str(folder).encode(),
        tags,
        1,
        ctypes.c_void_p(graph),
        None,
        ctypes.c_void_p(status),
    )
    code = int(library.TF_GetCode(ctypes.c_void_p(status)))
    if session:
        library.TF_CloseSession(ctypes.c_void_p(session), ctypes.c_void_p(status))
        library.TF_DeleteSession(ctypes.c_void_p(session), ctypes.c_void_p(status))
    library.TF_DeleteGraph(ctypes.c_void_p(graph))
    library.TF_DeleteSessionOptions(ctypes.c_void_p(options))
    library.TF_DeleteStatus(ctypes.c_void_p(status))
    return code
