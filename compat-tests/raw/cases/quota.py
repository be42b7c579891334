"""Soft quotas: the bookkeeping in zookeeper_stats. Source: DataTree.updateQuotaStat, StatsTrack."""

import wire
from harness import case, equal

FEATURE = "quota"


def set_quota(client, path, limits):
    """Sets a quota as zkCli's setquota does: first the znodes of the path, then the limits, then the usage."""
    place = "/zookeeper/quota"
    for name in path.strip("/").split("/"):
        place += "/" + name
        client.ask(wire.create(place))
    client.ok(wire.create(place + "/zookeeper_limits", limits))
    client.ok(wire.create(place + "/zookeeper_stats", b"count=0,bytes=0"))
    return place + "/zookeeper_stats"


@case(FEATURE, "usage follows creates, sets and deletes")
def usage(scene):
    client, base = scene.client(), scene.base
    client.ok(wire.set_data(base, b"12345"))
    client.ok(wire.create(base + "/before", b"678"))
    stats = set_quota(client, base, b"count=100,bytes=1000")
    equal(client.data(stats), b"count=2,bytes=8", "usage at first")
    for request, expected in (
        (wire.create(base + "/a", b"abc"), b"count=3,bytes=11"),
        (wire.create(base + "/a/deep", b"x"), b"count=4,bytes=12"),
        (wire.set_data(base + "/a", b"abcdef"), b"count=4,bytes=15"),
        (wire.set_data(base + "/a", None), b"count=4,bytes=9"),
        (wire.delete(base + "/a/deep"), b"count=3,bytes=8"),
        (wire.create(base + "-outside", b"zzz"), b"count=3,bytes=8"),
    ):
        client.ok(request)
        equal(client.data(stats), expected, f"usage after {wire.Op(request.op).name}")


@case(FEATURE, "usage changes neither version nor mzxid and fires nothing")
def silent(scene):
    client, base = scene.client(), scene.base
    stats = set_quota(client, base, b"count=100,bytes=1000")
    before = client.stat(stats)
    client.ok(wire.get_data(stats, True))
    client.ok(wire.create(base + "/a", b"abcdefghijklmnop"))
    equal(client.stat(stats), before._replace(data_length=16), "Stat")
    client.quiet()


@case(FEATURE, "a soft limit refuses nothing")
def soft(scene):
    client, base = scene.client(), scene.base
    stats = set_quota(client, base, b"count=1,bytes=1")
    client.ok(wire.create(base + "/a", b"long"))
    client.ok(wire.set_data(base + "/a", b"longer"))
    equal(client.data(stats), b"count=2,bytes=6", "usage")


@case(FEATURE, "hard limits are not enforced by default")
def hard(scene):
    client, base = scene.client(), scene.base
    set_quota(client, base, b"count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=1")
    client.ok(wire.create(base + "/a", b"long"))


@case(FEATURE, "deleting the limits ends the bookkeeping")
def ended(scene):
    client, base = scene.client(), scene.base
    stats = set_quota(client, base, b"count=9,bytes=9")
    client.ok(wire.delete(stats.replace("_stats", "_limits")))
    client.ok(wire.create(base + "/a", b"x"))
    equal(client.data(stats), b"count=1,bytes=0", "usage")
