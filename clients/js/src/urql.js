// Updates of conversations for urql's normalised cache (Graphcache). Nothing of urql is imported.
import { fragmentOf } from "./documents.js";
import { arrange, NEW, pagesOf } from "./lists.js";
import { isDeleted } from "./tombstones.js";

export { newestConversations } from "./newest.js";

const LIMIT = 1000;
/** The newest update of each conversation by cache: Graphcache has written an update before its updater runs. */
const newest = new WeakMap();

export function applyConversationUpdate(cache, data) {
  const changed = { __typename: "Conversation", ...(data?.conversationUpdated ?? data) };
  const key = cache.keyOfEntity(changed);
  if (!key) return false;
  if (isDeleted(cache, changed)) {
    cache.invalidate(changed);
    return false;
  }
  const last = remember(cache, changed);
  if (last) {
    cache.writeFragment(fragmentOf("Conversation", last), last);
    return false;
  }
  const held = new Set();
  const lists = cache.inspectFields("Query").filter(({ fieldName }) => fieldName === "conversations");
  lists.sort((one, other) => Boolean(one.arguments?.after) - Boolean(other.arguments?.after));
  for (const list of lists) inList(cache, list, changed, key, held);
  if (changed.status === "DELETED") cache.invalidate(changed);
  return true;
}

/** The update that was newer, if one was. */
function remember(cache, changed) {
  if (!newest.has(cache)) newest.set(cache, new Map());
  const known = newest.get(cache);
  const last = known.get(changed.id);
  if (last?.revision > changed.revision) return last;
  known.delete(changed.id);
  known.set(changed.id, changed);
  if (known.size > LIMIT) known.delete(known.keys().next().value);
  return undefined;
}

function inList(cache, { fieldKey, arguments: given }, changed, key, held) {
  const list = cache.resolve("Query", fieldKey);
  if (typeof list !== "string") return;
  const args = given ?? {};
  const isEarlier = held.has(pagesOf(args));
  const hasMore = cache.resolve(cache.resolve(list, "pageInfo"), "hasNextPage") ?? false;
  let change = 0;
  for (const [name, nodeOf] of [["nodes", (node) => node], ["edges", (edge) => cache.resolve(edge, "node")]]) {
    const keys = cache.resolve(list, name);
    if (!Array.isArray(keys)) continue;
    const read = (item, field) => cache.resolve(nodeOf(item), field);
    const items = arrange(keys, changed, args, { hasMore, isEarlier, read });
    if (items.some((item) => item === NEW || read(item, "id") === changed.id)) held.add(pagesOf(args));
    if (items === keys) continue;
    // An edge cannot be made here, so that list is read again.
    if (name === "edges" && items.includes(NEW)) return cache.invalidate("Query", fieldKey);
    change = items.length - keys.length;
    cache.link(list, name, items.map((item) => (item === NEW ? key : item)));
  }
  // A number cannot be written here; without it the list is read again.
  if (change && typeof cache.resolve(list, "totalCount") === "number") cache.invalidate(list, "totalCount");
}
