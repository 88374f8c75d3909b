# What a model's stream yields, as events of a reply: Chat Completions and Responses, as objects, dicts or raw SSE. Sends nothing.

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Event = dict[str, Any]
TEXTS = ("response.output_text.delta", "response.refusal.delta")
REASONINGS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")


class Decoder:
    # Decodes one stream. `outcome` is set by the stream's own end; without one the stream was cut.
    def __init__(self) -> None:
        self.outcome: str | None = None
        self.model: str | None = None
        self.usage, self._calls, self._rest = dict[str, int](), dict[int, Event](), b""

    # The events of one item; nothing for an item of another kind.
    def feed(self, item: Any) -> Iterator[Event]:
        if isinstance(item, (str, bytes, bytearray, memoryview)):
            # A chunk may end anywhere, even inside a character.
            *lines, self._rest = (self._rest + (item.encode() if isinstance(item, str) else bytes(item))).split(b"\n")
            for line in lines:
                data = line[5:].strip() if line.startswith(b"data:") else b""
                if data and data != b"[DONE]":
                    yield from self._event(json.loads(data))
        elif isinstance(item, Mapping):
            yield from self._event(item)
        elif hasattr(item, "model_dump"):
            yield from self._event(item.model_dump(exclude_unset=True))

    def _event(self, event: Any) -> Iterator[Event]:
        if isinstance(event, Mapping):
            is_chunk = "choices" in event or "type" not in event
            self._name(event if is_chunk else event.get("response"))
            if event.get("error") or event.get("type") == "error":
                self.outcome = "failed"
            yield from self._chunk(event) if is_chunk else self._response(event)

    # An event of Chat Completions.
    def _chunk(self, chunk: Mapping[str, Any]) -> Iterator[Event]:
        self._use(chunk.get("usage"))
        # Of several answers the first is the reply.
        for choice in (choice for choice in chunk.get("choices") or () if not choice.get("index")):
            delta = choice.get("delta") or {}
            if reasoning := delta.get("reasoning_content") or delta.get("reasoning"):
                yield {"type": "reasoning", "text": reasoning}
            if text := delta.get("content") or delta.get("refusal"):
                yield {"type": "text", "text": text}
            for call in delta.get("tool_calls") or ():
                empty = {"type": "tool", "id": "", "name": "", "arguments": ""}
                known, function = self._calls.setdefault(call.get("index") or 0, empty), call.get("function") or {}
                known["id"], known["name"] = call.get("id") or known["id"], function.get("name") or known["name"]
                known["arguments"] += function.get("arguments") or ""
            if reason := choice.get("finish_reason"):
                self.outcome = "completed" if reason in ("stop", "tool_calls", "function_call") else "incomplete"
                yield from self._calls.values()
                self._calls = {}

    # An event of Responses.
    def _response(self, event: Mapping[str, Any]) -> Iterator[Event]:
        kind, item = event.get("type"), event.get("item") or {}
        if kind in (*TEXTS, *REASONINGS):
            yield {"type": "text" if kind in TEXTS else "reasoning", "text": event["delta"]}
        elif kind == "response.output_item.done" and item.get("type") == "function_call":
            yield {"type": "tool", "id": item["call_id"], "name": item["name"], "arguments": item["arguments"]}
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self.outcome = kind.removeprefix("response.")
            self._use((event.get("response") or {}).get("usage"))

    def _name(self, source: Any) -> None:
        model = source.get("model") if isinstance(source, Mapping) else None
        # The server refuses other names, and the reply's end with them.
        if isinstance(model, str) and 0 < len(model) <= 255 and model.isprintable():
            self.model = model

    def _use(self, usage: Mapping[str, Any] | None) -> None:
        for name, other in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
            count = (usage or {}).get(name, (usage or {}).get(other))
            if isinstance(count, int):
                self.usage[name] = count
