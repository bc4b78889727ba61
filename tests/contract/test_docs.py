"""The docs and the code name the same commands, options, settings, endpoints and error codes, in both directions."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
from check_commands import faults_of, options_of
from check_pages import first_column, quoted, sections

from triptych.encoders.base import Encoder
from triptych.schema import IndexSchema
from triptych.settings import PREFIX, Settings

pytestmark = pytest.mark.contract

PACKAGES = ("triptych", "indexer", "search_api", "evaluation", "training", "engine")
_CODE = re.compile(r"[a-z]+(?:_[a-z]+)*(?:\.[a-z]+(?:_[a-z0-9]+)*)*")
_HEADING = re.compile(r"(?m)^#+ (.+)$")


# Commands


def test_every_command_has_a_section_and_every_section_a_command(
    pages: dict[str, str], commands: dict[str, click.Command]
) -> None:
    assert {name.strip("`") for name in sections(pages["cli.md"])} == set(commands)


def option_faults(section: str, command: click.Command) -> list[str]:
    """Options that only the section or only the command has."""
    documented = {word.split()[0] for word in quoted(first_column(section)) if word.startswith("-")}
    known = set(options_of(command))
    return [f"not documented: {name}" for name in sorted(known - documented - {"-h", "--help"})] + [
        f"does not exist: {name}" for name in sorted(documented - known - {"-h", "--help"})
    ]


def test_every_option_is_documented_and_every_documented_option_exists(
    pages: dict[str, str], commands: dict[str, click.Command]
) -> None:
    found = {name: option_faults(sections(pages["cli.md"]).get(f"`{name}`", ""), command) for name, command in commands.items()}
    assert {name: faults for name, faults in found.items() if faults} == {}


def test_an_option_that_is_missing_on_either_side_is_noticed(commands: dict[str, click.Command]) -> None:
    section = "| option | meaning |\n|---|---|\n| `--jsn` | print JSON |\n"
    assert option_faults(section, commands["triptych down"]) == ["not documented: --json", "does not exist: --jsn"]


def test_every_argument_is_named(pages: dict[str, str], commands: dict[str, click.Command]) -> None:
    for name, command in commands.items():
        for argument in (p for p in command.params if isinstance(p, click.Argument)):
            word = (argument.metavar or argument.name or "").upper()
            assert word in sections(pages["cli.md"])[f"`{name}`"], f"{name}: {word}"


def command_lines(page: str) -> Iterator[list[str]]:
    """The `triptych ...` lines of a page's shell and indented blocks, those that docker compose or eval runs included."""
    fenced = [block for kind, block in re.findall(r"(?ms)^```(\w*)\n(.*?)^```", page) if kind in {"sh", "bash", "console"}]
    indented = re.findall(r"(?m)^    (.*\btriptych .*)$", page)
    for line in re.sub(r"\\\n", " ", "\n".join([*fenced, *indented])).splitlines():
        found = re.search(r"(?:^|\s|\$\(|/)(triptych(?: .*)?)$", re.split(r"\s(?:#|\||&&|>|&)(?:\s|$)", line)[0].rstrip())
        if found and not line.lstrip().startswith("#"):
            yield shlex.split(found[1].removesuffix(')"'))


def test_every_command_line_in_the_docs_can_be_given(pages: dict[str, str], commands: dict[str, click.Command]) -> None:
    lines = [(name, line) for name, page in pages.items() for line in command_lines(page)]
    assert len(lines) >= 5
    assert [(name, fault) for name, line in lines for fault in faults_of(line, commands)] == []


def test_a_command_line_that_cannot_be_given_is_noticed(commands: dict[str, click.Command]) -> None:
    page = "```sh\ndocker compose run --rm worker triptych index make shop   # no\n```\n"
    assert [fault for line in command_lines(page) for fault in faults_of(line, commands)] == [
        "no command 'triptych index make shop'"
    ]


# Settings


def default_of(name: str) -> str:
    """A setting's default as docs/settings.md writes it."""
    default = Settings.model_fields[name].default
    return "unset" if default is None else str(default).replace(str(Path.home()), "~")


def test_every_setting_stands_in_the_table_with_its_default(pages: dict[str, str]) -> None:
    rows = re.findall(rf"(?m)^\| `({PREFIX}\w+)` \| ([^|]+) \| [^|]{{10,}} \|$", pages["settings.md"])
    assert dict(rows) == {PREFIX + name.upper(): default_of(name) for name in Settings.model_fields}
    assert len(rows) == len(Settings.model_fields)


def test_no_page_names_a_setting_that_does_not_exist(pages: dict[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    found = {name: set(re.findall(PREFIX + r"[A-Z_]*[A-Z]", page)) - known for name, page in pages.items()}
    assert {name: unknown for name, unknown in found.items() if unknown} == {}


# Endpoints


def routes() -> set[str]:
    """Every endpoint of the application as "METHOD /path"; no service is asked, and there is no encoder to warm."""
    from search_api.app import create_app
    from triptych.services import Services

    class WithoutEncoders(Services):
        def encoders(self, schema: IndexSchema) -> Mapping[str, Encoder]:  # noqa: ARG002  as Services has it
            return {}

    app = create_app(WithoutEncoders(Settings(elasticsearch_url="http://127.0.0.1:9", redis_url="redis://127.0.0.1:9/0")))
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]
    plain = {
        (method, re.sub(r"<(?:\w+:)?(?:\w+_)?(\w+)>", r"{\1}", rule.rule)) for rule in rules for method in rule.methods or ()
    }
    return {f"{method} {path}" for method, path in plain if method not in {"HEAD", "OPTIONS"}}


def test_every_endpoint_has_a_section_and_every_section_an_endpoint(pages: dict[str, str]) -> None:
    names = [name.strip("`") for name in sections(pages["http-api.md"])]
    assert {name for name in names if name.startswith(("GET ", "POST ", "PUT ", "DELETE "))} == routes()


def test_every_field_of_a_search_is_documented(pages: dict[str, str]) -> None:
    from dataclasses import fields

    from search_api.answer import Hit, LegScore, SearchResult
    from search_api.schemas import SearchBody

    section = sections(pages["http-api.md"])["`POST /v1/search`"]
    request, answer = section.split("### Answer")
    table = set(quoted(first_column(request)))
    assert table == set(SearchBody.model_fields)
    for kind in (SearchResult, Hit, LegScore):
        assert [f.name for f in fields(kind) if f'"{f.name}"' not in answer] == []


# Error codes


def codes_in(source: str) -> set[str]:
    """Every error code a module makes: `code=` and `default_code`, dead letters, records' faults, problems."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword | ast.Assign) and _names(node) & {"code", "default_code"}:
            found |= _texts(node.value)
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found |= {t for k, v in pairs if isinstance(k, ast.Constant) and k.value == "code" for t in _texts(v)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            place = {"DeadLetter": 0, "_dead": 0, "problem": 1, "Use": 2, "_check_one_of": 3}.get(node.func.id)
            if place is not None and len(node.args) > place:
                found |= _texts(node.args[place])
    return found


def _names(node: ast.keyword | ast.Assign) -> set[str | None]:
    """What a keyword argument or an assignment gives a value to."""
    return {node.arg} if isinstance(node, ast.keyword) else {t.id for t in node.targets if isinstance(t, ast.Name)}


def _texts(value: ast.expr) -> set[str]:
    """The codes in an expression, such as the literals of `{404: "a.b"}.get(status, "c.d")`; not what an index picks from."""
    if isinstance(value, ast.Subscript):
        return set()
    constants = [node.value for node in ast.walk(value) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {text for text in constants if _CODE.fullmatch(text)}


@pytest.fixture(scope="module")
def codes(root: Path) -> set[str]:
    """Every error code there is."""
    files = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    return {code for path in files for code in codes_in(path.read_text(encoding="utf-8"))}


def documented_codes(page: str) -> set[str]:
    """Codes in the tables of errors.md, and those of the section on bases."""
    bases = sections(page)["Bases"]
    return {word for word in quoted([*first_column(page), bases]) if _CODE.fullmatch(word)}


def test_codes_are_found_where_errors_are_made() -> None:
    source = """
class AError(Exception):
    default_code = "a.base"
raise AError("x", code="a.keyword")
DeadLetter("a.letter", "message", "stage", 1)
_dead("a.dead", "message", 1, "")
yield {"line": 1, "code": "a.read", "message": "no"}
code = {404: "a.four", 500: "a.five"}.get(status, f"http.{status}")
problem(500, "a.problem", "not.this")
DeadLetter(code=raw["code"], message="m")
log("not.this")
"""
    wanted = {"base", "keyword", "letter", "dead", "read", "four", "five", "problem"}
    assert codes_in(source) == {f"a.{name}" for name in wanted}


def test_every_error_code_is_documented_and_every_documented_code_exists(pages: dict[str, str], codes: set[str]) -> None:
    documented = documented_codes(pages["errors.md"])
    assert len(codes) > 50
    assert {"not documented": codes - documented, "does not exist": documented - codes} == {
        "not documented": set(),
        "does not exist": set(),
    }


def test_every_code_is_documented_once(pages: dict[str, str]) -> None:
    cells = quoted(first_column(pages["errors.md"]))
    assert sorted({word for word in cells if cells.count(word) > 1}) == []


def test_problems_of_the_http_api_exist_and_have_the_status_they_get(pages: dict[str, str], codes: set[str]) -> None:
    from search_api.problems import status_of
    from search_api.schemas import InvalidBodyError
    from triptych import errors

    rows = re.findall(r"(?m)^\| (\d{3}) \| `([a-z0-9._]+)` \|", pages["http-api.md"])
    assert {code for _, code in rows} <= codes
    kinds = {
        "request": InvalidBodyError, "query": errors.QueryError, "media": errors.MediaError, "encoder": errors.EncoderError,
        "elasticsearch": errors.ElasticsearchError,
    }  # fmt: skip
    away = {"elasticsearch.unavailable", "elasticsearch.busy", "elasticsearch.incomplete", "elasticsearch.too_slow"}
    for status, code in rows:
        kind = kinds.get(code.partition(".")[0])
        if kind is not None:
            assert status_of(kind("x", code=code, retryable=code in away)) == int(status), code


def test_every_code_a_request_can_end_with_is_among_the_problems(pages: dict[str, str], root: Path) -> None:
    rows = set(re.findall(r"(?m)^\| \d{3} \| `([a-z0-9._]+)` \|", pages["http-api.md"]))
    only_search = {"query.unreadable_file", "query.invalid"}  # the command's; a base
    only_search |= {"access.open_to_others"}  # of `triptych serve`, before it takes requests
    only_search |= {"queue.unavailable", "relevance.not_measured"}  # a request goes on: they stand in `degraded`
    files = [path for path in (root / "search_api").rglob("*.py") if path.name != "cli.py"]
    made = {code for path in files for code in codes_in(path.read_text(encoding="utf-8"))}
    assert made - rows - only_search == set()


# Pages


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(page)}


def test_links_between_pages_lead_somewhere(root: Path) -> None:
    broken = []
    for path in [*(root / "docs").rglob("*.md"), root / "README.md", root / "CHANGELOG.md"]:
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", path.read_text(encoding="utf-8")):
            file, _, anchor = target.partition("#")
            there = (path.parent / file) if file else path
            if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
                broken.append(f"{path.relative_to(root)}: {target}")
    assert broken == []


def test_the_json_examples_are_json(pages: dict[str, str]) -> None:
    import json

    for name in ("http-api.md", "records.md", "operations.md"):
        for block in re.findall(r"(?ms)^```json\n(.*?)^```", pages[name]):
            json.loads(block)


def test_the_record_of_the_docs_is_a_product(pages: dict[str, str]) -> None:
    from indexer.records import parse
    from triptych.domain import Product

    (block,) = re.findall(r"(?ms)^```json\n(.*?)^```", pages["records.md"])
    assert isinstance(parse({"line": 1, "text": block}), Product)


def test_the_glossary_has_one_line_per_word(pages: dict[str, str]) -> None:
    words = first_column(pages["glossary.md"])[1:]
    assert len(set(words)) == len(words) > 40
