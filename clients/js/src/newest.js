// Of two states of a conversation the one with the higher revision is newer. An event may overtake the answer to an older query, so
// each result is brought up to date before a cache takes it.

/** A function of a result (`{ data }`) of GraphQL, which returns it with no conversation older than one that it has seen. */
export function newestConversations({ limit = 1000 } = {}) {
  const known = new Map();
  const newest = (value) => {
    if (Array.isArray(value)) return value.map(newest);
    if (value === null || typeof value !== "object") return value;
    const made = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, newest(inner)]));
    return typeof value.revision === "number" && value.id ? latest(made) : made;
  };
  const latest = (value) => {
    const last = known.get(value.id);
    if (last?.revision > value.revision) {
      const shared = Object.entries(last).filter(([name]) => name in value);
      return { ...value, ...Object.fromEntries(shared) };
    }
    // What is nested may be a part of something larger, such as a page of messages.
    const own = Object.entries(value).filter(([, inner]) => inner === null || typeof inner !== "object");
    known.delete(value.id);
    known.set(value.id, { ...(last?.revision === value.revision ? last : {}), ...Object.fromEntries(own) });
    if (known.size > limit) known.delete(known.keys().next().value);
    return value;
  };
  return (result) => (result?.data ? { ...result, data: newest(result.data) } : result);
}
