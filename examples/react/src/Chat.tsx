// One conversation: what is stored of it, and the reply that is being written, wherever it was asked for.
import { useChat } from "@ai-sdk/react";
import { useEffect, useState, type FormEvent } from "react";
import type { UIMessage } from "ai";
import { transport } from "./api";

interface ChatProps {
  id: string;
  title: string;
}

export function Chat({ id, title }: ChatProps) {
  const [history, setHistory] = useState<UIMessage[]>();
  const [problem, setProblem] = useState("");
  useEffect(() => {
    let isGone = false;
    transport.history(id).then(
      (found) => isGone || setHistory(found),
      (error) => isGone || setProblem(error.message),
    );
    return () => void (isGone = true);
  }, [id]);
  return (
    <main>
      <h1>{title}</h1>
      {history ? <Messages id={id} history={history} /> : <p role="alert">{problem}</p>}
    </main>
  );
}

function Messages({ id, history }: { id: string; history: UIMessage[] }) {
  // A reply that is under way is resumed: after a reload, in another tab, on another device.
  const { messages, status, error, sendMessage, regenerate } = useChat({ id, messages: history, transport, resume: true });
  const isBusy = status === "submitted" || status === "streaming";
  const last = messages.at(-1);
  const outcome = (last?.metadata as { outcome?: string } | undefined)?.outcome;

  function send(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const text = String(new FormData(form).get("text")).trim();
    if (!text || isBusy) return;
    sendMessage({ text });
    form.reset();
  }

  return (
    <>
      <div role="log" aria-label="Messages">
        {messages.map((message) => (
          <p key={message.id} className={message.role}>
            {message.parts.map((part) => (part.type === "text" ? part.text : "")).join("")}
          </p>
        ))}
      </div>
      {error && <p role="alert">{error.message}</p>}
      {!isBusy && outcome && outcome !== "completed" && <p role="note">This reply is {outcome}.</p>}
      <form onSubmit={send}>
        <input name="text" aria-label="Message" placeholder="Message" autoComplete="off" autoFocus />
        {isBusy ? (
          <button type="button" onClick={() => transport.stop(id)}>Stop</button>
        ) : (
          <button>Send</button>
        )}
        <button type="button" disabled={isBusy || last?.role !== "assistant"} onClick={() => regenerate()}>Regenerate</button>
      </form>
    </>
  );
}
