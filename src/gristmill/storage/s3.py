"""A bucket of S3, or of a server that speaks its protocol (Ceph, MinIO, SeaweedFS, OpenStack Swift …), by botocore.

A file is uploaded in parts and there when the upload is completed; it is aborted where writing fails. What a killed
process has uploaded is aborted by ``clear``; a lifecycle rule of the bucket may do the same.
"""

import contextlib
import os
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.storage.errors import (
    FileMissing,
    FileStorageFull,
    FileStorageRefused,
    FileStorageUnavailable,
    check_size,
)
from gristmill.storage.names import parts_of
from gristmill.storage.port import LONGEST_READ

log = get_logger()
# S3 takes at most 10,000 parts of a file: the parts of a long one grow. They are held in memory one at a time.
_PART_BYTES = 8 * 1024 * 1024
_PARTS_OF_A_SIZE = 1000
_PIECE = 1024 * 1024
# Files of a batch that are sent at once, and bytes that may wait for it.
_AT_ONCE = 8
_PUT_BYTES = 64 * 1024 * 1024
_MISSING = ("404", "NoSuchKey", "NotFound", "412", "PreconditionFailed")
_FULL = ("507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is. endpoint: empty for Amazon's own. access_key: empty for what the machine's role gives.

    prefix: what the names of all files begin with. timeout: seconds for connecting, and for each silence.
    """

    name: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    timeout: float = 30.0


class S3Bucket:
    """Files below a prefix of a bucket, each of at most ``most_bytes``."""

    def __init__(self, bucket: Bucket, most_bytes: int) -> None:
        self._bucket = bucket
        self.most_bytes = most_bytes
        self._prefix = f"{bucket.prefix.strip('/')}/" if bucket.prefix.strip("/") else ""
        self.place = f"s3://{bucket.name}/{self._prefix}"
        self._client: tuple[int, Any] | None = None

    @property
    def client(self) -> Any:
        """The client of this process: connections do not survive a fork."""
        if self._client is None or self._client[0] != os.getpid():
            self._client = os.getpid(), _connect(self._bucket)
        return self._client[1]

    def call(self, operation: str, name: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Make one call about a file, or about the bucket; return the answer."""
        if name is not None:
            parameters["Key"] = self.key(name)
        with self.errors(name):
            found: dict[str, Any] = getattr(self.client, operation)(Bucket=self._bucket.name, **parameters)
            return found

    def key(self, name: str) -> str:
        return self._prefix + "/".join(parts_of(name))

    @contextlib.contextmanager
    def errors(self, name: str | None = None) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise _meaning(self.place, name, error) from error

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator["_S3Sink"]:
        self.key(name)
        sink = _S3Sink(self, name)
        try:
            yield sink
            sink.finish()
        except BaseException:
            sink.abort()
            raise

    @contextlib.contextmanager
    def batch(self) -> Iterator["_S3Batch"]:
        # A thread waits for the server most of the time.
        with ThreadPoolExecutor(_AT_ONCE, "s3-put") as pool:
            found = _S3Batch(self, pool)
            try:
                yield found
                found.finish()
            finally:
                pool.shutdown(cancel_futures=True)

    def open(self, name: str) -> "_S3Source":
        found = self.call("head_object", name)
        return _S3Source(self, name, int(found["ContentLength"]), found["ETag"])

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileMissing):
            self.call("delete_object", name)

    def clear(self, folder: str, keep: Collection[str] = ()) -> int:
        base = f"{self.key(folder)}/"
        kept = {base + name for name in keep}
        removed = 0
        for page in self._pages("list_multipart_uploads", Prefix=base):
            for upload in page.get("Uploads", ()):
                with contextlib.suppress(FileMissing):
                    self.call("abort_multipart_upload", Key=upload["Key"], UploadId=upload["UploadId"])
                removed += 1
        for page in self._pages("list_objects_v2", Prefix=base):
            for one in page.get("Contents", ()):
                if one["Key"] not in kept:
                    self.call("delete_object", Key=one["Key"])
                    removed += 1
        return removed

    def remove_unfinished(self, folder: str) -> None:
        # An upload is seen by no reader before it is complete; ``clear`` aborts it.
        self.key(folder)

    def children(self, folder: str) -> list[str]:
        base = f"{self.key(folder)}/"
        found: set[str] = set()
        for page in self._pages("list_objects_v2", Prefix=base, Delimiter="/"):
            found |= {one["Prefix"][len(base) :].rstrip("/") for one in page.get("CommonPrefixes", ())}
            found |= {one["Key"][len(base) :] for one in page.get("Contents", ())}
        for page in self._pages("list_multipart_uploads", Prefix=base):
            found |= {one["Key"][len(base) :].split("/")[0] for one in page.get("Uploads", ())}
        return sorted(found - {""})

    def _pages(self, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        with self.errors():
            yield from self.client.get_paginator(operation).paginate(Bucket=self._bucket.name, **parameters)


class _S3Sink:
    def __init__(self, storage: S3Bucket, name: str) -> None:
        self._storage = storage
        self._name = name
        self._size = 0
        self._waiting = bytearray()
        self._upload = ""
        self._parts: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self._size += len(data)
        check_size(self._name, self._size, self._storage.most_bytes)
        self._waiting += data
        while len(self._waiting) >= (wanted := _PART_BYTES * (1 + len(self._parts) // _PARTS_OF_A_SIZE)):
            self._send(bytes(memoryview(self._waiting)[:wanted]))
            del self._waiting[:wanted]

    def finish(self) -> None:
        if not self._upload:
            self._storage.call("put_object", self._name, Body=bytes(self._waiting))
            return
        if self._waiting:
            self._send(bytes(self._waiting))
        self._storage.call(
            "complete_multipart_upload",
            self._name,
            UploadId=self._upload,
            MultipartUpload={"Parts": self._parts},
        )

    def abort(self) -> None:
        """Give up what was uploaded. Where that fails too, ``clear`` does it later."""
        if self._upload:
            try:
                self._storage.call("abort_multipart_upload", self._name, UploadId=self._upload)
            except GristmillError as error:
                log.warning("storage.upload_left", file=self._name, reason=error.detail)

    def _send(self, data: bytes) -> None:
        if not self._upload:
            self._upload = self._storage.call("create_multipart_upload", self._name)["UploadId"]
        number = len(self._parts) + 1
        sent = self._storage.call("upload_part", self._name, UploadId=self._upload, PartNumber=number, Body=data)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})


class _S3Batch:
    """Puts several files at once; what waits to be sent is bounded."""

    def __init__(self, storage: S3Bucket, pool: ThreadPoolExecutor) -> None:
        self._storage = storage
        self._pool = pool
        self._waiting: deque[tuple[Future[Any], int]] = deque()
        self._bytes = 0
        # The client is made here: threads would make several.
        storage.client  # noqa: B018

    def put(self, name: str, data: bytes) -> None:
        check_size(name, len(data), self._storage.most_bytes)
        self._storage.key(name)
        self._waiting.append((self._pool.submit(self._storage.call, "put_object", name, Body=data), len(data)))
        self._bytes += len(data)
        while len(self._waiting) > 2 * _AT_ONCE or (self._bytes > _PUT_BYTES and len(self._waiting) > 1):
            self._take()

    def finish(self) -> None:
        while self._waiting:
            self._take()

    def _take(self) -> None:
        future, size = self._waiting.popleft()
        future.result()
        self._bytes -= size


class _S3Source:
    piece = _PIECE

    def __init__(self, storage: S3Bucket, name: str, size: int, tag: str) -> None:
        self._storage = storage
        self._name = name
        self._tag = tag
        self.size = size

    def read(self, start: int, length: int) -> bytes:
        if not 0 <= length <= LONGEST_READ or start < 0 or start + length > self.size:
            raise ValueError(f"bytes {start} to {start + length} of {self.size} cannot be read at once")
        if not length:
            return b""
        span = f"bytes={start}-{start + length - 1}"
        answer = self._storage.call("get_object", self._name, Range=span, IfMatch=self._tag)
        with self._storage.errors(self._name):
            found: bytes = answer["Body"].read()
        if len(found) != length:
            raise FileStorageUnavailable(f"{self._storage.place} gave {len(found)} bytes of {length} of {self._name}")
        return found

    def close(self) -> None:
        """Nothing is held between two reads."""


def _connect(bucket: Bucket) -> Any:
    config = Config(
        connect_timeout=min(bucket.timeout, 10.0),
        read_timeout=bucket.timeout,
        retries={"max_attempts": 3, "mode": "standard"},
        s3={"addressing_style": "path"} if bucket.endpoint else {},
        # Checksums of Amazon's own kind are not known to every server of the protocol.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    keys = {"aws_access_key_id": bucket.access_key, "aws_secret_access_key": bucket.secret_key}
    return botocore.session.get_session().create_client(
        "s3",
        region_name=bucket.region,
        endpoint_url=bucket.endpoint or None,
        config=config,
        **(keys if bucket.access_key else {}),
    )


def _meaning(place: str, name: str | None, error: ClientError | BotoCoreError) -> GristmillError:
    """Return what an answer, or the lack of one, means."""
    if not isinstance(error, ClientError):
        return FileStorageUnavailable(f"The file storage {place} does not answer: {error}")
    said = error.response.get("Error", {})
    code, status = str(said.get("Code", "")), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    shown = f"{code} {said.get('Message', '')}".strip()
    if code in _FULL or status == 507:
        return FileStorageFull(f"The file storage {place} has no room: {shown}")
    if code in _MISSING or (status == 404 and code == "NoSuchUpload"):
        return FileMissing(f"There is no file {name} in the file storage {place}, or it was replaced")
    if status >= 500 or code in ("SlowDown", "RequestTimeout", "NoSuchBucket", "TooManyRequests"):
        return FileStorageUnavailable(f"The file storage {place} does not answer: {shown}")
    return FileStorageRefused(f"The file storage {place} refuses: {shown}")
