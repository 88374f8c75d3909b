// Deleted conversations of a cache. A deletion is the last change, so an update that comes after it is an old one.

const LIMIT = 1000;
const deleted = new WeakMap();

/** Whether an update is of a conversation that was deleted before; notes a deletion. */
export function isDeleted(cache, { id, status }) {
  if (!deleted.has(cache)) deleted.set(cache, new Set());
  const ids = deleted.get(cache);
  if (status !== "DELETED") return ids.has(id);
  ids.add(id);
  if (ids.size > LIMIT) ids.delete(ids.values().next().value);
  return false;
}
