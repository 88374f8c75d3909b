// The package's types against those of the libraries that it is for. Compiled by package-types.test.mjs, never run.
import { InMemoryCache as InMemoryCache4 } from "@apollo/client";
import type { RemoteThreadListAdapter } from "@assistant-ui/react";
import { cacheExchange } from "@urql/exchange-graphcache";
import type { ChatTransport, UIMessage } from "ai";
import { InMemoryCache as InMemoryCache3 } from "apollo3";
import { createClient } from "graphql-ws";
import { Titlecast } from "titlecast";
import { titlecastTransport, type TitleData } from "titlecast/ai";
import * as apollo from "titlecast/apollo";
import { titlecastThreads } from "titlecast/assistant-ui";
import { useConversations, useReply } from "titlecast/react";
import * as urql from "titlecast/urql";

type Mine = UIMessage<{ outcome?: string }>;
export const transport: ChatTransport<UIMessage> = titlecastTransport({ token: async () => "token", credentials: "include" });
export const own: ChatTransport<Mine> = titlecastTransport<Mine>({ conversation: async (id) => id, stopOnAbort: true });
export const history: Promise<Mine[]> = titlecastTransport<Mine>().history("id");
export const title = ({ title, titleStatus }: TitleData) => (titleStatus === "READY" ? title : null);

export const threads: RemoteThreadListAdapter = titlecastThreads({ url: "https://chat.example", pageSize: 20 });

declare const data: { conversationUpdated: { __typename: "Conversation"; id: string; revision: number; status: "ACTIVE" | "DELETED" } };
export const applied: boolean[] = [
  apollo.applyConversationUpdate(new InMemoryCache4(), data),
  apollo.applyConversationUpdate(new InMemoryCache3(), data),
];
export const newest: { data: number } = apollo.newestConversations({ limit: 3 })({ data: 1 });
export const exchange = cacheExchange({
  updates: { Subscription: { conversationUpdated: (result, _args, cache) => void urql.applyConversationUpdate(cache, result) } },
});

const client = createClient({ url: "ws://127.0.0.1" });
export function useBoth() {
  const { conversations, loadMore } = useConversations<{ metadata: { key: string }[] }>(client, { fields: "metadata { key }" });
  const { text, stop } = useReply(client, { conversationId: conversations[0]?.id });
  return [conversations[0]?.metadata[0]?.key, text, stop, loadMore];
}
export const beside = new Titlecast({ url: "https://chat.example" });
