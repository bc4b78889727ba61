"""The only reader of the environment.

Every setting is a `TRIPTYCH_*` variable; an unknown name is an error, because pydantic-settings would ignore a mistyped one
in silence. docs/settings.md lists them all and a test holds it to that.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from triptych import settings_values
from triptych.errors import SettingsError

PREFIX = "TRIPTYCH_"
DEFAULT_PROFILE = "offline"
_METRICS = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own
_Positive = Annotated[int, Field(gt=0)]


class Settings(BaseSettings):
    """All settings, with defaults that work on one machine."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    elasticsearch_url: SecretStr | None = Field(
        default=None,
        description="Elasticsearch to use, several nodes by commas; unset: the one `triptych up` started, else http://127.0.0.1:9200",
    )
    elasticsearch_cloud_id: str | None = Field(default=None, description="deployment on Elastic Cloud; instead of the URL")
    elasticsearch_sniff: bool = Field(
        default=False, description="whether to ask the cluster for its nodes and talk to all of them"
    )
    elasticsearch_user: str | None = Field(default=None, description="user for basic authentication")
    elasticsearch_password: SecretStr | None = Field(default=None, description="password for basic authentication")
    elasticsearch_api_key: SecretStr | None = Field(
        default=None, description="API key (encoded form); instead of user and password"
    )
    elasticsearch_bearer_token: SecretStr | None = Field(
        default=None, description="token of a service account or of an identity provider; instead of user and password"
    )
    elasticsearch_client_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate that is shown to the server, with its key or without"
    )
    elasticsearch_client_key: Path | None = Field(
        default=None, description="PEM file of that certificate's key, without a passphrase"
    )
    elasticsearch_ca_file: Path | None = Field(
        default=None, description="PEM file of the CA that signed the server's certificate"
    )
    elasticsearch_timeout_seconds: float = Field(30.0, gt=0, description="time one Elasticsearch request may take")
    redis_url: SecretStr | None = Field(
        default=None, description="Redis to use as queue; unset: the one `triptych up` started, else redis://127.0.0.1:6379/0"
    )
    queue: str = Field("triptych", min_length=1, description="name of the Celery queue")
    system_prefix: str = Field(
        "triptych-", min_length=1, description="prefix of Triptych's own indices (jobs, batches, dead letters)"
    )
    data_dir: Path = Field(Path.home() / ".cache" / "triptych", description="folder for prepared encoders and the local engine")
    profile: str | None = Field(
        default=None,
        description="profile of the encoders: a name or a file; unset: the one `triptych profiles use` chose, else offline",
    )
    device: str = Field("auto", description="torch device of the encoders: auto, cpu, cuda, cuda:1, mps")
    dtype: str = Field("auto", description="precision of the encoders: auto (bfloat16 where it is fast), float32, bfloat16")
    threads: int = Field(0, ge=0, description="torch threads per process; 0: one per core")
    batch_size: _Positive = Field(32, description="records to embed per batch, the unit of one Celery task")
    batch_bytes: _Positive = Field(4_000_000, description="most bytes of records in one batch")
    batch_lease_seconds: float = Field(
        30.0, gt=0, description="a running batch whose worker says nothing for so long is given to another worker"
    )
    batch_attempts: _Positive = Field(
        5, description="times a batch is started before its records become dead letters (it kills its workers)"
    )
    job_most_dead: int | None = Field(default=None, ge=0, description="dead records after which a job is paused; unset: never")
    job_bad_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of the latest records that may end as dead or partial before a job is paused; 1: any",
    )
    job_window: _Positive = Field(500, description="how many of a job's latest records that share is taken of")
    job_dead_in_row: int | None = Field(
        default=None,
        ge=0,
        description="dead records one after another in the catalogue after which a job is paused; unset: any",
    )
    task_seconds: float = Field(
        1200.0, gt=0, description="time a task may take; after it the batch is started anew, which counts as an attempt"
    )
    worker_stop_seconds: float = Field(60.0, ge=0, description="time a worker has for its batches after SIGTERM")
    worker_memory_mb: int = Field(0, ge=0, description="memory at which a pool process is replaced after its batch; 0: never")
    worker_tasks: int = Field(0, ge=0, description="tasks after which a pool process is replaced; 0: never")
    log_format: Literal["text", "json"] = Field(
        "text", description="format of the logs on stderr: text, or json, one object a line"
    )
    cache_url: SecretStr | None = Field(
        default=None, description="Redis to keep vectors of inputs seen before in; unset: the one of the queue"
    )
    cache_name: str | None = Field(
        default=None,
        min_length=1,
        description="name under which they are kept; who names the same in one Redis shares them; unset: the queue's name",
    )
    cache_bytes: int = Field(256_000_000, ge=0, description="most bytes of Redis that vectors seen before take; 0: no cache")
    media_bytes: _Positive = Field(20_000_000, description="most bytes of one picture or sound")
    media_pixels: _Positive = Field(50_000_000, description="most pixels of one picture")
    media_seconds: float = Field(
        600.0, gt=0, description="longest sound accepted; of one over 15 s three parts of 5 s are embedded"
    )
    fetch_hosts: Annotated[str, AfterValidator(settings_values.hosts)] | None = Field(
        default=None, description="hosts and buckets that catalogues may name media of; unset: none, only files"
    )
    fetch_private: Annotated[str, AfterValidator(settings_values.networks)] | None = Field(
        default=None, description="networks and hosts that may be asked although their addresses are not public"
    )
    fetch_ports: Annotated[str, AfterValidator(settings_values.ports)] = Field("80,443", description="ports that URLs may name")
    fetch_seconds: float = Field(20.0, gt=0, description="time one medium may take, attempts and redirects together")
    fetch_batch_seconds: float = Field(
        600.0, gt=0, description="time the media of one batch may take to fetch, all together; those left then are given up"
    )
    fetch_attempts: _Positive = Field(4, description="times a medium is asked for while its server fails")
    fetch_redirects: int = Field(5, ge=0, description="most redirects followed for one medium")
    fetch_per_host: _Positive = Field(4, description="requests at once to one host, of all workers together")
    fetch_spool_bytes: int = Field(1_000_000_000, ge=0, description="most bytes of fetched media on disk, per batch")
    fetch_known: int = Field(100_000, ge=0, description="URLs whose ETag and digest Redis keeps; 0: none")
    decode_seconds: float = Field(10.0, gt=0, description="time that decoding one picture or sound may take")
    decode_processes: _Positive = Field(2, description="processes that decode pictures and sounds, per worker or API process")
    decode_bytes: _Positive = Field(2_000_000_000, description="most memory (address space) of a process that decodes")
    ffmpeg: Path | None = Field(
        default=None, description="ffmpeg program for M4A, AAC and WebM sounds; unset: the one on PATH, if there is one"
    )
    catalogues: str | None = Field(
        default=None,
        description="beginnings of addresses whose catalogues may be named over HTTP, by commas: /catalogues/,s3://feeds/",
    )
    upload_bytes: _Positive = Field(
        1_000_000_000, description="most bytes of a catalogue sent over HTTP, kept in Elasticsearch until it is read"
    )
    record_bytes: _Positive = Field(1_000_000, description="most bytes of one catalogue record")
    api_lexical_queries: bool = Field(
        default=False,
        description="whether clients may hand in a lexical_query, which can read every index that Triptych's own user may read",
    )
    api_host: str = Field("127.0.0.1", description="address `triptych serve` listens on")
    api_port: int = Field(8000, ge=0, le=65535, description="port `triptych serve` listens on")
    pages: bool = Field(default=True, description="whether `triptych serve` also serves pages for people")
    pages_examples: Path | None = Field(
        default=None, description="JSON file of examples that the search page offers; unset: products of the index"
    )
    media_root: Path | None = Field(
        default=None,
        description="folder that products' files are relative to, for pages; unset: that of the job that wrote the product",
    )
    api_keys: bool = Field(default=False, description="whether the HTTP API asks for keys (`triptych key create`)")
    rate_limit: Annotated[str, AfterValidator(settings_values.limits)] | None = Field(
        default=None,
        description="requests a key may send from one address, or an address: 50/second;2000/minute; unset: any number",
    )
    cors_origins: Annotated[str, AfterValidator(settings_values.origins)] | None = Field(
        default=None, description="origins whose pages may ask the API from a browser, with commas; unset: none"
    )
    traces: str | None = Field(
        default=None,
        description="collector of OpenTelemetry that takes spans by OTLP over HTTP: http://collector:4318; unset: none",
    )
    proxies: int = Field(
        0,
        ge=0,
        le=9,
        description="proxies before the API, each of which adds to X-Forwarded-For; 0: that header is not believed",
    )
    session_seconds: _Positive = Field(600, description="how long the pages of an answer can be turned")
    page_secret: SecretStr | None = Field(
        default=None, description="signs the tokens of pages; unset: one that the API's processes share through Redis"
    )
    events: bool = Field(default=False, description="whether the API takes events: what users click, buy, dismiss")
    events_answers: bool = Field(
        default=False, description="whether the API keeps which products an answer showed, and the words it was asked by"
    )
    events_days: _Positive = Field(90, description="days that events are kept; then whole days are deleted")
    events_salt_days: _Positive = Field(7, description="days after which sessions get other pseudonyms")
    events_per_minute: _Positive = Field(60_000, description="most events that all processes of the API take in a minute")
    java_home: Path | None = Field(default=None, description="Java (21 or newer) for `triptych up`; unset: searched for")

    @classmethod
    def names(cls) -> list[str]:
        """The settings' names without the prefix, in capitals."""
        return [name.upper() for name in cls.model_fields]

    @property
    def secrets(self) -> list[str]:
        """What must never be shown: passwords and keys, those inside of URLs too."""
        values = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        found = [
            urlsplit(part).password if "://" in part else part for value in values for part in settings_values.addresses(value)
        ]
        return [form for value in found if value for form in dict.fromkeys((value, unquote(value)))]

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins whose pages may ask the API from a browser."""
        return tuple(settings_values.listed(self.cors_origins or ""))

    @property
    def encoders_dir(self) -> Path:
        return self.data_dir / "encoders"

    @property
    def engine_dir(self) -> Path:
        return self.data_dir / "engine"

    @property
    def profile_file(self) -> Path:
        """Where `triptych profiles use` keeps its choice."""
        return self.data_dir / "profile"

    @property
    def active_profile(self) -> str:
        """The profile in force: the setting, else what `triptych profiles use` chose, else offline."""
        if self.profile is not None:
            return self.profile
        try:
            return self.profile_file.read_text(encoding="utf-8").strip() or DEFAULT_PROFILE
        except OSError:
            return DEFAULT_PROFILE
        except UnicodeDecodeError as error:
            raise SettingsError(
                f"{self.profile_file} is no text.", field=f"{PREFIX}PROFILE", remedy="Choose again: triptych profiles use NAME"
            ) from error

    @property
    def elasticsearch_address(self) -> str:
        """The Elasticsearch to talk to: the setting, else the local engine's, else the usual address."""
        if self.elasticsearch_url is not None:
            return self.elasticsearch_url.get_secret_value()
        return self._engine_state("elasticsearch_url") or "http://127.0.0.1:9200"

    @property
    def elasticsearch_addresses(self) -> list[str]:
        """The same, one address per node."""
        return settings_values.addresses(self.elasticsearch_address)

    @property
    def redis_address(self) -> str:
        """The Redis to talk to: the setting, else the local engine's, else the usual address."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return self._engine_state("redis_url") or "redis://127.0.0.1:6379/0"

    @property
    def elasticsearch_login(self) -> tuple[str, str] | None:
        """User and password: the settings', else, where no address is set, those of the local engine with security on.

        Raises SettingsError for a user without a password.
        """
        if self.elasticsearch_user is not None:
            if self.elasticsearch_password is None:
                raise SettingsError(
                    "TRIPTYCH_ELASTICSEARCH_USER is set without a password.",
                    field="TRIPTYCH_ELASTICSEARCH_PASSWORD",
                    remedy="Set TRIPTYCH_ELASTICSEARCH_PASSWORD too, or use TRIPTYCH_ELASTICSEARCH_API_KEY.",
                )
            return self.elasticsearch_user, self.elasticsearch_password.get_secret_value()
        if self.elasticsearch_url is not None or self.elasticsearch_cloud_id is not None:
            return None
        user, password = self._engine_state("elasticsearch_user"), self._engine_state("elasticsearch_password")
        return (user, password) if user and password else None

    def _engine_state(self, key: str) -> str | None:
        """One value of the state file that `triptych up` keeps while it runs (see engine/state.py)."""
        try:
            state = json.loads((self.engine_dir / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        value = state.get(key) if isinstance(state, dict) else None
        return value if isinstance(value, str) else None


def load() -> Settings:
    """Read the environment. Raises SettingsError naming the variable and the remedy."""
    known = {PREFIX + name for name in Settings.names()}
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), Settings.names(), n=1)
            hint = f"Did you mean {PREFIX}{close[0]}?" if close else "See docs/settings.md for the names there are."
            raise SettingsError(f"{name} is not a setting of Triptych.", code="settings.unknown", field=name, remedy=hint)
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}.", field=name, remedy="See docs/settings.md.") from error


def java_homes() -> list[Path]:
    """Folders that the environment names as a Java, best first: TRIPTYCH_JAVA_HOME is a setting, these are the others'."""
    return [Path(os.environ[name]) for name in ("ES_JAVA_HOME", "JAVA_HOME") if os.environ.get(name)]


def calm_openmp() -> None:
    """Let idle OpenMP threads sleep instead of spin, unless the environment says otherwise; before torch is imported.

    On two busy cores a query took 910 ms with spinning threads and 42 ms without.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def hand_down(**values: str) -> None:
    """Set settings (names without the prefix) for this process and its children, whatever way they are started."""
    os.environ.update({PREFIX + name: value for name, value in values.items()})


def take_variables(values: Mapping[str, str | None]) -> None:
    """Set environment variables for this process and its children; None removes one."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def metrics_folder() -> Path | None:
    """Where the processes of one API share what they measure; None where there is one process."""
    folder = os.environ.get(_METRICS)
    return Path(folder) if folder else None


def share_metrics(folder: Path) -> None:
    """Let the processes that this one starts share what they measure, in `folder`."""
    os.environ[_METRICS] = str(folder)


def child_environment(**overrides: str) -> dict[str, str]:
    """This process's environment for a child process, with the given variables set."""
    return {**os.environ, **overrides}
