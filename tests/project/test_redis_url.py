"""What REDIS_URL is read as, and what is said of a wrong one. tests/queue/test_connections.py has the servers."""

from __future__ import annotations

import pytest

from jobsite import redis_url
from jobsite.env import WrongSetting


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://host", "must look like redis://"),
        ("redis://:a/secret@host:6379/0", "in a password, write / : @ ? # and % as"),
        ("redis://host/0?nonsense=1", "must look like redis://"),
        ("rediss://host/0?ssl_cert_reqs=nonsense", "must look like redis://"),
        ("rediss://host/0?ssl_ca_certs=/not/there", "names a file in ssl_ca_certs that does not exist"),
        ("redis+sentinel://one,two:26380/", "must look like redis://"),
        ("redis+sentinel://:secret@/master/0", "must look like redis://"),
        ("rediss+sentinel://one/master?ssl_keyfile=/not/there", "names a file in ssl_keyfile that does not exist"),
    ],
)
def test_a_wrong_address_is_one_line_without_a_secret(url: str, words: str) -> None:
    with pytest.raises(WrongSetting) as wrong:
        redis_url.check(url)
    assert words in wrong.value.line
    assert ("\n" in wrong.value.line, "secret" in wrong.value.line) == (False, False)


def test_every_password_is_known_so_that_it_can_be_masked() -> None:
    assert redis_url.passwords("unix://:a%2Fb@/path?db=1") == ("a/b",)
    assert redis_url.passwords("redis://user:a,b@host") == ("a,b",)
    assert redis_url.passwords("rediss+sentinel://:server@one,two/master?sentinel_password=sentinel") == ("server", "sentinel")
    assert redis_url.passwords("redis://host") == ()


def test_tls_with_sentinel_is_for_the_sentinels_too() -> None:
    read = redis_url.configuration("rediss+sentinel://user:a@one,two:26380/desk/2?ssl_check_hostname=no&sentinel_username=x")
    assert (read["SENTINELS"], read["MASTER_NAME"]) == ([("one", 26379), ("two", 26380)], "desk")
    tls = {"ssl": True, "ssl_check_hostname": False}
    assert read["CONNECTION_KWARGS"] == {"username": "user", "password": "a", "db": 2, **tls}
    assert read["SENTINEL_KWARGS"] == {**redis_url.SENTINEL_LIMITS, **tls, "username": "x"}
