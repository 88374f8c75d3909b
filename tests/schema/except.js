import { parse, visit } from "graphql";

/**
 * An ESLint processor that drops the messages that an exception allows, and reports the exceptions
 * that allow nothing. An exception is a rule and a pattern for schema coordinates.
 */
export function except(exceptions) {
  const texts = new Map();
  return {
    meta: { name: "except", version: "1" },
    preprocess(text, filename) {
      texts.set(filename, text);
      return [text];
    },
    postprocess([messages], filename) {
      const text = texts.get(filename);
      texts.delete(filename);
      if (messages.some((message) => message.fatal)) return messages;

      const places = coordinates(text);
      const used = new Set();
      const left = messages.filter((message) => {
        const at = coordinateOf(places, text, message);
        const allowed = exceptions.filter(
          ({ rule, at: pattern }) =>
            message.ruleId === `@graphql-eslint/${rule}` && pattern.test(at),
        );
        for (const exception of allowed) used.add(exception);
        return allowed.length === 0;
      });
      const unused = exceptions.filter((exception) => !used.has(exception));
      return left.concat(
        unused.map(({ rule, at }) => ({
          ruleId: "except",
          severity: 2,
          line: 1,
          column: 1,
          message: `Nothing needs the exception from ${rule} at ${at}`,
        })),
      );
    },
  };
}

/** The definitions with their schema coordinates; the inner ones behind those that they are in. */
function coordinates(text) {
  const found = [];
  const path = [];
  const enter = (node) => {
    const outer = path.at(-1) ?? "";
    const name = node.name?.value;
    if (node.kind === "DirectiveDefinition") path.push(`@${name}`);
    else if (node.kind === "InputValueDefinition" && /[.@]/.test(outer))
      path.push(`${outer}(${name}:)`);
    else path.push(outer ? `${outer}.${name}` : (name ?? node.kind));
    found.push({ start: node.loc.start, end: node.loc.end, coordinate: path.at(-1) });
  };
  const isDefinition = (node) => node.kind !== "Document" && /Definition$/.test(node.kind);
  visit(parse(text), {
    enter: (node) => {
      if (isDefinition(node)) enter(node);
    },
    leave: (node) => {
      if (isDefinition(node)) path.pop();
    },
  });
  return found;
}

function coordinateOf(places, text, { line, column }) {
  const before = text.split("\n").slice(0, line - 1);
  const offset = before.reduce((sum, each) => sum + each.length + 1, 0) + column - 1;
  return places.findLast(({ start, end }) => start <= offset && offset < end)?.coordinate ?? "";
}
