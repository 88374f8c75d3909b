"""What `tee` returns is the stream in the agent's eyes: its attributes, `with`, and its close, which reaches the provider."""

import asyncio
import contextlib
import gc
import json
import logging
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai

from titlecast import Titlecast

logging.getLogger("titlecast").setLevel(logging.CRITICAL)


def chunk(text=None, finish=None):
    delta = {} if text is None else {"content": text}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


class Endless(BaseHTTPRequestHandler):
    """A provider that streams words until its client is gone."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            for number in range(10_000):
                self.wfile.write(f"data: {json.dumps(chunk(f'{number} '))}\n\n".encode())
                self.server.gone.wait(0.01)
        except ConnectionError:
            self.server.gone.set()

    def log_message(self, *_):
        pass


class Source:
    """A stream with some of the methods that streams have; remembers what was called."""

    def __init__(self, items, *names):
        self.items, self.called = iter(items), []
        for name in names:
            setattr(self, name, lambda name=name: self.called.append(name))

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.items)


class AsyncSource(Source):
    __iter__ = None

    def __init__(self, items, *names):
        super().__init__(items)
        for name in names:
            setattr(self, name, lambda name=name: self.closed(name))

    async def closed(self, name):
        self.called.append(name)

    def __aiter__(self):
        return self

    async def __anext__(self):
        try:
            return next(self.items)
        except StopIteration:
            raise StopAsyncIteration from None


class Tees(unittest.TestCase):
    def setUp(self):
        self.provider = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
        self.provider.daemon_threads, self.provider.gone = True, threading.Event()
        threading.Thread(target=self.provider.serve_forever, daemon=True).start()
        self.addCleanup(self.provider.server_close)
        self.addCleanup(self.provider.shutdown)
        self.titlecast = Titlecast("http://127.0.0.1:9", patience=0.1)
        self.addCleanup(self.titlecast.close, 0.2)
        self.reply = self.titlecast.reply("a-thread")
        gc.disable()  # what closes later than now is late
        self.addCleanup(gc.enable)

    def tee(self, stream):
        return self.reply.tee(stream, ends=True)

    @property
    def ended(self):
        return self.reply._end and self.reply._end["outcome"]

    def settings(self):
        return {"base_url": f"http://127.0.0.1:{self.provider.server_port}/v1", "api_key": "none"}

    def asked(self, client):
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}], stream=True)

    def closes(self):
        self.assertTrue(self.provider.gone.wait(5), "the provider's response is open")
        self.assertEqual(self.ended, "incomplete")

    def test_closing_and_leaving_and_dropping_close_the_response_of_a_provider(self):
        def close(stream):
            self.assertEqual(stream.response.status_code, 200)
            next(stream)
            stream.close()

        def leave(stream):
            with stream as same:
                self.assertIs(same, stream)
                for _ in stream:
                    break

        def drop(stream):
            for _ in stream:
                return

        def close_unread(stream):
            stream.close()

        for treat in (close, leave, drop, close_unread):
            with self.subTest(treat.__name__), openai.OpenAI(**self.settings()) as client:
                self.reply = self.titlecast.reply("a-thread")
                treat(self.tee(self.asked(client)))
                self.closes()
            self.provider.gone.clear()

    def test_closing_and_leaving_and_dropping_close_the_response_of_an_async_provider(self):
        async def close(stream):
            self.assertEqual(stream.response.status_code, 200)
            await anext(stream)
            await stream.close()

        async def aclose(stream):
            async with contextlib.aclosing(stream):
                await anext(stream)

        async def leave(stream):
            async with stream as same:
                self.assertIs(same, stream)
                async for _ in stream:
                    break

        async def drop(stream):
            async for _ in stream:
                return

        async def cancel(stream):
            async def read():
                async for _ in stream:
                    pass

            task = asyncio.create_task(read())
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        async def close_unread(stream):
            await stream.close()

        async def run(treat):
            async with openai.AsyncOpenAI(**self.settings()) as client:
                await treat(self.tee(await self.asked(client)))
                await asyncio.to_thread(self.closes)

        for treat in (close, aclose, leave, drop, cancel, close_unread):
            with self.subTest(treat.__name__):
                self.reply = self.titlecast.reply("a-thread")
                asyncio.run(run(treat))
            self.provider.gone.clear()

    def test_another_thread_closes_a_stream_that_is_being_read(self):
        with openai.OpenAI(**self.settings()) as client:
            stream = self.tee(self.asked(client))
            reading = threading.Thread(target=self.read, args=(stream,), daemon=True)
            reading.start()
            self.provider.gone.wait(0.2)
            stream.close()
            reading.join(5)
            self.assertFalse(reading.is_alive())
            self.closes()

    @staticmethod
    def read(stream):
        with contextlib.suppress(Exception):  # a response that is closed under its reader
            list(stream)

    def test_a_stream_is_closed_by_the_name_that_it_has(self):
        async def close(stream):
            await self.titlecast.tee(stream, "a-thread").aclose()

        for name in ("aclose", "close"):
            stream = AsyncSource([], name)
            asyncio.run(close(stream))
            self.assertEqual(stream.called, [name])
        asyncio.run(close(AsyncSource([])))
        stream = Source([], "close")
        self.tee(stream).close()
        self.assertEqual(stream.called, ["close"])
        self.tee([]).close()

    def test_a_generator_of_the_agent_ends_with_its_tee(self):
        ended = []

        def words():
            try:
                yield chunk("A")
                yield chunk("B")
            finally:
                ended.append("words")

        next(self.tee(words()))
        self.assertEqual((ended, self.ended), (["words"], "incomplete"))

        async def read():
            async def words():
                try:
                    yield chunk("A")
                    yield chunk("B")
                finally:
                    ended.append("async words")

            stream = self.titlecast.tee(words(), "a-thread")
            await anext(stream)
            del stream
            await asyncio.sleep(0.05)

        asyncio.run(read())
        self.assertEqual(ended, ["words", "async words"])

    def test_a_stream_that_nobody_reads_ends_its_reply(self):
        self.tee([chunk("A")])
        self.assertEqual(self.ended, "incomplete")

    def test_what_was_read_to_its_end_is_not_closed(self):
        stream = Source([chunk("A", "stop")], "close")
        self.assertEqual(len(list(self.tee(stream))), 1)
        self.assertEqual((stream.called, self.ended), ([], "completed"))

    def test_a_step_that_is_left_early_can_be_read_on(self):
        stream = iter([chunk("A"), chunk("B")])
        next(self.reply.tee(stream))
        self.assertEqual([next(self.reply.tee(stream))["choices"][0]["delta"]["content"], self.ended], ["B", None])

    def test_a_reader_that_leaves_at_the_finish_reason_has_a_whole_reply(self):
        for item in self.tee([chunk("A"), chunk(None, "stop"), chunk()]):
            if item["choices"][0]["finish_reason"]:
                break
        del item
        self.assertEqual(self.ended, "completed")

    def test_a_stream_that_goes_on_behind_an_error_is_read_on(self):
        class Flaky(Source):
            def __next__(self):
                if (item := super().__next__()) == "error":
                    raise KeyError(item)
                return item

        stream = self.tee(Flaky([chunk("A"), "error", chunk("B")]))
        next(stream)
        with self.assertRaises(KeyError):
            next(stream)
        self.assertEqual((next(stream), self.ended), (chunk("B"), "failed"))


if __name__ == "__main__":
    unittest.main()
