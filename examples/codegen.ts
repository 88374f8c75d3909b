// Types for what Apollo Client and urql ask, from the schema. Relay has a compiler of its own.
import type { CodegenConfig } from "@graphql-codegen/cli";

const typed = (folder: string) => ({
  documents: `${folder}/*.ts`,
  preset: "client" as const,
  presetConfig: { fragmentMasking: false },
  config: { scalars: { DateTime: "string" } },
});

const config: CodegenConfig = {
  schema: "../schema.graphql",
  generates: { "apollo/__generated__/": typed("apollo"), "urql/__generated__/": typed("urql") },
};
export default config;
