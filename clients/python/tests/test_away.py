"""A Titlecast that fails is not noticed by the agent: its stream comes whole, at its own pace."""

import asyncio
import json
import logging
import socket
import sys
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from titlecast import Titlecast, TitlecastError

sys.path.insert(0, str(Path(__file__).parents[2] / "testing"))
from model import Model  # noqa: E402

logging.getLogger("titlecast").setLevel(logging.CRITICAL)
PROMPT = "Tell me of trees in 40 words"


def stream(model, prompt=PROMPT):
    """Raw SSE as it arrives."""
    body = {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    with httpx.stream("POST", f"{model.url}/chat/completions", json=body) as response:
        yield from response.iter_raw()


class Silent:
    """Accepts connections, and answers nothing."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = "http://127.0.0.1:%d" % self.socket.getsockname()[1]


class Closing(Silent):
    """Closes each connection as soon as it has sent something."""

    def __init__(self):
        super().__init__()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.recv(100)
            connection.close()


class Busy(ThreadingHTTPServer):
    """Stores what is recorded, a message "1" at its second try."""

    def __init__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                is_new = message["content"] == "1" and message["message_id"] not in self.server.seen
                self.server.seen.add(message["message_id"])
                if not is_new:
                    self.server.stored.append((self.path, message["content"]))
                self.send_response(503 if is_new else 201)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url, self.seen, self.stored = f"http://127.0.0.1:{self.server_port}", set(), []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Away(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = Model(pace=0.002)
        cls.addClassCleanup(cls.model.server_close)
        cls.addClassCleanup(cls.model.shutdown)

    def read(self, url, patience=0.5):
        """Reads a reply through a tee to `url`: its chunks, the time that took, and what became of the upload."""
        titlecast = Titlecast(url, patience=patience)
        written = titlecast.reply("a-thread", message=PROMPT)
        begun = time.monotonic()
        chunks = b"".join(written.tee(stream(self.model), ends=True))
        took = time.monotonic() - begun
        titlecast.close(1)
        return chunks, took, written

    def test_no_server_and_silent_ones_and_closing_ones_neither_change_nor_delay_a_stream(self):
        begun = time.monotonic()
        plain = b"".join(stream(self.model))
        alone = time.monotonic() - begun
        with socket.create_server(("127.0.0.1", 0)) as free:
            nobody = "http://127.0.0.1:%d" % free.getsockname()[1]
        silent, closing = Silent(), Closing()
        for server in (silent, closing):
            self.addCleanup(server.socket.close)
        for url in (nobody, silent.url, closing.url):
            with self.subTest(url):
                chunks, took, written = self.read(url)
                self.assertEqual(chunks, plain)
                self.assertLess(took, alone + 0.3)
                self.assertIsNone(written.outcome)
                if url != silent.url:  # which is still asked
                    self.assertIn("not recorded", written.error)

    def test_closing_waits_no_longer_than_it_is_told(self):
        silent = Silent()
        self.addCleanup(silent.socket.close)
        titlecast = Titlecast(silent.url)
        titlecast.reply("a-thread").text("A word")
        begun = time.monotonic()
        titlecast.close(0.5)
        self.assertLess(time.monotonic() - begun, 2.5)

    def test_a_stream_after_close_passes(self):
        titlecast = Titlecast("http://127.0.0.1:9", patience=0.1)
        titlecast.close()
        written = titlecast.reply("a-thread", message=PROMPT)
        self.assertEqual(list(written.tee([{"choices": []}, "text"], ends=True)), [{"choices": []}, "text"])
        self.assertFalse(written.wait(1))
        self.assertEqual(written.error, "the client was closed")
        titlecast.close()

    def test_recording_says_that_there_is_no_answer(self):
        closing = Closing()
        self.addCleanup(closing.socket.close)
        with Titlecast(closing.url, patience=0.5) as titlecast, self.assertRaises(TitlecastError) as raised:
            titlecast.record_message("a-thread", "Hello")
        self.assertEqual(raised.exception.status, 0)

    def test_messages_of_a_conversation_are_recorded_in_the_order_in_which_they_were_given(self):
        busy = Busy()
        self.addCleanup(busy.server_close)
        self.addCleanup(busy.shutdown)

        async def run():
            async with Titlecast(busy.url, patience=10) as titlecast:
                await asyncio.gather(*(titlecast.record_message_async(id, number) for number in "1234" for id in "ab"))

        asyncio.run(run())
        for id in "ab":
            self.assertEqual([number for path, number in busy.stored if path.endswith(f"/{id}/messages")], list("1234"))

    def test_errors_of_the_agents_own_stream_reach_the_agent(self):
        def broken():
            yield b'data: {"choices": [{"delta": {"content": "A"}}]}\n\n'
            raise KeyError("the agent's own")

        with Titlecast("http://127.0.0.1:9", patience=0.1) as titlecast, self.assertRaises(KeyError):
            list(titlecast.tee(broken(), "a-thread"))

    def test_what_is_no_events_passes(self):
        items = [None, 5, "text", b"data: {not json\n\n", {"choices": 7}, {"choices": [{"delta": None}]}, object(), {"type": "response.output_item.done"}]
        with Titlecast("http://127.0.0.1:9", patience=0.1) as titlecast:
            self.assertEqual(list(titlecast.tee(items, "a-thread")), items)

    def test_an_async_stream_does_not_wait_either(self):
        silent = Silent()
        self.addCleanup(silent.socket.close)

        async def items():
            for number in range(100):
                await asyncio.sleep(0)
                yield {"choices": [{"delta": {"content": f"{number} "}}]}

        async def read(titlecast):
            return [item async for item in titlecast.tee(items(), "a-thread")]

        titlecast = Titlecast(silent.url)
        begun = time.monotonic()
        self.assertEqual(len(asyncio.run(read(titlecast))), 100)
        self.assertLess(time.monotonic() - begun, 0.5)
        titlecast.close(0)

    def test_more_than_an_upload_may_have_is_not_kept(self):
        with Titlecast("http://127.0.0.1:9", patience=0.1) as titlecast:
            written = titlecast.reply("a-thread")
            for _ in range(100):
                written.text("x" * 100_000)
            self.assertLess(sum(len(event["text"]) for _, event in written._events), 5_000_000)


if __name__ == "__main__":
    unittest.main()
