// Calls the route as useChat does, prints what a page would get, and then what Titlecast has.
import { POST, titlecast } from "./route.js";

const url = process.env.TITLECAST_URL ?? "http://127.0.0.1:8080";
const token = process.env.TITLECAST_TOKEN;
const id = `example-${crypto.randomUUID().slice(0, 16)}`;
const text = "What do I wear for a walk in Kyoto today?";
const body = JSON.stringify({ id, messages: [{ id: "1", role: "user", parts: [{ type: "text", text }] }] });

const response = await POST(new Request("http://localhost/api/chat", { method: "POST", body }));
for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) process.stdout.write(chunk);
await titlecast.close();

const query = `query ($id: String!) { conversation(externalId: $id) { displayName messages(first: 9) { nodes {
  role content outcome parts { ... on ToolPart { name arguments result state } } } } } }`;
for (const end = Date.now() + 30_000; ; ) {
  const asked = await fetch(`${url}/graphql`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) },
    body: JSON.stringify({ query, variables: { id } }),
  });
  const { data, errors } = await asked.json();
  const [, answer] = data?.conversation?.messages.nodes ?? [];
  if (errors || answer?.outcome === "FAILED" || Date.now() > end) throw new Error(JSON.stringify({ data, errors }));
  if (data.conversation.displayName && answer?.outcome === "COMPLETED") {
    console.log(JSON.stringify(data.conversation, null, 2));
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
}
