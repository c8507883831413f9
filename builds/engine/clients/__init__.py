"""Clients of the other services: the archive host and desci-server."""

import warnings

from builds.lib.without import without

# To guess the encoding of a text whose answer does not name one. All texts here are UTF-8.
with without("chardet", "charset_normalizer"), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # requests reports that neither is there
    import requests  # noqa: F401 - so that it is loaded without them


def short_reason(error: BaseException) -> str:
    """Why a request failed, in a few words. The messages of requests contain whole addresses and objects."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return (getattr(error, "strerror", "") or type(error).__name__)[:100]
