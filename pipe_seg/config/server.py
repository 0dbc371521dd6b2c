"""The section of what serves: no part of a run, nor of its configuration."""

from typing import Literal

from pydantic import Field

from pipe_seg.config.choices import Section


class ServerSection(Section):
    """A model store → answers over HTTP and gRPC; no part of a run.

    ``port`` 0 takes any free one, ``grpc_port`` 0 offers no gRPC; ``batch_frames``: so many frames at most are answered
    together; ``queue_requests``: so many requests at most wait for the model, the next is told to come back;
    ``body_mib``, ``request_mpx``, ``request_frames``: what one request may weigh, encoded and decoded, and how many
    frames it may hold; ``poll_s``: how often the store is looked at.
    """

    host: str = "127.0.0.1"
    port: int = Field(8501, ge=0, le=65535)
    grpc_port: int = Field(8500, ge=0, le=65535)
    engine: Literal["auto", "tf", "openvino"] = "auto"
    batch_frames: int = Field(8, ge=1, le=1024)
    queue_requests: int = Field(64, ge=1, le=100_000)
    connections: int = Field(1000, ge=1, le=100_000)
    timeout_s: float = Field(30, gt=0)
    header_timeout_s: float = Field(10, gt=0)
    body_timeout_s: float = Field(30, gt=0)
    idle_timeout_s: float = Field(60, ge=1)
    shutdown_s: float = Field(10, ge=1)
    body_mib: float = Field(32, gt=0, le=1024)
    request_mpx: float = Field(64, gt=0, le=4096)
    request_frames: int = Field(64, ge=1, le=100_000)
    poll_s: float = Field(2, gt=0)
