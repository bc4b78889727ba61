"""docker-compose.yml, Dockerfile and the lock: what can be held without a Docker engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from check_commands import faults_of
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from triptych.settings import PREFIX, Settings

pytestmark = pytest.mark.contract

LONG_RUNNING = {"elasticsearch", "redis", "worker", "api"}
OURS = {"encoders", "worker", "api"}
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY(?!S)")
_PIN = re.compile(
    r"(?m)^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ \\]+)(?: ; (?P<marker>[^\\\n]+?))? \\\n(?P<hashes>(?:    --hash=.*\n?)+)"
)


@pytest.fixture(scope="module")
def compose(root: Path) -> dict[str, Any]:
    data = yaml.safe_load((root / "docker-compose.yml").read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.fixture(scope="module")
def dockerfile(root: Path) -> str:
    return re.sub(r"\\\n", " ", (root / "Dockerfile").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lock(root: Path) -> list[re.Match[str]]:
    return list(_PIN.finditer((root / "requirements.lock").read_text(encoding="utf-8")))


def schema_faults(path: Path) -> str:
    tool = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [tool, "--builtin-schema", "vendor.compose-spec", path], capture_output=True, text=True, check=False, timeout=120
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_compose_file_follows_the_compose_specification(root: Path) -> None:
    assert schema_faults(root / "docker-compose.yml") == ""


def test_a_compose_file_with_a_mistake_is_noticed(root: Path, tmp_path: Path) -> None:
    text = (root / "docker-compose.yml").read_text(encoding="utf-8")
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text.replace("healthcheck:", "healthcheque:"), encoding="utf-8")
    assert "healthcheque" in schema_faults(broken)


def test_there_are_the_services_the_docs_name(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == LONG_RUNNING | OURS


def test_health_checks_ask_where_it_listens(services: dict[str, dict[str, Any]]) -> None:
    api, worker = services["api"], services["worker"]
    port = api["command"][api["command"].index("--port") + 1]
    assert f"http://127.0.0.1:{port}/v1/health/ready" in api["healthcheck"]["test"][3]
    assert [published.rpartition(":")[2] for published in api["ports"]] == [port]
    name = worker["command"][worker["command"].index("--name") + 1]
    assert f'"{name}@" + socket.gethostname()' in worker["healthcheck"]["test"][3]


def test_what_is_stopped_has_the_time_it_takes(services: dict[str, dict[str, Any]]) -> None:
    from search_api.serve import STOP_SECONDS

    assert seconds_of(services["api"]) > STOP_SECONDS
    assert seconds_of(services["worker"]) > Settings.model_fields["worker_stop_seconds"].default + 10


def seconds_of(service: Mapping[str, Any]) -> float:
    found = re.fullmatch(r"(\d+)s", service["stop_grace_period"])
    assert found is not None
    return float(found[1])


def test_worker_api_and_encoders_are_one_image_built_here(services: dict[str, dict[str, Any]], root: Path) -> None:
    version = re.search(r'(?m)^version = "(.+)"', (root / "pyproject.toml").read_text(encoding="utf-8"))
    assert version is not None
    assert {services[name]["image"] for name in OURS} == {f"triptych:{version[1]}"}
    assert all(services[name]["build"]["context"] == "." for name in OURS)


def test_every_long_running_service_has_a_health_check_and_comes_back(services: dict[str, dict[str, Any]]) -> None:
    for name in LONG_RUNNING:
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(services[name]["healthcheck"]), name
        assert services[name]["restart"] == "unless-stopped", name
        assert "mem_limit" in services[name], name


def test_python_in_health_checks_compiles(services: dict[str, dict[str, Any]]) -> None:
    scripts = [
        test[3] for name in OURS & LONG_RUNNING if (test := services[name]["healthcheck"]["test"])[1:3] == ["python", "-c"]
    ]
    assert len(scripts) == 2
    for script in scripts:
        compile(script, "healthcheck", "exec")


def test_worker_and_api_wait_for_healthy_services_and_prepared_encoders(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS & LONG_RUNNING:
        needs = {other: need["condition"] for other, need in services[name]["depends_on"].items()}
        assert needs == {
            "elasticsearch": "service_healthy",
            "redis": "service_healthy",
            "encoders": "service_completed_successfully",
        }


def test_named_volumes_are_declared_and_used(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    mounts = [mount.partition(":")[0] for service in services.values() for mount in service.get("volumes", ())]
    named = {mount for mount in mounts if not mount.startswith((".", "/", "$"))}
    assert named == set(compose["volumes"])


def test_the_prepared_encoders_and_the_catalogue_are_read_only_where_nobody_writes(services: dict[str, dict[str, Any]]) -> None:
    for name in OURS & LONG_RUNNING:
        assert all(mount.endswith(":ro") for mount in services[name]["volumes"]), name
    assert any(":/catalogues:ro" in mount for mount in services["worker"]["volumes"])


def test_only_the_api_is_published_and_only_on_this_machine(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["api"]
    assert all(port.startswith("127.0.0.1:") for port in published["api"])


def literal_secrets(services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of variables that hold a secret and are not taken from the environment, by `${NAME:?...}`, which is required."""
    variables = [item for service in services.values() for item in service.get("environment", {}).items()]
    return [name for name, value in variables if _SECRET.search(name) and not re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", str(value))]


def test_secrets_come_from_the_environment(services: dict[str, dict[str, Any]], root: Path) -> None:
    assert literal_secrets(services) == []
    assert literal_secrets({"api": {"environment": {"ELASTIC_PASSWORD": "changeme"}}}) == ["ELASTIC_PASSWORD"]
    example = (root / ".env.example").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*)=(.*)$", example) == [("ELASTIC_PASSWORD", "")]


def test_the_example_of_env_has_every_variable_of_the_compose_file(root: Path) -> None:
    text = re.sub(r"(?m)^\s*#.*$|\$\$\w+", "", (root / "docker-compose.yml").read_text(encoding="utf-8"))
    used = dict(re.findall(r"\$\{(\w+)(?::-([^}]*))?", text))
    given = dict(re.findall(r"(?m)^(\w+)=(.*)$", (root / ".env.example").read_text(encoding="utf-8")))
    assert given == used


def test_elasticsearch_asks_for_a_password_and_has_its_limits(services: dict[str, dict[str, Any]]) -> None:
    node = services["elasticsearch"]
    assert node["environment"]["xpack.security.enabled"] == "true"
    assert node["ulimits"]["memlock"] == {"soft": -1, "hard": -1}
    assert node["ulimits"]["nofile"]["hard"] >= 65536


def test_elasticsearch_is_of_the_version_that_is_tested(services: dict[str, dict[str, Any]]) -> None:
    from engine.versions import DEFAULT_VERSION

    assert services["elasticsearch"]["image"].endswith(f"/elasticsearch:{DEFAULT_VERSION}")


def test_what_listens_to_other_machines_asks_for_keys(services: dict[str, dict[str, Any]], dockerfile: str) -> None:
    assert "0.0.0.0" in services["api"]["command"]  # noqa: S104
    assert services["api"]["environment"]["TRIPTYCH_API_KEYS"] == "true"
    assert re.search(r"CMD .*0\.0\.0\.0", dockerfile)
    assert re.search(r"ENV .*TRIPTYCH_API_KEYS=true", dockerfile)


def unknown_settings(text: str) -> set[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return set(re.findall(PREFIX + r"[A-Z_]*[A-Z]", text)) - known


@pytest.mark.parametrize("name", ["docker-compose.yml", "Dockerfile", ".env.example"])
def test_every_setting_that_is_used_exists(root: Path, name: str) -> None:
    assert unknown_settings((root / name).read_text(encoding="utf-8")) == set()


def test_a_setting_that_does_not_exist_is_noticed() -> None:
    assert unknown_settings("TRIPTYCH_DATA_DIR TRIPTYCH_DATADIR") == {"TRIPTYCH_DATADIR"}


def test_every_command_exists(services: dict[str, dict[str, Any]], dockerfile: str, commands: dict[str, click.Command]) -> None:
    (started,) = re.findall(r"(?m)^CMD (.+)$", dockerfile)
    lines = [services[name]["command"] for name in sorted(OURS)] + [json.loads(started)]
    assert {line[0] for line in lines} == {"triptych"}
    assert [fault for line in lines for fault in faults_of(line, commands)] == []


def test_a_command_that_does_not_exist_is_noticed(commands: dict[str, click.Command]) -> None:
    assert faults_of(["triptych", "serve", "--prot", "1"], commands) == ["no option --prot of 'triptych serve'"]
    assert faults_of(["triptych", "index"], commands) == ["no command 'triptych index'"]
    assert faults_of(["triptych", "index", "ad", "shop"], commands) == ["no command 'triptych index ad shop'"]


def test_the_image_does_not_run_as_root_and_is_built_in_stages(dockerfile: str) -> None:
    stages = dockerfile.split("\nFROM ")
    assert len(stages) == 3, "two stages"
    users = re.findall(r"(?m)^USER (.+)$", stages[-1])
    assert users
    assert users[-1] not in ("root", "0")


def test_the_image_installs_the_lock_by_its_hashes_and_the_project_without_looking_further(dockerfile: str) -> None:
    installs = re.findall(r"pip install ([^&\n]+)", dockerfile)
    assert [re.sub(r"\s+", " ", line).strip() for line in installs] == [
        "--require-hashes --no-deps -r requirements.lock",
        "--no-deps --no-build-isolation .",
    ]


def test_what_the_dockerfile_copies_is_let_through_and_exists(dockerfile: str, root: Path) -> None:
    copied = {
        word.removeprefix("./") for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", dockerfile) for word in line.split()[:-1]
    }
    allowed = set(re.findall(r"(?m)^!(.+)$", (root / ".dockerignore").read_text(encoding="utf-8")))
    assert copied == allowed
    assert [name for name in sorted(copied) if not (root / name).exists()] == []


def test_every_pin_of_the_lock_has_hashes(lock: list[re.Match[str]], root: Path) -> None:
    lines = re.findall(r"(?m)^[A-Za-z0-9].*$", (root / "requirements.lock").read_text(encoding="utf-8"))
    assert len(lock) == len(lines)


def uncovered(wanted: list[Requirement], lock: list[re.Match[str]]) -> list[str]:
    """Requirements no pin of the lock fulfils."""
    pins: dict[str, list[str]] = {}
    for pin in lock:
        pins.setdefault(canonicalize_name(pin["name"]), []).append(pin["version"])
    return [str(want) for want in wanted if not any(v in want.specifier for v in pins.get(canonicalize_name(want.name), ()))]


def declared(root: Path) -> dict[str, list[Requirement]]:
    """The dependencies of pyproject.toml by extra ("" for none)."""
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {name: [Requirement(line) for line in lines] for name, lines in groups.items()}


def test_the_lock_covers_every_dependency_of_the_project(lock: list[re.Match[str]], root: Path) -> None:
    assert uncovered([want for group in declared(root).values() for want in group], lock) == []
    assert uncovered([Requirement("flask<1"), Requirement("no-such-thing")], lock) == ["flask<1", "no-such-thing"]


def closure(wanted: list[Requirement]) -> list[Requirement]:
    """`wanted` and, by what is installed here, all that they need on this machine."""
    waiting, found = list(wanted), {}
    while waiting:
        want = waiting.pop()
        if str(want) in found:
            continue
        found[str(want)] = want
        try:
            lines = requires(want.name) or []
        except PackageNotFoundError:
            continue  # a package that only a GPU needs (cpu-excludes.txt)
        waiting.extend(need for line in lines if applies(need := Requirement(line), ("", *want.extras)))
    return list(found.values())


def applies(want: Requirement, extras: tuple[str, ...]) -> bool:
    return want.marker is None or any(want.marker.evaluate({"extra": extra}) for extra in extras)


def test_the_lock_is_complete_so_that_pip_need_not_look_for_dependencies(lock: list[re.Match[str]], root: Path) -> None:
    groups = declared(root)
    assert uncovered(closure([*groups[""], *groups["offline"]]), lock) == []


def test_the_image_takes_out_nothing_that_triptych_needs(dockerfile: str, root: Path) -> None:
    removed = re.search(r"pip uninstall --yes\s+([^&]+)&&", dockerfile)
    assert removed is not None
    groups = declared(root)
    needed = {canonicalize_name(want.name) for want in closure([*groups[""], *groups["offline"]])}
    names = {canonicalize_name(name) for name in removed[1].split()}
    assert names & needed == set()
    optional = {canonicalize_name(want.name) for group in ("dev", "engine") for want in groups[group]}
    assert names <= optional
