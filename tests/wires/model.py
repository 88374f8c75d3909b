"""A model server that plays scripts: Chat Completions, one script for each message, held at its gates until it is let on. Titles
come from the conversation's plan."""

import asyncio
import json
import re

from aiohttp import web

TOKEN = re.compile(r"turn-\w+-\d+-\d+")


def token_of(text):
    """The token of the newest message: those that were not answered stand before it."""
    found = TOKEN.findall(text)
    return found[-1] if found else None


class Script:
    """One reply as it is played. A gate is passed once it is opened."""

    def __init__(self, steps, end, usage):
        self.steps, self.end, self.usage = steps, end, usage
        self.reached = {name: asyncio.Event() for name in ("begin", "middle", "end")}
        self.opened = {name: asyncio.Event() for name in ("begin", "middle", "end")}

    async def pass_gate(self, name):
        self.reached[name].set()
        await self.opened[name].wait()

    def open(self, *names):
        for name in names:
            self.opened[name].set()

    def reach_all(self):
        """Nothing waits for a script that does not play on."""
        for event in self.reached.values():
            event.set()


class Model:
    def __init__(self):
        self.scripts, self.titles = {}, {}

    async def start(self):
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/v1/chat/completions", self.complete)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://127.0.0.1:%d/v1" % site._server.sockets[0].getsockname()[1]

    async def complete(self, request):
        asked = await request.json()
        text = json.dumps(asked["messages"][-1]["content"], ensure_ascii=False)
        token = token_of(text)
        if not asked.get("stream"):
            return await self.title(token.rsplit("-", 1)[0] + "-" if token else None)
        script = self.scripts[token]
        if script.end == "before":
            script.reach_all()
            error = {"error": {"message": "this model's maximum context length is 9 tokens", "code": "context_length_exceeded"}}
            return web.json_response(error, status=400)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self.play(script, response, request)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            script.reach_all()
        return response

    async def play(self, script, response, request):
        async def send(delta, finish=None, **more):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "scripted", "choices": [choice], **more}
            await response.write(b"data: %b\n\n" % json.dumps(chunk).encode())

        await send({"role": "assistant", "content": ""})
        calls = 0
        for kind, *values in script.steps:
            if kind == "gate":
                await script.pass_gate(values[0])
            elif kind == "text":
                await send({"content": values[0]})
            elif kind == "reasoning":
                await send({"reasoning_content": values[0]})
            elif kind == "tool":
                id, name, pieces = values
                first = {"index": calls, "id": id, "type": "function", "function": {"name": name, "arguments": pieces[0]}}
                await send({"content": None, "tool_calls": [first]})
                for piece in pieces[1:]:
                    await send({"tool_calls": [{"index": calls, "function": {"arguments": piece}}]})
                calls += 1
        if script.end == "stopped":
            # A person stops it: our side is closed.
            while request.transport and not request.transport.is_closing():
                await response.write(b": waiting\n\n")
                await asyncio.sleep(0.01)
            return
        if script.end == "cut":
            request.transport.abort()
            return
        if script.end == "error":
            await response.write(b'data: {"error": {"message": "the model crashed", "code": 500}}\n\n')
            return
        await send({}, script.end)
        if script.usage:
            await response.write(b"data: %b\n\n" % json.dumps({"id": "chatcmpl-1", "choices": [], "usage": script.usage}).encode())
        await response.write(b"data: [DONE]\n\n")

    async def title(self, token):
        title, gate = self.titles.get(token, (None, None))
        if gate:
            await gate.wait()
        content = json.dumps({"title": title}) if title else ""
        choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        return web.json_response({"id": "t", "object": "chat.completion", "model": "scripted", "choices": [choice]})
