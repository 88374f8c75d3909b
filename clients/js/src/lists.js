// Where a conversation stands in a list, by what the list asked for. Knows no cache.

/** In place of a conversation that joins the list. */
export const NEW = Symbol("new");

const isSet = (time, wanted) => (time === undefined ? undefined : (time !== null) === wanted);
const isSame = (value, wanted) => (value === undefined ? undefined : value === wanted);
const CHECKS = {
  archived: (changed, wanted) => isSet(changed.archivedAt, wanted),
  pinned: (changed, wanted) => isSet(changed.pinnedAt, wanted),
  agent: (changed, wanted) => isSame(changed.agentEntrypoint, wanted),
  agentEntrypoint: (changed, wanted) => isSame(changed.agentEntrypoint, wanted),
  metadata: ({ metadata }, wanted) =>
    metadata && wanted.every(({ key, value }) => metadata.some((entry) => entry.key === key && entry.value === value)),
};

/** Whether a list with these arguments holds a conversation; undefined where the fields of the update do not say. */
export function belongs(changed, { filter } = {}) {
  if (changed.status === "DELETED") return false;
  const wanted = Object.entries({ archived: false, ...filter }).filter(([, value]) => value !== null && value !== undefined);
  const found = wanted.map(([name, value]) => CHECKS[name]?.(changed, value));
  // An update without `archivedAt` is taken for one of a conversation that is not archived.
  const answers = found.map((answer, n) => (answer === undefined && wanted[n][0] === "archived" ? !wanted[n][1] || undefined : answer));
  return answers.includes(false) ? false : answers.includes(undefined) ? undefined : true;
}

/**
 * The items of a list after an update; the same array if nothing changes. `read` returns a field of an item's conversation.
 * A page after a cursor (`args.after`) only loses conversations: those that stand in an earlier one by now (`isEarlier`).
 */
export function arrange(items, changed, args, { read, hasMore, isEarlier }) {
  const at = items.findIndex((item) => read(item, "id") === changed.id);
  const fits = belongs(changed, args);
  const rest = items.filter((_, index) => index !== at);
  if (fits === false || (args.after && isEarlier)) return at < 0 ? items : rest;
  if (at < 0 && (fits === undefined || args.after)) return items;
  const place = placeOf(rest, at, changed, args, read) ?? Math.max(at, 0);
  if (at < 0 && place === rest.length && hasMore) return items; // of a later page
  if (place === at) return items;
  return [...rest.slice(0, place), at < 0 ? NEW : items[at], ...rest.slice(place)];
}

/** Undefined if the update does not say where: it stays, or is the first. */
function placeOf(rest, at, changed, { order }, read) {
  const field = order === "CREATED_DESC" ? "createdAt" : "lastMessageAt";
  if (changed[field] === undefined || (order === "PINNED_FIRST" && changed.pinnedAt === undefined)) return undefined;
  const others = rest.map((item) => ({ [field]: read(item, field), pinnedAt: read(item, "pinnedAt") }));
  // Between conversations of one time it stays where it is.
  const isInPlace = at >= 0 && !others.slice(0, at).some((one) => isBefore(changed, one, order));
  if (isInPlace && !others.slice(at).some((one) => isBefore(one, changed, order))) return at;
  const place = others.findIndex((one) => isBefore(changed, one, order));
  return place < 0 ? rest.length : place;
}

/** Whether a conversation stands before another in a list of this order; false if both have one time. */
export function isBefore(one, other, order) {
  const pinned = order === "PINNED_FIRST" ? Boolean(one.pinnedAt) - Boolean(other.pinnedAt) : 0;
  const field = order === "CREATED_DESC" ? "createdAt" : "lastMessageAt";
  return (pinned || Date.parse(one[field]) - Date.parse(other[field])) > 0;
}

/** What pages of one list have in common. */
export const pagesOf = ({ filter = null, order = null }) => JSON.stringify([filter, order]);

/** The number of conversations of a list, if it was asked for and could be counted. */
export const counted = (total, change) => (typeof total === "number" ? total + change : total);
