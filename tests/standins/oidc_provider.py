"""An OpenID Connect provider that signs in everybody, as the user that the test chooses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "jobsite"


@cache
def _key() -> RSAKey:
    """One key for all tests: it takes longer to make than most of them."""
    return RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})


class OidcProvider:
    """Serves its description, keys, tokens and claims. ``claims`` and ``userinfo`` describe the user who signs in next."""

    def __init__(self) -> None:
        self.key = _key()
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] = {}
        self.nonce = ""
        self.signed_by: RSAKey = self.key
        self.down = False
        # A path whose answer drips or, with ``floods``, has no end.
        self.drips, self.floods = "", ""
        self.ended = threading.Event()
        self.asked: list[dict[str, list[str]]] = []

    def __enter__(self) -> OidcProvider:
        handler = type("Handler", (_Handler,), {"provider": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> dict[str, Any]:
        answers: dict[str, Callable[[], dict[str, Any]]] = {
            "/.well-known/openid-configuration": self._description,
            "/keys": lambda: {"keys": [self.key.as_dict(private=False)]},
            "/token": self._token,
            "/userinfo": lambda: {"sub": "1", **self.userinfo},
        }
        return answers[path]()

    def _description(self) -> dict[str, Any]:
        paths = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
        endpoints = {f"{name}_endpoint": f"{self.url}/{path}" for name, path in paths.items()}
        supported = {"id_token_signing_alg_values_supported": ["RS256"], "response_types_supported": ["code"]}
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **endpoints, **supported}

    def _token(self) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 60, "nonce": self.nonce, **self.claims}
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.signed_by)
        return {"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "id_token": signed}


class _Handler(BaseHTTPRequestHandler):
    provider: ClassVar[OidcProvider]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.provider.asked.append(parse_qs(body))
        self._answer()

    def _answer(self) -> None:
        data = json.dumps({} if self.provider.down else self.provider.answer(self.path)).encode()
        if self.path in (self.provider.drips, self.provider.floods):
            self._answer_without_end()
            return
        self.send_response(503 if self.provider.down else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer_without_end(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        with suppress(ConnectionError):
            while not self.provider.ended.wait(0.05 if self.path == self.provider.drips else 0):
                self.wfile.write(b" " if self.path == self.provider.drips else b" " * 65536)

    def log_message(self, format: str, *args: Any) -> None:
        pass
