"""Requests that are made again: one effect, one answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest

from protos.roost.v1 import admin_pb2
from server.control.operations.refusal import OperationRefused, bad_field
from server.control.operations.remembered import REMEMBERED_MAX, RememberedRequests, fingerprint

Act = Callable[[], Coroutine[Any, Any, admin_pb2.OperationReply]]


class Effect:
    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.count = 0
        self._gate = gate

    async def __call__(self) -> admin_pb2.OperationReply:
        if self._gate is not None:
            await self._gate.wait()
        self.count += 1
        return admin_pb2.OperationReply(message=f"done {self.count}")


def again() -> admin_pb2.OperationReply:
    return admin_pb2.OperationReply(message="made anew")


async def test_the_same_request_acts_once_and_is_answered_alike() -> None:
    effect, requests = Effect(), RememberedRequests()
    first = await requests.once("id", "p", effect, again)
    second = await requests.once("id", "p", effect, again)
    assert effect.count == 1
    assert (first.message, first.replayed) == ("done 1", False)
    assert (second.message, second.replayed) == ("done 1", True)


async def test_a_request_that_comes_while_the_first_is_under_way_waits_for_it() -> None:
    gate = asyncio.Event()
    effect, requests = Effect(gate), RememberedRequests()
    both = [asyncio.create_task(requests.once("id", "p", effect, again)) for _ in range(2)]
    await asyncio.sleep(0)
    gate.set()
    assert sorted([reply.replayed for reply in await asyncio.gather(*both)]) == [False, True]
    assert effect.count == 1


async def test_a_caller_that_hangs_up_does_not_undo_what_it_began() -> None:
    gate = asyncio.Event()
    effect, requests = Effect(gate), RememberedRequests()
    caller = asyncio.create_task(requests.once("id", "p", effect, again))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    gate.set()
    assert (await requests.once("id", "p", effect, again)).replayed
    assert effect.count == 1


@pytest.mark.parametrize("finished", [False, True])
async def test_an_id_with_other_content_is_refused(finished: bool) -> None:
    gate = asyncio.Event()
    effect, requests = Effect(gate), RememberedRequests()
    first = asyncio.create_task(requests.once("id", "p", effect, again))
    if finished:
        gate.set()
        await first
    await asyncio.sleep(0)
    with pytest.raises(OperationRefused, match="request_id") as refusal:
        await requests.once("id", "other", effect, again)
    assert refusal.value.code is grpc.StatusCode.INVALID_ARGUMENT
    gate.set()
    await first
    assert effect.count == 1


async def test_what_was_refused_may_be_tried_again() -> None:
    async def refuse() -> admin_pb2.OperationReply:
        raise bad_field("weight", expected="less", got="more", hint="Less.")

    effect, requests = Effect(), RememberedRequests()
    with pytest.raises(OperationRefused):
        await requests.once("id", "p", refuse, again)
    assert not (await requests.once("id", "p", effect, again)).replayed


async def test_a_restart_remembers_what_the_journal_says_and_a_thousand_are_kept() -> None:
    effect, requests = Effect(), RememberedRequests()
    requests.restore([(f"id{number}", "p") for number in range(REMEMBERED_MAX + 1)])
    assert (await requests.once("id1", "p", effect, again)).message == "made anew"
    assert effect.count == 0
    await requests.once("id0", "p", effect, again)
    assert effect.count == 1, "the oldest of 1,001 is forgotten"


def test_a_fingerprint_tells_methods_and_fields_apart() -> None:
    one = admin_pb2.PromoteRequest(model="m")
    other = admin_pb2.RollbackRequest(model="m")
    assert fingerprint("Promote", one) != fingerprint("Rollback", other)
    assert fingerprint("Promote", one) != fingerprint("Promote", admin_pb2.PromoteRequest(model="n"))
    assert fingerprint("Promote", one) == fingerprint("Promote", admin_pb2.PromoteRequest(model="m"))
