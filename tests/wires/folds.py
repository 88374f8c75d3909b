"""What a client of each wire has at the end, made from its events by the rules of that wire alone. A rule that is broken raises
`Broken`. Parts are `("text", text)`, `("reasoning", text)`, `("tool", name, arguments, result, state)` and `("data", name, value)`, in
their order; JSON is compared as values."""

import json
from dataclasses import dataclass, field


class Broken(Exception):
    """An event that the wire does not allow."""


def require(holds, what):
    if not holds:
        raise Broken(what)


def value(text):
    """JSON as a value; a text that is none stays a text."""
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return text


@dataclass
class Seen:
    """What a client has. `None`: its wire does not say."""

    text: str | None = None
    parts: list | None = None
    tools: list | None = None
    reasoning: str | None = None
    outcome: str | None = None
    code: str | None = None
    # Why it is incomplete; "": unknown.
    reason: str | bool | None = None
    usage: dict | None = None
    titles: list = field(default_factory=list)
    is_live: bool = True


def merged(parts):
    """Without empty texts, and equal neighbours as one."""
    whole = []
    for part in parts:
        if part[0] in ("text", "reasoning"):
            if not part[1]:
                continue
            if whole and whole[-1][0] == part[0]:
                whole[-1] = (part[0], whole[-1][1] + part[1])
                continue
        whole.append(tuple(part))
    return whole


class Legacy:
    """`titlecast_v1`: deltas, positions, and a terminal event with the whole text."""

    def __init__(self):
        self.seen = Seen(text="", tools=[])
        self.number, self.is_over, self.ids = None, False, []

    def begin(self):
        self.number = None

    def add(self, event):
        require(not self.is_over, "an event behind the terminal one")
        require(event["sequence_number"] == (0 if self.number is None else self.number + 1), "a gap in sequence_number")
        is_first, self.number = self.number is None, event["sequence_number"]
        raw, seen = event.get("raw_type"), self.seen
        if is_first:
            require(raw in ("response.created", "response.in_progress"), f"begins with {raw}")
        if raw == "response.created":
            seen.text, seen.tools, self.ids = "", [], []
        elif raw == "response.in_progress" and not event["payload"]["recovered"]:
            seen.text = event["response_text"]
        elif raw == "response.output_text.delta":
            seen.text += event["text_delta"]
        elif event["kind"] == "run_item_stream_event":
            self.tool(event)
        elif event["kind"] == "lifecycle":
            seen.titles.append(event["display_name"])
        elif event["kind"] == "usage":
            seen.usage = event["payload"]
        if event["is_terminal"]:
            self.is_over = True
            require(event["response_text"] == seen.text, "the terminal event has another text than the deltas")
            if "display_name" in event:
                seen.titles.append(event["display_name"])
            payload = event.get("payload", {})
            seen.outcome = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}[raw]
            if payload.get("reason") == "stopped":
                seen.outcome = "stopped"
            seen.code, seen.reason = payload.get("code"), payload.get("reason", "")
        return self.is_over

    def tool(self, event):
        payload = event["payload"]
        state = {"tool_called": "called", "tool_output": "ended"}[event["event"]]
        output = value(payload["output"]) if "output" in payload else None
        call = ("tool", payload["name"], value(payload["arguments"]), output, state)
        # After a resume a call may come again.
        if payload["call_id"] in self.ids:
            self.seen.tools[self.ids.index(payload["call_id"])] = call
        else:
            self.ids.append(payload["call_id"])
            self.seen.tools.append(call)


class Public:
    """`public_sse_v1`: items that begin and end, and `final` or `error`."""

    OWN = {"lifecycle": {"status"}, "message.delta": {"output_index", "item_id", "content_index", "delta"}, "final": {"final"},
           "error": {"error"}, "tool.status": {"output_index", "item_id", "tool"},
           "reasoning_summary.delta": {"output_index", "item_id", "summary_index", "delta"}}
    COMMON = {"schema", "event_id", "stream_id", "server_timestamp", "kind", "conversation_id", "response_id", "agent"}

    def __init__(self):
        self.begin()

    def begin(self):
        # It cannot be resumed: a further connection begins anew.
        self.seen = Seen(text="", tools=[], reasoning="")
        self.number, self.open, self.items, self.is_over = 0, {}, {}, False

    def add(self, event):
        require(not self.is_over, "an event behind the last one")
        self.number += 1
        require(event["event_id"] == self.number, "a gap in event_id")
        kind, seen = event["kind"], self.seen
        require((kind == "lifecycle") == (self.number == 1), "lifecycle is the first event, and only that")
        require(set(event) - self.COMMON <= self.OWN.get(kind, set(event)), f"unknown fields: {sorted(event)}")
        item = event.get("output_index")
        if kind == "output_item.added":
            require(item not in self.open and item == len(self.items), f"item {item} begins out of order")
            self.open[item] = self.items[item] = event["item_id"]
        elif kind == "output_item.done":
            require(self.open.pop(item, None) == event["item_id"], f"item {item} ends, and was not open")
        elif kind == "message.delta":
            require(self.open.get(item) == event["item_id"], "a delta outside of its item")
            seen.text += event["delta"]
        elif kind == "reasoning_summary.delta":
            require(self.open.get(item) == event["item_id"], "a delta outside of its item")
            seen.reasoning += event["delta"]
        elif kind == "tool.status":
            tool = event["tool"]
            state = {"in_progress": "called"}.get(tool["status"], "ended")
            call = ("tool", tool["name"], value(tool["arguments_text"]), tool["output"], state)
            if item not in self.items:
                self.items[item] = len(seen.tools)
                seen.tools.append(call)
            else:
                seen.tools[self.items[item]] = call
        elif kind == "final":
            self.is_over, final = True, event["final"]
            require(not self.open, f"items are open at the end: {self.open}")
            require(final["response_text"] == seen.text, "`final` has another text than the deltas")
            require((final["reasoning_summary_text"] or "") == seen.reasoning, "`final` has other reasoning than the deltas")
            status = final["status"]
            seen.outcome = {"cancelled": "stopped", "refused": "incomplete"}.get(status, status)
            seen.reason = status == "refused"
            if usage := final["usage"]:
                seen.usage = {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]}
        elif kind == "error":
            self.is_over, seen.outcome, seen.code = True, "failed", event["error"]["code"]
        return self.is_over


class GraphQL:
    """The subscription `reply` with parts."""

    OUTCOMES = {"COMPLETED": "completed", "INCOMPLETE": "incomplete", "FAILED": "failed"}

    def __init__(self):
        self.seen = Seen(text="")
        self.parts, self.cursor, self.is_over, self.is_begun = {}, None, False, False

    def begin(self):
        self.is_begun = False

    def add(self, event):
        require(not self.is_over, "an event behind the end")
        kind, seen = event["__typename"], self.seen
        require(self.is_begun or kind == "ReplySoFar", f"begins with {kind}")
        self.is_begun = True
        if kind == "ReplySoFar":
            if event["recovered"]:
                seen.text += event["text"]
            else:
                seen.text, self.parts = event["text"], {}
            for part in event["parts"]:
                self.put(part)
        elif kind == "ReplyDelta":
            seen.text += event["text"]
        elif kind == "ReplyPart":
            self.put(event)
        elif kind == "ReplyReasoning":
            require(self.parts.get(event["index"], [0])[0] == "reasoning", "reasoning of a part that is none")
            self.parts[event["index"]] = ("reasoning", self.parts[event["index"]][1] + event["text"])
        elif kind == "ReplyEnded":
            self.is_over = True
            require(event["text"] == seen.text, "ReplyEnded has another text than the deltas")
            seen.outcome = "stopped" if event["reason"] == "STOPPED" else self.OUTCOMES[event["outcome"]]
            seen.code = event["error"] and event["error"]["code"]
            seen.reason = (event["reason"] or "").lower()
            if usage := event["usage"]:
                seen.usage = {"prompt_tokens": usage["promptTokens"], "completion_tokens": usage["completionTokens"]}
            parts = [part for _, part in sorted(self.parts.items())]
            seen.tools = [part for part in parts if part[0] == "tool"]
            seen.reasoning = "".join(part[1] for part in parts if part[0] == "reasoning")
            seen.data = [part for part in parts if part[0] == "data"]
        self.cursor = event.get("cursor", self.cursor)
        return self.is_over

    def put(self, event):
        part = event["part"]
        kind = part["__typename"]
        self.parts[event["index"]] = {
            "ReasoningPart": lambda: ("reasoning", part["text"]),
            "ToolPart": lambda: ("tool", part["name"], value(part["arguments"]), value(part["result"]),
                                 "called" if part["state"] == "CALLED" else "ended"),
            "DataPart": lambda: ("data", part["name"], value(part["json"])),
        }[kind]()


class Blocks:
    """What the wires of front ends share: blocks of text and reasoning, of which one is open at a time, and calls by id."""

    def __init__(self):
        self.begin()

    def begin(self):
        # A further connection reads the reply from its beginning.
        self.seen, self.open, self.calls = Seen(parts=[]), None, {}
        self.is_begun = self.is_over = self.is_done = False

    def block(self, kind, step, id, delta=""):
        if step == "start":
            require(self.open is None, f"{kind} {id} begins within {self.open}")
            self.open, self.block_part = (kind, id), [kind, ""]
            self.seen.parts.append(self.block_part)
            return
        require(self.open == (kind, id), f"{step} of {kind} {id} within {self.open}")
        if step == "end":
            self.open = None
        else:
            require(delta, "an empty delta")
            self.block_part[1] += delta

    def call(self, id, name):
        require(id not in self.calls, f"call {id} begins twice")
        self.calls[id] = part = ["tool", name, None, None, "called"]
        self.seen.parts.append(part)
        return part

    def end(self, outcome, code=None):
        require(self.open is None, f"{self.open} is open at the end")
        self.is_over, seen = True, self.seen
        seen.outcome, seen.code = outcome, code
        seen.parts = merged(seen.parts)
        seen.text = "".join(part[1] for part in seen.parts if part[0] == "text")
        seen.reasoning = "".join(part[1] for part in seen.parts if part[0] == "reasoning")
        seen.tools = [part for part in seen.parts if part[0] == "tool"]


class Ui(Blocks):
    """The AI SDK's UI message stream."""

    def add(self, event):
        if event == "[DONE]":
            require(self.is_over and not self.is_done, "[DONE] that is not the end")
            self.is_done = True
            return True
        require(not self.is_over, "a part behind the end")
        kind, seen = event["type"], self.seen
        require(self.is_begun or kind == "start", f"begins with {kind}")
        self.is_begun = True
        family, _, step = kind.partition("-")
        if family in ("text", "reasoning"):
            self.block(family, step, event["id"], event.get("delta", ""))
        elif kind == "tool-input-start":
            self.call(event["toolCallId"], event["toolName"])
        elif kind == "tool-input-available":
            self.calls[event["toolCallId"]][2] = event["input"]
        elif kind in ("tool-output-available", "tool-output-error"):
            call = self.calls[event["toolCallId"]]
            call[3], call[4] = event["output"] if "output" in event else value(event["errorText"]), "ended"
        elif kind == "data-conversation-title":
            require(event["transient"], "a title that messages keep")
            seen.titles.append(event["data"]["title"])
        elif family == "data":
            seen.parts.append(["data", step, event["data"]])
        elif kind == "message-metadata" and event["messageMetadata"].get("outcome") == "failed":
            seen.code = event["messageMetadata"]["code"]
        elif kind == "error":
            self.end("failed", seen.code)
        elif kind == "finish":
            metadata = event["messageMetadata"]
            if usage := metadata.get("usage"):
                seen.usage = {"prompt_tokens": usage["inputTokens"], "completion_tokens": usage["outputTokens"]}
            self.seen.reason = metadata.get("reason", "")
            self.end(metadata["outcome"])
        else:
            require(kind in ("start", "start-step", "finish-step", "message-metadata"), f"unknown part {kind}")
        return False


class AgUi(Blocks):
    """AG-UI 1.0."""

    def add(self, event):
        require(not self.is_over, "an event behind the end")
        kind, seen = event["type"], self.seen
        require(self.is_begun or kind == "RUN_STARTED", f"begins with {kind}")
        require(kind == "CUSTOM" or None not in event.values(), f"null in {event}")
        self.is_begun = True
        for prefix, name in (("TEXT_MESSAGE_", "text"), ("REASONING_MESSAGE_", "reasoning")):
            if kind.startswith(prefix):
                step = {"CONTENT": "delta"}.get(kind.removeprefix(prefix), kind.removeprefix(prefix).lower())
                self.block(name, step, event["messageId"], event.get("delta", ""))
        if kind == "TOOL_CALL_START":
            self.call(event["toolCallId"], event["toolCallName"])[2] = ""
        elif kind == "TOOL_CALL_ARGS":
            self.calls[event["toolCallId"]][2] += event["delta"]
        elif kind == "TOOL_CALL_END":
            self.calls[event["toolCallId"]][2] = value(self.calls[event["toolCallId"]][2])
        elif kind == "TOOL_CALL_RESULT":
            call = self.calls[event["toolCallId"]]
            call[3], call[4] = value(event["content"]), "ended"
        elif kind == "CUSTOM" and event["name"] == "conversation.title":
            seen.titles.append(event["value"]["title"])
        elif kind == "CUSTOM":
            seen.parts.append(["data", event["name"], event["value"]])
        elif kind == "RUN_FINISHED":
            self.end("stopped" if event.get("outcome", {}).get("type") == "cancelled" else "completed")
        elif kind == "RUN_ERROR":
            is_failed = event["code"].isupper()
            seen.reason = event["code"].removeprefix("incomplete")
            self.end(*("failed", event["code"]) if is_failed else ("incomplete", None))
        return self.is_over


class Whole:
    """`POST /api/v1/chat`: one answer."""

    def __init__(self):
        self.seen = Seen()

    def begin(self):
        pass

    def add(self, event):
        status, answer = event
        if status != 200:
            self.seen.outcome, self.seen.code = "failed", answer["code"]
            return True
        self.seen.text = answer["response"]
        metadata = answer["metadata"]
        stopped = "stopped" if metadata.get("reason") == "stopped" else "incomplete"
        self.seen.outcome = "completed" if metadata["is_complete"] else stopped
        self.seen.reason = metadata.get("reason", "")
        if answer["display_name"] is not None:
            self.seen.titles.append(answer["display_name"])
        return True
