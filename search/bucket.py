"""Artifacts in a bucket of S3, or of a server that speaks its protocol (AWS_ENDPOINT_URL).

The only file that uses boto3; region, endpoint and credentials come from its usual places.
"""

import io
import os
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, BinaryIO

from search.artifacts import S3, ArtifactsAwayError

ATTEMPTS = 8
"""Of a request, with growing pauses: a server may be away for some seconds."""
PAGE = 1000
"""Names in an answer at most."""
MISSING = ("404", "NoSuchKey", "NoSuchBucket")


class Bucket:
    """Artifacts below `s3://BUCKET/PREFIX`; an upload is visible when it is whole."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.bucket, _, prefix = address.removeprefix(S3).partition("/")
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def problem(self) -> str | None:
        """Asked of the server; nothing is written."""
        if not self.bucket:
            return f"{self.address!r} names no bucket; write s3://BUCKET/PREFIX"
        try:
            self._ask("head_bucket")
        except FileNotFoundError:
            return f"there is no bucket {self.bucket!r}; create it or name another"
        except ArtifactsAwayError as error:
            return str(error).removeprefix("artifacts: ")
        return None

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Download; readers of weights jump about in a file."""
        content = io.BytesIO()
        # this one also goes on where a body was cut off
        self._ask("download_fileobj", Key=self.prefix + artifact_id, Fileobj=content)
        content.seek(0)
        return content

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Upload."""
        self._ask("put_object", Key=self.prefix + artifact_id, Body=content_body)

    def remove(self, artifact_id: str) -> None:
        """Delete; S3 does not mind if there is none."""
        self._ask("delete_object", Key=self.prefix + artifact_id)

    def older_than(self, seconds: float, prefixes: tuple[str, ...]) -> Iterator[str]:
        """By the server's own clock on both sides."""
        for prefix in prefixes:
            request: dict[str, Any] = {"Prefix": self.prefix + prefix, "MaxKeys": PAGE}
            while True:
                page = self._ask("list_objects_v2", **request)
                now = parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"])
                for entry in page.get("Contents", ()):
                    if (now - entry["LastModified"]).total_seconds() > seconds:
                        yield entry["Key"].removeprefix(self.prefix)
                if not page.get("IsTruncated"):
                    break
                request["ContinuationToken"] = page["NextContinuationToken"]

    def _ask(self, method: str, **request: Any) -> Any:
        """The server's answer.

        Raises:
            FileNotFoundError: it has no such object, or no such bucket.
            ArtifactsAwayError: it does not answer, or refuses; or boto3 is not installed.
        """
        try:
            from boto3.exceptions import Boto3Error
            from botocore.exceptions import BotoCoreError, ClientError
            from s3transfer.exceptions import RetriesExceededError
        except ImportError as error:
            raise ArtifactsAwayError(
                f"artifacts: {self.address} needs boto3; pip install 'paretune[s3]'"
            ) from error
        try:
            call: Callable[..., Any] = getattr(_client(*_settings()), method)
            return call(Bucket=self.bucket, **request)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in MISSING:
                raise FileNotFoundError(f"{self.address}: {request.get('Key', '')}") from error
            refused = {"403": "refuses these credentials"}.get(code, f"refuses: {error}")
            raise ArtifactsAwayError(f"artifacts: {self.address} {refused}") from error
        except (BotoCoreError, Boto3Error, RetriesExceededError, OSError, ValueError) as error:
            raise ArtifactsAwayError(
                f"artifacts: {self.address} cannot be reached ({_first_line(error)})"
            ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _settings() -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_")))


@lru_cache
def _client(*settings: tuple[str, str]) -> Any:
    """One a process, which threads may share, for what the environment says now."""
    import boto3
    from botocore.config import Config

    retries = {"mode": "standard", "max_attempts": ATTEMPTS}
    return boto3.client("s3", config=Config(retries=retries))
