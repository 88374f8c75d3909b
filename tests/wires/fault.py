"""A proxy that plants a fault: it drops or doubles one event in some streams, and passes on everything else."""

import asyncio
import random

import aiohttp
from aiohttp import web

PROTOCOL = ["graphql-transport-ws"]
# In events of these a fault is planted: of text, and of titles.
PLACES = (b"delta", b"ReplyDelta", b"display_name", b"title")


class Fault:
    """Of one stream: how often each of its events is passed on."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.left = proxy.random.randrange(1, 4) if proxy.random.random() < proxy.share else 0

    def times(self, event):
        if not self.left or not any(place in event for place in PLACES):
            return 1
        self.left -= 1
        if self.left:
            return 1
        self.proxy.planted += 1
        return {"drop": 0, "double": 2}[self.proxy.kind]


class Proxy:
    """Between the readers and a node. `kind` is `drop` or `double`; `share` of the streams have the fault."""

    def __init__(self, session, upstream, kind, share=0.2, seed=1):
        self.session, self.upstream, self.kind, self.share = session, upstream, kind, share
        self.random, self.planted = random.Random(seed), 0

    async def start(self):
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", self.pass_on)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return "http://127.0.0.1:%d" % site._server.sockets[0].getsockname()[1]

    async def pass_on(self, request):
        if request.headers.get("upgrade", "").lower() == "websocket":
            return await self.socket(request)
        skipped = {"host", "content-length", "transfer-encoding", "connection"}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in skipped}
        body, url = await request.read(), self.upstream + request.raw_path
        async with self.session.request(request.method, url, data=body, headers=headers) as answer:
            if answer.content_type != "text/event-stream":
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            fault, buffer = Fault(self), b""
            async for chunk in answer.content.iter_any():
                *events, buffer = (buffer + chunk).split(b"\n\n")
                for event in events:
                    for _ in range(fault.times(event)):
                        await response.write(event + b"\n\n")
            return response

    async def socket(self, request):
        here, fault = web.WebSocketResponse(protocols=PROTOCOL, max_msg_size=0), Fault(self)
        await here.prepare(request)
        async with self.session.ws_connect(self.upstream + request.raw_path, protocols=PROTOCOL, max_msg_size=0) as there:
            async def forth():
                async for message in here:
                    await there.send_str(message.data)
                await there.close()

            sending = asyncio.create_task(forth())
            async for message in there:
                if message.type != aiohttp.WSMsgType.TEXT:
                    break
                for _ in range(fault.times(message.data.encode())):
                    await here.send_str(message.data)
            sending.cancel()
        return here
