"""Settings: the environment in, one frozen value out, and every mistake named."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import ValidationError

from triptych.elastic.client import connect
from triptych.errors import SettingsError
from triptych.settings import Settings, load

pytestmark = pytest.mark.unit


def test_the_defaults_need_no_variable(clean_environment: pytest.MonkeyPatch) -> None:
    assert load().batch_size == 32


def test_a_variable_is_read(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("TRIPTYCH_BATCH_SIZE", "7")
    assert load().batch_size == 7


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRIPTYCH_ELASTICSEARCH_ULR", "TRIPTYCH_ELASTICSEARCH_URL"),
        ("TRIPTYCH_REDIS", "TRIPTYCH_REDIS_URL"),
        ("triptych_batch_sise", "TRIPTYCH_BATCH_SIZE"),
    ],
)
def test_a_mistyped_name_is_an_error_with_the_name_meant(clean_environment: pytest.MonkeyPatch, name: str, meant: str) -> None:
    clean_environment.setenv(name, "x")
    with pytest.raises(SettingsError) as caught:
        load()
    assert (caught.value.code, caught.value.field) == ("settings.unknown", name)
    assert meant in str(caught.value)


def test_a_name_like_no_setting_suggests_none(clean_environment: pytest.MonkeyPatch) -> None:
    """The prefix, which all names share, makes none of them alike."""
    clean_environment.setenv("TRIPTYCH_QQQQQQQQQQ", "x")
    with pytest.raises(SettingsError, match=r"docs/settings\.md"):
        load()


def test_other_programs_variables_are_left_alone(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("TRIPTYCHON_HOME", "x")
    load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIPTYCH_BATCH_SIZE", "0"),
        ("TRIPTYCH_BATCH_SIZE", "many"),
        ("TRIPTYCH_API_PORT", "65536"),
        ("TRIPTYCH_MEDIA_SECONDS", "-1"),
        ("TRIPTYCH_MEDIA_SECONDS", "nan"),
        ("TRIPTYCH_QUEUE", ""),
        ("TRIPTYCH_SYSTEM_PREFIX", ""),
        ("TRIPTYCH_THREADS", "-1"),
    ],
)
def test_a_bad_value_names_its_variable(clean_environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    clean_environment.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert caught.value.field == name
    assert name in caught.value.message


def test_settings_are_frozen(settings: Settings) -> None:
    with pytest.raises(ValidationError):
        settings.batch_size = 3  # type: ignore[misc]


# Where the services are


def _state(settings: Settings, text: str) -> None:
    settings.engine_dir.mkdir(parents=True)
    (settings.engine_dir / "state.json").write_text(text, encoding="utf-8")


def test_without_a_url_the_local_engines_is_used(settings: Settings) -> None:
    _state(settings, json.dumps({"elasticsearch_url": "http://127.0.0.1:41", "redis_url": "redis://127.0.0.1:42/0"}))
    assert settings.elasticsearch_address == "http://127.0.0.1:41"
    assert settings.redis_address == "redis://127.0.0.1:42/0"


def test_a_url_that_is_set_beats_the_local_engine(settings: Settings) -> None:
    _state(settings, json.dumps({"elasticsearch_url": "http://127.0.0.1:41", "redis_url": "redis://127.0.0.1:42/0"}))
    chosen = Settings(data_dir=settings.data_dir, elasticsearch_url="http://es:9200", redis_url="redis://r:1/2")
    assert chosen.elasticsearch_address == "http://es:9200"
    assert chosen.redis_address == "redis://r:1/2"


def test_without_a_url_and_an_engine_the_usual_addresses_are_used(settings: Settings) -> None:
    assert settings.elasticsearch_address == "http://127.0.0.1:9200"
    assert settings.redis_address == "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize("text", ["", "{", "{}", '{"elasticsearch_url": 5}', "[]", "null", '"text"'])
def test_a_damaged_state_file_counts_as_none(settings: Settings, text: str) -> None:
    _state(settings, text)
    assert settings.elasticsearch_address == "http://127.0.0.1:9200"


LOGIN = json.dumps({"elasticsearch_url": "http://127.0.0.1:41", "elasticsearch_user": "e", "elasticsearch_password": "p"})


def test_the_local_engines_login_goes_to_the_local_engine(settings: Settings) -> None:
    _state(settings, LOGIN)
    assert settings.elasticsearch_login == ("e", "p")


def test_the_local_engines_login_is_not_sent_to_another_server(settings: Settings) -> None:
    _state(settings, LOGIN)
    assert Settings(data_dir=settings.data_dir, elasticsearch_url="https://es:9200").elasticsearch_login is None


def test_a_login_that_is_set_beats_the_local_engines(settings: Settings) -> None:
    _state(settings, LOGIN)
    chosen = Settings(data_dir=settings.data_dir, elasticsearch_user="u", elasticsearch_password="mine")
    assert chosen.elasticsearch_login == ("u", "mine")


def test_a_user_without_a_password_is_told_even_beside_a_local_engine(settings: Settings) -> None:
    _state(settings, LOGIN)
    with pytest.raises(SettingsError):
        connect(Settings(data_dir=settings.data_dir, elasticsearch_user="elastic"))


# Secrets

SECRET = "hunter-2"


@pytest.mark.parametrize(
    "given",
    [
        {"elasticsearch_password": SECRET},
        {"elasticsearch_api_key": SECRET},
        {"elasticsearch_bearer_token": SECRET},
        {"redis_url": f"redis://:{SECRET}@redis:6379/0"},
        {"elasticsearch_url": f"https://elastic:{SECRET}@search.example:9200"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_secret_is_not_shown(given: dict[str, str]) -> None:
    settings = Settings(**given)  # type: ignore[arg-type]
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


def test_the_secrets_that_logs_must_hide_are_those_of_every_address_and_in_every_form() -> None:
    url = "https://a:one%2Ftwo@s1:9200, https://b:three,four@s2:9200,https://s3:9200"
    settings = Settings(elasticsearch_url=url, elasticsearch_bearer_token=SECRET, redis_url="redis://:five@r:1/0")
    assert set(settings.secrets) == {"one%2Ftwo", "one/two", "three,four", SECRET, "five"}


def test_a_bad_value_is_not_repeated_where_it_could_be_a_secret(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("TRIPTYCH_API_PORT", SECRET)
    with pytest.raises(SettingsError) as caught:
        load()
    assert SECRET not in str(caught.value)


# From settings to a connection


def test_a_user_needs_a_password(settings: Settings) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(Settings(data_dir=settings.data_dir, elasticsearch_user="elastic"))
    assert caught.value.field == "TRIPTYCH_ELASTICSEARCH_PASSWORD"
    assert "TRIPTYCH_ELASTICSEARCH_PASSWORD" in str(caught.value)


@pytest.mark.parametrize("url", ["search.example:9200", "http://search.example", "nonsense"])
def test_a_url_that_makes_no_connection_names_its_variable(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(Settings(elasticsearch_url=url))
    assert caught.value.field == "TRIPTYCH_ELASTICSEARCH_URL"


def test_an_error_of_the_connection_does_not_show_the_password() -> None:
    with pytest.raises(SettingsError) as caught:
        connect(Settings(elasticsearch_url=f"http://elastic:{SECRET}@search.example"))
    assert SECRET not in str(caught.value)


def test_connecting_sends_nothing() -> None:
    with connect(Settings(elasticsearch_url="http://127.0.0.1:9", elasticsearch_user="u", elasticsearch_password=SECRET)) as c:
        assert SECRET not in repr(c)


def _nodes(**given: object) -> list[str]:
    with connect(Settings(**given)) as client:  # type: ignore[arg-type]
        return [node.base_url for node in client.transport.node_pool.all()]


def test_several_nodes_are_named_by_commas() -> None:
    assert set(_nodes(elasticsearch_url="https://one:9200, https://two:9201/es")) == {
        "https://one:9200",
        "https://two:9201/es",
    }


CLOUD_ID = f"shop:{base64.b64encode(b'eu.example.test$abc$def').decode()}"


def test_a_cloud_id_is_an_address() -> None:
    assert _nodes(elasticsearch_cloud_id=CLOUD_ID, elasticsearch_api_key=SECRET) == ["https://abc.eu.example.test:443"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"elasticsearch_cloud_id": CLOUD_ID, "elasticsearch_url": "http://es:9200"}, "TRIPTYCH_ELASTICSEARCH_CLOUD_ID"),
        ({"elasticsearch_cloud_id": CLOUD_ID, "elasticsearch_sniff": True}, "TRIPTYCH_ELASTICSEARCH_CLOUD_ID"),
        ({"elasticsearch_cloud_id": "nonsense"}, "TRIPTYCH_ELASTICSEARCH_CLOUD_ID"),
        ({"elasticsearch_url": "https://es:9200,nonsense"}, "TRIPTYCH_ELASTICSEARCH_URL"),
        ({"elasticsearch_ca_file": "/nowhere/ca.pem"}, "TRIPTYCH_ELASTICSEARCH_CA_FILE"),
        ({"elasticsearch_client_certificate": "/nowhere/own.pem"}, "TRIPTYCH_ELASTICSEARCH_CLIENT_CERTIFICATE"),
        ({"elasticsearch_client_key": __file__}, "TRIPTYCH_ELASTICSEARCH_CLIENT_KEY"),
    ],
    ids=["two places", "cloud with sniffing", "no cloud id", "one of two hosts", "no CA", "no certificate", "key alone"],
)
def test_what_makes_no_connection_names_its_variable(given: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        connect(Settings(**given))  # type: ignore[arg-type]
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ({"elasticsearch_api_key": SECRET, "elasticsearch_bearer_token": "b", "elasticsearch_user": "u"}, f"ApiKey {SECRET}"),
        ({"elasticsearch_bearer_token": SECRET, "elasticsearch_user": "u"}, f"Bearer {SECRET}"),
        ({"elasticsearch_user": "u", "elasticsearch_password": "pä"}, "Basic dTpww6Q="),
        ({}, None),
    ],
    ids=["key", "token", "password", "none"],
)
@pytest.mark.parametrize("sniff", [False, True], ids=["still", "sniffing"])
def test_one_login_goes_with_every_request(given: dict[str, str], header: str | None, *, sniff: bool) -> None:
    """Where nodes are looked for they carry it too: the client's own headers do not go with that request."""
    with connect(Settings(elasticsearch_url="http://es:9200", elasticsearch_sniff=sniff, **given)) as client:  # type: ignore[arg-type]
        assert client._headers.get("authorization") == header
        node = client.transport.node_pool.all()[0]
        assert node.config.headers.get("authorization") == (header if sniff else None)
        assert SECRET not in repr(client) + repr(node.config)
