"""Asking a servicer, and making sure that what comes back is an answer.

Both listeners come through here. Always: a call ends in reply messages within the size limit or in a StatusError;
an error of our own is logged with its traceback and told to the caller as INTERNAL, without particulars.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import replace

from native.http2.refusals import REFUSALS, REPLY_OVER_LIMIT
from server.worker.routing import NoTraffic
from server.worker.servicers.call import Call, Serving, StreamingMethod, UnaryMethod
from server.worker.status import Code, StatusError

log = logging.getLogger("roost.worker")


async def answer(serving: Serving, path: str, method: UnaryMethod, call: Call) -> bytes:
    """The reply message. Raises StatusError, and nothing else but cancellation."""
    try:
        try:
            reply = await method.answer(serving, call)
        except NoTraffic:
            # It came to nothing: whoever has the traffic now answers. A caller is told if it happens twice.
            reply = await method.answer(serving, replace(call, wish=call.wish.once_more()))
    except StatusError:
        raise
    except Exception as error:
        raise _internal(path, error) from error
    return _bounded(serving, reply)


async def answers(serving: Serving, path: str, method: StreamingMethod, call: Call) -> AsyncIterator[bytes]:
    """The reply messages. Ends like `answer`."""
    try:
        async for reply in method.answers(serving, call):
            yield _bounded(serving, reply)
    except StatusError:
        raise
    except Exception as error:
        raise _internal(path, error) from error


def _bounded(serving: Serving, reply: bytes) -> bytes:
    if len(reply) > serving.message_bytes_max:
        # In the words that the kernels have for it.
        raise StatusError(Code.RESOURCE_EXHAUSTED, REFUSALS[REPLY_OVER_LIMIT].message)
    return reply


def _internal(path: str, error: Exception) -> StatusError:
    log.error("%s failed by an error of the server's own", path, exc_info=error)
    return StatusError(
        Code.INTERNAL,
        f"method: expected an answer of {path}, got an error of the server's own. Its log has the details.",
    )
