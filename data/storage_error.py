"""What is wrong with a store, in one sentence: of an error of the operating system, of S3's client, or of S3's server."""

import errno
import re
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

from core.errors import StorageError

_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, for the account that runs changeover and its servers"
)
_ADDRESS = "see that it runs and can be reached from here, and correct AWS_ENDPOINT_URL or 'endpointurl' in .dvc/config"
_SPACE = "free some space there, or set another storage.remote"
_LATER = "run the same command again later"
_NEW_CREDENTIALS = "log in again, or renew the keys"
_REGION = "set AWS_DEFAULT_REGION to the bucket's region, or 'region' in .dvc/config"
_RIGHTS = "give these credentials the right to list the bucket, and to put and get objects under this prefix"
_MOUNT = "see that the disk or network share is mounted and writable"
_LOCK = "make a bucket with object lock, which keeps versions too, and name that one in changeover.yaml"

_CODES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("NoSuchBucket", "404", "InvalidBucketName"),
        ("there is no such bucket", "make the bucket, or correct its name in changeover.yaml"),
    ),
    **dict.fromkeys(("AccessDenied", "AllAccessDisabled", "AccountProblem", "403"), ("access is denied", _RIGHTS)),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "UnrecognizedClientException"),
        ("the credentials are not accepted", _CREDENTIALS),
    ),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired", "InvalidClientTokenId"),
        ("the credentials have expired", _NEW_CREDENTIALS),
    ),
    **dict.fromkeys(
        ("RequestTimeTooSkewed", "RequestExpired"),
        ("the clock of this machine differs from the server's", "set the clock, best by NTP"),
    ),
    **dict.fromkeys(
        ("AuthorizationHeaderMalformed", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException", "301"),
        ("the bucket is in another region", _REGION),
    ),
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "Throttling", "InternalError", "RequestTimeout", "500", "502", "503", "504"),
        ("the server is overloaded or not well", _LATER),
    ),
    **dict.fromkeys(("XMinioStorageFull", "QuotaExceeded", "InsufficientStorage", "507"), ("the store is full", _SPACE)),
    **dict.fromkeys(
        ("NoSuchKey", "NoSuchVersion"),
        ("the object that was just written is not there", "see whether something deletes objects, or the server lost it"),
    ),
    "InvalidObjectState": ("the object is archived", "restore it in the store first"),
    "ObjectLockConfigurationNotFoundError": ("the bucket has no object lock", _LOCK),
    "InvalidBucketState": ("the bucket has no object lock", _LOCK),
}
_CLASSES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound", "NoAuthTokenError"),
        ("there are no credentials", _CREDENTIALS),
    ),
    **dict.fromkeys(
        ("SSOTokenLoadError", "UnauthorizedSSOTokenError", "TokenRetrievalError", "LoginRefreshRequired"),
        ("the credentials have expired", _NEW_CREDENTIALS),
    ),
    **dict.fromkeys(
        ("SSLError", "ClientConnectorCertificateError", "ClientConnectorSSLError", "SSLCertVerificationError"),
        (
            "the TLS connection is not trusted",
            "correct the server's certificate, or name the file with its authority in AWS_CA_BUNDLE",
        ),
    ),
    **dict.fromkeys(("ConnectTimeoutError", "ReadTimeoutError", "TimeoutError"), ("it does not answer in time", _ADDRESS)),
    **dict.fromkeys(
        ("EndpointConnectionError", "ConnectionClosedError", "HTTPClientError", "ProxyConnectionError", "ConnectionError"),
        ("it does not answer", _ADDRESS),
    ),
    "ConnectionRefusedError": ("nothing answers there", _ADDRESS),
    "NoRegionError": ("no region is set", _REGION),
    "InvalidEndpointSpecificationError": ("the endpoint is no address", _ADDRESS),
    "RemoteMissingDepsError": (
        "the software for this kind of store is not installed",
        "use a folder or s3://, or install that part of DVC",
    ),
}
_NUMBERS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", _SPACE),
    errno.EDQUOT: ("the quota is used up", _SPACE),
    errno.EROFS: ("it is read-only", _MOUNT),
    errno.EACCES: ("this account may not do that", "give the account that runs changeover the right to write there"),
    errno.EPERM: ("this account may not do that", "give the account that runs changeover the right to write there"),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "move the file away, or set another storage.remote"),
    errno.EEXIST: ("it is a file, not a folder", "move the file away, or set another storage.remote"),
    errno.ENAMETOOLONG: ("its path is too long", "set a shorter storage.remote"),
    errno.EIO: ("the disk has an error", "see the system's log, and restore the store from its backup"),
    errno.ESTALE: ("the network share was lost", _MOUNT),
    errno.ENOTCONN: ("the network share was lost", _MOUNT),
    errno.EHOSTDOWN: ("the network share was lost", _MOUNT),
    errno.ENOENT: ("a part of its path is missing", _MOUNT),
}


def storage_error(problem: BaseException, place: str, doing: str, fix: str = "") -> StorageError:
    """The error to raise for ``problem`` with the store at ``place``. ``doing``: what failed ("cannot be written").

    ``fix`` is used where the reason names none of its own.
    """
    what, remedy = _reason(problem)
    return StorageError(f"{place} {doing}: {what}; {remedy or fix or 'repair that and run again'}")


def without_user(address: str) -> str:
    """An address without the user and password that it may carry, to be shown."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else address


def _reason(problem: BaseException) -> tuple[str, str]:
    for error in _causes(problem):
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            details = response.get("Error") or {}
            code = str(details.get("Code", ""))
            what, fix = _CODES.get(code, ("the server refuses", ""))
            return f"{what} ({code}{_server_words(str(details.get('Message', '')), code)})", fix
    for error in _causes(problem):
        # Of a family of errors the nearest: a time-out is one kind of not answering.
        known = next((_CLASSES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _CLASSES), None)
        if known is not None:
            return f"{known[0]} ({_one_line(error)})", known[1]
    for error in _causes(problem):
        if isinstance(error, OSError) and error.errno in _NUMBERS:
            what, fix = _NUMBERS[error.errno]
            return f"{what} ({error.strerror or _one_line(error)})", fix
    return _one_line(problem), ""


def _server_words(message: str, code: str) -> str:
    words = " ".join(message.split())[:200]
    return f": {words}" if words and words != code else ""


def _causes(problem: BaseException) -> Iterator[BaseException]:
    """An error and what it came from: libraries wrap S3's answer into errors of the operating system."""
    seen: set[int] = set()
    error: BaseException | None = problem
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _one_line(error: BaseException) -> str:
    """The error's own words, without what may be a secret: a user in an address, a query."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return re.sub(r"(://)[^/\s@]*@|\?[^\s\"']*", r"\1", text)
