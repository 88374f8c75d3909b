"""A program that writes a reply: as one upload of lines or of a UI message stream, or in steps. It keeps to the script's gates."""

import asyncio
import json
import uuid

from folds import require
from readers import MOST_RETRIES


async def record(client, turn, script):
    """Records the message, and writes the reply to it."""
    path = f"/api/v1/conversations/{turn.conversation}"
    message = {"role": "user", "content": turn.round.text, "external_id": turn.client_id}
    await answered(client, f"{path}/messages", message)
    writes = in_steps if turn.round.starter == "steps" else at_once
    try:
        await writes(client, f"{path}/replies", turn.round, script, str(uuid.uuid4()))
    finally:
        script.reach_all()


async def answered(client, path, body):
    """Asks until the server has the time. Each of these requests may be repeated."""
    for _ in range(MOST_RETRIES):
        async with client.post(path, body) as response:
            text = await response.text()
        if response.status != 503:
            break
        await asyncio.sleep(1)
    require(response.status in (200, 201), f"{path}: {response.status} {text}")
    return json.loads(text)


async def at_once(client, path, round, script, reply):
    lines = ndjson if round.format == "application/x-ndjson" else ui_stream

    async def body():
        # The first event tells the format.
        yield b"\n" if lines is ndjson else b'data: {"type":"start"}\n\n'
        for step in round.steps:
            if step[0] == "gate":
                yield b"\n" if lines is ndjson else b": waiting\n\n"
                await script.pass_gate(step[1])
            else:
                yield lines(*step).encode()
        yield lines("finish", round.end if round.end != "stop" else "completed", round.usage).encode()

    request = client.session.post(f"{client.url}{path}?reply_id={reply}", data=body(), headers={"content-type": round.format})
    async with request as response:
        require(response.status == 201, f"the upload: {response.status} {await response.text()}")


def ndjson(kind, *values):
    line = {
        "text": lambda text: {"text": text},
        "reasoning": lambda text: {"text": text},
        "tool": lambda id, name, pieces: {"id": id, "name": name, "arguments": "".join(pieces)},
        "result": lambda id, result, state: {"type": "tool", "id": id, "result": result, "state": state},
        "data": lambda name, data: {"name": name, "data": data},
        "finish": lambda outcome, usage: {"outcome": outcome, "usage": usage},
    }[kind](*values)
    return json.dumps({"type": kind, **line}) + "\n"


def ui_stream(kind, *values):
    finish = {"completed": {"type": "finish"}, "incomplete": {"type": "finish", "finishReason": "length"}, "stopped": {"type": "abort"},
              "failed": {"type": "error", "errorText": "it failed"}}
    part = {
        "text": lambda text: {"type": "text-delta", "id": "1", "delta": text},
        "reasoning": lambda text: {"type": "reasoning-delta", "id": "2", "delta": text},
        "tool": lambda id, name, pieces: {"type": "tool-input-available", "toolCallId": id, "toolName": name,
                                          "input": as_input("".join(pieces))},
        "result": lambda id, result, state: {"type": "tool-output-available", "toolCallId": id, "output": result}
        if state == "completed" else {"type": "tool-output-error", "toolCallId": id, "errorText": as_text(result)},
        "data": lambda name, data: {"type": f"data-{name}", "data": data},
        "finish": lambda outcome, usage: finish[outcome],
    }[kind](*values)
    return f"data: {json.dumps(part)}\n\n"


def as_input(text):
    return json.loads(text) if text else {}


def as_text(result):
    return result if isinstance(result, str) else json.dumps(result)


def fewer(steps, most=8):
    """The steps with some neighbouring texts as one: each append is a transaction."""
    texts = []
    for step in [*steps, None]:
        if texts and (step is None or step[0] != "text" or len(texts) == most):
            yield "text", "".join(texts)
            texts = []
        if step and step[0] == "text":
            texts.append(step[1])
        elif step:
            yield step


async def in_steps(client, path, round, script, reply):
    progress = await answered(client, path, {"reply_id": reply})
    for kind, *values in fewer(round.steps):
        if kind == "gate":
            await script.pass_gate(values[0])
            continue
        line = json.loads(ndjson(kind, *values))
        more = {"text": line["text"]} if kind == "text" else {"parts": [line]}
        progress = await answered(client, f"{path}/{reply}/append", {"offset": progress["offset"], **more})
    finish = json.loads(ndjson("finish", round.end if round.end != "stop" else "completed", round.usage))
    await answered(client, f"{path}/{reply}/finish", {key: value for key, value in finish.items() if key != "type"})
