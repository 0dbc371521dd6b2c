"""A request over HTTP against the exported graph alone, and OpenVINO as we call it against OpenVINO called directly.

    python benchmarks/serving.py RUN|MODEL FRAME [--runs runs]

FRAME is a JPEG as a camera gives it. In turns: the graph's ``predict_bytes`` in this process, and a request to
``python cli.py serve``, one client; then images a second with a batch of 8 in this process against 16 clients. The
server and its clients share the processor with whatever else runs, so only the ratios mean anything. The last lines
compare the network alone: a plain SavedModel, our graph, ours through OpenVINO, OpenVINO called directly.
"""

import argparse
import base64
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUNDS, BATCH, CLIENTS, SECONDS = 60, 8, 16, 15.0
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("frame", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    from pipe_seg.pipeline import runs as run_folder
    from pipe_seg.serving import store
    from pipe_seg.serving.store import version_labels

    model = run_folder.find_model(arguments.model, arguments.runs)
    frame = arguments.frame.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        place = store.at(folder)
        number = store.publish(place, model.saved_model, {"blessed": True, "model": model.facts}, lambda staged: None)
        version_labels.upload(place, number)
        for engine in ("tf", "openvino"):
            over_http(engine, folder, model, frame)
    print(f"masks of both: IoU {likeness(model, frame):.4f}")
    alone()


def likeness(model: object, frame: bytes) -> float:
    """Give the IoU of both engines' masks of one frame."""
    from pipe_seg import images
    from pipe_seg.inference import engines

    answers = [engines.load_model(model, engine).predict_bytes([frame]) for engine in ("tf", "openvino")]
    first, second = (images.decode(answer["mask_png_bytes"][0], images.AS_STORED) > 0 for answer in answers)
    return float((first & second).sum() / max((first | second).sum(), 1))


def over_http(engine: str, folder: str, model: object, frame: bytes) -> None:
    from pipe_seg.inference import engines

    loaded = engines.load_model(model, engine)
    options = ["--engine", engine, "--port", "0", "--grpc-port", "0", "--queue-requests", "100"]
    command = [sys.executable, str(ROOT / "cli.py"), "serve", folder, *options]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        while "http://" not in (line := server.stderr.readline()):
            assert line, "the server ended"
        port = int(line.rstrip("/\n").rpartition(":")[2])
        body = json.dumps({"signature_name": "predict_bytes", "instances": [{"b64": base64.b64encode(frame).decode()}]})
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def request() -> None:
            connection.request("POST", "/v1/models/pipe_seg:predict", body)
            assert connection.getresponse().read()

        graph, asked = in_turns(lambda: loaded.predict_bytes([frame]), request)
        print(f"{engine:<9} graph {1000 * graph:.1f} ms, request {1000 * asked:.1f} ms: {asked / graph:.3f} x")
        batch, _ = in_turns(lambda: loaded.predict_bytes([frame] * BATCH), lambda: None)
        path = Path(folder) / "frame.jpg"
        path.write_bytes(frame)
        clients = [sys.executable, "-m", "tests.faults.clients", str(port), str(CLIENTS), str(SECONDS), "0", str(path)]
        told = json.loads(subprocess.run(clients, capture_output=True, text=True, cwd=ROOT, check=True).stdout)
        rate = sum(count for end, count in told["ends"].items() if end.startswith("200")) / SECONDS
        most = BATCH / batch
        print(f"{engine:<9} batch of {BATCH} {most:.1f}/s, {CLIENTS} clients {rate:.1f}/s: {rate / most:.3f} x")
    finally:
        server.kill()
        server.wait()


def in_turns(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Give the median seconds of both, taking turns."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for index in range(ROUNDS + 5):
        for spent, work in zip(seconds, (first, second), strict=True):
            started = time.perf_counter()
            work()
            if index >= 5:
                spent.append(time.perf_counter() - started)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def alone() -> None:
    """Compare the network alone, at 704 x 512, width 32, from nothing."""
    import keras
    import tensorflow as tf

    from pipe_seg import devices
    from pipe_seg.components import export
    from pipe_seg.config import ModelSection
    from pipe_seg.inference import engines
    from pipe_seg.nn import folding, models

    keras.utils.set_random_seed(1)
    size, section = (512, 704), ModelSection()
    network = models.build(section)
    frames = np.random.default_rng(1).uniform(0, 255, (BATCH, *size, 3)).astype(np.float32)
    network(frames[:1], training=True)
    with tempfile.TemporaryDirectory() as folder:
        network.export(folder, verbose=False)
        plain = tf.saved_model.load(folder)
        signature = [tf.TensorSpec((None, *size, 3), tf.float32, "image")]
        exact = tf.function(export.freeze(folding.fold(section, network, precision="float32"), size), signature)
        graph = tf.function(export.freeze(folding.fold(section, network, precision=devices.precision("auto")), size))
        ours = tf.function(engines.openvino(exact, "bf16"))
        direct = direct_openvino(exact)
    for number in (1, BATCH):
        compare(
            number,
            {
                "plain SavedModel": (lambda given: plain.serve(given).numpy(), tf.constant(frames[:number])),
                "our graph": (lambda given: graph(given).numpy(), tf.constant(frames[:number])),
                "ours, OpenVINO": (lambda given: ours(given).numpy(), tf.constant(frames[:number])),
                "OpenVINO alone": (direct, frames[:number]),
            },
        )


def compare(number: int, asked: dict) -> None:
    seconds = {name: [] for name in asked}
    for index in range(12 if number == 1 else 5):
        for name, (work, given) in asked.items():
            started = time.perf_counter()
            work(given)
            if index >= 2:
                seconds[name].append((time.perf_counter() - started) / number)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in middle.items():
        rates = f"{middle['plain SavedModel'] / value:.2f} x plain, {middle['OpenVINO alone'] / value:.2f} x OpenVINO"
        print(f"batch {number}  {name:<17} {1000 * value:7.1f} ms/image   {rates}")


def direct_openvino(network: object) -> Callable[[np.ndarray], object]:
    import openvino

    from pipe_seg.inference import engines

    core = openvino.Core()
    with engines.alone(network) as folder:
        compiled = core.compile_model(core.read_model(folder), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    return lambda frames: compiled(frames)[0]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
