"""TF Serving's REST API for one model, the web page with its endpoints, health checks and metrics."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pydantic_core
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pipe_seg.schema import MODEL_NAME, SIGNATURE_ARRAYS, SIGNATURE_BYTES
from pipe_seg.serving.server import tf_serving_json
from pipe_seg.serving.server.batching import Batcher
from pipe_seg.serving.server.prometheus import Metrics
from pipe_seg.serving.server.refusals import Refusal, bad, missing, unavailable
from pipe_seg.serving.server.servable import Servable
from pipe_seg.serving.server.tf_serving_json import RequestLimits
from pipe_seg.serving.server.versions import Versions

PAGE = Path(__file__).with_name("page")
MODEL = "/v1/models/{model}"
NAMED = (MODEL, f"{MODEL}/versions/{{version}}", f"{MODEL}/labels/{{label}}")
INLINE_BYTES = 1 << 18
Handler = Callable[[Request], Awaitable[Response]]


class Rest:
    """The handlers of all routes."""

    def __init__(self, versions: Versions, batcher: Batcher, metrics: Metrics, limits: RequestLimits) -> None:
        self._versions, self._batcher, self._metrics, self._limits = versions, batcher, metrics, limits

    def app(self) -> Starlette:
        """Returns the application."""
        routes: list[Any] = [
            Route("/", lambda request: FileResponse(PAGE / "index.html")),
            Mount("/page", StaticFiles(directory=PAGE)),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._prometheus),
            Route("/monitoring/prometheus/metrics", self._prometheus),
            Route("/frames", self._counted("frames", self._frames), methods=["POST"]),
            Route("/versions", self._list_versions),
        ]
        for path in NAMED:
            routes.append(Route(f"{path}:predict", self._counted("", self._predict), methods=["POST"]))
            for verb in ("classify", "regress"):
                routes.append(Route(f"{path}:{verb}", _wrong_signature, methods=["POST"]))
            routes.append(Route(f"{path}/metadata", self._metadata))
            routes.append(Route(path, self._status))
        return Starlette(
            routes=routes, exception_handlers={Refusal: self._refusal, HTTPException: _http_error, Exception: _failure}
        )

    def _counted(self, signature: str, handler: Handler) -> Handler:
        async def counted(request: Request) -> Response:
            started, code = time.perf_counter(), int(HTTPStatus.INTERNAL_SERVER_ERROR)
            try:
                response = await handler(request)
                code = response.status_code
                return response
            except Refusal as refusal:
                code = int(refusal.status)
                return await self._refusal(request, refusal)
            finally:
                name = signature or getattr(request.state, "signature", "unknown")
                self._metrics.requests.labels("rest", name, code).inc()
                self._metrics.seconds.labels("rest").observe(time.perf_counter() - started)

        return counted

    async def _predict(self, request: Request) -> Response:
        body = request.state.body
        parse = partial(tf_serving_json.parse, body, self._limits)
        parsed = parse() if len(body) < INLINE_BYTES else await asyncio.to_thread(parse)
        request.state.signature = SIGNATURE_ARRAYS if parsed.image is not None else SIGNATURE_BYTES
        servable = self._servable(request)
        if parsed.image is not None:
            probabilities = await self._batcher.run_alone(servable, partial(servable.arrays, parsed.image))
            body = await asyncio.to_thread(tf_serving_json.arrays_response, parsed.rows, probabilities)
        else:
            body = tf_serving_json.predict_response(parsed.rows, await self._batcher.frames(servable, parsed.frames))
        return _json(body, headers={"x-model-version": str(servable.number)})

    async def _frames(self, request: Request) -> Response:
        """Returns the probability levels of one frame as PNG, for the page."""
        body = request.state.body
        await asyncio.to_thread(tf_serving_json.check, [body], self._limits)
        number, label = request.query_params.get("version"), request.query_params.get("label")
        servable = self._versions.find(_number(number) if number else None, label)
        png = await self._batcher.run_alone(servable, lambda: servable.levels(body))
        headers = {"x-model-version": str(servable.number), "x-model-threshold": str(servable.threshold)}
        return Response(png, media_type="image/png", headers=headers)

    async def _status(self, request: Request) -> Response:
        if request.path_params["model"] != MODEL_NAME:
            raise missing(f"Could not find any versions of model {request.path_params['model'][:80]}")
        status = self._versions.status
        if "version" in request.path_params or "label" in request.path_params:
            number = _number(request.path_params["version"]) if "version" in request.path_params else None
            number = number or self._servable(request).number
            if number not in status:
                raise missing(f"Could not find version {number} of model {MODEL_NAME}")
            status = {number: status[number]}
        return _json(pydantic_core.to_json(tf_serving_json.status_response(status)))

    async def _metadata(self, request: Request) -> Response:
        return _json(pydantic_core.to_json(tf_serving_json.metadata_response(self._servable(request))))

    async def _list_versions(self, request: Request) -> Response:
        """Returns the available versions and the labels, for the page."""
        available = [number for number, found in self._versions.status.items() if found.state == "AVAILABLE"]
        return _json(pydantic_core.to_json({"versions": available, "labels": self._versions.labels}))

    async def _healthz(self, request: Request) -> Response:
        return _json(b"{}")

    async def _readyz(self, request: Request) -> Response:
        if not self._versions.ready:
            raise unavailable("no version of the model is available yet")
        return _json(b"{}")

    async def _prometheus(self, request: Request) -> Response:
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    def _servable(self, request: Request) -> Servable:
        named = request.path_params
        if named["model"] != MODEL_NAME:
            raise missing(f"Servable not found for request: Latest({named['model'][:80]})")
        return self._versions.find(_number(named["version"]) if "version" in named else None, named.get("label"))

    async def _refusal(self, request: Request, refusal: Exception) -> Response:
        assert isinstance(refusal, Refusal)
        headers = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
        return _json(pydantic_core.to_json({"error": refusal.message}), refusal.status, headers)


async def _wrong_signature(request: Request) -> Response:
    raise bad("Expected a classification or regression signature; this model supports predict only")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise bad("Malformed request: version is not a number")
    return int(text)


def _json(body: bytes, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, "application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"Malformed request: {request.method} {request.url.path[:200]}"
    return _json(pydantic_core.to_json({"error": message}), error.status_code, dict(error.headers or {}))


async def _failure(request: Request, error: Exception) -> Response:
    return _json(b'{"error": "internal server error; see the server log"}', HTTPStatus.INTERNAL_SERVER_ERROR)
