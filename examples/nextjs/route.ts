// The AI SDK in a route of Next.js, as app/api/chat/route.ts: nothing of it changes but that Titlecast looks on. It records the
// person's message, names the conversation, and shows the reply live to every client. A stop that any of them asks for aborts
// the model's stream.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { convertToModelMessages, streamText, tool, type UIMessage } from "ai";
import { Titlecast } from "titlecast";
import { z } from "zod";

const provider = createOpenAICompatible({ name: "model", baseURL: process.env.MODEL_URL ?? "http://127.0.0.1:11434/v1" });
export const titlecast = new Titlecast(); // TITLECAST_URL and TITLECAST_TOKEN

const weather = tool({
  description: "The weather of a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => ({ city, sky: "clear" }),
});

export async function POST(request: Request): Promise<Response> {
  const { id, messages }: { id: string; messages: UIMessage[] } = await request.json();
  const message = messages.at(-1)!.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  const reply = titlecast.reply(id, { message });
  const result = streamText({
    model: provider(process.env.MODEL ?? "scripted"),
    messages: await convertToModelMessages(messages),
    tools: { weather },
    stopWhen: ({ steps }) => steps.length === 5,
    abortSignal: reply.signal,
  });
  const response = result.toUIMessageStreamResponse();
  return new Response(reply.tee(response.body!, { ends: true }), response);
}
