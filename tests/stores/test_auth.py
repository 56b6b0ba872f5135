"""Who one is to each service, and what is missing: on the command line, and never with a secret."""

from __future__ import annotations

import json
import stat

import pytest
import servers
from drive_server import TOKEN

from orchard import auth
from orchard.cli import cli
from orchard.cli.errors import report_errors
from orchard.errors import InputError
from orchard.stores import open_store
from orchard.stores.identity import find_identity

SECRETS = ("a-secret-key", "a-bearer-token", servers.AZURITE_KEY, "hunter2-hunter2")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    for name in ("ORCHARD_CONFIG", "ORCHARD_GDRIVE_TOKEN", "ORCHARD_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("ORCHARD_PROJECT_ID", "ORCHARD_PROJECT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def line(capsys):
    """Run a command line; give its exit code, output and error stream."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = report_errors(lambda: cli.main(args=list(map(str, words)), standalone_mode=False))
        out, err = capsys.readouterr()
        assert not any(secret in out + err for secret in SECRETS)
        return code, out, err

    return run


def test_s3_by_the_environment(s3, line, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    code, out, err = line("auth", "s3", s3.url, "--endpoint", s3.endpoint)
    assert (code, out) == (0, "access key …-key\n")
    assert "AWS_ACCESS_KEY_ID" in err
    code, out, err = line("auth", "s3", f"{s3.url}-not", "--endpoint", s3.endpoint)
    assert (code, out) == (1, "access key …-key\n")
    assert "Missing: " in err
    assert "NoSuchBucket" in err


def test_the_store_of_the_configuration(s3, line, tmp_path):
    (tmp_path / "orchard.yaml").write_text(
        json.dumps(
            {
                "tile_grid": "LANDSAT_ARD_CU",
                "store": {"url": f"{s3.url}/prefix", "options": s3.options},
            }
        )
    )
    code, out, err = line("auth", "s3")
    assert (code, out) == (0, "access key …-key\n")
    assert "options" in err
    code, _, err = line("auth", "gcs")
    assert code == 2
    assert "which one? Give gs://NAME" in err


def test_azure_by_its_connection_string(azure, line, monkeypatch):
    text = (
        f"AccountName={servers.AZURITE_ACCOUNT};AccountKey={servers.AZURITE_KEY};"
        f"BlobEndpoint={azure.endpoint}"
    )
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    code, out, _ = line("auth", "azure", azure.url)
    assert (code, out) == (0, f"account {servers.AZURITE_ACCOUNT}, by its key\n")


def test_gcs_and_drive_as_a_library(gcs, drive):
    account = auth.check_store(open_store(gcs.url, **gcs.options))
    assert (account.who, account.missing) == ("whoever the bearer token is of", None)
    server, _ = drive
    account = auth.check_store(open_store(server.url, **server.options, backoff=0.001))
    assert (account.who, account.missing) == ("A. Grower <grower@example.org>", None)
    for found in (repr(account), str(account)):
        assert TOKEN not in found


@pytest.mark.parametrize(
    ("scheme", "word"),
    [
        ("s3", "AWS_ACCESS_KEY_ID"),
        ("gs", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("az", "AZURE_STORAGE_ACCOUNT_NAME"),
    ],
)
def test_where_credentials_were_looked_for(scheme, word):
    found = find_identity(scheme, {}, {}, anonymous=False)
    assert found.who is None
    assert word in found.source


def test_a_service_account_is_named_by_its_mail(tmp_path, monkeypatch):
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"client_email": "g@example.org", "private_key": "hunter2-hunter2"}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    found = find_identity("gs", {}, {}, anonymous=False)
    assert found.who == "g@example.org"
    assert "hunter2" not in repr(found)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    assert find_identity("gs", {}, {}, anonymous=False).who is None
    assert find_identity("s3", {}, {}, anonymous=True).who == "nobody (anonymous)"


def test_drive_without_a_login_and_its_token_file(line, tmp_path):
    code, out, err = line("auth", "gdrive", "gdrive://orchard")
    assert (code, out) == (1, "")
    assert "orchard auth gdrive" in err
    code, _, err = line("auth", "gdrive", "gdrive://orchard", "--port", 5)
    assert code == 2
    code, _, err = line("auth", "clear", "gdrive")
    assert (code, "no token file" in err) == (0, True)
    from orchard.stores.gdrive_auth import Credentials, default_token_file, write_token

    write_token(default_token_file(), Credentials(token="hunter2-hunter2"))
    assert stat.S_IMODE(default_token_file().stat().st_mode) == 0o600
    code, _, err = line("auth", "clear", "gdrive")
    assert str(default_token_file()) in err
    assert not default_token_file().exists()


def test_earth_engine_without_a_login_or_a_project(line, tmp_path, monkeypatch):
    pytest.importorskip("ee", reason="needs the extra earthengine")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    code, out, err = line("auth", "ee", "--project", "p")
    assert (code, out) == (1, "")
    assert "orchard auth ee" in err
    account = auth.check_earthengine(None, credentials="anonymous")
    assert account.who == "nobody (anonymous)"
    assert "project" in account.missing


def test_a_platform(line, monkeypatch, tmp_path):
    code, out, err = line("auth", "platform")
    assert (code, out) == (1, "")
    assert "ORCHARD_BASE_URL" in err
    file = tmp_path / "project.json"
    with servers.serve(_platform) as url:
        said = {"project_id": "p1", "project_api_key": "hunter2-hunter2", "base_url": url}
        file.write_text(json.dumps(said))
        code, out, err = line("auth", "platform", "--file", file)
        assert (code, out) == (0, "project p1\n")
        assert url in err
        file.write_text(json.dumps(said | {"project_id": "p2"}))
        code, out, err = line("auth", "platform", "--file", file)
        assert code == 1
        assert "refused the credentials of project 'p2'" in err


def _platform(environ, start_response):
    """A platform that knows one project."""
    import base64

    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    status, answer = "200 OK", {"data": [], "error": None}
    if environ["PATH_INFO"] == "/oauth/token":
        wanted = base64.b64encode(b"p1:hunter2-hunter2").decode()
        answer = {"access_token": "t", "data": {"accessToken": "t"}}
        if environ.get("HTTP_AUTHORIZATION") != f"Basic {wanted}":
            status = "401 Unauthorized"
    body = json.dumps(answer).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


def test_a_folder_needs_no_login(tmp_path):
    with pytest.raises(InputError, match="needs no login"):
        auth.check_store(open_store(tmp_path / "store"))
    with pytest.raises(InputError, match="ee, gdrive"):
        auth.forget("s3")


def test_earth_engine_as_the_configuration_has_it(line, tmp_path):
    pytest.importorskip("ee", reason="needs the extra earthengine")
    engine = {"name": "earthengine", "project": "p", "credentials": "key.json"}
    said = {"tile_grid": "LANDSAT_ARD_CU", "store": "store", "engine": engine}
    (tmp_path / "orchard.yaml").write_text(json.dumps(said))
    (tmp_path / "key.json").write_text("hunter2-hunter2")
    code, out, err = line("auth", "ee")
    assert (code, out) == (1, "")
    assert "key.json is not the key file of a service account" in err


def test_earth_engine_answers():
    pytest.importorskip("ee", reason="needs the extra earthengine")
    from orchard.testing.earthengine import (
        Archive,
        EarthEngineServer,
        Interpreter,
        Service,
        offline_client,
    )

    service = Service(Interpreter(Archive(collections={})), lambda *_: "", project="p")
    with offline_client(), EarthEngineServer(service) as server:
        account = auth.check_earthengine("p", credentials="anonymous", url=server.url)
        assert account == auth.Account(
            service="ee", who="nobody (anonymous)", source="project p", missing=None
        )
