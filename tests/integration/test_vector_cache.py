"""The cache of vectors in a real Redis: what it knows, how much it holds, and that nothing depends on it."""

from __future__ import annotations

import numpy as np
import pytest
import redis
from pydantic import SecretStr

from triptych.encoders.cache import VectorCache, cost, digest_of
from triptych.errors import SettingsError
from triptych.services import Services

pytestmark = pytest.mark.integration

DIMS = 100
ENTRY = cost(DIMS * 4)


def cache_of(services: Services, run_id: str, name: str, entries: int) -> VectorCache:
    settings = services.settings.model_copy(update={"cache_name": f"cache-{name}-{run_id}", "cache_bytes": entries * ENTRY})
    return VectorCache(services.redis, settings)


def vector(number: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.full(DIMS, number, dtype=np.float32)


def test_a_vector_comes_back_as_it_was(services: Services, own_id: str) -> None:
    cache = cache_of(services, own_id, "same", 10)
    made = np.random.default_rng(0).normal(size=DIMS).astype(np.float32)
    key = digest_of("红色的帽子")
    cache.put("print", "d", {key: made})
    found = cache.get("print", "d", [key, digest_of("else")])
    assert list(found) == [key]
    np.testing.assert_array_equal(found[key], made)
    assert found[key].dtype == np.float32
    assert found[key].flags.writeable
    assert (cache.counts.asked, cache.counts.known) == (2, 1)


def test_another_encoder_and_another_role_know_nothing_of_it(services: Services, own_id: str) -> None:
    cache = cache_of(services, own_id, "apart", 10)
    cache.put("print", "d", {"a": vector(1)})
    assert cache.get("print", "q", ["a"]) == {}
    assert cache.get("other", "d", ["a"]) == {}


def test_it_holds_no_more_than_it_may_and_forgets_the_oldest(services: Services, own_id: str) -> None:
    cache = cache_of(services, own_id, "bound", 20)
    for number in range(20):
        cache.put("print", "d", {str(number): vector(number)})
    assert cache.held == 20 * ENTRY
    assert list(cache.get("print", "d", ["0"])) == ["0"]  # used now: no longer the oldest
    for number in range(20, 24):
        cache.put("print", "d", {str(number): vector(number)})
    assert cache.held <= 20 * ENTRY
    kept = cache.get("print", "d", [str(number) for number in range(24)])
    assert "0" in kept
    assert "23" in kept
    assert "1" not in kept
    assert len(kept) * ENTRY == cache.held
    keys = list(services.redis.scan_iter(match=f"cache-bound-{own_id}:v*:print:*"))
    assert len(keys) == len(kept)


def test_the_memory_of_redis_stays_within_the_bound(services: Services, own_id: str) -> None:
    cache = cache_of(services, own_id, "memory", 2000)
    for start in range(0, 10_000, 500):
        cache.put("p" * 16, "d", {digest_of(str(number)): vector(number) for number in range(start, start + 500)})
    assert cache.held <= 2000 * ENTRY
    keys = list(services.redis.scan_iter(match=f"cache-memory-{own_id}:*", count=1000))
    taken = sum(services.redis.memory_usage(key, samples=0) for key in keys)
    assert 1000 * DIMS * 4 < taken <= 2000 * ENTRY  # of these keys alone: others use this Redis too


def test_the_same_again_takes_no_more_room(services: Services, own_id: str) -> None:
    cache = cache_of(services, own_id, "twice", 10)
    for _ in range(3):
        cache.put("print", "d", {"a": vector(1), "b": vector(2)})
    assert cache.held == 2 * ENTRY


def test_who_names_the_same_cache_shares_it_whatever_the_queue(services: Services, own_id: str) -> None:
    url, name = services.settings.redis_url, f"shared-{own_id}"
    one, other, apart = (
        Services(services.settings.model_copy(update=changes)).cache
        for changes in (
            {"queue": "one", "cache_name": name},
            {"queue": "other", "cache_name": name, "redis_url": SecretStr("redis://127.0.0.1:1"), "cache_url": url},
            {"queue": f"apart-{own_id}", "cache_name": None},
        )
    )
    one.put("print", "d", {"a": vector(1)})
    assert list(other.get("print", "d", ["a"])) == ["a"]
    assert apart.get("print", "d", ["a"]) == {}
    with pytest.raises(SettingsError) as raised:
        _ = Services(services.settings.model_copy(update={"cache_url": SecretStr("mysql://secret")})).cache
    assert raised.value.field == "TRIPTYCH_CACHE_URL"
    assert "secret" not in str(raised.value)


def test_no_room_is_no_cache(services: Services, own_id: str) -> None:
    cache = cache_of(services, own_id, "off", 0)
    cache.put("print", "d", {"a": vector(1)})
    assert cache.get("print", "d", ["a"]) == {}


def test_a_redis_that_is_away_is_a_cache_that_knows_nothing(services: Services) -> None:
    away = VectorCache(redis.Redis(port=1, socket_connect_timeout=0.2), services.settings)
    away.put("print", "d", {"a": vector(1)})
    assert away.get("print", "d", ["a"]) == {}
    assert away.held == 0
