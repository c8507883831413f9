"""Clients of the other services: the archive host and desci-server."""


def short_reason(error: BaseException) -> str:
    """Why a request failed, in a few words. The messages of requests contain whole addresses and objects."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return (getattr(error, "strerror", "") or type(error).__name__)[:100]
