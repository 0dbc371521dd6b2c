"""What a client did wrong or we cannot do now, once for both protocols."""

from http import HTTPStatus


class Refusal(Exception):
    """An answer that is none: an HTTP status, the gRPC code of the same meaning, and a sentence without secrets."""

    def __init__(self, status: HTTPStatus, message: str, retry_after_s: int | None = None) -> None:
        """Take what the client is told; ``retry_after_s`` only where asking again later may help."""
        super().__init__(message)
        self.status, self.message, self.retry_after_s = status, message, retry_after_s


def bad(message: str) -> Refusal:
    """Give a refusal of what was asked."""
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def too_large(message: str) -> Refusal:
    """Give a refusal of how much was sent."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def missing(message: str) -> Refusal:
    """Give a refusal of a name that is not here."""
    return Refusal(HTTPStatus.NOT_FOUND, message)


def busy(message: str) -> Refusal:
    """Give a refusal because too many wait already."""
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, message, retry_after_s=1)


def unavailable(message: str) -> Refusal:
    """Give a refusal because nothing can answer at the moment."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, message, retry_after_s=2)


def late() -> Refusal:
    """Give a refusal because the answer did not come in time."""
    return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "the model did not answer in time", retry_after_s=2)
