"""S3, GCS and Azure against real servers: the contract, credentials, and what goes wrong."""

from __future__ import annotations

import multiprocessing
import pickle
import traceback

import pytest

from orchard.errors import (
    AccessError,
    ChecksumError,
    ConflictError,
    InputError,
    NotFoundError,
    OrchardError,
    StoreError,
)
from orchard.stores import open_store
from orchard.testing.stores import ConcurrentStoreTests, StoreTests


class TestS3Store(StoreTests, ConcurrentStoreTests):
    """The contract, against moto's S3."""

    @pytest.fixture
    def store(self, s3, fresh):
        return fresh(s3)


class TestGCSStore(StoreTests, ConcurrentStoreTests):
    """The contract, against GCS's XML API."""

    @pytest.fixture
    def store(self, gcs, fresh):
        return fresh(gcs)


class TestAzureStore(StoreTests, ConcurrentStoreTests):
    """The contract, against Azurite."""

    @pytest.fixture
    def store(self, azure, fresh):
        return fresh(azure)


@pytest.fixture(params=["s3", "gcs"])
def server(request):
    server = request.getfixturevalue(request.param)
    yield server
    assert server.faults.plan == []
    server.faults.seen.clear()


# What goes wrong on the way.


@pytest.mark.parametrize("fault", ["lost", "dropped", 503])
def test_a_conditional_write_whose_answer_is_lost_is_ones_own(server, fresh, fault):
    store = fresh(server)
    server.faults.plan = [("PUT", fault)]
    first = store.put("a", b"1", if_absent=True)
    assert store.get("a") == (b"1", store.get("a")[1])
    server.faults.plan = [("PUT", fault)]
    second = store.put("a", b"2", if_match=first.etag)
    assert store.get("a")[0] == b"2"
    assert store.get("a")[1].etag == second.etag
    with pytest.raises(ConflictError):
        store.put("a", b"3", if_absent=True)
    with pytest.raises(ConflictError):
        store.put("a", b"3", if_match=first.etag)


def test_somebody_elses_write_is_not_taken_for_ones_own(server, fresh):
    store = fresh(server)
    store.put("a", b"the same content", if_absent=True)
    with pytest.raises(ConflictError):
        store.put("a", b"the same content", if_absent=True)


@pytest.mark.parametrize("fault", [429, 500, 503, "dropped"])
def test_transient_failures_are_retried(server, fresh, tmp_path, fault):
    store = fresh(server, retry_config={"backoff": {"init_backoff": 0.01}})
    server.faults.plan = [("PUT", fault), ("PUT", fault), ("GET", fault), ("DELETE", fault)]
    store.put("a", b"1")
    assert store.get("a")[0] == b"1"
    server.faults.plan += [("GET", fault)]
    assert [info.key for info in store.list()] == ["a"]
    server.faults.plan += [("GET", fault)]
    assert store.fetch("a", tmp_path / "a").size == 1
    store.delete("a")


def test_failures_that_last_are_named(server, fresh):
    store = fresh(server, retry_config={"max_retries": 1, "backoff": {"init_backoff": 0.01}})
    server.faults.plan = [("PUT", 503)] * 2
    with pytest.raises(StoreError, match=r"a in \w+://.*503") as error:
        store.put("a", b"1")
    assert error.value.key == "a"
    # A conditional write looks whether it was its own: that fails, too, and the first error counts.
    server.faults.plan = [("PUT", 503)] * 2 + [("HEAD", 503)] * 2
    with pytest.raises(StoreError, match="503"):
        store.put("a", b"1", if_absent=True)


def test_an_answer_that_is_cut_is_finished_or_named(server, fresh, tmp_path):
    store = fresh(server)
    content = bytes(range(256)) * 40_000
    store.put("a", content)
    server.faults.plan = [("GET", "cut")]
    try:
        store.fetch("a", tmp_path / "a")
    except StoreError:
        held = (tmp_path / "a").read_bytes()
        assert content.startswith(held)
        store.fetch("a", tmp_path / "a", offset=len(held))
    assert (tmp_path / "a").read_bytes() == content


def test_a_flipped_bit_is_noticed(server, fresh, tmp_path):
    store = fresh(server)
    store.put("a", b"0123456789")
    server.faults.plan = [("GET", "flipped")]
    with pytest.raises(ChecksumError, match="MD5") as error:
        store.get("a")
    assert error.value.key == "a"
    # A fetch does not verify, but tells the MD5.
    assert store.fetch("a", tmp_path / "a").md5 == "781e5e245d69b566979b86e28d23f2c7"


def test_the_md5_of_a_multipart_object_is_known(server, fresh, tmp_path):
    (tmp_path / "source").write_bytes(bytes(20 * 2**20))
    store = fresh(server)
    put = store.put("a", tmp_path / "source")
    assert put.md5 == store.fetch("a", tmp_path / "target").md5
    assert put.md5 == "8f4e33f3dc3e414ff94e5fb6905cba8c"


def test_a_bucket_that_is_not_there(server):
    store = open_store(f"{server.url}-not", **server.options)
    with pytest.raises(NotFoundError, match="bucket"):
        store.put("a", b"1")
    with pytest.raises(StoreError, match="NoSuchBucket"):
        list(store.list())


# Credentials.


def test_no_secret_is_shown(fresh, s3):
    secret = "hunter2-hunter2"
    store = open_store(
        f"{s3.url}/prefix",
        endpoint="http://127.0.0.1:9",
        access_key_id="AKIA-something",
        secret_access_key=secret,
        session_token=secret[::-1],
        retry_config={"max_retries": 0},
    )
    texts = [repr(store), str(store), store.url]
    for call in (lambda: store.get("a"), lambda: store.put("a", b""), lambda: list(store.list())):
        try:
            call()
        except StoreError as exc:
            texts += [str(exc), repr(exc), "".join(traceback.format_exception(exc))]
    assert len(texts) == 3 + 3 * 3
    for text in texts:
        assert not any(word in text for word in (secret, secret[::-1], "AKIA-something"))


def test_bad_settings_are_named_without_their_values():
    for url, options in (
        ("s3://bucket", {"no_such_key": "hunter2-hunter2"}),
        ("gs://bucket", {"service_account_key": "hunter2-hunter2"}),
        ("gs://bucket", {"service_account_key": '{"private_key": 5, "client_email": "hunter2"}'}),
        ("az://bucket", {"account_name": "a", "account_key": "hunter2-hunter2 is no base64"}),
        ("az://bucket", {"connection_string": "AccountKey=hunter2-hunter2"}),
        ("az://bucket", {}),
    ):
        with pytest.raises(InputError) as error:
            open_store(url, **options)
        assert "hunter2" not in "".join(traceback.format_exception(error.value))


def test_urls_and_options_that_cannot_be_meant():
    for url, options, text in (
        ("s3://", {}, "names no bucket"),
        ("s3://bucket/a/../b", {}, "'..'"),
        ("gs://bucket", {"region": "eu"}, "region"),
        ("az://container", {"profile": "me"}, "profile"),
        ("s3://bucket", {"profile": "nobody"}, "nobody"),
    ):
        with pytest.raises(InputError, match=text):
            open_store(url, **options)


def _signed_by(server):
    header = server.faults.seen[-1][2].get("authorization", "")
    return header.partition("Credential=")[2].partition("/")[0]


def test_where_keys_come_from(s3, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)

    def signer(**options):
        list(open_store(s3.url, **options).list())
        return _signed_by(s3)

    credentials = tmp_path / "credentials"
    credentials.write_text(
        "[default]\naws_access_key_id = the-default\naws_secret_access_key = s\n"
        "[other]\naws_access_key_id = the-other\naws_secret_access_key = s\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    assert signer() == "the-default"
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert signer() == "the-other"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    assert signer() == "the-environment"
    assert signer(access_key_id="the-option", secret_access_key="s") == "the-option"
    assert signer(profile="other") == "the-other"
    open_store(s3.url).put("private", b"1")
    with pytest.raises(AccessError, match="not allowed"):
        open_store(s3.url, anonymous=True).get("private")
    assert _signed_by(s3) == ""
    credentials.write_text("not a file of profiles")
    with pytest.raises(InputError, match="credentials"):
        signer(profile="other")


def test_the_region_is_signed_for(s3, monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-central-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    options = s3.options | {"region": None}
    list(open_store(s3.url, **options).list())
    assert "/eu-central-1/s3/" in s3.faults.seen[-1][2]["authorization"]
    list(open_store(s3.url, **(options | {"region": "eu-west-3"})).list())
    assert "/eu-west-3/s3/" in s3.faults.seen[-1][2]["authorization"]


def test_gcs_from_the_environment_and_anonymous(gcs, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint.removeprefix("http://"))
    with pytest.raises(OrchardError):
        open_store(gcs.url, anonymous=True).get("private")
    assert "authorization" not in gcs.faults.seen[-1][2]
    list(open_store(gcs.url, bearer_token="a-token").list())
    assert gcs.faults.seen[-1][2]["authorization"] == "Bearer a-token"


def test_azure_connection_strings(azure, monkeypatch):
    text = (
        f"DefaultEndpointsProtocol=http;AccountName={azure.options['account_name']};"
        f"AccountKey={azure.options['account_key']};BlobEndpoint={azure.endpoint}/;"
    )
    store = open_store(f"{azure.url}/connection", connection_string=text)
    store.put("a", b"1")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    assert open_store(f"{azure.url}/connection").get("a")[0] == b"1"
    with pytest.raises(AccessError):
        open_store(
            f"{azure.url}/connection",
            endpoint=azure.endpoint,
            account_name=azure.options["account_name"],
            account_key="c29tZSBvdGhlciBrZXk=",
        ).get("a")


# Other tools and other processes.


def test_a_marker_of_a_folder_is_not_in_the_folder(s3, fresh):
    store = fresh(s3)
    store.put("a/b", b"1")
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="us-east-1",
        aws_access_key_id="an-access-key",
        aws_secret_access_key="a-secret-key",
    )
    prefix = store.url.removeprefix("s3://").partition("/")[2]
    client.put_object(Bucket="orchard", Key=f"{prefix}/a/", Body=b"")
    assert [info.key for info in store.list("a")] == ["a/b"]
    # What others wrote without an MD5 is read without one.
    client.put_object(Bucket="orchard", Key=f"{prefix}/foreign", Body=b"2")
    assert store.get("foreign")[0] == b"2"
    assert store.get("foreign")[1].md5 is None


def _read_elsewhere(store, answers):
    answers.put(store.get("a")[0])


def test_it_goes_to_another_process(server, fresh):
    store = fresh(server)
    store.put("a", b"1")
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_read_elsewhere, args=(store, answers))
    process.start()
    assert answers.get(timeout=60) == b"1"
    process.join()
    assert pickle.loads(pickle.dumps(store)).url == store.url
