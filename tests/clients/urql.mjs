// What an urql client does, whatever its exchanges.

import { READ, SEND, WATCH } from "./contract.mjs";

export function urql(client, close = () => {}) {
  const ask = async (result) => {
    const { data, error } = await result.toPromise();
    if (error) throw error;
    return data;
  };
  return {
    watch(id, sink) {
      const { unsubscribe } = client.subscription(WATCH, { id }).subscribe(({ data, error }) => {
        if (error) sink.error(error);
        else sink.next(data.conversationUpdated);
      });
      return unsubscribe;
    },
    send: async (text) =>
      (await ask(client.mutation(SEND, { input: { text } }))).sendMessage.conversation,
    read: async (id) => (await ask(client.query(READ, { id }))).conversation,
    close,
  };
}
