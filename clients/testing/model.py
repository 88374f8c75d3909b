"""A chat model that keeps to a script: Chat Completions and Responses over HTTP, streamed a word at a time. A message says how
long its reply is ("… in 40 words"), and that it is to break off ("… then break"). Alone it serves until Ctrl-C."""

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = "Prune the tree in late winter, before its buds swell. Schneide zuerst totes Holz – dann Äste, die sich kreuzen. 剪枝 🌳".split()


def reply(message):
    """The pieces of the reply to a message. Messages before it that were not answered stand in front of it."""
    message = message.rsplit("\n\n", 1)[-1]
    count = int(found[1]) if (found := re.search(r"in (\d+) words", message)) else 20
    start = sum(message.encode()) % len(WORDS)
    return [f"{WORDS[(start + place) % len(WORDS)]} " for place in range(count)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        last = (asked.get("messages") or asked["input"])[-1]
        message = last["content"] if isinstance(last["content"], str) else last["content"][0]["text"]
        chat = self.path.endswith("/chat/completions")
        pieces = reply(message)
        if not asked.get("stream"):
            time.sleep(self.server.wait)
            self.whole(self.title() if "response_format" in asked else "".join(pieces))
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        time.sleep(self.server.wait)
        calls = chat and "tools" in asked and last["role"] == "user"
        for event in self.calls() if calls else self.chunks(pieces) if chat else self.events(pieces):
            self.send(f"data: {json.dumps(event)}\n\n")
            time.sleep(self.server.pace)
            if message.endswith("then break") and self.server.pieces >= len(pieces) // 2:
                self.close_connection = True
                return
        self.send("data: [DONE]\n\n" if chat else "")
        self.wfile.write(b"0\r\n\r\n")

    def chunks(self, pieces):
        yield self.chunk({"role": "assistant", "content": ""})
        for place, piece in enumerate(pieces):
            self.server.pieces = place
            yield self.chunk({"content": piece})
        yield self.chunk({}, "stop")
        yield {**self.chunk({}), "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": len(pieces), "total_tokens": 9 + len(pieces)}}

    def calls(self):
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        yield self.chunk({"role": "assistant", "content": None, "tool_calls": [call]})
        for part in ('{"city":', ' "Kyoto"}'):
            yield self.chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        yield self.chunk({}, "tool_calls")

    @staticmethod
    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [choice]}

    def events(self, pieces):
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
        for number, piece in enumerate(pieces):
            self.server.pieces = number
            yield {"type": "response.output_text.delta", "sequence_number": number, "delta": piece, **place}
        usage = {"input_tokens": 9, "output_tokens": len(pieces), "total_tokens": 9 + len(pieces)}
        response = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": usage}
        yield {"type": "response.completed", "sequence_number": len(pieces), "response": response}

    def title(self):
        """Another one for each request, so that a title that is given twice shows."""
        self.server.titles += 1
        return json.dumps({"title": f"Trees and Tools, Part {self.server.titles}"})

    def whole(self, text):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        body = json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "scripted", "choices": [choice]})
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def send(self, text):
        if text:
            data = text.encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, *_):
        pass


class Model(ThreadingHTTPServer):
    """Serves from its making on. `pace` is the time between two words, `wait` that before the first one or a title, in seconds."""

    daemon_threads = True

    def __init__(self, port=0, pace=0.005, wait=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.pace, self.wait, self.pieces, self.titles = pace, wait, 0, 0
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


if __name__ == "__main__":
    model = Model(0, *(map(float, sys.argv[1:]) if len(sys.argv) > 1 else (0.02,)))
    print(model.url, flush=True)
    threading.Event().wait()
