"""Records of tests, made by hand."""

from __future__ import annotations

from tracing.analysis.review.records import (
    FORMAT,
    Group,
    Header,
    Project,
    ReceiverCalls,
    TestBehaviour,
    encode,
    file_name,
)

POST_SAVE = "django.db.models.signals.post_save"


def calls(name="shop.receivers.notify", count=1, queries=0, **others):
    """Return the calls of a receiver, all of which returned."""
    return ReceiverCalls(
        **{
            "file": "shop/receivers.py",
            "line": 7,
            "receiver": name,
            "mine": True,
            "outcomes": {"returned": count},
            "queries": {queries: count},
            **others,
        }
    )


def group(*receivers, signal=POST_SAVE, sender="shop.Order", **others):
    """Return dispatches of one signal that *receivers* heard."""
    count = max((each.count for each in receivers), default=1)
    return Group(
        **{
            "file": "shop/models.py",
            "line": 40,
            "signal": signal,
            "sender": sender,
            "methods": {"send": count},
            "receivers": list(receivers),
            **others,
        }
    )


def behaviour(*groups, test="test_shop.py::test_place", **others):
    """Return what a test did."""
    return TestBehaviour(test, groups=list(groups), **others)


def write_record(folder, *lines, process="main", version=FORMAT):
    """Write the record of a process; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    every = [Header(version, process), *lines, Project()]
    (folder / file_name(process)).write_bytes(b"".join(encode(line) + b"\n" for line in every))
    return folder
