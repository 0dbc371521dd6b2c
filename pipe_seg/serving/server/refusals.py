"""Errors that a client sees, shared by REST and gRPC."""

from http import HTTPStatus


class Refusal(Exception):
    """An error response.

    Args:
        status: HTTP status; `grpc_api.CODES` maps it to a gRPC code.
        message: Text for the client, without secrets.
        retry_after_s: When to retry, if a retry may succeed.
    """

    def __init__(self, status: HTTPStatus, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


def bad(message: str) -> Refusal:
    """Returns 400: the request is malformed."""
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def too_large(message: str) -> Refusal:
    """Returns 413: the request is too large."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def missing(message: str) -> Refusal:
    """Returns 404: the name is unknown."""
    return Refusal(HTTPStatus.NOT_FOUND, message)


def busy(message: str) -> Refusal:
    """Returns 429: the queue is full."""
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, message, retry_after_s=1)


def unavailable(message: str) -> Refusal:
    """Returns 503: no model can answer now."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after_s=2)


def late() -> Refusal:
    """Returns 504: the model did not answer in time."""
    return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "the model did not answer in time", retry_after_s=2)
