// assistant-ui's RemoteThreadListAdapter for a Titlecast. Nothing of assistant-ui is imported. The types are in assistant-ui.d.ts.
import { Access, eventsOf, isUuid, pause } from "./access.js";

const FIELDS = "id externalId title displayName titleStatus titleWaitsFor archivedAt lastMessageAt metadata { key value }";
const PAGE = `{ nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } }`;
const LIST = `query ($first: Int, $regular: String, $archived: String, $withRegular: Boolean!, $withArchived: Boolean!) {
  regular: conversations(first: $first, after: $regular) @include(if: $withRegular) ${PAGE}
  archived: conversations(first: $first, after: $archived, filter: { archived: true }) @include(if: $withArchived) ${PAGE} }`;
const ONE = `query ($id: ID!) { conversation(id: $id) { ${FIELDS} } }`;
const WATCH = `subscription ($id: ID!) { conversationUpdated(id: $id) { ${FIELDS} status } }`;
const RENAME = `mutation ($id: ID!, $title: String!) {
  renameConversation(input: { id: $id, displayName: $title }) { conversation { id } } }`;
const DELETE = "mutation ($id: ID!) { deleteConversation(input: { id: $id }) { deletedConversationId } }";
const ofConversation = (name) => `mutation ($id: ID!) { ${name}(input: { conversationId: $id }) { conversation { id } } }`;
const ARCHIVE = ofConversation("archiveConversation");
const UNARCHIVE = ofConversation("unarchiveConversation");
const METADATA = `mutation ($id: ID!, $set: [MetadataEntryInput!]!, $remove: [String!]!) {
  setConversationMetadata(input: { conversationId: $id, set: $set, remove: $remove }) { conversation { id } } }`;

export const titlecastThreads = (options) => new TitlecastThreads(options);

class TitlecastThreads {
  #access;
  #pageSize;
  #titleMs;
  /** Metadata of threads whose first message is not sent. */
  #drafts = new Map();

  constructor({ pageSize = 50, titleMs = 60_000, ...access } = {}) {
    this.#access = new Access(access);
    this.#pageSize = pageSize;
    this.#titleMs = titleMs;
  }

  /** A page of the threads, and one of those that are archived. */
  list = async ({ after } = {}) => {
    const from = after ? JSON.parse(after) : { regular: null, archived: null };
    const found = await this.#access.graphql(LIST, {
      first: this.#pageSize, ...from, withRegular: "regular" in from, withArchived: "archived" in from,
    });
    const pages = Object.entries(found);
    const next = pages.filter(([, { pageInfo }]) => pageInfo.hasNextPage).map(([name, { pageInfo }]) => [name, pageInfo.endCursor]);
    const threads = pages.flatMap(([, { nodes }]) => nodes.map(thread));
    return { threads, ...(next.length ? { nextCursor: JSON.stringify(Object.fromEntries(next)) } : {}) };
  };

  /** An id, and nothing stored: the first message creates the conversation. */
  initialize = async (threadId, { custom } = {}) => {
    const remoteId = isUuid(threadId) ? threadId : crypto.randomUUID();
    if (custom) this.#drafts.set(remoteId, custom);
    return { remoteId, externalId: undefined };
  };

  fetch = async (threadId) => {
    const { conversation } = await this.#access.graphql(ONE, { id: threadId });
    if (!conversation) throw new Error(`there is no conversation ${threadId}`);
    return thread(conversation);
  };

  rename = async (id, title) => void (await this.#access.graphql(RENAME, { id, title }));
  archive = async (id) => void (await this.#access.graphql(ARCHIVE, { id }));
  unarchive = async (id) => void (await this.#access.graphql(UNARCHIVE, { id }));

  delete = async (id) => {
    this.#drafts.delete(id);
    await this.#access.graphql(DELETE, { id }).catch((error) => {
      if (error.code !== "NOT_FOUND") throw error; // a thread without a message
    });
  };

  /** Stores the pairs as the conversation's metadata. What is no text is stored as JSON. */
  updateCustom = async (id, custom = {}) => {
    const { conversation } = await this.#access.graphql(ONE, { id });
    if (!conversation) return void this.#drafts.set(id, custom);
    const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
    const set = Object.entries(custom).filter(([, value]) => value !== undefined).map(([key, value]) => ({ key, value: text(value) }));
    const remove = conversation.metadata.map(({ key }) => key).filter((key) => custom[key] === undefined);
    if (set.length || remove.length) await this.#access.graphql(METADATA, { id, set, remove });
  };

  /** Waits for the title that the server makes, and ends with it; starts none. Ends without one if there is none in `titleMs`. */
  generateTitle = async (id) => {
    const custom = this.#drafts.get(id);
    if (custom && this.#drafts.delete(id)) await this.updateCustom(id, custom);
    const away = new AbortController();
    const signal = AbortSignal.any([away.signal, AbortSignal.timeout(this.#titleMs)]);
    const start = async (controller) => {
      const title = await this.#title(id, signal).catch((error) => {
        if (!signal.aborted) controller.error(error);
      });
      if (away.signal.aborted || (title === undefined && !signal.aborted)) return;
      for (const chunk of chunksOf(title)) controller.enqueue(chunk);
      controller.close();
    };
    return new ReadableStream({ start: (controller) => void start(controller), cancel: () => away.abort() });
  };

  async #title(id, signal) {
    for (;;) {
      try {
        const response = await this.#access.post(WATCH, { id }, { accept: "text/event-stream", signal });
        for await (const event of eventsOf(response.body)) {
          const { data, errors } = event ? JSON.parse(event) : {};
          if (errors && errors[0]?.extensions?.code !== "NOT_FOUND") throw final(errors[0].message);
          const found = data?.conversationUpdated;
          if (found && (found.titleStatus !== "PENDING" || found.titleWaitsFor)) return titleOf(found) ?? null;
        }
        if ([401, 403].includes(response.status)) throw final("the server refuses the token");
      } catch (error) {
        if (signal.aborted || error.isFinal) throw error;
      }
      await pause(signal);
    }
  }
}

const final = (message) => Object.assign(new Error(message), { isFinal: true });

/** Without a title while one is to come: assistant-ui asks for it then. */
const titleOf = ({ displayName, title, titleStatus }) => displayName ?? (titleStatus === "PENDING" ? undefined : title);

const thread = (found) => ({
  status: found.archivedAt ? "archived" : "regular",
  remoteId: found.id,
  externalId: found.externalId ?? undefined,
  title: titleOf(found),
  lastMessageAt: new Date(found.lastMessageAt),
  custom: Object.fromEntries(found.metadata.map(({ key, value }) => [key, value])),
});

/** A text as an AssistantStream. */
function* chunksOf(text) {
  if (text) {
    yield { type: "part-start", path: [], part: { type: "text" } };
    yield { type: "text-delta", path: [0], textDelta: text };
    yield { type: "part-finish", path: [0] };
  }
  yield { type: "message-finish", path: [], finishReason: "stop", usage: { inputTokens: 0, outputTokens: 0 } };
}
