"""The storage of kept exports in a bucket of an S3-compatible service, which any number of machines share."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import File
from storages.backends.s3 import S3Storage

from builds.errors import ExportsUnavailable

# What one request reads ahead.
BLOCK = 1 << 20
# Of each request, tried three times: longer than a busy service takes, and shorter than a worker's patience.
CONNECT_SECONDS, READ_SECONDS, TRIES = 5, 20, 3
MISSING = 404
SKEWED = "RequestTimeTooSkewed"


class ExportsBucket(S3Storage):  # type: ignore[misc]  # the package has no types
    """Raises ``FileNotFoundError`` for an object that does not exist, and :class:`ExportsUnavailable` if the service does not answer.

    Checksums beyond S3's own are left out, because not every compatible service knows them.
    """

    def __init__(self, *, addressing_style: str | None, **options: Any) -> None:
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            s3={"addressing_style": addressing_style},
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        super().__init__(client_config=config, **options)

    def problem(self) -> str:
        """Why no exports can be kept now; empty if they can. Takes one request, and leaves no connection to a fork of this process.

        Not a HEAD request, because the answer to that has a status but no error message.
        """
        client = self.connection.meta.client
        try:
            with _service_answers():
                client.list_objects_v2(Bucket=self.bucket_name, MaxKeys=1)
        except FileNotFoundError:
            return f"The bucket {self.bucket_name} does not exist."
        except ExportsUnavailable as error:
            return error.sentence
        finally:
            client.close()
        return ""

    def exists(self, name: str) -> bool:
        with _service_answers():
            return bool(super().exists(name))

    def delete(self, name: str) -> None:
        with _service_answers():
            super().delete(name)

    def listdir(self, name: str) -> tuple[list[str], list[str]]:
        with _service_answers():
            folders, files = super().listdir(name)
        return folders, files

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        """Django's hook for what :meth:`open` returns. The stock one downloads the whole object, however little is read of it."""
        with _service_answers():
            size = self.size(name)
        key = f"{self.location}/{name}" if self.location else name
        return File(io.BufferedReader(_Object(self.bucket.Object(key), size), BLOCK), name)

    def _save(self, name: str, content: File[Any]) -> str:
        """Django's hook for :meth:`save`."""
        with _service_answers():
            return str(super()._save(name, content))


class _Object(io.RawIOBase):
    """An object as a file that can be read from any place, by requests for a range."""

    def __init__(self, object: Any, size: int) -> None:
        self._object, self._size, self._at = object, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        last = min(self._at + len(buffer), self._size) - 1
        if last < self._at:
            return 0
        with _service_answers():
            data = self._object.get(Range=f"bytes={self._at}-{last}")["Body"].read()
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def _service_answers() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == MISSING:
            raise FileNotFoundError(str(error)) from error
        raise ExportsUnavailable(f"The bucket of kept exports can't be used: {_words(error)}.") from error
    except (BotoCoreError, Boto3Error) as error:
        raise ExportsUnavailable(f"The bucket of kept exports can't be reached: {error}") from error


def _words(error: ClientError) -> str:
    answer = error.response.get("Error", {})
    code = str(answer.get("Code", ""))
    if code == SKEWED:
        return "this machine's clock is wrong, so the bucket rejects its requests"
    return f"{answer.get('Message') or error} ({code})"
