// npm relay-runtime: an Environment whose network fetches queries and mutations, and subscribes over
// graphql-ws, as Relay's guide does. The requests are what its compiler would write.

import { createClient } from "graphql-ws";
import relay from "relay-runtime";

import { contract, READ, SEND, WATCH } from "./contract.mjs";
import { Sockets } from "./support.mjs";

const { commitMutation, Environment, fetchQuery, Network, Observable, RecordSource } = relay;
const { requestSubscription, Store } = relay;

const scalar = (name) => ({ kind: "ScalarField", alias: null, args: null, name, storageKey: null });

const linked = (name, concreteType, variable, selections) => ({
  kind: "LinkedField",
  alias: null,
  args: variable && [{ kind: "Variable", name: variable, variableName: variable }],
  concreteType,
  name,
  plural: false,
  selections,
  storageKey: null,
});

const request = (operationKind, name, text, root, variable, selection) => {
  const argumentDefinitions = [{ kind: "LocalArgument", name: variable, defaultValue: null }];
  const selections = [selection];
  return {
    kind: "Request",
    fragment: {
      kind: "Fragment",
      name,
      type: root,
      abstractKey: null,
      metadata: null,
      argumentDefinitions,
      selections,
    },
    operation: { kind: "Operation", name, argumentDefinitions, selections },
    params: { cacheID: name, id: null, metadata: {}, name, operationKind, text },
  };
};

const fields = ["id", "displayName", "titleStatus", "messageCount", "revision"].map(scalar);
const conversation = (name, variable) => linked(name, "Conversation", variable, fields);
const sendMessage = linked("sendMessage", "SendMessagePayload", "input", [
  conversation("conversation", null),
]);
const updated = conversation("conversationUpdated", "id");
const watch = request("subscription", "Watch", WATCH, "Subscription", "id", updated);
const send = request("mutation", "Send", SEND, "Mutation", "input", sendMessage);
const read = request("query", "Read", READ, "Query", "id", conversation("conversation", "id"));

contract("relay-runtime", Sockets, (wire, server) => {
  const socket = createClient({
    url: wire.url,
    webSocketImpl: wire.WebSocket,
    retryWait: () => server.ready(),
    shouldRetry: () => true,
  });
  const network = Network.create(
    async ({ text }, variables) => {
      const response = await fetch(server.url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query: text, variables }),
      });
      return response.json();
    },
    ({ name, text }, variables) =>
      Observable.create((sink) =>
        socket.subscribe({ operationName: name, query: text, variables }, sink),
      ),
  );
  const environment = new Environment({ network, store: new Store(new RecordSource()) });
  return {
    watch(id, sink) {
      const subscription = requestSubscription(environment, {
        subscription: watch,
        variables: { id },
        onNext: (data) => sink.next(data.conversationUpdated),
        onError: sink.error,
        onCompleted: sink.complete,
      });
      return () => subscription.dispose();
    },
    send: (text) =>
      new Promise((resolve, reject) =>
        commitMutation(environment, {
          mutation: send,
          variables: { input: { text } },
          onCompleted: (data) => resolve(data.sendMessage.conversation),
          onError: reject,
        }),
      ),
    read: async (id) => (await fetchQuery(environment, read, { id }).toPromise()).conversation,
    close: () => socket.dispose(),
  };
});
