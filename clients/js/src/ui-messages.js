// Stored messages as the AI SDK has them: as messages of a page, and as the chunks of a reply.

/** A message of GraphQL as a UIMessage. */
export function toUIMessage({ id, role, content, outcome, parts }) {
  const metadata = outcome ? { metadata: { outcome: outcome.toLowerCase() } } : {};
  const made = parts?.length ? parts.map(partWith(callIds(id))) : [{ type: "text", text: content }];
  return { id, role: role.toLowerCase(), parts: made, ...metadata };
}

/** The chunks of a stored reply, as its stream would have had them. */
export function* chunksOf({ error, ...message }) {
  const { id, parts, metadata } = toUIMessage(message);
  yield { type: "start", messageId: id };
  yield { type: "start-step" };
  for (const [index, part] of parts.entries()) yield* chunksOfPart(part, `stored-${index}`);
  if (metadata?.outcome === "failed") {
    yield { type: "message-metadata", messageMetadata: metadata };
    yield { type: "error", errorText: error?.message ?? "the reply failed" };
  } else {
    yield { type: "finish-step" };
    yield { type: "finish", messageMetadata: metadata };
  }
}

/** The ids of a reply's tool calls, as its stream has them: those of providers may be empty, or the same for several calls. */
function callIds(replyId) {
  const used = new Set();
  return (given) => {
    let id = given;
    for (let own = `${replyId}-call-${used.size}`; !id || used.has(id); own += "-") id = own;
    used.add(id);
    return id;
  };
}

function partWith(callId) {
  return (part) => {
    switch (part.__typename) {
      case "ToolPart":
        return toolOf({ ...part, callId: callId(part.callId) });
      case "DataPart":
        return { type: `data-${part.name}`, ...(part.dataId ? { id: part.dataId } : {}), data: parsed(part.json) };
      default:
        return { type: part.__typename === "ReasoningPart" ? "reasoning" : "text", text: part.text, state: "done" };
    }
  };
}

function toolOf({ callId: toolCallId, name: toolName, arguments: text, result, state }) {
  const call = { type: "dynamic-tool", toolName, toolCallId, input: text ? parsed(text) : {} };
  if (state === "COMPLETED") return { ...call, state: "output-available", output: parsed(result ?? "null") };
  if (state === "FAILED") return { ...call, state: "output-error", errorText: errorOf(result ?? "") };
  return { ...call, state: "input-available" };
}

function* chunksOfPart(part, id) {
  if (part.type === "dynamic-tool") {
    const { toolCallId, toolName, input, state, output, errorText } = part;
    const call = { toolCallId, dynamic: true };
    yield { type: "tool-input-start", toolName, ...call };
    yield { type: "tool-input-available", toolName, input, ...call };
    if (state === "output-available") yield { type: "tool-output-available", output, ...call };
    if (state === "output-error") yield { type: "tool-output-error", errorText, ...call };
  } else if (part.type === "text" || part.type === "reasoning") {
    yield { type: `${part.type}-start`, id };
    yield { type: `${part.type}-delta`, id, delta: part.text };
    yield { type: `${part.type}-end`, id };
  } else {
    yield { id, ...part };
  }
}

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return json;
  }
}

/** A result is JSON; an error is shown as it is. */
function errorOf(json) {
  const value = parsed(json);
  return typeof value === "string" ? value : json;
}
