"""Who one is to Google Drive: where credentials come from, token files, both ways to log in."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import stat
import threading
import traceback
import urllib.request
from urllib.parse import parse_qs, urlsplit

import pytest
from servers import serve

from orchard.errors import AccessError, InputError, OrchardError

auth = pytest.importorskip("orchard.stores.gdrive_auth", reason="needs the extra gdrive")

SECRET = "hunter2-hunter2"
TOKEN = {
    "token": f"{SECRET}-token",
    "refresh_token": f"{SECRET}-refresh",
    "client_id": "an-id",
    "client_secret": f"{SECRET}-client",
    "token_uri": "https://oauth2.googleapis.com/token",
}


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch, tmp_path):
    monkeypatch.delenv("ORCHARD_GDRIVE_TOKEN", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "somewhere" / "token.json"
    auth.write_token(path, auth.Credentials.from_authorized_user_info(TOKEN))
    return path


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_file_goes_there_and_back(token_file):
    assert auth.read_token(token_file).refresh_token == TOKEN["refresh_token"]
    assert _mode(token_file) == 0o600
    assert list(token_file.parent.iterdir()) == [token_file]


def test_a_token_file_is_secret_from_its_first_byte(tmp_path, monkeypatch):
    seen = []

    class Spying:
        def to_json(self):
            seen.extend(_mode(path) for path in tmp_path.iterdir())
            return json.dumps(TOKEN)

    before = os.umask(0)
    try:
        auth.write_token(tmp_path / "token.json", Spying())
    finally:
        os.umask(before)
    assert seen == [0o600]
    assert _mode(tmp_path / "token.json") == 0o600


def test_a_token_that_others_may_read_is_refused(token_file):
    token_file.chmod(0o644)
    with pytest.raises(AccessError, match="chmod 600"):
        auth.read_token(token_file)


@pytest.mark.parametrize("content", ["", "[]", "{}", SECRET, json.dumps({"token": SECRET})])
def test_unusable_files_are_named_and_not_shown(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_text(content)
    path.chmod(0o600)
    for call in (
        lambda: auth.read_token(path),
        lambda: auth.load_credentials(service_account_file=path),
        lambda: auth.login_loopback(path, show=print),
    ):
        with pytest.raises(AccessError, match="bad") as error:
            call()
        assert SECRET not in "".join(traceback.format_exception(error.value))


def test_where_credentials_are_looked_for(token_file, tmp_path, monkeypatch):
    with pytest.raises(AccessError, match="orchard auth gdrive"):
        auth.load_credentials()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    with pytest.raises(AccessError, match=r"nothing\.json"):
        auth.load_credentials()
    assert auth.load_credentials(token_file=token_file).token == TOKEN["token"]
    monkeypatch.setenv("ORCHARD_GDRIVE_TOKEN", str(token_file))
    assert auth.load_credentials().token == TOKEN["token"]
    with pytest.raises(InputError, match="one of"):
        auth.load_credentials(token_file=token_file, service_account_info={})


def test_a_service_account(tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = {
        "type": "service_account",
        "client_email": "grower@example.iam.gserviceaccount.com",
        "private_key": key.decode(),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    (tmp_path / "key.json").write_text(json.dumps(info))
    for given in (
        {"service_account_info": info},
        {"service_account_file": tmp_path / "key.json"},
    ):
        found = auth.load_credentials(**given)
        assert found.service_account_email == info["client_email"]
        assert found.scopes == [auth.SCOPE]


class Google:
    """The part of Google's login that a client speaks to."""

    def __init__(self):
        self.answers = []
        self.asked = []

    def __call__(self, environ, start_response):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        fields = parse_qs(environ["wsgi.input"].read(length).decode())
        self.asked.append((environ["PATH_INFO"], {k: v[0] for k, v in fields.items()}))
        status, answer = self.answers.pop(0)
        start_response(f"{status} Answer", [("Content-Type", "application/json")])
        return [json.dumps(answer).encode()]


@pytest.fixture
def google():
    google = Google()
    with serve(google) as google.url:
        yield google


@pytest.fixture
def client_secrets(google, tmp_path):
    path = tmp_path / "client.json"
    client = {
        "client_id": "an-id",
        "client_secret": SECRET,
        "auth_uri": f"{google.url}/auth",
        "token_uri": f"{google.url}/token",
    }
    path.write_text(json.dumps({"installed": client}))
    return path


def _browse(change):
    """What a browser does that is sent to Google's page: it comes back with a code."""
    threads = []

    def show(url):
        query = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}

        def come_back():
            for path in ("favicon.ico", change(query["state"])):
                urllib.request.urlopen(query["redirect_uri"] + path).read()

        threads.append(threading.Thread(target=come_back))
        threads[0].start()

    return show, threads


def test_logging_in_through_a_browser(google, client_secrets, tmp_path, caplog):
    google.answers = [
        (
            200,
            {"access_token": "t", "refresh_token": "r", "token_type": "Bearer", "expires_in": 9},
        )
    ]
    browse, threads = _browse(lambda state: f"?state={state}&code=the-code")
    shown = []

    def show(url):
        shown.append({k: v[0] for k, v in parse_qs(urlsplit(url).query).items()})
        browse(url)

    caplog.set_level(logging.DEBUG)
    path = auth.login_loopback(client_secrets, show=show)
    threads[0].join()
    assert SECRET not in caplog.text
    assert (shown[0]["scope"], shown[0]["access_type"]) == (auth.SCOPE, "offline")
    digest = hashlib.sha256(google.asked[0][1]["code_verifier"].encode()).digest()
    assert shown[0]["code_challenge"] + "=" == base64.urlsafe_b64encode(digest).decode()
    assert path == tmp_path / "configuration" / "orchard" / "gdrive-token.json"
    assert _mode(path) == 0o600
    assert google.asked[0][1]["code"] == "the-code"
    assert auth.load_credentials().refresh_token == "r"


@pytest.mark.parametrize("query", ["?state={}&error=access_denied", "?state=forged&code=c"])
def test_a_login_that_is_refused_or_forged(client_secrets, query):
    show, threads = _browse(query.format)
    with pytest.raises(AccessError, match="not completed"):
        auth.login_loopback(client_secrets, show=show)
    threads[0].join()
    assert not auth.default_token_file().exists()


def test_a_code_that_google_does_not_take(google, client_secrets):
    google.answers = [(400, {"error": "invalid_grant"})]
    show, threads = _browse("?state={}&code=the-code".format)
    with pytest.raises(AccessError, match="invalid_grant") as error:
        auth.login_loopback(client_secrets, show=show)
    threads[0].join()
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_nobody_logs_in(client_secrets):
    with pytest.raises(AccessError, match="nobody"):
        auth.login_loopback(client_secrets, show=lambda url: None, timeout=0.05)


CODE = {
    "device_code": "the-device",
    "user_code": "ABC-DEF",
    "verification_url": "https://example.org/device",
    "expires_in": 30,
    "interval": 5,
}


def _device(google, client_secrets, *answers):
    google.answers = [(200, CODE), *answers]
    shown, slept = [], []
    path = auth.login_device(
        client_secrets,
        show=lambda *what: shown.append(what),
        device_uri=f"{google.url}/device/code",
        sleep=slept.append,
    )
    return path, shown, slept


def test_logging_in_on_another_device(google, client_secrets):
    path, shown, slept = _device(
        google,
        client_secrets,
        (428, {"error": "authorization_pending"}),
        (403, {"error": "slow_down"}),
        (200, {"access_token": "t", "refresh_token": "r"}),
    )
    assert shown == [("https://example.org/device", "ABC-DEF")]
    assert slept == [5, 5, 10]
    assert google.asked[0][1]["scope"] == auth.DEVICE_SCOPE
    assert google.asked[-1][1]["device_code"] == "the-device"
    assert _mode(path) == 0o600
    assert auth.read_token(path).refresh_token == "r"


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([(403, {"error": "access_denied"})], "access_denied"),
        ([(428, {"error": "authorization_pending"})] * 7, "expired"),
    ],
)
def test_a_device_login_that_does_not_come_about(google, client_secrets, answers, text):
    with pytest.raises(OrchardError, match=text) as error:
        _device(google, client_secrets, *answers)
    assert SECRET not in "".join(traceback.format_exception(error.value))
    assert not auth.default_token_file().exists()
