"""The section of what serves: no part of a run, nor of its configuration."""

from typing import Literal

from pipe_seg.config.choices import Section
from pipe_seg.config.sections import field


class ServerSection(Section):
    """A model store → answers over HTTP and gRPC."""

    host: str = field("127.0.0.1", "Address to listen on.")
    port: int = field(8501, "Port of HTTP; 0 takes any free one.", ge=0, le=65535)
    grpc_port: int = field(8500, "Port of gRPC; 0 offers none.", ge=0, le=65535)
    engine: Literal["auto", "tf", "openvino"] = field("auto", "The runtime that computes.")
    batch_frames: int = field(8, "Most frames that are computed together.", ge=1, le=1024)
    queue_requests: int = field(64, "Most requests that wait; the next one is refused with 429.", ge=1, le=100_000)
    connections: int = field(1000, "Most open connections.", ge=1, le=100_000)
    timeout_s: float = field(30, "Longest time for an answer.", gt=0)
    header_timeout_s: float = field(10, "Longest time for a request's headers.", gt=0)
    body_timeout_s: float = field(30, "Longest time for a request's body.", gt=0)
    idle_timeout_s: float = field(60, "Longest time between two requests of a connection.", ge=1)
    shutdown_s: float = field(10, "Longest time to finish open requests at the end.", ge=1)
    body_mib: float = field(32, "Largest body of a request.", gt=0, le=1024)
    request_mpx: float = field(64, "Most megapixels of all frames of a request.", gt=0, le=4096)
    request_frames: int = field(64, "Most frames of a request.", ge=1, le=100_000)
    poll_s: float = field(2, "Seconds between two looks at the store.", gt=0)
