// The list of conversations beside the chat. The address has the conversation, so that a reload shows it again.
import { useEffect, useState, type FormEvent } from "react";
import { useConversations, type LiveConversation } from "titlecast/react";
import { archive, client, nameAnew, rename, search, type Hit } from "./api";
import { Chat } from "./Chat";

export function App() {
  const { conversations, isLoading, hasMore, loadMore, error } = useConversations(client, { first: 30 });
  const [id, open] = useAddress();
  const [hits, setHits] = useState<Hit[]>();
  const [problem, setProblem] = useState("");
  const attempt = (work: Promise<unknown>) => void work.then(() => setProblem(""), (cause) => setProblem(cause.message));

  async function find(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const words = String(new FormData(event.currentTarget).get("words")).trim();
    setHits(words ? await search(words) : undefined);
  }

  return (
    <>
      <nav aria-label="Conversations">
        <button onClick={() => open(crypto.randomUUID())}>New chat</button>
        <form role="search" onSubmit={(event) => attempt(find(event))}>
          <input name="words" type="search" placeholder="Search" aria-label="Search" />
        </form>
        {hits ? (
          <ul aria-label="Found">
            {hits.map(({ conversation, snippet }, index) => (
              <li key={index}>
                <button onClick={() => open(conversation.id)}>{conversation.title}</button>
                <small>{snippet}</small>
              </li>
            ))}
          </ul>
        ) : (
          <ul aria-label="All" aria-busy={isLoading}>
            {conversations.map((one) => (
              <Row key={one.id} one={one} isOpen={one.id === id} open={open} attempt={attempt} />
            ))}
            {hasMore && <button onClick={loadMore}>More</button>}
          </ul>
        )}
        <p role="status">{problem || (error ? "Reconnecting…" : "")}</p>
      </nav>
      <Chat key={id} id={id} title={conversations.find((one) => one.id === id)?.title ?? "New chat"} />
    </>
  );
}

interface RowProps {
  one: LiveConversation;
  isOpen: boolean;
  open: (id: string) => void;
  attempt: (work: Promise<unknown>) => void;
}

function Row({ one: { id, title, titleStatus }, isOpen, open, attempt }: RowProps) {
  const [isEdited, setEdited] = useState(false);
  if (isEdited) {
    const save = (event: FormEvent<HTMLFormElement>) => {
      event.preventDefault();
      attempt(rename(id, String(new FormData(event.currentTarget).get("title"))));
      setEdited(false);
    };
    return (
      <li>
        <form onSubmit={save}>
          <input name="title" aria-label="Title" defaultValue={title} autoFocus onBlur={() => setEdited(false)} />
        </form>
      </li>
    );
  }
  return (
    <li aria-current={isOpen}>
      <button className={titleStatus === "PENDING" ? "pending" : ""} onClick={() => open(id)}>{title}</button>
      <button title="Rename" onClick={() => setEdited(true)}>✎</button>
      <button title="New title" onClick={() => attempt(nameAnew(id))}>↻</button>
      <button title="Archive" onClick={() => attempt(archive(id))}>🗄</button>
    </li>
  );
}

function useAddress() {
  const [id, setId] = useState(() => location.hash.slice(1) || crypto.randomUUID());
  useEffect(() => {
    if (location.hash.slice(1) !== id) location.hash = id;
    const follow = () => setId(location.hash.slice(1));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, [id]);
  return [id, setId] as const;
}
