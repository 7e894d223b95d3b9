"""How is a bucket reached, and how is an object created there exactly once?

Reading, writing and listing go through pyarrow.fs with ten attempts and finite timeouts. What pyarrow lacks
is a conditional PUT, so creating once uses boto3 on s3:// (If-None-Match) and Google's JSON API on gs://
(ifGenerationMatch=0); and a listing of all keys, which on s3:// is boto3's. Endpoints come from AWS_ENDPOINT_URL_S3 or
AWS_ENDPOINT_URL and STORAGE_EMULATOR_HOST, credentials from the usual chains. `retry` repeats what none of these
libraries repeats.
"""

import calendar
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.fs as pafs

if TYPE_CHECKING:
    from botocore.client import BaseClient

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S, ATTEMPTS = 10, 60, 10


def open_filesystem(scheme: str, root: str) -> pafs.FileSystem:
    """Open the pyarrow filesystem of a scheme: "file", "s3" or "gs"; `root` starts with the bucket."""
    if scheme == "file":
        return pafs.LocalFileSystem()
    if scheme == "gs":
        return pafs.GcsFileSystem(**_gs_place())
    where: dict[str, str] = {}
    if endpoint := s3_endpoint():
        where = {"endpoint_override": endpoint.split("://")[1], "scheme": endpoint.split("://")[0]}
    if region := s3_region(root.split("/")[0]):
        where["region"] = region
    return pafs.S3FileSystem(
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        connect_timeout=CONNECT_TIMEOUT_S,
        request_timeout=REQUEST_TIMEOUT_S,
        allow_delayed_open=True,  # a small file is one PUT: the end of an upload in parts cannot be told twice
        **where,
    )


def s3_endpoint() -> str | None:
    """Return AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL with its scheme; None for AWS itself."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return (endpoint if "://" in endpoint else f"https://{endpoint}").rstrip("/") if endpoint else None


def s3_region(bucket: str) -> str | None:
    """Return the region from AWS_REGION or AWS_DEFAULT_REGION, else the bucket's own; None if unknown."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region or s3_endpoint():
        return region or "us-east-1"
    with suppress(OSError):
        return str(pafs.resolve_s3_region(bucket))
    return None


class ListedObject(NamedTuple):
    """An object as its bucket lists it: key, bytes, and when it was last written (ns since 1970)."""

    key: str
    size: int
    modified_ns: int


def list_s3(bucket: str, prefix: str, *, deep: bool) -> Iterator[ListedObject]:
    """Yield the objects whose key begins with a prefix, by key; not `deep`: only those without another `/`.

    pyarrow leaves out keys with empty, `.` or `..` parts; here every key comes as it is. A bucket that is not there
    holds nothing. OSError where it cannot be listed.
    """
    for page in s3_pages(bucket, prefix, deep=deep):
        yield from page


def s3_pages(bucket: str, prefix: str, *, deep: bool, after: str = "") -> Iterator[list[ListedObject]]:
    """Yield what `list_s3` does as the bucket gives it, up to 1,000 objects a request, behind the key `after`."""
    client, refused = _s3_client(bucket)
    options = {"Bucket": bucket, "Prefix": prefix} | ({} if deep else {"Delimiter": "/"})
    options |= {"StartAfter": after} if after else {}
    try:
        for page in client.get_paginator("list_objects_v2").paginate(**options):
            yield [_listed(found) for found in page.get("Contents", ())]
    except refused as error:
        if "NoSuchBucket" not in str(error):
            raise OSError(f"AWS Error while {bucket}/{prefix} is listed: {error}") from error


def _listed(found: dict[str, Any]) -> ListedObject:
    when = found["LastModified"]
    return ListedObject(
        found["Key"], found["Size"], calendar.timegm(when.utctimetuple()) * 10**9 + when.microsecond * 1000
    )


def _s3_client(bucket: str) -> tuple["BaseClient", tuple[type[Exception], ...]]:
    return aws_client("s3", s3_endpoint(), s3_region(bucket), ATTEMPTS)


def aws_client(
    service: str, endpoint: str | None, region: str | None, attempts: int
) -> tuple["BaseClient", tuple[type[Exception], ...]]:
    """Return a client of boto3, and what it raises; credentials are what boto3 finds. OSError where it cannot be."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError as error:
        raise OSError("boto3 is missing; install it with: pip install 'headrace[s3]'") from error
    retries = {"max_attempts": attempts, "mode": "standard"}
    config = Config(retries=retries, connect_timeout=CONNECT_TIMEOUT_S, read_timeout=REQUEST_TIMEOUT_S)
    try:
        client = boto3.client(service, endpoint_url=endpoint, region_name=region, config=config)
    except BotoCoreError as error:
        raise OSError(str(error)) from error
    return client, (BotoCoreError, ClientError)


def create_once_s3(bucket: str, key: str, data: bytes) -> bool:
    """PUT with If-None-Match; False if the object exists. A retried PUT knows its own mark."""
    client, refused = _s3_client(bucket)
    mark = {"publisher": uuid.uuid4().hex}
    try:
        for attempt in range(ATTEMPTS):
            try:
                client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*", Metadata=mark)
                return True
            except client.exceptions.ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status == 412:
                    return bool(client.head_object(Bucket=bucket, Key=key)["Metadata"] == mark)
                if status != 409:  # 409: another conditional PUT is under way; its outcome decides
                    raise
                time.sleep(min(2.0, 0.1 * 2**attempt))
    except refused as error:
        raise OSError(str(error)) from error
    raise OSError(f"{ATTEMPTS} conditional writes of {key} collided; try again")


def create_once_gs(bucket: str, key: str, data: bytes) -> bool:
    """Upload with ifGenerationMatch=0; False if the object exists. A lost answer raises."""
    try:
        from google.auth import credentials, default, exceptions
        from google.auth.transport.requests import AuthorizedSession
        from requests import RequestException
    except ImportError as error:
        raise OSError("google-auth is missing; install it with: pip install 'headrace[gs]'") from error
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    scope = "https://www.googleapis.com/auth/devstorage.read_write"
    query = {"uploadType": "media", "name": key, "ifGenerationMatch": "0"}
    url = f"{_gs_url(emulator) if emulator else 'https://storage.googleapis.com'}/upload/storage/v1/b/{bucket}/o"
    try:
        who = credentials.AnonymousCredentials() if emulator else default(scopes=[scope])[0]
        timeout = (CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S)
        answer = AuthorizedSession(who).post(url, params=query, data=data, timeout=timeout)
    except (exceptions.GoogleAuthError, RequestException) as error:
        raise OSError(str(error)) from error
    if answer.status_code == 412:
        return False
    if not answer.ok:
        raise OSError(f"HTTP status {answer.status_code}: {answer.text[:200]}")
    return True


def _gs_url(emulator: str) -> str:
    return (emulator if "://" in emulator else f"http://{emulator}").rstrip("/")


def _gs_place() -> dict[str, object]:
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if not emulator:
        return {}
    scheme, host = _gs_url(emulator).split("://")
    return {"anonymous": True, "scheme": scheme, "endpoint_override": host}
