"""A node with security on, a user for each role of `mappings/roles`, and what its tests ask of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from processes import ROOT, Command
from pydantic import SecretStr

from engine import ElasticsearchNode, elasticsearch_node, redis_server
from triptych.elastic.client import Client, connect, translated
from triptych.encoders import profiles
from triptych.encoders.prepare import prepare
from triptych.errors import ElasticsearchError
from triptych.services import Services
from triptych.settings import Settings

ROLES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "mappings" / "roles").glob("*.json")}
INDEX = "shop"
"""The name that the roles' files are written for, as the prefix of Triptych's own indices is the default."""

PASSWORD = "parola-d-accesso-{role}"


@dataclass(frozen=True)
class Guarded:
    """A node with security on, a Redis, the password of its superuser, and a user `triptych-ROLE` for each role's file."""

    node: ElasticsearchNode
    redis_url: str
    root: Client
    profile: Path

    def settings(self, role: str, **more: Any) -> Settings:
        changes = {"elasticsearch_user": f"triptych-{role}", "elasticsearch_password": PASSWORD.format(role=role), **more}
        place = {"elasticsearch_url": self.node.url, "redis_url": self.redis_url, "queue": "guarded"}
        return Settings(**place, profile=str(self.profile), **changes)

    def services(self, role: str) -> Services:
        return Services(self.settings(role))

    def command(self, role: str, **more: str) -> Command:
        return Command(
            {
                "TRIPTYCH_ELASTICSEARCH_URL": self.node.url,
                "TRIPTYCH_ELASTICSEARCH_USER": f"triptych-{role}",
                "TRIPTYCH_ELASTICSEARCH_PASSWORD": PASSWORD.format(role=role),
                "TRIPTYCH_REDIS_URL": self.redis_url,
                "TRIPTYCH_QUEUE": "guarded",
                "TRIPTYCH_PROFILE": str(self.profile),
                "TRIPTYCH_BATCH_LEASE_SECONDS": "3",
                **more,
            }
        )

    def key(self, role: str) -> str:
        """An API key of the role's user, in its encoded form."""
        user = {"username": f"triptych-{role}", "password": PASSWORD.format(role=role)}
        made = self.root.security.grant_api_key(grant_type="password", api_key={"name": role}, **user)
        return str(made["encoded"])


@contextmanager
def guarded_node(folder: Path) -> Iterator[Guarded]:
    """`folder` takes a profile of words alone, which loads quickly."""
    base = Settings()
    prepare(profiles.read("offline"), base)
    profile = folder / "words.yaml"
    offline = yaml.safe_load((ROOT / "triptych" / "profiles" / "offline.yaml").read_text(encoding="utf-8"))
    profile.write_text(yaml.safe_dump({"description": "words", "spaces": {"text": offline["spaces"]["text"]}}))
    with elasticsearch_node(base, security=True) as node, redis_server(base) as redis:
        root = Settings(
            elasticsearch_url=node.url, elasticsearch_user=node.user, elasticsearch_password=SecretStr(node.password or "")
        )
        with connect(root) as client:
            for role, body in ROLES.items():
                asked(client, "PUT", f"/_security/role/triptych-{role}", body)
                client.security.put_user(
                    username=f"triptych-{role}", password=PASSWORD.format(role=role), roles=[f"triptych-{role}"]
                )
            yield Guarded(node, redis.url, client, profile)


def refused(do: Callable[[], object]) -> None:
    """Elasticsearch refuses the privilege, and nothing else is the matter."""
    with pytest.raises(ElasticsearchError) as caught:
        do()
    assert caught.value.code == "elasticsearch.forbidden", caught.value


def asked(client: Client, method: str, path: str, body: Any = None) -> Any:
    headers = {"accept": "application/json", **({"content-type": "application/json"} if body is not None else {})}
    with translated():
        return client.perform_request(method, path, body=body, headers=headers)
