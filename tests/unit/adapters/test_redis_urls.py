"""URLs of several servers: who is asked, and how what they name is connected to."""

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from infra.redis.topology.holders import Slots, slot_of, together
from infra.redis.topology.url import Kind, kind_of, place_of, way_of
from infra.settings.urls import masked

SENTINELS = SecretStr(
    "rediss+sentinel://us:p%40ss@one,two:26380,[::1]:3/mymaster/2?sentinel_password=s3cret&ssl_ca_certs=/ca.pem"
)
CLUSTER = SecretStr("redis+cluster://:secret@one:7000,two")


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://cache/0", Kind.ONE),
        ("unix:///run/redis.sock", Kind.ONE),
        (SENTINELS.get_secret_value(), Kind.SENTINEL),
        (CLUSTER.get_secret_value(), Kind.CLUSTER),
    ],
)
def test_the_scheme_says_what_stands_behind_a_url(url: str, kind: Kind) -> None:
    assert kind_of(SecretStr(url)) is kind


def test_sentinels_are_asked_under_their_own_password_and_the_master_is_connected_to_under_its() -> None:
    way = way_of(SENTINELS)
    assert (way.places, way.master) == ((("one", 26379), ("two", 26380), ("::1", 3)), "mymaster")
    server, sentinel = way.server("::1", 6379), way.sentinel("one", 26379)
    assert server.get_secret_value() == "rediss://us:p%40ss@[::1]:6379/2?ssl_ca_certs=%2Fca.pem"
    assert sentinel.get_secret_value() == "rediss://:s3cret@one:26379/?ssl_ca_certs=%2Fca.pem"
    assert place_of(server) == ("::1", 6379)


def test_nodes_of_a_cluster_have_no_database() -> None:
    assert way_of(CLUSTER).places == (("one", 7000), ("two", 6379))
    assert way_of(CLUSTER).server("three", 7002).get_secret_value() == "redis://:secret@three:7002/"


@pytest.mark.parametrize(
    "url", ["redis+sentinel://one", "redis+sentinel://one/", "redis+cluster://", "redis+cluster://a,"]
)
def test_a_url_that_does_not_say_enough_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must name"):
        way_of(SecretStr(url))


def test_neither_password_is_shown() -> None:
    shown = masked(SENTINELS.get_secret_value()) + repr(way_of(SENTINELS))
    assert "p%40ss" not in shown
    assert "s3cret" not in shown


def test_on_one_server_a_command_may_name_all_keys_and_in_a_cluster_those_of_a_slot() -> None:
    keys = ["events:{0}", "events:{1}", "other:{0}"]
    assert together(SecretStr("redis://cache"), keys) == [keys]
    assert together(SENTINELS, keys) == [keys]
    assert together(CLUSTER, keys) == [["events:{0}", "other:{0}"], ["events:{1}"]]


def test_a_key_is_at_the_node_that_has_its_slot() -> None:
    here, there = SecretStr("redis://here"), SecretStr("redis://there")
    slots = Slots(((0, 99, here), (100, 16_383, there)))
    assert slot_of("foo") == 12_182  # as in the specification of the cluster
    assert slots.of("foo") == there
    assert slots.servers == (here, there)
    with pytest.raises(RedisConnectionError):
        Slots(((0, 99, here),)).of("foo")
