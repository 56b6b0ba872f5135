"""Who may see what: API keys, tokens that expire, download links that expire.

Of a key only its scrypt hash is kept. Tokens and links carry the id of the key they were made
under, so that they end with it: with a revoked project, or with its next key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from orchard.errors import InputError
from orchard.tracking import now_ms

from .records import Project

if TYPE_CHECKING:
    from .records import Records

__all__ = ["LOCAL", "Auth", "Busy", "Link", "NewProject", "create_project"]

LOCAL = "local"
"""The project of all orders that did not come through the API; open on this machine by default."""

_KEY_PREFIX = "orchard_"
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
# RFC 7914 and OWASP's password storage advice (2024): 128 * N * r = 32 MiB, about 0.1 s.
_N, _R, _P = 2**15, 8, 1
# Memory of that many hashes at a time is all that strangers can make the server use.
_HASHES = 4
_ISSUER = "orchard"
_LINK_SALT = "orchard.download"
# Of a session's token: such a one is no good as the token of a call, nor the other way round.
_SESSION = "orchard.session"
_SESSION_SECONDS = 12 * 3600
# What an unknown project's key is compared with, so that it takes as long as a known one's.
_NOBODY = f"scrypt${_N}${_R}${_P}${'A' * 24}${'A' * 44}"


class Busy(Exception):  # noqa: N818 - not an error of anybody's
    """Too much is being asked at once; ``seconds``: when to come back."""

    def __init__(self, seconds: int, message: str = "the platform is busy") -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True, kw_only=True)
class NewProject:
    """A project that was just made, and the one sight of its key."""

    project: Project
    api_key: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """What a download link is for."""

    project: str
    job: str
    block: str


def create_project(
    records: Records, project_id: str, name: str | None = None, description: str = ""
) -> NewProject:
    """Make a project with a key, or give a revoked one a new key.

    Parameters
    ----------
    records : Records
    project_id : str
        Small letters, digits and dashes, at most 40. ``local`` is the project of the orders that
        come from the command line.
    name, description : str, optional
        For people.

    Raises
    ------
    InputError
        When the id cannot be one, or is taken.
    """
    if not _ID.fullmatch(project_id):
        raise InputError(
            f"{project_id!r} cannot be the id of a project: small letters, digits and dashes, "
            "at most 40"
        )
    key = _KEY_PREFIX + secrets.token_urlsafe(32)
    project = Project(
        id=project_id,
        name=name or project_id,
        description=description,
        key_hash=_hash(key),
        key_id=secrets.token_hex(8),
        created_ms=now_ms(),
    )
    if not records.add_project(project):
        raise InputError(f"there is already a project {project_id!r}: revoke it first")
    return NewProject(project=project, api_key=key)


class Auth:
    """Gives and checks tokens and links.

    Parameters
    ----------
    records : Records
    token_seconds, link_seconds : int
        How long they hold.
    """

    def __init__(
        self, records: Records, *, token_seconds: int = 3600, link_seconds: int = 3600
    ) -> None:
        self.records = records
        self.token_seconds = token_seconds
        self.link_seconds = link_seconds
        secret = records.secret()
        self._secret = secret
        # Cookies do not know of ports: two platforms of one machine must not share a name.
        self.cookie = f"orchard_{hashlib.sha256(f'cookie {secret}'.encode()).hexdigest()[:12]}"
        self._links = URLSafeTimedSerializer(secret, salt=_LINK_SALT)
        self._hashing = threading.BoundedSemaphore(_HASHES)

    def token(self, project_id: str, api_key: str) -> str | None:
        """Return a token for a project's key; None when they do not belong together.

        Raises
        ------
        Busy
            When too many ask at once.
        """
        project = self._checked(project_id, api_key)
        return self._token(project, self.token_seconds) if project else None

    def session(self, project_id: str, api_key: str) -> str | None:
        """Return what the dashboard's cookie holds, for a project's key; else as `token`."""
        project = self._checked(project_id, api_key)
        return self._token(project, _SESSION_SECONDS, aud=_SESSION) if project else None

    def _checked(self, project_id: str, api_key: str) -> Project | None:
        project = self.records.project(project_id)
        active = project is not None and project.revoked_ms is None
        if not self._hashing.acquire(timeout=1.0):
            raise Busy(2)
        try:
            right = _matches(api_key, project.key_hash if project and active else _NOBODY)
        finally:
            self._hashing.release()
        return project if active and right else None

    def _token(self, project: Project, seconds: int, **more: str) -> str:
        now = int(time.time())
        claims = {
            "iss": _ISSUER,
            "sub": project.id,
            "kid": project.key_id,
            "iat": now,
            "exp": now + seconds,
            **more,
        }
        return jwt.encode(claims, self._secret, algorithm="HS256")

    def project_of(self, token: str) -> Project | None:
        """Return whose token it is; None when it is nobody's, has expired or was revoked."""
        return self._project_of(token, None)

    def session_of(self, cookie: str) -> Project | None:
        """Return whose session it is; None as for tokens."""
        return self._project_of(cookie, _SESSION)

    def _project_of(self, token: str, audience: str | None) -> Project | None:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                issuer=_ISSUER,
                audience=audience,
                options={"require": ["exp", "iat", "sub"]},
            )
        except jwt.InvalidTokenError:
            return None
        return self._active(str(claims["sub"]), str(claims.get("kid", "")))

    def sign(self, link: Link) -> str:
        """Return the signed text of a download link."""
        project = self.records.project(link.project)
        key_id = project.key_id if project else ""
        return self._links.dumps([link.project, key_id, link.job, link.block])

    def read_link(self, signed: str, *, is_open: bool) -> Link | None:
        """Return what a signed text is for; None when it is not ours, or its project was revoked.

        Parameters
        ----------
        signed : str
        is_open : bool
            Whether links that were made without a key hold: while the platform needs none.

        Raises
        ------
        TimeoutError
            When it has expired.
        """
        try:
            project, key_id, job, block = self._links.loads(signed, max_age=self.link_seconds)
        except SignatureExpired:
            raise TimeoutError("the link has expired") from None
        except (BadSignature, ValueError, TypeError):
            return None
        holds = self._active(project, key_id) is not None if key_id else is_open
        if not holds:
            return None
        return Link(project=project, job=job, block=block)

    def _active(self, project_id: str, key_id: str) -> Project | None:
        project = self.records.project(project_id)
        if project is None or project.revoked_ms is not None or project.key_id != key_id:
            return None
        return project


def _hash(key: str) -> str:
    salt = secrets.token_bytes(16)
    digest = _scrypt(key, salt, _N, _R, _P)
    encoded = (base64.b64encode(part).decode() for part in (salt, digest))
    return "$".join(["scrypt", str(_N), str(_R), str(_P), *encoded])


def _matches(key: str, kept: str) -> bool:
    _, n, r, p, salt, digest = kept.split("$")
    found = _scrypt(key, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _scrypt(key: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        key.encode(errors="replace")[:1024], salt=salt, n=n, r=r, p=p, maxmem=64 * 2**20, dklen=32
    )
