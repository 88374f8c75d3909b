"""A line to the nodes of a server that breaks: each connection goes to any node that listens, and the first `cuts` uploads are
cut after some bytes."""

import asyncio
import contextlib
import random
import threading


class Line:
    """Serves from its making on, in a thread of its own."""

    def __init__(self, ports, cuts, most=1500, seed=1):
        self.ports, self.left, self.most, self.cuts = list(ports), cuts, most, 0
        self.random = random.Random(seed)
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True).start()
        ready.wait()

    async def serve(self, ready):
        server = await asyncio.start_server(self.join, "127.0.0.1", 0)
        self.url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    async def join(self, reader, writer):
        for port in self.random.sample(self.ports, len(self.ports)):
            try:
                there = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                continue
        else:
            return writer.transport.abort()
        await asyncio.gather(self.copy(reader, there[1], writer), self.copy(there[0], writer))

    async def copy(self, source, sink, other=None):
        """With `other`, what a client sends, which is where cuts are."""
        until = None
        try:
            while data := await source.read(65536):
                if other and until is None and b"/replies?" in data and self.left:
                    self.left -= 1
                    until = self.random.randrange(300, self.most)
                if until is not None and (until := until - len(data)) < 0:
                    self.cuts += 1
                    other.transport.abort()
                    sink.transport.abort()
                    return
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        with contextlib.suppress(ConnectionError, RuntimeError):
            sink.close()
