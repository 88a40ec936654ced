"""Django's ASGI handler with open streams. An open stream is one waiting task: it keeps no thread and no connection."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core import signals
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from shop.live.hub import TooManyStreams, hub
from shop.live.streams import EventStream, event

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

STREAMS = "/events/"
"""The end of the path of every stream."""
KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent: it keeps proxies from closing the stream."""
LONGEST = 900.0
"""Seconds after which a stream ends, less up to 20 %. The browser opens it again, if the buyer is still signed in."""
TAKEN_WITHIN = 30.0
"""Seconds within which the reader must take what is sent."""


class StreamingHandler(ASGIHandler):
    """Keeps streams open, and handles every other request as Django does.

    A stream's request goes through the middleware and the view like any other, in a thread that ends with the view.
    After that the stream is kept open.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # Django has no types here
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].endswith(STREAMS):
            response = await self._view(scope)
            if isinstance(response, EventStream):
                await self._follow(response, receive, send)
            else:
                await self.send_response(response, send)
        else:
            await super().__call__(scope, receive, send)

    async def _view(self, scope: Any) -> HttpResponseBase:  # noqa: ANN401  # as above
        async with ThreadSensitiveContext():
            set_script_prefix(get_script_prefix(scope))
            await signals.request_started.asend(sender=self.__class__, scope=scope)
            request, refusal = self.create_request(scope, BytesIO())
            response = await self.run_get_response(request) if request is not None else refusal
            if response is None:
                raise RuntimeError("neither a request nor its refusal")
            # This also returns the connection to the database's pool.
            await sync_to_async(response.close)()
            return response

    async def _follow(self, stream: EventStream, receive: Receive, send: Send) -> None:
        try:
            with hub.open(stream) as subscription:
                disconnected = asyncio.create_task(_disconnected(receive))
                disconnected.add_done_callback(lambda _: subscription.end())
                try:
                    await _open(stream, send)
                    end_at = asyncio.get_running_loop().time() + LONGEST * random.uniform(0.8, 1.0)  # noqa: S311  # spreads
                    while not subscription.ended and asyncio.get_running_loop().time() < end_at:
                        states = await subscription.news(KEEP_ALIVE)
                        body = b"".join(event(stream.kind, state) for state in states)
                        await _send(send, body or b": still here\n\n")
                    await _send(send, b"", more=False)
                finally:
                    disconnected.cancel()
        except TooManyStreams:
            refused = HttpResponse("Too many open streams.\n", "text/plain", 429, headers={"Retry-After": "60"})
            await self.send_response(refused, send)
        except TimeoutError:
            return  # the reader takes nothing: the server closes the unfinished response


async def _disconnected(receive: Receive) -> None:
    """Wait until the reader has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _open(stream: EventStream, send: Send) -> None:
    headers = [
        (name.lower().encode(), value.encode("latin-1"))
        for name, value in stream.items()
        if name.lower() != "content-length"
    ]
    headers += [(b"set-cookie", cookie.OutputString().encode()) for cookie in stream.cookies.values()]
    await send({"type": "http.response.start", "status": stream.status_code, "headers": headers})
    await _send(send, stream.content)


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(TAKEN_WITHIN):
        await send({"type": "http.response.body", "body": body, "more_body": more})
