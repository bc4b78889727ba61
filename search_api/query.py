"""What a user asks: frozen values. What is answered stands in answer.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final, Literal, get_args

from search_api.wellformed import check_form, finite
from search_api.words import TextOptions
from triptych.domain import Modality, Vector
from triptych.errors import QueryError
from triptych.schema import Missing

DEFAULT_SIZE: Final = 10
DEFAULT_WINDOW: Final = 100
"""Hits each leg returns. 100 to 200 is the known optimum up to ten million documents (../fusion in docs/architecture.md)."""

LARGEST_WINDOW: Final = 1000
DEFAULT_GUARD: Final = 2.0
"""Sigmas above its floor that a leg's best score must reach to count as 1 (docs/architecture.md, how a score is made)."""

MOST_GUARD: Final = 20
LONGEST_TEXT: Final = 10_000
LONGEST_TIMEOUT_MS: Final = 600_000

LONGEST_SESSION: Final = 200
"""Characters of the id of a visit."""

MOST_INPUTS: Final = 16
"""Inputs of one query: each makes up to a handful of legs."""

MOST_WEIGHT: Final = 1e100
"""Of an input: so much that it may stand beside any other, and that sums of such are numbers."""

MOST_PRODUCTS: Final = 100
"""Products of one input "like these"."""

AUDIO_WORDS: Final = "audio.words"
"""The name of a query's spoken words among what was recognised."""

AudioAs = Literal["sound", "words", "both"]
"""What a query's sound is: something to find the like of, spoken words, or both."""

FusionMethod = Literal["calibrated", "min_max", "z_score", "dbsf", "l2", "tm2c2", "rrf", "native"]
Mean = Literal["arithmetic", "geometric", "harmonic"]
QueryClass = Literal["auto", "sku", "short", "sentence", "none"]
Numbers = Sequence[float] | Vector
"""A vector that the query gives."""

InputKind = Literal["text", "image", "audio", "vector", "products", "history"]

_FUSIONS, _MEANS, _CLASSES = get_args(FusionMethod), get_args(Mean), get_args(QueryClass)
_MISSING, _KINDS = get_args(Missing), get_args(InputKind)


@dataclass(frozen=True, slots=True)
class QueryInput:
    """One thing a query is made of: words, a picture or a sound (bytes of a file), a vector of a `space`, or ids of products.

    A `history` are products that a visitor had to do with, each with its share (see `history`); nobody gives it directly.
    `weight` is its share beside the query's other inputs (1 and 1: half each); below zero it pushes products away that match.
    """

    kind: InputKind
    weight: float = 1.0
    text: str = ""
    data: bytes = field(default=b"", repr=False)
    audio_as: AudioAs = "sound"
    space: str = ""
    vector: Numbers = field(default=(), repr=False)
    products: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    where: str = ""
    """The field of the request it came from, for errors: `text`, `inputs.2.image`."""

    @property
    def modality(self) -> Modality | None:
        """The modality that is embedded; None for what comes as vectors."""
        return Modality(self.kind) if self.kind in {"text", "image", "audio"} else None


@dataclass(frozen=True)
class SearchRequest:
    """One query: any mix of words, pictures, sounds, vectors and products.

    `text`, `image`, `audio` (bytes of a file) and `vectors` (by space) are the short form for one input of each kind with
    weight 1; `inputs` are further ones. `fingerprints` are those of the encoders, by space, that the query was made for: an
    index filled by others refuses it. `products` are ids of products to find the like of. `weights` gives legs their share
    of the score (see `weights.share`), `weight_set` names a set kept with the index. `filters` must hold for every product
    (see `filters`). `lexical_query`, in Elasticsearch's query language, takes the place of the words' own query in the leg
    `lexical`. `size` hits are returned of those found within `window` per leg.

    `fusion` and `mean` say how scores are brought to one scale and averaged; `guard` is how many sigmas above the floor a leg's
    best score must stand, under calibrated, to count as 1; `complete=False` gives products 0 from legs that
    did not return them; `missing` is what a leg counts whose modality a product has not. `exact=False` leaves quantised
    scores as they are. `min_relevance` (0 to 1) cuts off what noise would reach as well. `page` is the token of a next page,
    alone or beside `index`.
    `session_id` names the visit whose events lift what is like the products they are of (see `history`).
    """

    index: str = ""
    text: str | None = None
    image: bytes | None = field(default=None, repr=False)
    audio: bytes | None = field(default=None, repr=False)
    audio_as: AudioAs = "sound"
    vectors: Mapping[str, Numbers] = field(default_factory=dict, repr=False)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    products: tuple[str, ...] = ()
    inputs: tuple[QueryInput, ...] = ()
    text_options: TextOptions = field(default_factory=TextOptions)
    lexical_query: Mapping[str, Any] | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    weight_set: str | None = None
    query_class: QueryClass = "auto"
    filters: Mapping[str, Any] = field(default_factory=dict)
    facets: Mapping[str, Any] = field(default_factory=dict)
    sort: Sequence[Any] = ()
    collapse: str | None = None
    vote: Mapping[str, Any] | None = None
    min_relevance: float = 0.0
    size: int = DEFAULT_SIZE
    window: int = DEFAULT_WINDOW
    page: str | None = None
    deep: bool = False
    certify: bool = False
    fusion: FusionMethod = "calibrated"
    mean: Mean = "arithmetic"
    guard: float = DEFAULT_GUARD
    complete: bool = True
    missing: Missing | None = None
    exact: bool = True
    timeout_ms: int | None = None
    fields: tuple[str, ...] | None = None
    highlight: bool = False
    with_vectors: bool = False
    explain: bool = False
    session_id: str | None = None

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of this query's inputs, in a fixed order."""
        given = {one.modality for one in self.all_inputs()}
        return tuple(modality for modality in Modality if modality in given)

    def all_inputs(self) -> tuple[QueryInput, ...]:
        """Short form and `inputs` as one list: words, pictures, sounds, vectors, products, each kind in the order given."""
        return self._all_inputs

    @cached_property
    def _all_inputs(self) -> tuple[QueryInput, ...]:
        short: list[QueryInput] = []
        if self.text is not None:
            short.append(QueryInput("text", text=self.text, where="text"))
        if self.image is not None:
            short.append(QueryInput("image", data=self.image, where="image"))
        if self.audio is not None:
            short.append(QueryInput("audio", data=self.audio, audio_as=self.audio_as, where="audio"))
        short += [QueryInput("vector", space=s, vector=v, where=f"vectors.{s}") for s, v in self.vectors.items()]
        if self.products:
            short.append(QueryInput("products", products=self.products, where="products"))
        placed = [replace(one, where=one.where or f"inputs.{n}.{one.kind}") for n, one in enumerate(self.inputs)]
        return tuple(sorted([*short, *placed], key=lambda one: _KINDS.index(one.kind)))


def check(request: SearchRequest) -> None:
    """Raise QueryError for a request that no index could answer."""
    check_form(request)
    if not 1 <= request.window <= LARGEST_WINDOW:
        raise QueryError(f"A window is 1 to {LARGEST_WINDOW}.", code="query.bad_window", field="window")
    if not 1 <= request.size <= request.window:
        raise QueryError(
            f"size is 1 to window, which is {request.window}.", code="query.bad_size", field="size", remedy="Raise window too."
        )
    check_relevance(request.min_relevance)
    check_guard(request.guard, request.fusion)
    if request.timeout_ms is not None and not 1 <= request.timeout_ms <= LONGEST_TIMEOUT_MS:
        raise QueryError(f"timeout_ms is 1 to {LONGEST_TIMEOUT_MS}.", code="query.bad_timeout", field="timeout_ms")
    check_missing(request.missing)
    _check_one_of("query_class", request.query_class, _CLASSES, "query.unknown_option")
    if request.audio_as != "sound" and request.audio is None:
        raise QueryError("audio_as is given without audio.", code="query.empty", field="audio", remedy="Give a sound.")
    if request.audio_as != "sound" and request.text is not None:
        raise QueryError(
            "The query has words both typed and spoken.", code="query.two_texts", field="audio_as", remedy="Give one of them."
        )
    _check_together(request)
    _check_lexical_query(request)
    _check_session(request.session_id)
    inputs = request.all_inputs()
    if len(inputs) > MOST_INPUTS:
        raise QueryError(f"A query has at most {MOST_INPUTS} inputs.", code="query.too_many_inputs", field="inputs")
    for one in inputs:
        _check_input(one)
    if inputs and all(one.weight <= 0 for one in inputs):
        raise QueryError(
            "No input of the query has a weight above 0.",
            code="query.bad_weight",
            field="inputs",
            remedy="Say what is wanted too, not only what is not.",
        )


def _check_session(session: str | None) -> None:
    if session is not None and not 1 <= len(session) <= LONGEST_SESSION:
        raise QueryError(f"A session_id has 1 to {LONGEST_SESSION} characters.", code="query.bad_session", field="session_id")


def _check_lexical_query(request: SearchRequest) -> None:
    given = request.lexical_query
    if given is None:
        return
    spoken = request.audio_as != "sound" or any(one.audio_as != "sound" for one in request.inputs)
    if not spoken and not any(one.kind == "text" for one in request.all_inputs()):
        raise QueryError(
            "lexical_query takes the place of the words' own query, but there are no words.",
            code="query.bad_lexical_query",
            field="lexical_query",
            remedy="Give the words as text too: other legs search by them, and scores are measured per word.",
        )
    if len(given) != 1 or request.text_options != TextOptions():
        what = "has one name, such as function_score" if len(given) != 1 else "and text_options do not go together"
        raise QueryError(f"A lexical_query {what}.", code="query.bad_lexical_query", field="lexical_query")


_NOT_NATIVE = ("deep", "certify", "vote", "collapse", "min_relevance", "missing")


BESIDE_PAGE: Final = frozenset({"index", "page"})
"""What a request of a page may say."""


def check_page_alone(request: SearchRequest) -> None:
    """Raise QueryError for a request of a page that asks for something else, too."""
    plain = SearchRequest()
    for name in (one.name for one in fields(request) if one.name not in BESIDE_PAGE):
        given, default = getattr(request, name), getattr(plain, name)
        if given != default and (given or default):  # of nothing any form will do
            raise not_alone(name)


def not_alone(name: str) -> QueryError:
    """The error of who asks for a page and says something else, too."""
    return QueryError(
        f"A page is asked for by its token alone, but {name} is given too.",
        code="page.not_alone",
        field=name,
        remedy=f"Leave out {name}, or page: a page shows its answer as the first one did.",
    )


def check_relevance(least: float) -> None:
    if not 0 <= least <= 1:
        raise QueryError("min_relevance is 0 to 1.", code="query.bad_relevance", field="min_relevance")


def check_guard(guard: float, fusion: str) -> None:
    if not 0 <= guard <= MOST_GUARD:
        raise QueryError(f"guard is 0 to {MOST_GUARD} sigmas.", code="query.bad_guard", field="guard")
    if fusion != "calibrated" and guard != DEFAULT_GUARD:
        raise QueryError(
            f"Only calibrated scores have a guard; fusion is {fusion}.",
            code="query.bad_guard",
            field="guard",
            remedy="Leave guard out, or use calibrated.",
        )


def check_missing(missing: str | None) -> None:
    if missing is not None:
        _check_one_of("missing", missing, _MISSING, "query.unknown_option")


def check_size(size: int, most: int) -> None:
    if not 1 <= size <= most:
        raise QueryError(f"size is 1 to {most}.", code="query.bad_size", field="size")


def _check_together(request: SearchRequest) -> None:
    """Fields that exclude each other."""
    if request.fusion == "native":
        able: dict[str, object] = {name: getattr(request, name) for name in _NOT_NATIVE}
        for name, given in able.items():
            if given:
                raise QueryError(
                    f"fusion native is one request and has no {name}.",
                    code="query.not_native",
                    field=name,
                    remedy="Use another fusion.",
                )
    arranged = [name for name in ("sort", "collapse", "vote", "min_relevance") if getattr(request, name)]
    if request.certify and ((request.fusion, request.mean, request.complete) != _PROVABLE or arranged):
        raise QueryError(
            "Only the order of calibrated, completed scores under the arithmetic mean can be certified.",
            code="query.not_certifiable",
            field=arranged[0] if arranged else "certify",
            remedy="Leave out sort, collapse, vote and min_relevance.",
        )
    if request.deep and (request.sort or request.fusion != "calibrated"):
        raise QueryError(
            "Deep pages keep the order of what was shown: only that of calibrated scores does not move.",
            code="query.not_deep",
            field="sort" if request.sort else "fusion",
        )
    check_method(request.fusion, request.mean)


_PROVABLE = ("calibrated", "arithmetic", True)


def check_method(fusion: str, mean: str, *, weights: Iterable[float] = ()) -> None:
    """Raise QueryError for a way of fusing that there is not, or a mean of what may be below 0."""
    _check_one_of("fusion", fusion, _FUSIONS, "query.unknown_fusion")
    _check_one_of("mean", mean, _MEANS, "query.unknown_option")
    if mean != "arithmetic" and (fusion in {"rrf", "z_score", "native"} or any(weight < 0 for weight in weights)):
        raise QueryError(
            f"The {mean} mean needs scores and weights from 0 up.",
            code="query.bad_mean",
            field="mean",
            remedy="Use arithmetic.",
        )


def _check_one_of(name: str, value: object, able: Sequence[str], code: str) -> None:
    if value not in able:
        raise QueryError(f"There is no {name} {value!r}.", code=code, field=name, remedy=f"There is: {', '.join(able)}.")


def _check_input(one: QueryInput) -> None:
    if not finite(one.weight) or abs(one.weight) > MOST_WEIGHT:
        raise QueryError(f"The weight is no number up to {MOST_WEIGHT:g}.", code="query.bad_weight", field=one.where)
    if one.kind == "text" and not one.text.strip():
        raise QueryError("The text is empty.", code="query.empty", field=one.where, remedy="Leave it out or give words.")
    if len(one.text) > LONGEST_TEXT:
        raise QueryError(f"The text is longer than {LONGEST_TEXT} characters.", code="query.too_long", field=one.where)
    if len(one.products) > MOST_PRODUCTS:
        raise QueryError(f"An input has at most {MOST_PRODUCTS} products.", code="query.too_many_products", field=one.where)
