// Documents of GraphQL, made without a parser: what a cache wants beside data.

/** A fragment on `type` of the fields that a value has. */
export function fragmentOf(type, value) {
  const definition = {
    kind: "FragmentDefinition",
    name: name(`${type}Of${shape(value)}`),
    typeCondition: { kind: "NamedType", name: name(type) },
    selectionSet: selection(value),
  };
  return { kind: "Document", definitions: [definition] };
}

const name = (value) => ({ kind: "Name", value });

function selection(value) {
  const selections = Object.entries(value).map(([field, inner]) => {
    const [first] = [inner].flat();
    const isNested = first !== null && typeof first === "object";
    return { kind: "Field", name: name(field), ...(isNested ? { selectionSet: selection(first) } : {}) };
  });
  return { kind: "SelectionSet", selections };
}

/** A name for the fields, so that no two documents share one. */
function shape(value) {
  let hash = 0;
  for (const char of JSON.stringify(selection(value))) hash = (hash * 31 + char.charCodeAt(0)) | 0;
  return (hash >>> 0).toString(36);
}
