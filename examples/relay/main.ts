// Relay over graphql-sse: a reply, piece by piece and read on after a cut, and the title of its conversation.
import { deepEqual, fail } from "node:assert";
import { createClient } from "graphql-sse";
import * as relay from "relay-runtime";
import Reply, { type chatReplySubscription$data as ReplyData } from "./__generated__/chatReplySubscription.graphql";
import Send from "./__generated__/chatSendMutation.graphql";
import Title, { type chatTitleSubscription$data as TitleData } from "./__generated__/chatTitleSubscription.graphql";

const { TITLECAST_URL = "http://127.0.0.1:8080", TITLECAST_TOKEN: token } = process.env;
const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
const sse = createClient({ url: `${TITLECAST_URL}/graphql`, headers: () => headers });
const execute = ({ name, text }: relay.RequestParameters, variables: relay.Variables) =>
  relay.Observable.create<relay.GraphQLResponse>((sink) => {
    const request = { operationName: name, query: text!, variables: { ...variables } };
    const next = (result: any) => {
      console.log(name, JSON.stringify(result));
      // After a cut graphql-sse sends the request again: for what is behind this.
      request.variables.after = result.data?.reply?.cursor ?? variables.after;
      sink.next(result);
    };
    return sse.subscribe(request, { ...sink, next });
  });
const environment = new relay.Environment({ network: relay.Network.create(execute, execute) });

setTimeout(fail, 60_000, "no title, or no whole reply, within a minute");
const id = crypto.randomUUID();
await new Promise((onCompleted, onError) => {
  const variables = { input: { conversationId: id, text: "How do I prune an apple tree?" } };
  relay.commitMutation(environment, { mutation: Send, variables, onCompleted, onError });
});
function until<T>(subscription: relay.GraphQLTaggedNode, isLast: (data: T) => boolean) {
  return new Promise<T>((resolve, onError) => {
    const onNext = (data: any) => isLast(data) && resolve(data);
    relay.requestSubscription(environment, { subscription, variables: { id }, onNext, onError });
  });
}
const titled = until(Title, (data: TitleData) => data.conversationUpdated.titleStatus === "READY");
let text = "";
const { reply } = await until(Reply, ({ reply }: ReplyData) => {
  if ("recovered" in reply && !reply.recovered) text = ""; // what is here is worth nothing
  if ("cursor" in reply) text += reply.text;
  return "outcome" in reply;
});
deepEqual(reply, { outcome: "COMPLETED", text });
await titled;
process.exit();
