"""Index templates for shops of one language: mappings/products.json with that language's analyzer. Pure but for `analyzers`.

A template is the body of `PUT /_index_template/NAME`. The files in mappings/templates/ are what `template` makes with the
analyzers that every Elasticsearch has.
https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-put-index-template
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, Final

from elasticsearch import Elasticsearch

from triptych.elastic.bodies import index_body
from triptych.elastic.client import translated
from triptych.errors import ElasticsearchError
from triptych.schema import IndexSchema

NEUTRAL: Final = "neutral"
"""No language in particular, or all of them: words are cut and lower-cased, and nothing is taken off them."""

ANALYZERS: Final[Mapping[str, tuple[str, ...]]] = {
    "en": ("english",),
    "zh": ("smartcn", "cjk"),
    "de": ("german",),
    "fr": ("french",),
    "es": ("spanish",),
    "ja": ("kuromoji", "cjk"),
    NEUTRAL: ("icu_analyzer", "standard"),
}
"""The analyzers of a language, best first. The last is in every Elasticsearch, those before come with a plugin."""

PLUGINS: Final = {"smartcn": "analysis-smartcn", "kuromoji": "analysis-kuromoji", "icu_analyzer": "analysis-icu"}
"""The plugin that an analyzer comes with. https://www.elastic.co/docs/reference/elasticsearch/plugins/analysis-plugins"""

_PRIORITY: Final = 500
"""Beyond those of Elasticsearch's own templates, of up to 200, which match other names."""


def analyzers(client: Elasticsearch, language: str) -> list[str]:
    """Those of the language's analyzers that the server has. Raises ElasticsearchError."""
    return [name for name in ANALYZERS[language] if name not in PLUGINS or _has(client, name)]


def _has(client: Elasticsearch, analyzer: str) -> bool:
    try:
        with translated():
            client.indices.analyze(analyzer=analyzer, text="a")
    except ElasticsearchError as error:
        if error.code != "elasticsearch.bad_request":
            raise
        return False
    return True


def template(
    base: Mapping[str, Any],
    language: str,
    *,
    name: str = "shop",
    there: Collection[str] = (),
    schema: IndexSchema | None = None,
) -> dict[str, Any]:
    """The template of the versions of index `name` for a shop of `language`, out of `base` (mappings/products.json).

    `there`: the analyzers of plugins that the server has. With `schema` an index made from the template has our vector fields.
    """
    analyzer = next(one for one in ANALYZERS[language] if one not in PLUGINS or one in there)
    body = copy.deepcopy(dict(base))
    mappings = body["mappings"]
    for rule in mappings["dynamic_templates"]:
        for one in rule.values():
            if one["mapping"]["type"] == "text":
                one["mapping"]["analyzer"] = analyzer
    properties = mappings["properties"]
    for words in ("title", "description"):
        if language in properties[words]["properties"]:
            properties[words]["properties"][language]["analyzer"] = analyzer
    for words in ("category", "colour"):
        properties[words]["fields"]["text"]["analyzer"] = analyzer
    about = {"description": f"Products of Triptych, language: {language}, analyzer: {analyzer}."}
    made = body if schema is None else index_body(body, schema)
    return {"index_patterns": [f"{name}-*"], "priority": _PRIORITY, "_meta": about, "template": made}
