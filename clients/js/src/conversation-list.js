// The caller's conversations, kept current by one subscription. Knows no framework.
import { belongs, isBefore } from "./lists.js";
import { ask, follow, Watched } from "./watched.js";

const FIELDS = `id externalId title titleStatus status revision messageCount lastMessagePreview lastMessageAt createdAt
  archivedAt pinnedAt`;

export class ConversationList extends Watched {
  #client;
  #first;
  #filter;
  #order;
  #fields;
  #known = new Map();
  /** What has left the list, by the revision with which it did. */
  #left = new Map();
  /** The ids that changed since the list was asked for: an answer without them is older. */
  #since = new Set();
  #loads = 0;
  #cursor;

  constructor(client, { first = 50, filter, order, fields = "" } = {}) {
    super({ conversations: [], isLoading: true, hasMore: false, error: undefined });
    this.#client = client;
    this.#first = first;
    this.#filter = filter;
    this.#order = order;
    this.#fields = `${FIELDS} ${fields}`;
  }

  start() {
    // The list is asked for behind the subscription, on the same socket: no change falls between the two.
    return follow(this.#client, `subscription { conversationUpdated { ${this.#fields} } }`, {}, {
      onData: ({ conversationUpdated }) => this.#apply(conversationUpdated),
      onBegin: () => void this.refetch(),
      onError: (error) => this.change({ error }),
    });
  }

  refetch = () => this.#load(undefined, Math.min(Math.max(this.#first, this.#known.size), 100));

  loadMore = async () => {
    if (this.state().hasMore && !this.state().isLoading) await this.#load(this.#cursor, this.#first);
  };

  async #load(after, first) {
    const load = ++this.#loads;
    if (!after) this.#since = new Set();
    this.change({ isLoading: true });
    // A server without orders has `conversations` without the argument.
    const [variable, argument] = this.#order ? [", $order: ConversationOrder", ", order: $order"] : ["", ""];
    const query = `query ($first: Int, $after: String, $filter: ConversationFilter${variable}) {
      conversations(first: $first, after: $after, filter: $filter${argument}) { nodes { ${this.#fields} } pageInfo { hasNextPage endCursor } } }`;
    try {
      const { conversations } = await ask(this.#client, query, { first, after, filter: this.#filter, order: this.#order });
      if (load !== this.#loads) return; // a later one is under way
      const { nodes, pageInfo } = conversations;
      const kept = [...this.#known.values()].filter(({ id }) => after || this.#since.has(id));
      this.#known = new Map(kept.map((one) => [one.id, one]));
      for (const node of nodes) {
        const isOld = this.#left.get(node.id) >= node.revision || this.#known.get(node.id)?.revision > node.revision;
        if (!isOld) this.#known.set(node.id, node);
      }
      this.#cursor = pageInfo.endCursor;
      this.#show({ isLoading: false, hasMore: pageInfo.hasNextPage, error: undefined });
    } catch (error) {
      if (load === this.#loads) this.change({ isLoading: false, error });
    }
  }

  #apply(changed) {
    const { id, status, revision } = changed;
    const last = this.#known.get(id);
    if (this.#left.get(id) > revision || last?.revision > revision) return;
    this.#since.add(id);
    const { conversations, hasMore } = this.state();
    const fits = belongs(changed, { filter: this.#filter });
    if (fits === undefined && !last) return void this.refetch(); // the fields do not say
    if (fits === false) {
      this.#left.set(id, status === "DELETED" ? Infinity : revision);
      this.#known.delete(id);
    } else if (last || !hasMore || isBefore(changed, conversations.at(-1), this.#order)) this.#known.set(id, changed);
    else return; // of a page that is not loaded
    this.#show({});
  }

  #show(change) {
    this.change({ ...change, conversations: [...this.#known.values()].sort((one, other) => this.#compare(one, other)) });
  }

  #compare(one, other) {
    if (isBefore(one, other, this.#order)) return -1;
    if (isBefore(other, one, this.#order)) return 1;
    return one.id < other.id ? 1 : -1;
  }
}
