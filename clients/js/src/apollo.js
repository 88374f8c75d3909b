// Updates of conversations for Apollo Client's InMemoryCache, versions 3 and 4. Nothing of Apollo is imported.
import { fragmentOf } from "./documents.js";
import { arrange, counted, NEW, pagesOf } from "./lists.js";
import { isDeleted } from "./tombstones.js";

export { newestConversations } from "./newest.js";

const TYPE = { __typename: "Conversation" };

export function applyConversationUpdate(cache, data) {
  const changed = { ...TYPE, ...(data?.conversationUpdated ?? data) };
  const id = cache.identify(changed);
  if (!id) return false;
  const known = cache.readFragment({ id, fragment: fragmentOf("Conversation", { revision: 0 }) });
  if (known?.revision > changed.revision || isDeleted(cache, changed)) return false;
  cache.batch({
    update(cache) {
      if (changed.status !== "DELETED") cache.writeFragment({ id, fragment: fragmentOf("Conversation", changed), data: changed });
      const held = new Set();
      for (const isFirst of [true, false]) {
        const conversations = (list, { storeFieldName, ...tools }) => {
          const args = argumentsOf(storeFieldName);
          return !args.after === isFirst ? inList(list, changed, args, tools, held) : list;
        };
        cache.modify({ id: "ROOT_QUERY", fields: { conversations } });
      }
      if (changed.status === "DELETED") cache.evict({ id });
    },
  });
  return true;
}

function inList(list, changed, args, { readField, toReference }, held) {
  if (!list || typeof list !== "object") return list;
  const reference = toReference({ ...TYPE, id: changed.id });
  const hasMore = readField("hasNextPage", list.pageInfo) ?? false;
  const isEarlier = held.has(pagesOf(args));
  const made = { ...list };
  let change = 0;
  const put = (name, nodeOf, create) => {
    if (!list[name]) return;
    const read = (item, field) => readField(field, nodeOf(item));
    const items = arrange(list[name], changed, args, { hasMore, isEarlier, read });
    if (items.some((item) => item === NEW || read(item, "id") === changed.id)) held.add(pagesOf(args));
    change = items.length - list[name].length;
    made[name] = items.map((item) => (item === NEW ? create() : item));
  };
  put("nodes", (node) => node, () => reference);
  put("edges", (edge) => readField("node", edge), () => ({ __typename: "ConversationEdge", cursor: "", node: reference }));
  if ("totalCount" in list) made.totalCount = counted(list.totalCount, change);
  return made;
}

/** Of a field as it is named in the store: `conversations({"first":20})`, or `conversations:{…}` with `keyArgs`. */
function argumentsOf(storeFieldName) {
  try {
    return JSON.parse(storeFieldName.match(/\{.*\}/s)?.[0] ?? "{}");
  } catch {
    return {};
  }
}
